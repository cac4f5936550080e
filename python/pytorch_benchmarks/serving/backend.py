"""The interface of backends, which answer queries: models in this process, in worker processes, and servers behind a URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

__all__ = ["Backend", "Progress", "RejectedError", "Unwatched"]


class RejectedError(Exception):
    """The server is overloaded and rejected the request."""


class Progress(Protocol):
    """Receives the progress of a batch. Positions are those of samples in the batch."""

    def first_token(self, positions: Sequence[int]) -> None:
        """Their first tokens are available."""

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        """Their answers are complete; `tokens` has the number of tokens of each."""


class Unwatched:
    """Ignores the progress of batches that are not measured."""

    def first_token(self, positions: Sequence[int]) -> None:
        pass

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        pass


class Backend(Protocol):
    """Answers batches, one at a time. Each worker has a separate backend."""

    def warm_up(self) -> None:
        """Process batches that are not measured; called by the thread that calls `answer`."""

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        """Answer a batch of samples; those not reported to `progress` are complete when this returns.

        Raises:
            RejectedError: None of the samples was processed.
            BenchmarkError: The answer is missing or invalid.
        """

    def close(self) -> None:
        """End the processes and connections of this backend."""
