"""Peak resident memory of this process."""

from __future__ import annotations

__all__ = ["reset_resident_peak", "resident_peak"]


def reset_resident_peak() -> None:
    """Reset the peak; where the system does not support it, the peak remains that since the start of the process."""
    try:
        with open("/proc/self/clear_refs", "w") as stream:
            stream.write("5")  # proc(5): reset the peak resident set size
    except OSError:
        pass  # the peak then counts from the start of the process


def resident_peak() -> int | None:
    """Bytes since the last reset; None where the system does not report it."""
    try:
        with open("/proc/self/status") as lines:
            for line in lines:
                if line.startswith("VmHWM:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None
