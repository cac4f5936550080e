"""Errors that end a benchmark with one clear line."""

from __future__ import annotations

__all__ = ["BenchmarkError", "LostReplicaError", "OutOfMemoryError", "SkippedError", "UnknownModelError", "UsageError"]


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says what happened and what to do. Exit code 1."""

    exit_code = 1


class UsageError(BenchmarkError):
    """An option is wrong or cannot be had on this machine. Exit code 2."""

    exit_code = 2


class UnknownModelError(UsageError, LookupError):
    """No model of that name is known."""


class OutOfMemoryError(BenchmarkError):
    """The model and its batch do not fit into memory. Exit code 3, so that a launcher can tell."""

    exit_code = 3


class LostReplicaError(BenchmarkError):
    """Another replica has ended, or cannot be reached any more."""


class SkippedError(BenchmarkError):
    """The model does not support what is asked for, which is no failure. Exit code 77, the usual one of tests that were skipped."""

    exit_code = 77
