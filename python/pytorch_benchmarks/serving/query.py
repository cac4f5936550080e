"""One sample that LoadGen asks for, from its arrival to its answer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Query"]


@dataclass(slots=True, eq=False)
class Query:
    """A sample under way. LoadGen may ask for several in what it calls a query; each of them is one here.

    Attributes:
        number: In the order of arrival, from 0: the number that LoadGen's trace has for it too.
        response: How LoadGen knows it.
        sample: Which sample of the library.
        arrival: When it came, in seconds of `time.perf_counter`.
        taken: When a worker took it.
        first_token: When its first token was there; 0 without tokens.
        done: When it was answered.
        tokens: How many tokens the answer has.
        is_rejected: Whether it was not worked on, because too many others waited.
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
