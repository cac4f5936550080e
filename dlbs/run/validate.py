"""Validate a plan before anything runs, and report all its problems together."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError, DlbsError, did_you_mean
from dlbs.executors.base import FRAMEWORK, Check, Executor, Problem, Site
from dlbs.executors.logfiles import check_replaceable
from dlbs.experiment import Experiment, describe, log_path
from dlbs.files import dlbs_root
from dlbs.launch.script import launcher_path, make_launcher
from dlbs.run.framework_checks import checks_of
from dlbs.text import counted, text

__all__ = ["PlanProblem", "Validator"]


@dataclass(frozen=True, slots=True)
class PlanProblem:
    """A problem that would make experiments of a plan fail.

    Attributes:
        problem: The problem and its fix.
        experiment: The first experiment that has it.
        count: Number of experiments that have it.
    """

    problem: Problem
    experiment: str
    count: int = 1

    def __str__(self) -> str:
        hint = f" ({self.problem.hint})" if self.problem.hint else ""
        others = f" ({counted(self.count, 'experiment')})" if self.count > 1 else ""
        return f"{self.experiment}: {self.problem.what}{hint}{others}"


class Validator:
    """Check experiments one by one and collect their problems without duplicates.

    Args:
        executor: The executor that will run the plan; by default this machine.
        directory: Working directory of experiments, and base of relative paths; the current directory by default.
        may_run: Whether programs that the plan names may be started (such as an interpreter, to find torch). True only if the plan is about
            to run: inspecting an untrusted plan must not start anything.
        nodes: Hosts that may be contacted anyway.
    """

    def __init__(
        self,
        executor: Executor | None = None,
        *,
        directory: Path | None = None,
        may_run: bool = False,
        nodes: Iterable[str] = (),
    ) -> None:
        self.site = Site(Path.cwd() if directory is None else directory, may_run, frozenset(nodes))
        self.count = 0
        self._checks = _executor_checks(executor)
        self._problems: dict[Problem, PlanProblem] = {}
        self._found_at: dict[Problem, int] = {}
        self._logs: dict[str, int] = {}
        self._directories: dict[str, str] = {}
        self._checked: dict[Any, Problem | None] = {}
        self._checks_by_kind: dict[tuple[str, str], list[tuple[Check, tuple[str, ...]]]] = {}

    @property
    def problems(self) -> list[PlanProblem]:
        return list(self._problems.values())

    def check_all(self, experiments: Iterable[Experiment]) -> None:
        """Check a plan; the result is in `count` and `problems`."""
        for experiment in experiments:
            self.check(experiment)

    def check(self, experiment: Experiment) -> None:
        """Check one resolved experiment."""
        self.count += 1
        if not self._check_log_file(experiment) or experiment.get("exp.status") == "inactive":
            return
        for check, reads in self._checks_of(experiment):
            self._make(check, reads, experiment)

    def document(self) -> dict[str, Any]:
        """The number of experiments and the problems as a JSON document."""
        problems = [
            {"problem": one.problem.what, "hint": one.problem.hint, "first": one.experiment, "experiments": one.count}
            for one in self.problems
        ]
        return {"experiments": self.count, "problems": problems}

    def raise_problems(self) -> None:
        """Raise an error with all problems that were found.

        Raises:
            ConfigError: There are problems.
        """
        if not self.problems:
            return
        listed = "".join(f"\n  {problem}" for problem in self.problems)
        count = f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}"
        if not self.site.may_run:
            raise ConfigError(f"{count} in the plan{listed}")
        raise ConfigError(f"{count} in the plan; nothing was run (use --no-validation to run it anyway){listed}")

    def _checks_of(self, experiment: Experiment) -> list[tuple[Check, tuple[str, ...]]]:
        """The checks of an experiment, each with the parameters that it depends on."""
        framework = text(experiment.get("exp.framework"))
        key = framework, text(experiment.get("pack.kind"))
        if key not in self._checks_by_kind:
            self._checks_by_kind[key] = [
                (check, tuple(name.replace(FRAMEWORK, framework) for name in check.reads))
                for check in (_LAUNCHER, *self._checks, *checks_of(experiment))
            ]
        return self._checks_by_kind[key]

    def _make(self, check: Check, reads: tuple[str, ...], experiment: Experiment) -> None:
        """Run a check once for each combination of the values that it depends on."""
        key = (check.find, *(repr(experiment.get(name)) for name in reads))
        if key not in self._checked:
            self._checked[key] = check.find(experiment, self.site)
        found = self._checked[key]
        if found is not None:
            self._add(experiment, found)

    def _add(self, experiment: Experiment, problem: Problem) -> None:
        """Record a problem once, with the number of experiments that have it."""
        known = self._problems.get(problem)
        if known is None:
            self._problems[problem] = PlanProblem(problem, f"experiment {self.count} ({describe(experiment)})")
        elif self._found_at[problem] != self.count:  # two checks may find the same problem
            self._problems[problem] = replace(known, count=known.count + 1)
        self._found_at[problem] = self.count

    def _check_log_file(self, experiment: Experiment) -> bool:
        """Find problems of the log file; False if the experiment does not define one."""
        try:
            log = self._without_links(log_path(experiment, self.site.directory))
        except DlbsError as error:
            self._add(experiment, Problem(error.what, error.hint))
            return False
        first = self._logs.setdefault(log, self.count)
        if first != self.count:
            what = f"writes to the same log file as experiment {first}: {log}"
            hint = "make exp.log_file unique, for example with ${exp.id}"
            self._add(experiment, Problem(what, hint))
        elif experiment.get("exp.status") not in {"inactive", "simulate"}:
            try:
                check_replaceable(Path(log))
            except DlbsError as error:
                self._add(experiment, Problem(f"{error.where}: {error.what}", error.hint))
        return True

    def _without_links(self, log: Path) -> str:
        """The path of a log in a directory without links, in which two paths of the same log are equal."""
        directory, name = os.path.split(log)
        if directory not in self._directories:
            self._directories[directory] = os.path.realpath(directory)
        return os.path.join(self._directories[directory], name)


def _executor_checks(executor: Executor | None) -> tuple[Check, ...]:
    if executor is not None:
        return tuple(executor.checks)
    from dlbs.executors.local_checks import LOCAL_CHECKS

    return LOCAL_CHECKS


def _launcher(experiment: Experiment, site: Site) -> Problem | None:
    try:
        make_launcher(experiment, site.directory)
    except DlbsError as error:
        hint = error.hint
        framework = text(experiment.get("exp.framework"))
        if not experiment.get(f"{framework}.launcher") and not os.path.isfile(launcher_path(experiment)):
            frameworks = [path.stem for path in (dlbs_root() / "scripts" / "launchers").glob("*.sh")]
            hint = did_you_mean(framework, frameworks) or hint
        return Problem(f"{error.where}: {error.what}" if error.where else error.what, hint)
    return None


_OF_FRAMEWORKS = tuple(f"{FRAMEWORK}.{name}" for name in ("launcher", "env", "variables"))
_LAUNCHER = Check(("exp.framework", "exp.phase", "exp.docker", "exp.pack", *_OF_FRAMEWORKS), _launcher)
