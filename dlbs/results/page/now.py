"""Current progress for the top of the live view: start, remaining time, running and failed experiments."""

from __future__ import annotations

import time
from typing import Any

from dlbs.run.watch import Look
from dlbs.text import counted, duration

__all__ = ["now_variables"]


def now_variables(look: Look, now: float | None = None) -> dict[str, Any]:
    """Variables of the template `live.html`.

    Args:
        look: State of the plan.
        now: Seconds since 1970; by default, the current time.
    """
    now = time.time() if now is None else now
    left = look.remaining
    jobs = look.run.get("jobs")
    seconds = None if look.since is None else max(0.0, now - look.since)
    return {
        "planned": look.planned,
        "done": look.done,
        "counts": [
            counted_words
            for status in ("ok", "failure", "timeout", "skipped", "cancelled", "running", "interrupted", "queued", "to do")
            if look.counts.get(status) and (counted_words := f"{look.counts[status]:,} {status}")
        ],
        "doubtful": look.doubtful,
        "owner": look.run.get("pid"),
        "since": "" if look.since is None or seconds is None else f"since {_moment(look.since, now)}, {duration(seconds)} ago",
        "left": "" if left is None else left.words(),
        "until": "" if left is None else _moment(now + left.seconds, now),
        "pace": _pace(look.ended, seconds),
        "slots": f"{len(look.under_way) + look.more} of {jobs}" if isinstance(jobs, int) else f"{len(look.under_way) + look.more}",
        "running": [
            {
                "slot": one.slot, "name": one.name, "gpus": one.gpus or "–", "cpus": one.cpus or "–",
                "since": "–" if one.seconds is None else duration(one.seconds), "rate": one.rate or "–", "line": one.line,
            }
            for one in look.under_way
        ],
        "more": look.more,
        "reasons": [
            {"words": ": ".join(filter(None, [one.status, one.message])), "count": counted(one.count, "experiment"), "example": one.example}
            for one in look.reasons
        ],
    }  # fmt: skip


def _pace(ended: int, seconds: float | None) -> str:
    if ended < 2 or not seconds:
        return ""
    hourly = 3600 * ended / seconds
    value, unit = (hourly / 60, "per minute") if hourly >= 600 else (hourly, "per hour")
    return f"{value:,.0f} experiments {unit}" if value >= 10 else f"{value:.1f} experiments {unit}"


def _moment(moment: float, now: float) -> str:
    """Format a time for humans: `10:01` today, else `Sat 21 Nov, 10:01`."""
    there, here = time.localtime(moment), time.localtime(now)
    is_today = there[:3] == here[:3]
    return time.strftime("%H:%M" if is_today else "%a %d %b, %H:%M", there)
