"""The verbs `rerun`, `diff` and `bundle`: the same run again, the differences between two runs, and all that others need for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from dlbs.cli.options import json_option, print_json, verb
from dlbs.cli.streams import never_waiting, note
from dlbs.core.errors import ConfigError, LogError
from dlbs.core.logs import first_values, last_values
from dlbs.core.text import counted, text


@verb("rerun", requires={"repo": "exact", "into": "exact"})
@click.argument("log", metavar="LOG")
@click.option(
    "--exact",
    is_flag=True,
    help="Build the commit with its difference, the environment and the image of the log, and run these.",
)
@click.option(
    "--repo",
    metavar="DIR",
    help="With --exact: a clone that has the commit; the repository that the log names by default.",
)
@click.option(
    "--into",
    metavar="DIR",
    default="exact",
    show_default=True,
    help="With --exact: directory of checkouts, environments and new logs.",
)
@click.option("--no-validation", is_flag=True, help="Run without validation.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="At the end, print the outcome of the experiment as JSON.")
def rerun_command(
    log: str, exact: bool, repo: str | None, into: str, no_validation: bool, quiet: bool, as_json: bool
) -> int:
    """Repeat one experiment from its log, and replace the log at the end; report what has changed since.

    With --exact, what ran is built again: a worktree of the commit with the difference that was kept, an environment with the recorded packages
    (by uv), the container image by its digest. The log is kept; the new one is in DIR/logs.

    The log determines the commands that are run: repeat only logs that you trust.

    \b
    Examples:
      dlbs rerun logs/pytorch_alexnet_training_b16_0a1b2c3d4e5f6071.log
      dlbs rerun --exact logs/command_python-bench.py_0a1b2c3d4e5f6071.log
      dlbs rerun --exact bundle/logs/NAME.log --repo clone
    """
    from dlbs.cli.run import run_experiments
    from dlbs.config.load import load_config
    from dlbs.executors.local import LocalExecutor
    from dlbs.language.template import escape
    from dlbs.plan.pipeline import processor_for
    from dlbs.run.manifest import Manifest
    from dlbs.run.progress import Progress
    from dlbs.run.stale import Current
    from dlbs.run.validate import Validator

    here, path = Path.cwd(), Path(log).absolute()
    values = _parameters(log)
    if exact:
        from dlbs.run.exact import rebuild

        built = rebuild(path, _record(log), Path(into), repo, note)
        values = {name: built.applied(value) for name, value in values.items()}
        values["exp.log_file"] = str(Path(into).absolute() / "logs" / path.name)
        if built.image:
            values["exp.docker_image"] = built.image
        if built.path is not None:
            os.environ["PATH"] = f"{built.path}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            uv = {"UV_PROJECT_ENVIRONMENT": str(built.path.parent), "UV_NO_SYNC": "1"}  # of `uv run`
            os.environ |= {"VIRTUAL_ENV": str(built.path.parent), **uv}
        os.chdir(built.directory)
        values["exp.working_dir"] = ""  # it is the one of the log
    else:
        ending = last_values(log)
        os.chdir(_directory(values, ending))
        values["exp.log_file"] = str(path)
        directory = Path(text(values.get("pack.dir") or values.get("exp.working_dir"))).absolute()
        change = Current().change(ending, path, directory)
        if change:
            note(f"not as it ran: {change}; --exact builds what ran")
    values.update({"exp.rerun": "always", "exp.status": "", "exp.status_msg": ""})
    (experiment,) = processor_for(load_config()).resolve_all([escape(values)])
    if not no_validation:
        validator = Validator(may_run=True)
        validator.check(experiment)
        if validator.problems:
            raise ConfigError(f"{validator.problems[0]}", where=log, hint="--no-validation runs it anyway")
    manifest = Manifest(repeats=True)
    manifest.add(experiment)
    with never_waiting(sys.stderr):
        code = run_experiments(
            iter([experiment]), manifest, Progress(quiet=quiet), LocalExecutor(Path.cwd()), as_json=as_json
        )
    os.chdir(here)
    if exact:
        _tell_differences(str(path), values["exp.log_file"])
    return code


def _directory(values: Mapping[str, Any], ending: Mapping[str, Any]) -> Path:
    """The directory from which relative paths of an experiment led to where it ran; the current one if there is none."""
    ran = Path(text(ending.get("exp.code.directory")))
    places = [Path.cwd(), ran, *ran.parents] if ran.is_dir() and not values.get("pack.dir") else []
    name = text(values.get("exp.working_dir"))
    return next((place for place in places if os.path.normpath(place / name) == str(ran)), Path.cwd())


def _tell_differences(before: str, after: str) -> None:
    """Report what still differs in code and software between a log and its exact repetition."""
    from dlbs.results.changes import change_words, changes
    from dlbs.results.runs import Runs

    words = change_words(changes(*(Runs.of([_record(log)]) for log in (before, after))))
    note(
        f"differs from the first run: {'; '.join(words)}" if words else "the same code and packages as in the first run"
    )
    note(f"compare them: dlbs diff {os.path.relpath(before)} {os.path.relpath(after)}")


def _parameters(log: str) -> dict[str, Any]:
    if os.path.isdir(log):
        raise LogError("is a directory", where=log, hint="give the log of one experiment: dlbs status lists them")
    values = first_values(log)
    if not values and not os.path.lexists(log):
        raise LogError("no such file", where=log, hint="dlbs status lists logs")
    if "exp.framework" not in values:
        raise LogError("does not begin with the parameters of an experiment", where=log, hint="give a log of dlbs run")
    return values


def _record(path: str) -> Mapping[str, Any]:
    """The only run in a log or results file."""
    from dlbs.results.read.records import read_runs

    runs = read_runs([path])
    if len(runs) != 1:
        raise LogError(
            f"has {counted(len(runs), 'run')}",
            where=path,
            hint="name the log of one run; dlbs compare compares several",
        )
    return runs[0]


# Of every run alone: nobody compares them. `exp.software.p...` are digests and lists of packages, which have a section.
_IGNORED = ("exp.id", "exp.log_", "exp.seconds", "exp.start_time", "exp.end_time", "exp.rerun", "exp.software.p", "results.start_time",
            "results.end_time", "results.proc_pid", "results.time_data_start")  # fmt: skip
_SUBJECTS = {  # the first that has the beginning of a name
    "settings": ("exp.env.settings",),
    "code": ("exp.code.", "exp.docker_image_", "exp.env.git_", "exp.dlbs_version"),
    "machine": ("exp.env.", "exp.sys.", "exp.software.", "exp.device_title", "exp.machine_warnings", "exp.framework_version"),
    "results": ("results.", "exp.status", "exp.exit"),
    "parameters": ("",),
}  # fmt: skip
_MAPPINGS = {"exp.env.settings": "", "exp.flags": "flag ", "exp.code.files": "file ", "exp.code.data": "data ",
             "exp.code.editable": "package ", "exp.code.submodules": "submodule ", "exp.code.repositories": "repository "}  # fmt: skip


def sections(log: str, record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The values of a run by subject: parameters, code, packages, machine, settings, results."""
    from dlbs.run.stale import package_list, packages_in

    found: dict[str, dict[str, Any]] = {name: {} for name in ("parameters", "code", "packages", *_SUBJECTS)}
    lines = package_list(Path(text(record.get("exp.log_file")) or log), record)
    found["packages"] = packages_in(lines) or record.get("exp.software.versions") or {}
    for name, value in record.items():
        subject = next(one for one, beginnings in _SUBJECTS.items() if name.startswith(beginnings))
        is_series = subject == "results" and isinstance(value, list) and name != "results.warnings"
        if name.startswith(_IGNORED) or is_series:
            continue
        several = name in _MAPPINGS and isinstance(value, dict)
        found[subject].update(
            {f"{_MAPPINGS[name]}{key}": one for key, one in value.items()} if several else {name: value}
        )
    return found


