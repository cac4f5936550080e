"""What a check finds, as a JSON line that `dlbs pack check` reads."""

from __future__ import annotations

import json

__all__ = ["CheckError", "print_finding"]


class CheckError(Exception):
    """Something about a model is not as it should be; the message says what, and what to do."""


def print_finding(check: str, status: str, message: str) -> None:
    """Print the outcome of a check.

    Args:
        check: Its name.
        status: `ok`, `failed` or `skipped`.
        message: What was found; shortened to 300 characters.
    """
    print(json.dumps({"check": check, "status": status, "message": " ".join(message.split())[:300]}), flush=True)
