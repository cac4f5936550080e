"""Logs that are read again and again: only those that changed are opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dlbs.core.errors import LogError
from dlbs.results.read import logs
from dlbs.results.read.logs import KeptLogs
from dlbs.results.read.onelog import Reading
from tests.made_logs import make_logs, make_record, write_log


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the logs that were opened, in their order."""
    names: list[str] = []
    real = logs.read_file

    def read(path: str) -> logs.Read:
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(logs, "read_file", read)
    return names


def models(logs: KeptLogs) -> list[str]:
    return [record["exp.model"] for record in logs.read(Reading())]


def test_only_logs_that_changed_are_read_again(tmp_path: Path, opened: list[str]) -> None:
    directory = make_logs(tmp_path / "logs", [make_record(f"m{number}") for number in range(4)])
    logs = KeptLogs(str(directory))
    assert models(logs) == ["m0", "m1", "m2", "m3"]
    opened.clear()
    write_log(directory / "0001.log", make_record("another"))
    write_log(directory / "0009.log", make_record("new"))
    (directory / "0003.log").unlink()
    assert sorted(models(logs)) == ["another", "m0", "m2", "new"]
    assert sorted(opened) == ["0001.log", "0009.log"]
    opened.clear()
    assert len(models(logs)) == 4
    assert opened == []


def test_what_is_noticed_is_said_each_time(tmp_path: Path) -> None:
    directory = make_logs(tmp_path / "logs", [make_record()])
    (directory / "none.log").write_text("no experiment\n")
    logs = KeptLogs(str(directory))
    for _ in range(2):
        reading = Reading()
        logs.read(reading)
        assert [finding.kind for finding in reading.findings] == ["empty"]
        assert {Path(path).name for path in reading.paths} == {"0000.log", "none.log"}


def test_a_directory_without_logs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="no log files"):
        KeptLogs(str(tmp_path)).read(Reading())


def linked(directory: Path) -> tuple[Path, Path]:
    """A log that is a link in a directory, and the old file that it leads to."""
    (target,) = make_logs(directory / "other", [make_record("a")]).glob("*.log")
    os.utime(target, (1e9, 1e9))
    link = directory / "logs" / "a.log"
    link.parent.mkdir()
    link.symlink_to(target)
    return link, target


def test_a_log_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    link, target = linked(tmp_path)
    kept = KeptLogs(str(link.parent))
    reading = Reading()
    assert not kept.read(reading)
    assert [finding.kind for finding in reading.findings] == ["unreadable"]
    link.unlink()
    os.link(target, link)  # the same size and time
    assert [record["exp.model"] for record in kept.read(Reading())] == ["a"]
