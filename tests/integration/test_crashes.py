"""Killed at any moment, the same command finishes exactly what is missing, and nothing of before is left."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import psutil
import pytest

from benchmark_core.log import LOG_VARIABLE
from dlbs.core.logs import parse_line
from tests.experiments import start
from tests.integration.kills import kill_at_a_random_moment
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

COUNT, KILLS = 60, 30
BODY = "printf '%s\\n' {{ exp.seed }} >> finished.$$; sleep 0.0{{ exp.seed % 7 }}; echo last line; mv finished.$$ done/"


def plan(directory: Path) -> tuple[str, ...]:
    template = directory / "own.sh"
    template.write_text('{% extends "base.sh" %}{% block benchmark %}\n' + BODY + "\n{% endblock %}")
    (directory / "done").mkdir()
    return f"-Pdummy.launcher={template}", f"-Vexp.seed={list(range(COUNT))}", "--jobs", "4", "-q"


def test_kill_9_at_random_moments(tmp_path: Path) -> None:
    flags = plan(tmp_path)
    chance = random.Random(7)
    inodes: dict[str, int] = {}
    kills = 0
    while True:
        run = start(tmp_path, *flags)
        said = ""
        if kills < KILLS:
            kills += kill_at_a_random_moment(run, tmp_path / "logs", chance)
        else:
            _, said = run.communicate(timeout=PATIENCE)
        for log in tmp_path.glob("logs/*.log"):  # what is finished is never touched again
            assert inodes.setdefault(log.name, log.stat().st_ino) == log.stat().st_ino
            assert log.read_text().endswith("\n")
        if run.returncode == 0:
            if kills >= KILLS:
                break
            for log in list(tmp_path.glob("logs/*.log")):  # finished before the last kill: begin anew
                log.unlink()
            inodes.clear()
        else:
            assert run.returncode == -signal.SIGKILL, said
    assert kills == KILLS
    logs = sorted(tmp_path.glob("logs/*.log"))
    assert len(logs) == COUNT
    seeds = []
    for log in logs:
        lines = log.read_text().splitlines()
        values = dict(pair for pair in map(parse_line, lines) if pair)
        assert values["exp.status"] == "ok"
        assert lines.count("last line") == 1
        assert sum(line.startswith('__exp.status__= "ok"') for line in lines) >= 1
        seeds.append(values["exp.seed"])
    assert sorted(seeds) == list(range(COUNT))
    assert not list(tmp_path.glob("logs/*.part"))
    assert not [process for process in psutil.process_iter() if _belongs(process, tmp_path)]


def _belongs(process: psutil.Process, directory: Path) -> bool:
    try:
        return process.environ().get(LOG_VARIABLE, "").startswith(str(directory))
    except psutil.Error:
        return False
