"""action.yml and its script: a pull request that makes a program slower fails, and the summary says by how much."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scripts.release_check import clean_environment
from tests.conftest import ROOT
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
Step = Callable[..., "subprocess.CompletedProcess[str]"]

# Times that the program itself reports, so that no load of this machine changes the verdict.
PROGRAM = """\
for index in range(5):
    print("__results.time_data__=", [{time} + 0.01 * index for index in range(5)])
print("__results.time__= {time}")
"""
PLAN = """\
parameters:
  exp.framework: command
  exp.num_batches: 2
  turns.count: 10
  turns.seconds: 0.01
  command.argv: [python3, bench.py, "${size}"]
variables:
  size: [1, 2]
"""


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose branch `main` has a program of 100 ms and a plan that measures it."""
    directory = tmp_path / "repository"
    directory.mkdir()
    (directory / "bench.py").write_text(PROGRAM.replace("{time}", "100"))
    (directory / "benchmark.yaml").write_text(PLAN)
    git(directory, "init", "--quiet", "--initial-branch=main")
    git(directory, "add", ".")
    git(directory, "commit", "--quiet", "-m", "Add a benchmark")
    return directory


def commit(repository: Path, time: int) -> None:
    (repository / "bench.py").write_text(PROGRAM.replace("{time}", str(time)))
    git(repository, "commit", "--quiet", "--all", "--allow-empty", "-m", f"Take {time} ms")


@pytest.fixture
def step(repository: Path, tmp_path: Path) -> Step:
    """Run the step of action.yml as a runner does: inputs, their defaults, and the event become its environment."""
    (run,) = (one for one in ACTION["runs"]["steps"] if one.get("id") == "gate")

    def execute(base: str = "main", **inputs: str) -> subprocess.CompletedProcess[str]:
        given = {name: one.get("default", "") for name, one in ACTION["inputs"].items()}
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        environment = {}
        for name, template in run["env"].items():
            (wanted,) = re.findall(r"inputs\.([\w-]+)", template)
            environment[name] = given[wanted] or (base if "event" in template else "")
        environment["GITHUB_ACTION_PATH"] = str(ROOT)
        for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
            (tmp_path / name).write_text("")
            environment[name] = str(tmp_path / name)
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "dlbs").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m dlbs "$@"\n')
        (programs / "dlbs").chmod(0o755)
        whole = clean_environment(**environment)
        whole["PATH"] = f"{programs}:{whole['PATH']}"
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", run["run"]], cwd=repository, env=whole, capture_output=True,
            text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    return execute


def outputs(tmp_path: Path) -> tuple[str, str]:
    """The verdict and the summary of the step."""
    found = re.search(r"^verdict=(.*)$", (tmp_path / "GITHUB_OUTPUT").read_text(), re.MULTILINE)
    return found[1] if found else "", (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_a_slower_pull_request_fails(repository: Path, step: Step, tmp_path: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "change")
    commit(repository, 130)
    inputs = {"rounds": "3", "trust_doubtful": "true", "arguments": "-Pexp.num_warmup_batches=0\n"}
    done = step(plan="benchmark.yaml", **inputs)
    assert done.returncode == 1, done.stdout + done.stderr
    verdict, summary = outputs(tmp_path)
    assert verdict == "regression"
    assert summary.startswith("## Benchmark: regression\n")
    assert re.findall(r"\| size=(\d) .* slower \|", summary) == ["1", "2"]
    assert "1.3" in summary
    assert len(list((repository / "dlbs-logs").glob("*.log"))) == 12
    assert "::error title=DLBS::regression" in done.stderr
    assert git(repository, "worktree", "list").count("\n") == 1  # the checkout of the base is removed
    tolerated = step(plan="benchmark.yaml", **inputs, fail_on_regression="false")
    assert tolerated.returncode == 0
    assert outputs(tmp_path)[0] == "regression"


def test_an_equal_pull_request_passes_in_a_shallow_checkout(repository: Path, step: Step, tmp_path: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "change")
    commit(repository, 100)
    upstream = tmp_path / "upstream"
    repository.rename(upstream)
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=change", upstream.as_uri(), str(repository))
    done = step(plan="benchmark.yaml", rounds="3", trust_doubtful="true")  # it fetches the base
    assert done.returncode == 0, done.stdout + done.stderr
    verdict, summary = outputs(tmp_path)
    assert verdict == "ok"
    assert re.findall(r"\| size=(\d) .* same \|", summary) == ["1", "2"]


def test_a_benchmark_that_fails_is_no_pass(repository: Path, step: Step, tmp_path: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "change")
    (repository / "bench.py").write_text("raise SystemExit('no data')")
    git(repository, "commit", "--quiet", "--all", "-m", "Break it")
    done = step(plan="benchmark.yaml", rounds="1")
    assert done.returncode == 1
    verdict, summary = outputs(tmp_path)
    assert verdict in {"regression", "failure"}
    assert "Failed: dlbs run ended with 1" in summary


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"plan": ""}, "plan: name the plan to run"),
        ({"plan": "no.yaml"}, "plan: no.yaml: no such file in this checkout"),
        ({"plan": "benchmark.yaml", "rounds": "many"}, "rounds: 'many' is not a number of rounds"),
        ({"plan": "benchmark.yaml", "base": "nowhere"}, "base: nowhere: no such commit in this checkout"),
        ({"plan": "benchmark.yaml", "base": "--all"}, "base: '--all' is not a commit, tag or branch"),
        ({"plan": "benchmark.yaml", "trust_doubtful": "yes"}, "trust-doubtful: 'yes' is neither true nor false"),
    ],
)
def test_wrong_inputs_are_one_error(step: Step, inputs: dict[str, str], message: str) -> None:
    done = step(**inputs)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"::error title=DLBS::{message}"]


SCHEMAS = [
    ("vendor.github-actions", "action.yml"),
    ("vendor.github-workflows", "examples/*/*workflow*.yml"),
    ("vendor.github-issue-forms", ".github/ISSUE_TEMPLATE/[bf]*.yml"),
    ("vendor.github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
    ("vendor.citation-file-format", "CITATION.cff"),
]


@pytest.mark.parametrize(("schema", "pattern"), SCHEMAS, ids=[schema for schema, _ in SCHEMAS])
def test_files_of_the_forge_have_their_form(schema: str, pattern: str) -> None:
    files = [str(path) for path in ROOT.glob(pattern)]
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
