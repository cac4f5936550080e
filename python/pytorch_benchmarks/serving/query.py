"""A sample that LoadGen requested, with its times from arrival to answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Query"]


@dataclass(slots=True, eq=False)
class Query:
    """A requested sample. A query of LoadGen may have several samples; each is a separate object here.

    Attributes:
        number: In order of arrival, from 0, as in LoadGen's trace.
        response: LoadGen's identifier.
        sample: Index in the library.
        arrival: Time of arrival, in seconds of `time.perf_counter`, as all times here.
        taken: When a worker started to process it.
        first_token: When its first token was available; 0 without tokens.
        done: When its answer was complete.
        tokens: Number of tokens of the answer.
        is_rejected: Whether it was not processed because too many others waited.
    """

    number: int
    response: int
    sample: int
    arrival: float
    taken: float = 0.0
    first_token: float = 0.0
    done: float = 0.0
    tokens: int = 0
    is_rejected: bool = False
