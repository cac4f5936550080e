"""Logs in, results out: nothing is dropped in silence."""

from __future__ import annotations

import csv
import gzip
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.log import key_line
from dlbs.core.errors import LogError
from dlbs.core.logs import last_values, parse_line
from dlbs.core.version import __version__
from dlbs.results.read import records as records_module
from dlbs.results.read.logs import find_logs
from dlbs.results.read.logs import read_logs as stream_logs
from dlbs.results.read.onelog import Reading
from dlbs.results.read.query import compile_query
from dlbs.results.read.records import read_runs, write_records
from dlbs.results.runs import Record, status_of
from dlbs.results.store.store import Store
from tests.conftest import RunDlbs

HEAD = b'{"dlbs_version": "1", "data": ['


def read_logs(*paths: Path | str, **options: Any) -> tuple[list[Record], Reading]:
    reading = Reading()
    blocks = stream_logs(map(str, paths), reading, **options)
    return [record for block in blocks for record in block.records()], reading


def write_log(path: Path, **values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["ordinary output", *(key_line(key.replace("__", "."), value) for key, value in values.items())]
    text = "\n".join(lines) + "\n"
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as stream:
            stream.write(text)
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('__exp.model__= "alexnet"', ("exp.model", "alexnet")),
        ("__results.time__=1.5", ("results.time", 1.5)),
        ("  \t__a__ \t= [1, 2]  ", ("a", [1, 2])),
        ("__a_b.c__= null", ("a_b.c", None)),
        ("__a__b__= 1", ("a__b", 1)),
        ("x __a__= 1", None),
        ("__a__ 1", None),
        ("__a = 1", None),
        ("", None),
    ],
)
def test_line(line: str, expected: Any) -> None:
    assert parse_line(line) == expected


@pytest.mark.parametrize("line", ["__a__= ", "__a__= alexnet", "__a__= [1", "__a__= 1 2", "__a__= " + "[" * 100_000])
def test_broken_line(line: str) -> None:
    with pytest.raises(LogError, match="'a' is not JSON"):
        parse_line(line)


def test_lines_are_ascii_and_single() -> None:
    line = key_line("k", "é\n\u2028\"'")
    assert line.isascii()
    assert "\n" not in line
    assert parse_line(line) == ("k", "é\n\u2028\"'")


def test_the_last_line_of_a_key_wins(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("__a__= 1\n__a__= 2\r\n")
    assert read_logs(log)[0][0]["a"] == 2
    assert last_values(log) == {"a": 2}


@pytest.mark.parametrize(
    ("lines", "time"),
    [
        ("__results.time_data__= [1, 2.5, 4]", 2.5),
        ("__results.time_data__= [1, 2]\n__results.time__= 9", 9),
        ("__results.time_data__= []", None),
        ('__results.time_data__= [1, "x"]', None),
        ("__results.time_data__= [1, true]", None),
        ("__results.time_data__= 3", None),
        ("__results.time_data__= [1e308, 1e308]", None),
    ],
)
def test_a_log_with_batch_times_alone_has_their_mean(tmp_path: Path, lines: str, time: float | None) -> None:
    (tmp_path / "a.log").write_text(f"{lines}\n")
    assert read_logs(tmp_path / "a.log")[0][0].get("results.time") == time


def test_files_directories_globs_and_archives(tmp_path: Path) -> None:
    write_log(tmp_path / "d" / "a.log", n=1)
    write_log(tmp_path / "d" / "sub" / "b.log", n=2)
    write_log(tmp_path / "d" / "c.log.gz", n=3)
    write_log(tmp_path / "d" / "ignored.txt", n=9)
    write_log(tmp_path / "e" / "in.log", n=4)
    write_log(tmp_path / "e" / "in.log.gz", n=5)
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "e", arcname="deep/e")

    def numbers(*paths: Path | str) -> list[int]:
        return sorted(record["n"] for record in read_logs(*paths)[0])

    assert numbers(tmp_path / "d") == [1, 2, 3]
    assert numbers(tmp_path / "d" / "*.log") == [1]
    assert numbers(tmp_path / "d" / "**" / "*.log") == [1, 2]
    assert numbers(tmp_path / "d" / "c.log.gz", tmp_path / "x.tar.gz") == [3, 4, 5]
    assert numbers(tmp_path / "d" / "a.log", tmp_path / "d") == [1, 2, 3]
    assert numbers(tmp_path / "d" / "ignored.txt") == [9]


