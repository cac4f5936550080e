"""Reasons why a file cannot be loaded, for users; without PyTorch, because programs of every framework import this module."""

from __future__ import annotations

import pickle
import re

__all__ = ["ADVICE", "first_line", "reason", "without_advice"]

ADVICE = "save model.state_dict() with torch.save"
# The beginning of torch's advice to load with `weights_only=False`, which would run code from the file.
_ADVISES = re.compile(r"Weights only load failed|`weights_only` (argument )?(in|set to)|weights_only=False")


def reason(error: BaseException) -> str:
    """Why something cannot be read or imported, in one line, without torch's advice to run code from a file."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or _ADVISES.search(text):
        found = re.search(r"GLOBAL (\S+)", text)
        if found:
            return f"it contains an object of {found[1]}, which is not loaded because it could run code; {ADVICE}"
        return f"it is damaged, or contains more than tensors and plain data; {ADVICE}"
    return first_line(error)


def without_advice(text: str, error: BaseException) -> str:
    """Remove torch's advice from a text about an error, such as its traceback; the advice may be that of its causes."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if _ADVISES.search(str(one)):
            text = text.replace(str(one), reason(one))
        one = one.__cause__ or one.__context__
    return text


def first_line(error: BaseException) -> str:
    """First line of its message, with the next one if it only introduces that, or the name of its class."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
