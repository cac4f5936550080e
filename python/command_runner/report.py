"""The log values of a command: those that it printed itself, and statistics of the measurements."""

from __future__ import annotations

import json
import math
import re
import resource
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from command_runner.doubts import doubts, drift
from command_runner.process import Invocation

__all__ = ["KEY_LINE", "Report", "log_line", "results"]

KEY_LINE = re.compile(r"[ \t]*__(\S+?)__[ \t]*=(.*)")
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_STEADY_WITHIN = 0.03
_MS = 1000.0


class Report:
    """The values that the command printed in `__key__= json` lines."""

    def __init__(self) -> None:
        self._values: dict[str, list[Any]] = {}

    def take(self, output: str) -> list[str]:
        """Collect the results in the output of one run; return the other lines."""
        rest = []
        printed: dict[str, Any] = {}
        for line in output.splitlines():
            found = KEY_LINE.match(line)
            try:
                if found is None:
                    rest.append(line)
                else:
                    printed[found[1]] = json.loads(found[2])
            except (ValueError, RecursionError):
                rest.append(line)  # the log parser reports that it is malformed
        for key, value in printed.items():
            self._values.setdefault(key, []).append(value)
        return rest

    def values(self) -> dict[str, Any]:
        """Key → the mean of numbers over runs, batch times of all runs in one list, or otherwise the last value."""
        found: dict[str, Any] = {}
        for key, values in self._values.items():
            if key == "results.time_data" and all(isinstance(one, list) for one in values):
                found[key] = [item for one in values for item in one]
            elif key.startswith("results.") and all(map(_is_number, values)):
                found[key] = values[0] if len(set(values)) == 1 else statistics.fmean(values)
                if key in {"results.time", "results.throughput"} and len(values) > 1:
                    found.setdefault(f"{key}_data", values)
            else:
                found[key] = values[-1]
        return found


def _is_number(value: Any) -> bool:
    """Whether a value is a number usable for statistics: an integer of 400 digits is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def results(
    warmup: Sequence[Invocation], runs: Sequence[Invocation], printed: dict[str, Any], load: float | None, ignored: int
) -> dict[str, Any]:
    """All log values, the longest first: short values are searched near the end of a log.

    Values that the command printed win over measured ones.

    Args:
        warmup: The warm-up runs.
        runs: The timed runs.
        printed: The values that the command printed.
        load: Share of the CPUs that other processes used.
        ignored: Runs that failed and are counted anyway.
    """
    usages = [one.usage for one in runs]
    preemptions = sum(usage.ru_nivcsw for usage in usages)
    found: dict[str, Any] = {}
    if "results.time" in printed or "results.time_data" in printed:
        own = printed.get("results.time_data")
        times = own if isinstance(own, list) and all(map(_is_number, own)) else []
    else:
        times = [_MS * one.seconds for one in runs]
        found["results.time_warmup_data"] = [_MS * one.seconds for one in warmup]
        found["results.time_first_batch"] = _MS * (*warmup, *runs)[0].seconds
    found |= _time_values(times) if times else {}
    found |= {
        "results.time_user": _MS * statistics.fmean(usage.ru_utime for usage in usages),
        "results.time_system": _MS * statistics.fmean(usage.ru_stime for usage in usages),
        "results.memory_host": _memory(max(usage.ru_maxrss for usage in usages)),
        "results.page_faults": statistics.fmean(usage.ru_minflt for usage in usages),
        "results.page_faults_major": statistics.fmean(usage.ru_majflt for usage in usages),
        "results.context_switches": sum(usage.ru_nvcsw for usage in usages),
        "results.context_switches_involuntary": preemptions,
        "results.competing_load": load,
        "results.invocations": len(runs),
    }
    warnings = doubts(times, load, preemptions, ignored, len(runs))
    more = printed.get("results.warnings")
    found |= printed
    if warnings:
        found["results.warnings"] = [*warnings, *(more if isinstance(more, list) else [])]
    return dict(sorted(found.items(), key=lambda item: not isinstance(item[1], list) or item[0] == "results.warnings"))


def _memory(most: int) -> int | None:
    """Peak memory of the command in bytes; None if unknown.

    The kernel's count begins with the memory of the parent process, so peaks below the size of this process are unknown.
    """
    memory = most * _MAXRSS_UNIT
    return memory if memory > _own_memory() else None


def _own_memory() -> int:
    """Peak memory of this process in bytes.

    From getrusage only as a fallback: its count begins with the memory of the parent of this process.
    """
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def _time_values(times: Sequence[float]) -> dict[str, Any]:
    """Statistics of times in ms."""
    moved = drift(times)
    found: dict[str, Any] = {
        "results.time_data": list(times),
        "results.time": statistics.fmean(times),
        "results.time_std": statistics.stdev(times) if len(times) > 1 else None,
        "results.time_min": min(times),
        "results.time_median": statistics.median(times),
        "results.time_p50": _quantile(times, 0.5),
        "results.time_p90": _quantile(times, 0.9),
        "results.time_p99": _quantile(times, 0.99),
        "results.time_max": max(times),
    }
    if moved is not None:
        found |= {"results.drift": round(moved[0], 4), "results.steady": abs(moved[0]) <= _STEADY_WITHIN}
    return found


def _quantile(times: Sequence[float], share: float) -> float:
    """The quantile with linear interpolation between the two nearest values."""
    ordered = sorted(times)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def log_line(key: str, value: Any) -> str:
    """A line of the log protocol, without its newline."""
    return f"__{key}__= {json.dumps(value)}"
