"""What answers queries: the interface that models in this process, in other processes and behind a URL share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Backend", "Progress", "RejectedError", "Unwatched"]


class RejectedError(Exception):
    """A server says that it has too much to do."""


class Progress(Protocol):
    """Learns how far the answer to a batch is. Positions are those of the samples in the batch."""

    def first_token(self, positions: Sequence[int]) -> None:
        """The first token of these is there."""

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        """These are answered, with so many tokens each."""


class Unwatched:
    """The progress of batches that are not measured."""

    def first_token(self, positions: Sequence[int]) -> None:
        pass

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        pass


class Backend(Protocol):
    """Answers batches, one at a time. A worker has one of its own."""

    def warm_up(self) -> None:
        """Work on batches that are not measured; called by the thread that calls `answer`."""

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        """Answer a batch of samples; those that `progress` has not heard of are done when this returns.

        Raises:
            RejectedError: None of the samples was worked on.
            BenchmarkError: There is no answer, or one that makes no sense.
        """

    def close(self) -> None:
        """End what this backend started."""
