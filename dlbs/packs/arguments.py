"""Names in braces in the arguments of packs that were written for milabench: `{milabench_data}`, `auto({n_worker}, 8)`."""

from __future__ import annotations

import os
import re
from typing import Any

from dlbs.packs.definition import Pack
from dlbs.packs.places import Places

__all__ = ["filled", "filled_argv"]

_AUTO = re.compile(r"\bauto(?:_batch)?\((?:[^()]*,)?\s*([^(),]*)\)")
_NAME = re.compile(r"(?<!\$)\{(\w+)\}")


def filled_argv(pack: Pack, places: Places) -> Any:
    """The arguments of a pack with values in place of names in braces."""
    return filled(pack.argv, pack, places)


def filled(given: Any, pack: Pack, places: Places) -> Any:
    """A value with values in place of names in braces, in all its texts. Unknown names are kept.

    `auto(value, default)` and `auto_batch(default)` are the default, as in the suite without its option to adapt sizes to the machine.
    """
    from dlbs.machine.devices import visible_gpus

    workers = str(min(8, os.cpu_count() or 1))
    words = {
        "benchmark_folder": str(pack.directory),
        "cpu_count": str(os.cpu_count() or 1),
        "cpu_per_gpu": workers,
        "milabench_base": str(places.base),
        "milabench_cache": str(places.cache),
        "milabench_code": str(pack.directory),
        "milabench_data": str(places.data()),
        "milabench_extra": str(places.base / "extra" / pack.name),
        "milabench_name": pack.name,
        "milabench_venv": str(places.environment(pack)),
        "n_worker": workers,
    }
    if "{device_name}" in str(given) or "{gpu_count}" in str(given):
        count = len(visible_gpus())
        words |= {"device_name": "cuda" if count else "cpu", "gpu_count": str(count)}

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            return {fill(key): fill(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        if not isinstance(value, str):
            return value
        value = _AUTO.sub(lambda found: found[1], value)
        return _NAME.sub(lambda found: words.get(found[1], found[0]), value)

    return fill(given)
