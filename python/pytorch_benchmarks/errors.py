"""Errors that end a benchmark with one clear line."""

from __future__ import annotations

__all__ = ["BenchmarkError", "LostReplicaError", "OutOfMemoryError", "SkippedError", "UnknownModelError", "UsageError"]


class BenchmarkError(Exception):
    """The benchmark cannot continue; the message states the problem and the fix. Exit code 1."""

    exit_code = 1


class UsageError(BenchmarkError):
    """An option is invalid or unsupported on this machine. Exit code 2."""

    exit_code = 2


class UnknownModelError(UsageError, LookupError):
    """The model is unknown."""


class OutOfMemoryError(BenchmarkError):
    """The model and its batch do not fit into memory. Exit code 3, which launchers recognise."""

    exit_code = 3


class LostReplicaError(BenchmarkError):
    """Another replica has ended or cannot be reached."""


class SkippedError(BenchmarkError):
    """The model does not support the request, which is no failure. Exit code 77, the usual one of skipped tests."""

    exit_code = 77
