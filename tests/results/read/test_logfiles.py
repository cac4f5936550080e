"""Reading logs: whatever is in them, nothing crashes, nothing is invented, and what is odd is counted."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbs.results.read import cache as cache_module
from dlbs.results.read import logs as reading
from dlbs.results.read import onelog
from dlbs.results.read.logs import read_logs
from dlbs.results.read.onelog import KINDS, Reading
from dlbs.results.runs import Record
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_logs, make_record, write_log

PLAIN = b'__exp.model__= "a"\n__results.time__= 1.5\n'


def read(*paths: Path, **options: Any) -> tuple[list[Record], Reading]:
    reading = Reading()
    blocks = read_logs(map(str, paths), reading, **{"cached": False, **options})
    return [record for block in blocks for record in block.records()], reading


def kinds(reading: Reading) -> dict[str, str]:
    return {finding.kind: finding.where.rpartition("/")[2] for finding in reading.findings}


@pytest.mark.parametrize(
    ("content", "kind", "where"),
    [
        (PLAIN + b"__results.x__= nonsense\n", "broken", "a.log:3"),
        (PLAIN + b'output\n  __results.x__ = "unfinish', "torn", "a.log:4"),
        (PLAIN + b"__results.x__= 12", "torn", "a.log:3"),
        (PLAIN + b'__exp.name__= "caf\xe9"\n', "encoding", "a.log:3"),
        (PLAIN + b"\n\x00\x01\x02 rubbish\n", "binary", "a.log:4"),
        (PLAIN + b"__results.time__= 1.5\n", "repeated", "a.log"),
        (b"nothing here\n", "empty", "a.log"),
        (b"", "empty", "a.log"),
    ],
)
def test_each_kind_of_trouble_is_told_with_its_place(tmp_path: Path, content: bytes, kind: str, where: str) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(content)
    records, reading = read(log)
    assert kinds(reading) == {kind: where}
    if kind != "empty":
        assert records[0]["exp.model"] == "a"
        assert records[0]["results.time"] == 1.5
        assert "results.x" not in records[0]
    (message,) = reading.messages()
    assert message.startswith(f"1 {kind}: {KINDS[kind]}")


@pytest.mark.parametrize("between", [0, 400_000, 9_000_000])
def test_repeated_results_are_found_across_blocks(tmp_path: Path, between: int) -> None:
    """Logs are read in a block of 256 KiB and further ones of 8 MiB."""
    output = b"output of a launcher\n" * (between // 21)
    (tmp_path / "a.log").write_bytes(PLAIN + output + b"__results.time__= 1.5\n" + output + b"__results.x__= 1\n")
    _, reading = read(tmp_path / "a.log")
    (finding,) = reading.findings
    assert (finding.kind, finding.detail) == ("repeated", "results.time, 2 times")


def test_a_text_at_the_end_without_a_line_end_is_whole_if_it_is_json(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(PLAIN + b'__exp.status__= "ok"')
    records, reading = read(tmp_path / "a.log")
    assert records[0]["exp.status"] == "ok"
    assert not reading.findings


def test_other_encodings(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b'caf\xe9\n__exp.a__= "caf\xe9"\n__exp.b__= "caf\xc3\xa9"\n')
    (tmp_path / "b.log").write_bytes('output\n__exp.a__= "café"\n'.encode("utf-16"))
    (tmp_path / "c.log").write_bytes(b"\xef\xbb\xbf" + '__exp.a__= "café"\r\n'.encode())
    records, reading = read(tmp_path)
    assert [record["exp.a"] for record in records] == ["café"] * 3
    assert records[0]["exp.b"] == "café"
    assert [finding.kind for finding in reading.findings] == ["encoding"]


def test_a_log_that_is_being_written(tmp_path: Path) -> None:
    (tmp_path / "a.log.part").write_bytes(PLAIN + b'__exp.status__= "ok"\n__results.thr')
    records, reading = read(tmp_path)
    assert records[0]["exp.status"] == "unfinished"
    assert kinds(reading) == {"unfinished": "a.log.part"}


def test_an_unreadable_log_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.log.gz").write_bytes(gzip.compress(PLAIN * 1000)[:-20])
    (tmp_path / "b.log").write_bytes(PLAIN)
    (tmp_path / "c.log").symlink_to("nowhere")
    records, reading = read(tmp_path)
    assert len(records) == 1
    assert [finding.kind for finding in reading.findings] == ["unreadable", "unreadable"]
    assert len(reading.errors) == 2


def test_a_large_file_with_a_very_long_line_needs_little_memory(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    with log.open("wb") as stream:
        stream.write(PLAIN)
        for _ in range(3):
            stream.write(b"x" * (40 << 20))
        stream.write(b"\n__exp.after__= 1\n")
    tracemalloc.start()
    records, reading = read(log)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records[0]["exp.after"] == 1
    assert not reading.findings
    assert peak < 60 << 20


def test_a_value_of_ten_megabytes(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(PLAIN + b"__results.list__= [" + b"1," * (5 << 20) + b"1]\n__exp.end__= 2\n")
    records, reading = read(tmp_path / "a.log")
    assert len(records[0].pop("results.list")) == (5 << 20) + 1
    assert records[0]["exp.end"] == 2
    assert not reading.findings


def test_a_value_that_is_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onelog, "_FIRST_BLOCK", 100)
    monkeypatch.setattr(onelog, "_BLOCK", 100)
    monkeypatch.setattr(onelog, "LONGEST", 1000)
    log = tmp_path / "a.log"
    log.write_bytes(PLAIN + b'__exp.long__= "' + b"x" * 5000 + b'"\n__exp.end__= 1\n__exp.bad__= ?\n')
    records, reading = read(log)
    assert records[0]["exp.end"] == 1
    assert "exp.long" not in records[0]
    assert kinds(reading) == {"long": "a.log:3", "broken": "a.log:5"}


LINES = st.one_of(
    st.sampled_from(
        [
            "ordinary", "", " ", "\t__a__= 1", "__a__ = 2", "__a__=[1, 2]", '__b__= {"x": "__y__= 3"}', "__c__= 1, 2", '__c__= 1, "d", 2',
            "__ a__= 1", "__a b__= 1", '__a"b__= 1', '__q__= "__q__= 1"', "__n__= NaN", "__a__", "__a__=", "____= 1", "__a____= 1",
            '__e\\u0041__= 1', '__e__= "\\u0041\\n"', "__a__= 1 ]", "__a__= 1\r", '__s__= "\\ud800"', "__x__= -0", "__x__= 1e999", '","__a__= 1',
            "in x.__init__", "in __init__(__self)", "x__a__= 1", "___a__= 1", "__", " __",
        ]
    ),
    st.builds(lambda key, value: f"__{key}__= {json.dumps(value)}", st.sampled_from(["a", "b", "results.t"]), st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2), max_leaves=4)),
)  # fmt: skip


@pytest.mark.integration
@settings(max_examples=400, deadline=None)
@given(st.lists(LINES, max_size=8), st.booleans(), st.sampled_from([7, 64, 1 << 18]))
def test_all_lines_at_once_give_what_they_give_one_by_one(lines: list[str], ends: bool, block: int) -> None:
    """The fast way, in blocks of any size, agrees with `parse_line` on each line."""
    import io

    from dlbs.errors import LogError
    from dlbs.logs import parse_line

    text = "\n".join(lines) + ("\n" if ends and lines else "")
    expected: Record = {}
    for index, line in enumerate(lines):
        try:
            pair = parse_line(line)
        except LogError:
            continue
        torn = index == len(lines) - 1 and not ends and pair is not None and isinstance(pair[1], (int, float))
        if pair is not None and not torn:
            expected[pair[0]] = pair[1]
    before = onelog._FIRST_BLOCK, onelog._BLOCK
    onelog._FIRST_BLOCK = onelog._BLOCK = block
    try:
        found = onelog.read_log("a.log", io.BytesIO(text.encode("utf-8", "surrogatepass")), []) or {}
    finally:
        onelog._FIRST_BLOCK, onelog._BLOCK = before
    found.pop("exp.log_file", None)
    assert repr(found) == repr(expected) or found == expected


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of two logs that changed long ago, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "_WORTHWHILE", 0)
    logs = make_logs(tmp_path / "logs", [make_record("a"), make_record("b")])
    for log in logs.iterdir():
        os.utime(log, (1, 1))
    return logs


def test_what_has_not_changed_is_not_read_again(cached: Path) -> None:
    first, reading = read(cached, cached=True)
    assert reading.unchanged == 0
    for log in cached.iterdir():  # as many bytes, the same time, other content: only a reader of the file could tell
        log.write_bytes(b"x" * log.stat().st_size)
        os.utime(log, (1, 1))
    again, reading = read(cached, cached=True)
    assert again == first
    assert reading.unchanged == 2


def test_what_has_changed_is_read_again_and_what_is_gone_is_gone(cached: Path) -> None:
    read(cached, cached=True)
    write_log(cached / "0000.log", make_record("changed"))
    os.utime(cached / "0000.log", (0, 0))
    write_log(cached / "0002.log", make_record("new"))
    records, reading = read(cached, cached=True)
    assert [record["exp.model"] for record in records] == ["changed", "b", "new"]
    assert reading.unchanged == 1
    (cached / "0001.log").unlink()
    records, _ = read(cached, cached=True)
    assert [record["exp.model"] for record in records] == ["changed", "new"]


def test_what_changed_a_moment_ago_is_not_kept(cached: Path) -> None:
    os.utime(cached / "0000.log")
    read(cached, cached=True)
    assert read(cached, cached=True)[1].unchanged == 1


def test_findings_are_kept_with_the_records(cached: Path) -> None:
    with (cached / "0000.log").open("a") as stream:
        stream.write("__results.x__= ?\n")
    os.utime(cached / "0000.log", (1, 1))
    first, second = (read(cached, cached=True)[1] for _ in range(2))
    assert second.unchanged == 2
    assert first.messages() == second.messages() != []


def the_cache(directory: Path) -> Path:
    (file,) = (directory / "cache" / "dlbs" / "logs").iterdir()
    return file


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"not a database" * 1000,
        lambda good: good[: len(good) // 2],
        lambda good: b"x" * 100 + good[100:],
        lambda good: good.replace(b"exp.status", b"exp.stat\0s"),
        lambda good: good.replace(b"0001.log", b"0007.log"),
    ],
)
def test_a_damaged_cache_is_ignored_and_made_anew(
    cached: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    first, _ = read(cached, cached=True)
    file = the_cache(tmp_path)
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert file.read_bytes() != good
    records, reading = read(cached, cached=True)
    assert records == first
    assert reading.unchanged < 2
    assert read(cached, cached=True)[0] == first
    assert read(cached, cached=True)[1].unchanged == 2


def test_a_database_of_somebody_else_is_ignored(cached: Path, tmp_path: Path) -> None:
    first, _ = read(cached, cached=True)
    file = the_cache(tmp_path)
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE logs (path, size, modified, checksum, content)")
        connection.execute("INSERT INTO logs VALUES (1, 'a', NULL, 2.5, 'text')")
    assert read(cached, cached=True)[0] == first


def test_a_cache_that_another_process_replaces_is_read_to_its_end(cached: Path) -> None:
    first, _ = read(cached, cached=True)
    reading = Reading()
    blocks = read_logs([str(cached)], reading)
    write_log(cached / "0002.log", make_record("new"))
    os.utime(cached / "0002.log", (1, 1))
    early = [record for block in blocks for record in block.records()]
    assert early[:2] == first
    blocks = read_logs([str(cached)], reading)
    begun = next(blocks).records()
    (cached / "0000.log").unlink()
    assert len(read(cached, cached=True)[0]) == 2
    assert [*begun, *(record for block in blocks for record in block.records())] == early


def test_reading_that_is_interrupted_leaves_the_cache_and_no_other_file(
    cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(cached, cached=True)
    good = the_cache(tmp_path).read_bytes()
    write_log(cached / "0002.log", make_record("new"))
    blocks = read_logs([str(cached)])
    assert len(next(blocks)) == 3
    blocks.close()  # type: ignore[attr-defined]
    assert the_cache(tmp_path).read_bytes() == good


@pytest.mark.integration
def test_many_processes_write_the_same_cache(cached: Path) -> None:
    code = "import sys; from dlbs.results.read import cache, logs; cache._WORTHWHILE = 0; print(sum(map(len, logs.read_logs([sys.argv[1]]))))"
    command = [sys.executable, "-c", code, str(cached)]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert [process.communicate()[0] for process in running] == ["2\n"] * 6
    assert read(cached, cached=True)[1].unchanged == 2


def test_caches_take_bounded_room(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was not used for longest goes first."""
    read(cached, cached=True)
    old = the_cache(tmp_path)
    os.utime(old, (1, 1))
    other = make_logs(tmp_path / "other", [make_record("a")])
    os.utime(other / "0000.log", (1, 1))
    monkeypatch.setattr(cache_module, "_LARGEST", old.stat().st_size + 100)
    read(other, cached=True)
    assert the_cache(tmp_path) != old
    assert read(other, cached=True)[1].unchanged == 1