def test_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no such file"):
        find_logs([str(tmp_path / "nope*.log")])
    with pytest.raises(LogError, match="no log files"):
        find_logs([str(tmp_path)])


def test_broken_files_are_clear_errors(tmp_path: Path) -> None:
    for name in ("a.log.gz", "a.tar.gz"):
        (tmp_path / name).write_bytes(b"not compressed")
        records, reading = read_logs(tmp_path / name)
        assert not records
        assert [finding.kind for finding in reading.errors] == ["unreadable"]


def test_binary_rubbish_is_ordinary_output(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(bytes(range(256)) * 10 + b"\n__a__= 1\n\xff\xfe__b__= 2\n")
    assert read_logs(log)[0][0]["a"] == 1


@pytest.mark.parametrize(
    ("values", "name", "status"),
    [
        ({"exp__status": "ok", "exp__dlbs_version": "0.1.0"}, "a.log", "ok"),
        ({"exp__status": "ok"}, "a.log", "failure"),
        ({"exp__status": "failure"}, "a.log", "failure"),
        ({"exp__status": ""}, "a.log", "unfinished"),
        ({"exp__status": "ok"}, "a.log.part", "unfinished"),
        ({"results__time": 1}, "a.log", "ok"),
        ({"exp__model": "a"}, "a.log", "unfinished"),
    ],
)
def test_status(tmp_path: Path, values: dict[str, Any], name: str, status: str) -> None:
    log = write_log(tmp_path / name, **values)
    assert status_of(read_logs(log)[0][0]) == status


@pytest.fixture
def three(tmp_path: Path) -> Path:
    write_log(tmp_path / "logs" / "1.log", exp__model="alexnet", exp__status="ok", results__time=5.0)
    write_log(tmp_path / "logs" / "2.log", exp__model="vgg16", exp__status="ok", results__time=50.0)
    write_log(tmp_path / "logs" / "3.log", exp__model="alexnet", exp__status="failure")
    return tmp_path


def models(path: Path, key: str = "data") -> list[str]:
    return [record["exp.model"] for record in json.loads(path.read_text())[key]]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([], ["alexnet", "vgg16", "alexnet"]),
        (["--failed-benchmarks", "discard"], ["alexnet", "vgg16"]),
        (["--failed-benchmarks=keep_separately"], ["alexnet", "vgg16"]),
        (["--filter-params", "results.time"], ["alexnet", "vgg16"]),
        (["--filter-query", '{"exp.model": "alex.*"}'], ["alexnet", "alexnet"]),
        (["--filter-query", "${results.time} < 10"], ["alexnet"]),
        (["--filter-query", "'${exp.model}' == 'vgg16'"], ["vgg16"]),
    ],
)
def test_selection(dlbs: RunDlbs, three: Path, flags: list[str], expected: list[str]) -> None:
    done = dlbs("parse", "logs", "--output-file", "out/r.json", *flags)
    assert done.returncode == 0, done.stderr
    assert models(three / "out" / "r.json") == expected
    assert "experiment" in done.stderr
    if "--failed-benchmarks=keep_separately" in flags:
        assert models(three / "out" / "r.json", "failed") == ["alexnet"]


def test_failed_experiments_are_counted(dlbs: RunDlbs, three: Path) -> None:
    done = dlbs("parse", "logs", "--failed-benchmarks=discard")
    assert "1 failure, 2 ok" in done.stderr
    assert "1 unsuccessful one was discarded" in done.stderr


