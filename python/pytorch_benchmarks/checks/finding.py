"""The outcome of a check, as a JSON line that `dlbs pack check` reads."""

from __future__ import annotations

import json

from pytorch_benchmarks.load_errors import without_advice

__all__ = ["CheckError", "print_finding", "problem"]


class CheckError(Exception):
    """A check failed; the message states the problem and the fix."""


def problem(error: Exception) -> str:
    """An exception raised by a model as text, with its class name."""
    return without_advice(f"{type(error).__name__}: {error}", error)


def print_finding(check: str, status: str, message: str) -> None:
    """Print the outcome of a check.

    Args:
        check: Its name.
        status: `ok`, `failed` or `skipped`.
        message: The finding; shortened to 300 characters.
    """
    print(json.dumps({"check": check, "status": status, "message": " ".join(message.split())[:300]}), flush=True)