def test_logs_whose_names_are_not_text_are_cached(cached: Path) -> None:
    name = os.fsdecode(b"caf\xe9.log")
    write_log(cached / name, make_record("c"))
    os.utime(cached / name, (1, 1))
    first, _ = read(cached, cached=True)
    again, reading = read(cached, cached=True)
    assert again == first
    assert reading.unchanged == 3


def test_callers_may_change_records(cached: Path) -> None:
    for _ in range(2):
        for record in read(cached, cached=True)[0]:
            assert record["exp.status"] == "ok"
            record["exp.status"] = "changed"
            record["results.time_data"].clear()


def test_several_processes_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WORTHWHILE", 0)
    logs = make_logs(tmp_path / "logs", [make_record(f"m{n}") for n in range(30)])
    (logs / "0003.log").write_bytes(PLAIN + b"__a__= ?\n")
    assert read(logs, jobs=2) == read(logs, jobs=1)


def test_parse_says_what_it_noticed_and_fails_only_where_results_may_be_lost(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for number in range(5):
        (tmp_path / "logs" / f"{number}.log").write_bytes(PLAIN + b"__results.x__= 1")
    done = dlbs("parse", "logs", "--output-file", "r.json")
    assert done.returncode == 0
    assert "note: 5 torn" in done.stderr
    assert "logs/0.log:3, logs/1.log:3, logs/2.log:3, and 2 more" in done.stderr
    (tmp_path / "logs" / "5.log").write_bytes(PLAIN + b"__results.x__= ?\n")
    assert dlbs("parse", "logs", "--output-file", "s.json").returncode == 2
    assert not (tmp_path / "s.json").exists()


def test_a_pattern_that_matches_a_broken_link_reads_the_other_logs(tmp_path: Path) -> None:
    (tmp_path / "1.log").write_bytes(PLAIN)
    (tmp_path / "2.log").symlink_to("nowhere")
    (tmp_path / "3.log").mkdir()
    (tmp_path / "3.log" / "inner.log").write_bytes(PLAIN)
    records, reading = read(tmp_path / "*.log")
    assert len(records) == 2
    assert kinds(reading) == {"unreadable": "2.log"}
