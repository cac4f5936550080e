"""How long tests took the last time: the longest files are given to processes first, so that none is left alone with one at the end.

pytest's cache has it where tests have run. In a fresh clone `durations.txt` says it of the longest files; `python -m tests.durations` writes it from the cache of
a full run after `rm -r .pytest_cache`, which remembers removed tests, too.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

__all__ = ["keep_durations", "seconds_of_files"]

_KEY = "dlbs/durations"  # in pytest's cache: seconds of each test
_FILE = Path(__file__).with_suffix(".txt")
_LEAST = 10.0  # seconds of a file that is listed


def seconds_of_files(cache: pytest.Cache, items: Iterable[pytest.Item]) -> Mapping[Path, float]:
    """How long each file is going to take; tests of which nothing is known are guessed."""
    known = cache.get(_KEY, {})
    listed = _listed()
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        file = item.nodeid.partition("::")[0]
        if item.nodeid in known:
            seconds[item.path] += known[item.nodeid]
        elif file in listed:
            seconds[item.path] = max(seconds[item.path], listed[file])
        else:
            seconds[item.path] += 0.2 if item.get_closest_marker("integration") else 0.02
    return seconds


def keep_durations(cache: pytest.Cache, reports: Iterable[pytest.TestReport]) -> None:
    """Remember how long these tests took."""
    durations: defaultdict[str, float] = defaultdict(float)
    for report in reports:
        durations[report.nodeid] += round(report.duration, 2)
    cache.set(_KEY, cache.get(_KEY, {}) | durations)


def _listed() -> dict[str, float]:
    if not _FILE.exists():
        return {}
    pairs = map(str.split, _FILE.read_text(encoding="utf-8").splitlines())
    return {file: float(seconds) for seconds, file in pairs}


def _main() -> None:
    cache = _FILE.parents[1] / ".pytest_cache" / "v" / _KEY
    files: defaultdict[str, float] = defaultdict(float)
    for test, seconds in json.loads(cache.read_text(encoding="utf-8")).items():
        file = test.partition("::")[0]
        if (_FILE.parents[1] / file).exists():
            files[file] += seconds
    longest = sorted(files.items(), key=lambda one: -one[1])
    lines = [f"{seconds:.0f} {file}\n" for file, seconds in longest if seconds >= _LEAST]
    _FILE.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    _main()
