"""Run a plan on a commit and its base, compare both, and write a summary: the script of action.yml.

It reads the inputs of the action from GATE_* variables and needs only `dlbs` and `git`. To run it manually in your repository:

    GATE_PLAN=benchmark.yaml GATE_BASE=main python3 gate.py
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

_REGRESSION = 3  # exit code of dlbs compare --fail-on-regression
_SIDE = "exp.working_dir"


class GateError(Exception):
    """An invalid input, or a program that fails."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of action.yml."""

    plan: Path
    arguments: list[str]
    base: str
    rounds: int
    threshold: str
    trust_doubtful: bool
    fail_on_regression: bool
    logs: Path

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Inputs:
        """Read the environment variables.

        Raises:
            GateError: A variable is missing or invalid.
        """
        plan = environment.get("GATE_PLAN", "")
        if not plan:
            raise GateError("plan: name the plan to run")
        if not Path(plan).is_file():
            raise GateError(f"plan: {plan}: no such file in this checkout")
        rounds = environment.get("GATE_ROUNDS") or "5"
        if not rounds.isdecimal() or int(rounds) < 1:
            raise GateError(f"rounds: {rounds!r} is not a number of rounds")
        lines = environment.get("GATE_ARGUMENTS", "").splitlines()
        return cls(
            plan=Path(plan).resolve(),
            arguments=[line.strip() for line in lines if line.strip()],
            base=environment.get("GATE_BASE") or "HEAD^",
            rounds=int(rounds),
            threshold=environment.get("GATE_THRESHOLD") or "5%",
            trust_doubtful=_truth("trust-doubtful", environment.get("GATE_TRUST_DOUBTFUL") or "false"),
            fail_on_regression=_truth("fail-on-regression", environment.get("GATE_FAIL_ON_REGRESSION") or "true"),
            logs=Path(environment.get("GATE_LOGS") or "dlbs-logs").resolve(),
        )


def _truth(name: str, value: str) -> bool:
    if value not in {"true", "false"}:
        raise GateError(f"{name}: {value!r} is neither true nor false")
    return value == "true"


def _git(*arguments: str, directory: Path | None = None) -> str:
    done = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GateError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _commit_of(base: str, root: Path) -> str:
    """The commit of the base, fetched if a shallow checkout of CI lacks it."""
    if base.startswith("-"):
        raise GateError(f"base: {base!r} is not a commit, tag or branch")
    try:
        return _git("rev-parse", "--verify", "--quiet", f"{base}^{{commit}}", directory=root)
    except GateError:
        if "origin" not in _git("remote", directory=root).split():
            raise GateError(f"base: {base}: no such commit in this checkout") from None
        _git("fetch", "--quiet", "--depth=1", "origin", base, directory=root)
        return _git("rev-parse", "FETCH_HEAD", directory=root)


def _measure(inputs: Inputs, checkouts: Mapping[str, Path]) -> int:
    """Run the plan with both checkouts as sides, which take turns where their programs can; return the exit code."""
    sides = json.dumps([str(checkouts["base"]), str(checkouts["head"])])
    command = [
        "dlbs",
        "run",
        "--plan",
        str(inputs.plan),
        f"-Pexp.log_dir={inputs.logs}",
        f"-V{_SIDE}={sides}",
        *inputs.arguments,
    ]
    command += ["--by", _SIDE, "--turns", str(inputs.rounds), "--threshold", inputs.threshold]
    return subprocess.run(command, check=False).returncode


def _compare(inputs: Inputs, base: Path) -> subprocess.CompletedProcess[str]:
    options = [
        "--by",
        _SIDE,
        "--baseline",
        str(base),
        "--threshold",
        inputs.threshold,
        "--format",
        "markdown",
        "--fail-on-regression",
    ]
    if inputs.trust_doubtful:
        options.append("--trust-doubtful")
    return subprocess.run(["dlbs", "compare", str(inputs.logs), *options], capture_output=True, text=True, check=False)


def _append(variable: str, text: str) -> None:
    """Append text to a file that GitHub names in a variable; without GitHub, print it."""
    path = os.environ.get(variable)
    if path:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(text)
    else:
        print(text, end="")


def gate(inputs: Inputs) -> int:
    """Measure, compare and report; returns the exit code of the step.

    Raises:
        GateError: The base does not exist.
    """
    root = Path(_git("rev-parse", "--show-toplevel"))
    commit, head = _commit_of(inputs.base, root), _git("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory() as directory:
        checkout = Path(directory) / "base"
        _git("worktree", "add", "--quiet", "--detach", str(checkout), commit, directory=root)
        try:
            code = _measure(inputs, {"base": checkout, "head": root})
        finally:
            _git("worktree", "remove", "--force", str(checkout), directory=root)
    compared = _compare(inputs, checkout)
    verdict = {0: "ok", _REGRESSION: "regression"}.get(compared.returncode, "failure")
    if code and verdict == "ok":
        verdict = "failure"
    summary = f"## Benchmark: {verdict}\n\nBase {commit[:10]}, head {head[:10]}; {inputs.rounds} rounds.\n\n"
    shown = compared.stdout + f"\n{compared.stderr.strip()}\n"
    for place, name in ((str(checkout), "base"), (str(root), "head")):
        shown = shown.replace(place, name).replace(place.replace("_", r"\_"), name)  # as Markdown escapes it
    shown = re.sub("(?<=[|]) +| +(?=[|])", " ", re.sub("-{4,}", "---", shown))  # columns were padded for the paths
    summary += shown
    summary += f"\nFailed: dlbs run ended with {code}\n" if code else ""
    _append("GITHUB_STEP_SUMMARY", summary)
    _append("GITHUB_OUTPUT", f"verdict={verdict}\nlogs={inputs.logs}\n")
    if verdict == "ok" or (verdict == "regression" and not inputs.fail_on_regression):
        return 0
    print(f"::error title=DLBS::{verdict}: see the summary of this job", file=sys.stderr)
    return 1


def main() -> int:
    """Run the step."""
    try:
        return gate(Inputs.read(os.environ))
    except GateError as error:
        print(f"::error title=DLBS::{error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
