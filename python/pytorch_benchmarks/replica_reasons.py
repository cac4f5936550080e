"""Why a replica failed, left by it for the program that started it; without PyTorch, because programs of every framework end with it."""

from __future__ import annotations

import json
import os
import time

__all__ = ["REASONS", "leave_reason", "reason_file"]

REASONS = (
    "PYTORCH_BENCHMARKS_REASONS"  # environment variable of the replicas: the directory in which they leave reasons
)


def leave_reason(reason: str, exit_code: int, *, is_lost: bool) -> bool:
    """In a replica: leave the reason of a failure to the program that started it.

    Args:
        reason: One line.
        exit_code: With which this replica is going to end, if it comes to that: the others may be ended first.
        is_lost: Whether all that failed is the connection to another replica, which then has the better reason.

    Returns:
        Whether that program prints it.
    """
    place = os.environ.get(REASONS)
    if not place:
        return False
    try:
        with open(reason_file(place, os.environ.get("LOCAL_RANK", "0")), "w", encoding="utf-8") as stream:
            left = {"reason": reason, "exit_code": exit_code, "time": time.time(), "is_lost": is_lost}
            json.dump(left, stream)
    except OSError:  # a full disk: the reason is printed here
        return False
    return True


def reason_file(place: str, rank: str) -> str:
    """Where the replica with this local rank leaves its reason."""
    return os.path.join(place, f"{rank}.json")
