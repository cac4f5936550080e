"""Results are read in the order of the plan that made them: names of log files hold a hash, so theirs says nothing."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path

import pytest

from dlbs.core.errors import LogError
from dlbs.results.read.logs import find_logs, read_logs
from dlbs.run.manifest import PLAN_NAME, read_plan_file, write_plan_file
from dlbs.run.status import Watch
from tests.conftest import RunDlbs
from tests.experiments import DUMMY
from tests.made_logs import make_record, write_log

PLANNED = ("d.log", "a.log", "c.log")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Logs of a plan in an order of its own, and two of an earlier one, of which `z` was written first."""
    directory = tmp_path / "logs"
    for number, name in enumerate(["a.log", "b.log", "c.log", "d.log", "z.log"]):
        write_log(directory / name, make_record(name.removesuffix(".log")))
        os.utime(directory / name, ns=(1, 100 - number))
    write_plan_file(directory, ["exp.model"], PLANNED)
    return directory


def names(*paths: Path | str) -> list[str]:
    return [Path(log).name for log in find_logs(map(str, paths))]


def test_planned_logs_are_in_the_plan_s_order_after_older_ones(logs: Path) -> None:
    assert names(logs) == ["z.log", "b.log", "d.log", "a.log", "c.log"]
    assert names(logs / "*.log") == ["z.log", "b.log", "d.log", "a.log", "c.log"]
    assert [state.log.name for state in Watch(logs).look().states] == ["b.log", "z.log", "d.log", "a.log", "c.log"]


def test_compressed_and_unfinished_logs_have_their_place(logs: Path) -> None:
    (logs / "d.log").rename(logs / "d.log.part")
    (logs / "c.log").unlink()
    assert names(logs)[2:] == ["d.log.part", "a.log"]


def test_files_that_are_named_stay_in_the_order_in_which_they_are_named(logs: Path) -> None:
    assert names(logs / "c.log", logs / "b.log") == ["c.log", "b.log"]


@pytest.mark.parametrize("inside", ["", "./", "deep/logs/"])
def test_an_archive_is_in_the_order_of_the_plan_in_it(logs: Path, inside: str) -> None:
    with tarfile.open(logs.parent / "x.tar.gz", "w:gz") as archive:
        for name in sorted(os.listdir(logs), reverse=True):  # the plan last
            archive.add(logs / name, arcname=f"{inside}{name}")
    read = [record["exp.model"] for block in read_logs([str(logs.parent / "x.tar.gz")]) for record in block]
    assert read == ["z", "b", "d", "a", "c"]


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]\n", b'{"a": 1}\n["x"]\n', b'["exp.model"]\n"../a.log"\n"/a.log"\n".dlbs.lock"\n'],
)
def test_a_plan_file_of_another_kind_says_nothing(logs: Path, content: bytes) -> None:
    (logs / PLAN_NAME).write_bytes(content)
    assert read_plan_file(logs).logs == ()
    assert names(logs) == ["z.log", "d.log", "c.log", "b.log", "a.log"]


def test_a_link_is_not_followed(logs: Path) -> None:
    (logs / PLAN_NAME).rename(logs.parent / "elsewhere")
    (logs / PLAN_NAME).symlink_to(logs.parent / "elsewhere")
    with pytest.raises(LogError, match="symbolic link"):
        read_plan_file(logs)
    assert len(names(logs)) == 5


def test_a_plan_file_that_is_no_text_is_an_error_but_logs_can_be_read(logs: Path) -> None:
    (logs / PLAN_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(LogError, match="UTF-8"):
        read_plan_file(logs)
    assert len(names(logs)) == 5


@pytest.mark.parametrize("order", ["plan", "round-robin", "random"])
def test_parse_keeps_the_plan_s_order_whatever_ran_first(dlbs: RunDlbs, tmp_path: Path, order: str) -> None:
    swept = ("-Vexp.replica_batch=[8,2,4]", "-Vruntime.malloc=[system,keep]", "-Pexp.repeats=2")
    dlbs("run", *DUMMY, *swept, "--order", order, check=True)
    dlbs("parse", "logs", "-o", "r.json", check=True)
    found = json.loads((tmp_path / "r.json").read_text())["data"]
    read = [(one["exp.replica_batch"], one["runtime.malloc"], one["exp.repeat"]) for one in found]
    assert read == [(batch, malloc, n) for batch in (8, 2, 4) for malloc in ("system", "keep") for n in (1, 2)]


@pytest.mark.parametrize("name", ["a\udce9.log", "\N{REPLACEMENT CHARACTER}.log", "café.log"])
def test_a_plan_file_keeps_names_that_are_not_utf_8(tmp_path: Path, name: str) -> None:
    write_plan_file(tmp_path, [], [name])
    assert read_plan_file(tmp_path).logs == (name,)
    (tmp_path / PLAN_NAME).write_text('[]\n"\\ud800.log"\n')  # no name of a file
    assert read_plan_file(tmp_path).logs == ("?.log",)
