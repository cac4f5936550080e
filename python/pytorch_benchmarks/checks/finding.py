"""What a check finds, as a JSON line that `dlbs pack check` reads."""

from __future__ import annotations

import json

from pytorch_benchmarks.load_errors import without_advice

__all__ = ["CheckError", "print_finding", "problem"]


class CheckError(Exception):
    """Something about a model is not as it should be; the message says what, and what to do."""


def problem(error: Exception) -> str:
    """What a model raised, with the name of the exception."""
    return without_advice(f"{type(error).__name__}: {error}", error)


def print_finding(check: str, status: str, message: str) -> None:
    """Print the outcome of a check.

    Args:
        check: Its name.
        status: `ok`, `failed` or `skipped`.
        message: What was found; shortened to 300 characters.
    """
    print(json.dumps({"check": check, "status": status, "message": " ".join(message.split())[:300]}), flush=True)
