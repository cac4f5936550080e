"""Reading logs: whatever is in them, nothing crashes, nothing is invented, and what is odd is counted."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlbs.results.read import logs as reading
from dlbs.results.read import onelog
from dlbs.results.read.logs import read_logs
from dlbs.results.read.onelog import KINDS, Reading
from dlbs.results.runs import Record
from tests.conftest import RunDlbs
from tests.made_logs import make_logs, make_record

PLAIN = b'__exp.model__= "a"\n__results.time__= 1.5\n'


def read(*paths: Path, **options: Any) -> tuple[list[Record], Reading]:
    reading = Reading()
    blocks = read_logs(map(str, paths), reading, **options)
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

    from dlbs.core.errors import LogError
    from dlbs.core.logs import parse_line

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


def test_callers_may_change_records(tmp_path: Path) -> None:
    logs = make_logs(tmp_path / "logs", [make_record("a"), make_record("b")])
    for _ in range(2):
        for record in read(logs)[0]:
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