@verb("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option("--all", "everything", is_flag=True, help="Also show what is equal.")
@json_option
def diff_command(a: str, b: str, everything: bool, as_json: bool) -> int:
    """Show the differences between two runs: parameters, code, packages, machine, settings and results.

    A and B are logs, or results files with one run each. Values that only one of them has are shown as -. For differences in speed that exceed
    the noise, use dlbs compare.

    \b
    Examples:
      dlbs diff logs/NAME.log exact/logs/NAME.log
      dlbs diff before/NAME.log after/NAME.log --json
    """
    from dlbs.cli.tables import print_tables
    from dlbs.results.tables.table import Table

    sides = [sections(path, _record(path)) for path in (a, b)]
    document: dict[str, dict[str, list[Any]]] = {}
    tables = []
    for subject in sides[0]:
        names = sorted({name for side in sides for name in side[subject]})
        pairs = {name: [side[subject].get(name) for side in sides] for name in names}
        unlike = {
            name for name, pair in pairs.items() if pair[0] != pair[1] and any(one not in (None, "") for one in pair)
        }
        document[subject] = {name: pair for name, pair in pairs.items() if everything or name in unlike}
        if document[subject]:
            cells = [[_cell(value) for value in values] for values in document[subject].values()]
            tables.append(
                Table(subject.capitalize(), ["name"], [[name] for name in document[subject]], ["A", "B"], cells)
            )
    if as_json:
        print_json(document)
    elif tables:
        print_tables(tables, "terminal")
    else:
        note("nothing differs")
    return 0


def _cell(value: Any) -> Any:
    from dlbs.results.tables.table import Cell

    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return Cell(value)
    words = text(value)
    return Cell((words if len(words) <= 60 else f"{words[:59]}…") if words else "-")


@verb("bundle")
@click.argument("paths", metavar="LOGS...", nargs=-1, required=True)
@click.option("--output-file", "-o", metavar="FILE", default="bundle.tar.gz", show_default=True, help="The archive.")
@click.option("--code", is_flag=True, help="Add the repositories with the history of the commits, as Git bundles.")
@json_option
def bundle_command(paths: tuple[str, ...], output_file: str, code: bool, as_json: bool) -> int:
    """Pack logs with all that is needed to run the same on another machine: plan, launchers, differences, lists of packages and a README.

    The differences may contain anything that you have changed: check them before you publish the archive. dlbs report reads it like a directory.

    \b
    Examples:
      dlbs bundle logs -o artefact.tar.gz
      dlbs bundle logs/NAME.log --code
    """
    from dlbs.core.version import __version__
    from dlbs.language.template import escape
    from dlbs.results.read.logs import find_logs, read_file
    from dlbs.run.exact import write_bundle

    logs = {
        log: dict(records[-1]) for log in find_logs(paths) if log.endswith(".log") and (records := read_file(log)[0])
    }
    if not logs:
        raise LogError("no complete logs", where=" ".join(paths), hint="give log directories of dlbs run")
    plan = []
    for log in logs:
        values = _parameters(log) | {"exp.rerun": "never", "exp.status": "", "exp.status_msg": ""}
        plan.append(
            {
                **escape(values),
                "exp.log_file": f"${{exp.log_dir}}/{escape(os.path.basename(log))}",
                "exp.log_dir": "logs",
            }
        )
    missing = write_bundle(Path(output_file), logs, plan, __version__, code=code)
    if as_json:
        print_json({"file": output_file, "experiments": len(logs), "missing": missing})
    for line in missing:
        note(f"note: not in the archive: {line}")
    note(f"{counted(len(logs), 'experiment')} → {output_file}")
    return 0
