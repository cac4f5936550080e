"""Reasons of failed replicas, passed to the program that started them; without PyTorch, because programs of every framework import it."""

from __future__ import annotations

import json
import os
import time

__all__ = ["REASONS", "leave_reason", "reason_file"]

REASONS = "PYTORCH_BENCHMARKS_REASONS"  # environment variable of the replicas: directory of their reasons


def leave_reason(reason: str, exit_code: int, *, is_lost: bool) -> bool:
    """In a replica: pass the reason of a failure to the program that started it.

    Args:
        reason: One line.
        exit_code: Exit code of this replica, unless it is terminated first.
        is_lost: Whether only the connection to another replica failed, which then has the better reason.

    Returns:
        Whether that program prints the reason.
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
    """Path of the reason of the replica with this local rank."""
    return os.path.join(place, f"{rank}.json")