@pytest.mark.parametrize("name", ["r.json", "r.json.gz", "r.csv", "r.csv.gz"])
def test_formats_come_back_as_they_were(dlbs: RunDlbs, three: Path, name: str) -> None:
    parameters = "exp.model,results.time"
    dlbs("parse", "logs", "--output-file", name, "--output-params", parameters, check=True)
    assert read_runs([str(three / name)]).records() == [
        {"exp.model": "alexnet", "results.time": 5.0},
        {"exp.model": "vgg16", "results.time": 50.0},
        {"exp.model": "alexnet"},
    ]


def test_csv_has_a_column_for_every_key(dlbs: RunDlbs, three: Path) -> None:
    dlbs("parse", "logs", "--output-file", "r.csv", check=True)
    with (three / "r.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["results.time"] for row in rows] == ["5.0", "50.0", ""]


def test_a_broken_line_is_reported_with_file_and_line_and_nothing_is_written(dlbs: RunDlbs, three: Path) -> None:
    with (three / "logs" / "2.log").open("a") as log:
        log.write("__results.time__= nan ms\n")
    done = dlbs("parse", "logs", "--output-file", "r.json")
    assert done.returncode == 2
    assert "logs/2.log:5" in done.stderr
    assert not (three / "r.json").exists()
    printed = dlbs("parse", "logs")
    assert printed.returncode == 2
    assert "nothing was written" in printed.stderr
    assert printed.stdout == ""
    done = dlbs("parse", "logs", "--output-file", "r.json", "--ignore-errors")
    assert done.returncode == 0
    assert "logs/2.log:5" in done.stderr
    assert len(models(three / "r.json")) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope.log"], "nope.log: no such file"),
        (["logs", "--output-file", "r.xml"], "unknown format"),
        (["logs", "--output-file", "r.csv", "--failed-benchmarks", "keep_separately"], "needs JSON"),
        (["logs", "--filter-query", "{"], "not JSON"),
        (["logs", "--filter-query", "1 +"], "--filter-query"),
        (["logs", "--filter-query", "True"], "refers to no parameter"),
        (["logs", "--filter-query", "().__class__"], "not allowed"),
        (["logs", "--filter-query", '{"exp.model": "("}'], "bad regular expression"),
        (["logs", "--filter-query", '{"exp.model": {}}'], "must be a number"),
        (["logs", "--filter-query", "'${exp.model}' + 1 > 2"], "TypeError"),
        (["logs", "--no_such"], "No such option"),
    ],
)
def test_bad_input(dlbs: RunDlbs, three: Path, arguments: list[str], said: str) -> None:
    done = dlbs("parse", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(three.glob("r.*"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--filter-query", '{"exp.modle": "alexnet"}'], "--filter-query: no experiment has 'exp.modle'"),
        (["--filter-query", "${exp.modle} == 'alexnet'"], "--filter-query: no experiment has 'exp.modle'"),
        (["--filter-params", "exp.modle"], "--filter-params: no experiment has 'exp.modle'"),
        (["--output-params", "exp.modle,results.time"], "--output-params: no experiment has 'exp.modle'"),
        (["-Pmy.name=${exp.modle}"], "-Pmy.name: no experiment has 'exp.modle'"),
    ],
)
def test_a_key_that_nothing_has_is_an_error_with_a_suggestion(
    dlbs: RunDlbs, three: Path, arguments: list[str], said: str
) -> None:
    done = dlbs("parse", "logs", "-o", "r.json", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "did you mean 'exp.model'" in done.stderr
    assert not (three / "r.json").exists()
    printed = dlbs("parse", "logs", *arguments)
    assert printed.returncode == 2
    assert printed.stdout == ""
    assert said in printed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--filter-query", '{"results.accuracy_top1": 5}'],
        ["--filter-params", "runtime.malloc"],
        ["-Pmy.name=${exp.model}", "--output-params", "my.name"],
    ],
)
def test_a_key_that_experiments_could_have_is_none(dlbs: RunDlbs, three: Path, arguments: list[str]) -> None:
    assert dlbs("parse", "logs", "-o", "r.json", *arguments).returncode == 0


