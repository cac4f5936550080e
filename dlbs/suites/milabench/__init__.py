"""milabench (github.com/mila-iqia/milabench): benchmark scripts, benchfiles and collections written for it run as packs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark_core.gpus import visible_gpus
from dlbs.packs.benchfile import BenchmarkKind, BenchmarkPack, benchfile_names
from dlbs.packs.kinds import Provided
from dlbs.packs.pack import Pack, Places

# Module of milabench → module here with its names.
MODULES = {
    "milabench": "",
    "milabench.commands": "dlbs.suites.milabench.plans",
    "milabench.commands.executors": "",
    "milabench.fs": "dlbs.suites.milabench.plans",
    "milabench.merge": "dlbs.suites.milabench.plans",
    "milabench.pack": "dlbs.suites.milabench.package",
    "milabench.utils": "dlbs.suites.milabench.plans",
}

_AUTO = re.compile(r"\bauto(?:_batch)?\((?:[^()]*,)?\s*([^(),]*)\)")
_NAME = re.compile(r"(?<!\$)\{(\w+)\}")


class MilabenchKind(BenchmarkKind):
    """A pack with a benchfile that sets `__pack__`."""

    name = "milabench"
    precedence = 80
    files = ""  # those of a benchmark
    template = None
    # Keys that only milabench's reports, checks and benchfiles read. Benchfiles find them in their configuration.
    keys = {  # noqa: RUF012
        **dict.fromkeys(("group", "validation", "requires_capabilities", "weights", "use_deepspeed", "runs"), False),
        **dict.fromkeys(("dirs", "venv", "deepspeed", "gpu_load_threshold"), False),
        **dict.fromkeys(("client", "server"), True),
    }

    def recognises(self, directory: Path) -> bool:
        return "__pack__" in benchfile_names(directory)

    def fill(self, given: Any, pack: Pack, places: Places) -> Any:
        """Values in place of names in braces, in all texts. Unknown names are kept.

        `auto(value, default)` and `auto_batch(default)` are the default, as in the suite without its option to adapt sizes to the machine.
        """
        words = _words(pack, places)
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

    def variables(self, pack: Pack, places: Places) -> dict[str, str]:
        return {
            "MILABENCH_BASE": str(places.base),
            "MILABENCH_DATA_DIR": str(places.data()),
            "MILABENCH_DIR_DATA": str(places.data()),
            "MILABENCH_DIR_CACHE": str(places.cache),
        }

    def provides(self, pack: Pack) -> Provided:
        return Provided(MODULES)

    def paths(self) -> Sequence[Path]:
        return (Path(__file__).parent / "measured",)

    def starts_itself(self, directory: Path) -> bool:
        return True  # through its plan, overridden or not

    def needs_environment(self, pack: Pack) -> bool:
        return True

    def benchfile(self, names: Mapping[str, Any], pack: Pack, path: Path) -> BenchmarkPack | None:
        from dlbs.suites.milabench.adapter import AdaptedPack

        return AdaptedPack(pack, names["__pack__"], str(path)) if "__pack__" in names else None


KIND = MilabenchKind


def _words(pack: Pack, places: Places) -> dict[str, str]:
    """Name in braces → value."""
    workers = str(min(8, os.cpu_count() or 1))
    return {
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
