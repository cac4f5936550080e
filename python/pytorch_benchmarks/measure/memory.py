"""The most main memory that this process has needed."""

from __future__ import annotations

__all__ = ["reset_resident_peak", "resident_peak"]


def reset_resident_peak() -> None:
    """Begin a new maximum; where the system has no such thing, it remains that since the process began."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")  # proc(5): reset the peak resident set size
    except OSError:
        pass  # then it is the peak since the start of the process


def resident_peak() -> int | None:
    """Bytes since the last reset; None where the system does not say."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