def test_results_files_have_the_version(dlbs: RunDlbs, three: Path) -> None:
    dlbs("parse", "logs", "-o", "r.json", "--output-params", "exp.model", check=True)
    assert json.loads((three / "r.json").read_text())["dlbs_version"] == __version__


def test_queries_never_paste_values() -> None:
    fits = compile_query("'${exp.model}' == 'x'")
    assert not fits({"exp.model": "' == '' or '"})
    assert not fits({"exp.model": "${exp.model}"})
    assert fits({"exp.model": "x"})


@pytest.mark.parametrize("text", ["[1]", "{}", '{"data": 1}', "1", "{", '{"data": [{}, 1]}'])
def test_malformed_results(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(LogError, match=r"r\.json"):
        read_runs([str(tmp_path / "r.json")])


@pytest.mark.parametrize("size", [40, 100, 1000])
def test_ranges_of_a_file_give_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    lines = [json.dumps({"exp.id": n, "my.text": "\u00e9" * (n % 7), "my.large": 2**70 + n}) for n in range(50)]
    file = tmp_path / "r.jsonl"
    file.write_text("\n".join([*lines[:20], "", *lines[20:]]))
    monkeypatch.setattr(records_module, "_RANGE", size)
    assert read_runs([str(file)], jobs=2).records() == [json.loads(line) for line in lines]
    file.write_text("\n".join([*lines, "{"]))
    with pytest.raises(LogError, match=r"r\.jsonl:51"):
        read_runs([str(file)], jobs=2)


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (HEAD + b'\n{"a": 1},\n{"a": 2}\n]}\n', 2),
        (HEAD + b'\n{"a": 1}\n], "failed": [\n{"a": 2}\n]}\n', 2),
        (HEAD + b"]}\n", 0),
        (HEAD + b'\n{"a": 1}, {"a": 2}\n]}\n', 2),
        (HEAD + b'\n{"a": 1}\n], "more": 1}\n', 1),
        (HEAD + b'\n{"a": 1}\n{"a": 2}\n]}\n', None),
        (HEAD + b'\n{"a": 1},\n]}\n', None),
        (HEAD + b'\n{"a": 1}\n]}\n]}\n', None),
        (HEAD + b'\n{"a": 1}\n', None),
        (HEAD + b"\n1\n]}\n", None),
    ],
)
def test_documents_are_read_by_lines_or_whole(tmp_path: Path, document: bytes, count: int | None) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(document)
    if count is None:
        with pytest.raises(LogError):
            read_runs([str(file)])
    else:
        assert len(read_runs([str(file)])) == count


@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "parquet", "db"])
def test_values_of_the_largest_depth_come_back_and_deeper_ones_are_findings(tmp_path: Path, ending: str) -> None:
    deepest = json.loads("[" * 100 + "1" + "]" * 100)
    log = write_log(tmp_path / "a.log", my__deep=deepest, my__list=[[1], {}], exp__status="ok")
    with log.open("a") as stream:
        stream.write(f"__my.deeper__= {'[' * 600}1{']' * 600}\n")
    (record,), reading = read_logs(log)
    assert [(one.kind, one.detail[:60]) for one in reading.findings] == [
        ("broken", "the value of 'my.deeper' is not JSON (nested more than 100 l")
    ]
    assert record["my.deep"] == deepest
    path = str(tmp_path / f"r.{ending}")
    if ending == "db":
        with Store(path) as store:
            store.add([record, {**record, "my.deep": 1}])
            (found, _) = store.runs()
    else:
        write_records(path, [record])
        (found,) = read_runs([path])
    assert found["my.deep"] == deepest
