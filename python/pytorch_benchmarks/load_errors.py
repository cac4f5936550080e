"""Why a file cannot be loaded, for users; without PyTorch, because programs of every framework end with it."""

from __future__ import annotations

import pickle
import re

__all__ = ["ADVICE", "first_line", "reason", "without_advice"]

ADVICE = "save model.state_dict() with torch.save"
# How torch begins its advice to load with `weights_only=False`, which would run code that is in the file.
_ADVISES = re.compile(r"Weights only load failed|`weights_only` (argument )?(in|set to)|weights_only=False")


def reason(error: BaseException) -> str:
    """Why something cannot be read or imported, in one line, without torch's advice to run code that is in a file."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or _ADVISES.search(text):
        found = re.search(r"GLOBAL (\S+)", text)
        if found:
            return f"it holds an object of {found[1]}, which is not loaded because it could run code; {ADVICE}"
        return f"it is damaged, or holds more than tensors and plain data; {ADVICE}"
    return first_line(error)


def without_advice(text: str, error: BaseException) -> str:
    """A text about an error, such as its traceback, without torch's advice in it or in what caused it."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        if _ADVISES.search(str(one)):
            text = text.replace(str(one), reason(one))
        one = one.__cause__ or one.__context__
    return text


def first_line(error: BaseException) -> str:
    """Of its message, or the name of its class."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
