"""`--json`: every verb that lists or decides something prints a document for programs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from dlbs.cli.main import cli
from tests.conftest import RunDlbs, dlbs_environment
from tests.experiments import DUMMY
from tests.forked import ForkServer
from tests.made_logs import make_logs, make_record
from tests.waiting import PATIENCE

# Verbs that neither list nor decide: those whose output is JSON or another format anyway, and those that make or start something.
NEITHER = {
    "build": "prints a plan, which is JSON",
    "parse": "prints results, which are JSON",
    "db export": "prints results, which are JSON",
    "completion": "prints a shell script",
    "export": "writes files",
    "plot": "writes an image",
    "serve": "runs until it is interrupted",
    "db add": "adds results",
    "images build": "makes an image",
    "images pull": "fetches an image",
    "pack new": "makes files",
    "pack install": "makes environments",
    "pack prepare": "makes data",
    "pack pin": "writes files",
    "pack build": "makes an image",
    "pack publish": "pushes an image",
    "pack predict": "writes predictions",
    "pack shell": "opens a shell",
}

PLAN = (*DUMMY, "-Vexp.replica_batch=[1,2]")

# Verb → arguments in a directory that has logs/, results.db, old.json and packs/mine; and its exit code.
CALLS: dict[str, tuple[tuple[str, ...], int]] = {
    "run": (("--dry-run", *PLAN), 0),
    "status": (("logs",), 1),
    "rerun": (("logs/0004.log", "--no-validation"), 0),
    "diff": (("logs/0004.log", "measured/0000.log"), 0),
    "bundle": (("logs/0004.log",), 0),
    "validate": (PLAN, 0),
    "print-config": ((), 0),
    "explain": (("exp.effective_batch",), 0),
    "help": (("exp.dtype", "resnet18", "pytorch", "contention"), 0),
    "migrate": (("--dry-run", "old.json"), 0),
    "images list": (("--docker", "true"), 0),
    "check-machine": (("--seconds", "0"), 0),
    "sysinfo": ((), 0),
    "report": (("logs",), 0),
    "compare": (("logs", "logs"), 0),
    "bisect": (("--list", "list.txt", "--good", "a", "--bad", "b", "--", "./measure", "{item}", "{logs}"), 0),
    "db query": ((), 0),
    "db tags": ((), 0),
    "db list": ((), 0),
    "db rm": (("--dry-run", "--tag", "v1"), 0),
    "pack list": ((), 0),
    "pack show": (("mine",), 0),
    "pack check": (("mine",), 0),
    "pack import": (("models", "--dry-run"), 0),
}  # fmt: skip


def verbs(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every verb, those of groups as `pack list`."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from verbs(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def test_every_verb_has_it_or_has_a_reason() -> None:
    having = {name for name, command in verbs(cli) if any("--json" in one.opts for one in command.params)}
    everything = {name for name, _ in verbs(cli)}
    assert having | set(NEITHER) == everything
    assert not having & set(NEITHER)
    assert having == set(CALLS)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, forked_dlbs: ForkServer) -> Path:
    """A directory with something for every verb."""
    made = tmp_path_factory.mktemp("made")

    def dlbs(*arguments: str) -> None:
        forked_dlbs.run(
            "-m", "dlbs", *arguments, directory=made, environment=dlbs_environment(), timeout=PATIENCE, check=True
        )

    make_logs(made / "logs", [make_record(repeat=n) for n in (1, 2, 3)] + [make_record(status="failure", repeat=4)])
    dlbs("db", "add", "logs", "--tag", "v1")
    dlbs("run", *DUMMY, "-Pexp.log_file=logs/0004.log")
    (made / "old.json").write_text('{"parameters": {"exp.model": "alexnet"}}')
    (made / "list.txt").write_text("a\nb\n")
    log = make_logs(made / "measured", [make_record()]) / "0000.log"
    slow = make_logs(made / "slow", [make_record(time=30.0)]) / "0000.log"
    measure = made / "measure"
    measure.write_text(f'#!/bin/sh\nif [ "$1" = a ]; then cp {log} "$2"; else cp {slow} "$2"; fi\n')
    measure.chmod(0o755)
    dlbs("pack", "new", "mine")
    (made / "models" / "tiny").mkdir(parents=True)
    (made / "models" / "tiny" / "__init__.py").write_text("class Model:\n    pass\n")
    return made


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one verb."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


@pytest.mark.integration
@pytest.mark.parametrize("verb", CALLS)
def test_it_prints_one_document(dlbs: RunDlbs, place: Path, verb: str) -> None:
    arguments, code = CALLS[verb]
    before, _, after = " ".join(arguments).partition(" -- ")
    words = [*arguments]
    at = words.index("--") if after else len(words)
    done = dlbs(*verb.split(), *words[:at], "--json", *words[at:])
    assert before is not None
    assert done.returncode == code, done.stderr
    json.loads(done.stdout)


def document(dlbs: RunDlbs, *arguments: str, code: int = 0) -> Any:
    done = dlbs(*arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.mark.integration
def test_a_run_says_what_became_of_the_plan(dlbs: RunDlbs) -> None:
    first = document(dlbs, "run", *PLAN)
    assert (first["experiments"], first["outcomes"], first["exit_code"]) == (2, {"ok": 2}, 0)
    again = document(dlbs, "run", *PLAN)
    assert (again["outcomes"], again["already_finished"]) == ({}, 2)
    (launcher, _) = document(dlbs, "run", "--dry-run", *PLAN)["launchers"]
    assert launcher["source"].startswith("#!")


def test_validate_names_every_problem(dlbs: RunDlbs) -> None:
    found = document(dlbs, "validate", *DUMMY, "-Vexp.log_file=[a.log,a.log]", code=2)
    assert found["experiments"] == 2
    (problem,) = found["problems"]
    assert problem["problem"] == "is equal to experiment 1"
    assert problem["experiments"] == 1


def test_validate_results_names_what_is_missing(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", [make_record(), make_record("vgg11", status="failure")])
    found = document(dlbs, "validate", "--results", "logs", code=1)
    assert found["experiments"] == 2
    (problem,) = found["problems"]
    assert "vgg11" in problem["experiment"]


def test_explain_has_what_a_value_was_computed_from(dlbs: RunDlbs) -> None:
    (found,) = document(dlbs, "explain", "exp.effective_batch", "-Pexp.gpus=", "-Pexp.replica_batch=4")
    parameters = found["parameters"]
    assert parameters["exp.effective_batch"]["value"] == 4
    assert parameters["exp.replica_batch"] == {
        "value": 4, "kind": "parameter", "written": 4, "set_at": "-Pexp.replica_batch", "needs": [],
    }  # fmt: skip
    assert "exp.replica_batch" in parameters["exp.effective_batch"]["needs"]


def test_help_has_a_document_for_each_thing(dlbs: RunDlbs) -> None:
    found = document(dlbs, "help", "exp.dtype", "resnet18", "pytorch", "contention")
    assert [one["kind"] for one in found] == ["parameter", "model", "framework", "warning"]
    assert "float16" in found[0]["domain"]
    assert {one["name"] for one in document(dlbs, "help")} >= {"run", "report", "export"}
    assert "pytorch" in {one["name"] for one in document(dlbs, "help", "--frameworks")}


def test_json_and_another_format_are_refused(dlbs: RunDlbs, tmp_path: Path) -> None:
    make_logs(tmp_path / "logs", [make_record()])
    done = dlbs("report", "logs", "--json", "--format", "csv")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json means --format json" in done.stderr


def test_bytes_that_are_not_utf8_are_replaced_or_one_error(dlbs: RunDlbs, tmp_path: Path) -> None:
    """Strict readers of JSON reject halves of surrogate pairs, by which Python represents such bytes."""
    name = os.fsdecode(b"a\xff")
    log = ("-Pexp.log_dir=" + name, "-Pdummy.env=A=\N{GRINNING FACE}" + r"\udcff")
    dry_run = ("run", "--dry-run", *DUMMY, f"-Pdummy.env=A={name}")
    for arguments in (("run", *DUMMY, *log), ("status", name), dry_run):
        done = dlbs(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        json.loads(done.stdout, object_hook=strict)
        assert "\\ufffd" in done.stdout
    for refused in (
        ("print-config", "--json", *DUMMY, f"-Pdummy.env=A={name}"),
        ("db", "add", "--db", f"{name}.sqlite", name),
        ("db", "add", "--tag", name, name),
    ):
        done = dlbs(*refused)
        assert (done.returncode, done.stdout) == (2, "")
        assert " is not UTF-8" in done.stderr


def strict(document: dict[str, Any]) -> dict[str, Any]:
    json.dumps(document, ensure_ascii=False).encode()
    return document
