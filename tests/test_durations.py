"""The order of test files where nothing is known but `durations.txt`."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT
from tests.durations import keep_durations, seconds_of_files

LINES = (ROOT / "tests" / "durations.txt").read_text().splitlines()
LISTED = {file: float(seconds) for seconds, file in map(str.split, LINES)}


def test_every_listed_file_exists() -> None:
    assert LISTED
    assert [file for file in LISTED if not (ROOT / file).is_file()] == []


def test_a_listed_file_takes_what_the_list_says_until_it_has_run() -> None:
    class Cache(dict[str, dict[str, float]]):
        set = dict.__setitem__

    class Item:
        def __init__(self, nodeid: str) -> None:
            self.nodeid, self.path = nodeid, Path(nodeid.partition("::")[0])

        get_closest_marker = staticmethod(lambda name: None)

    class Report:
        duration = 3.0

        def __init__(self, nodeid: str) -> None:
            self.nodeid = nodeid

    longest, cache = next(iter(LISTED)), Cache()
    items = [Item(f"{longest}::test_a"), Item(f"{longest}::test_b"), Item("tests/test_new.py::test_c")]
    seconds = seconds_of_files(cache, items)
    assert seconds[Path(longest)] == LISTED[longest]
    assert 0 < seconds[Path("tests/test_new.py")] < 1
    keep_durations(cache, [Report(item.nodeid) for item in items])
    assert set(seconds_of_files(cache, items).values()) == {6.0, 3.0}
