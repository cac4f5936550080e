"""Why a file cannot be loaded, for users; without PyTorch, because programs of every framework end with it."""

from __future__ import annotations

import pickle
import re

__all__ = ["ADVICE", "first_line", "reason"]

ADVICE = "save model.state_dict() with torch.save"


def reason(error: Exception) -> str:
    """Why a file cannot be read, in one line. torch advises to load with `weights_only=False`, which would run code that is in the file."""
    found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    if found:
        return f"it holds an object of {found[1]}, which is not loaded because it could run code; {ADVICE}"
    line = first_line(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in line:
        return f"it is damaged, or holds more than tensors and plain data; {ADVICE}"
    return line


def first_line(error: Exception) -> str:
    """Of its message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
