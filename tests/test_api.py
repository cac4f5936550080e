"""The Python API does what the command line does."""

from __future__ import annotations

import dataclasses
import doctest
import inspect
import json
import pydoc
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import dlbs
from dlbs import api
from dlbs.adaptive.until_known import Known
from dlbs.cli.compare import compare_command
from dlbs.core.errors import ConfigError, LaunchError, LogError
from dlbs.results.statistics.ratio import Rules
from dlbs.run.driver import Event, Summary
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_record

DUMMY = {"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""}


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.integration
@pytest.mark.parametrize("name", [*api.__all__, "run_until_known"])
def test_the_example_of_each_function_runs(name: str) -> None:
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(dlbs, name), name, module=False, globs={"dlbs": dlbs})
    assert found.examples
    said: list[str] = []
    result = doctest.DocTestRunner().run(found, out=said.append)
    assert result.failed == 0, "".join(said)


def test_help_shows_every_function() -> None:
    shown = pydoc.plain(pydoc.render_doc(dlbs))
    for name in dlbs.__all__:
        assert name in shown
    assert "Args:" in shown


@pytest.mark.integration
def test_importing_costs_nothing() -> None:
    program = "import sys, dlbs; print(sorted(name for name in sys.modules if name.startswith('dlbs') or name in ('click', 'yaml')))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['dlbs', 'dlbs.core', 'dlbs.core.version']"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = dlbs.nope


def test_the_plan_is_that_of_the_command_line(dlbs: RunDlbs, tmp_path: Path) -> None:
    import dlbs as package

    (tmp_path / "own.yaml").write_text("parameters: {exp.seed: 7}\nvariables: {exp.model: [a, b]}\n")
    printed = dlbs("build", "--resolve", "--plan", "own.yaml", "-Pexp.framework=dummy", "-Vexp.seed=[1,2]").stdout
    config = package.load_config("own.yaml", parameters={"exp.framework": "dummy"}, variables=["exp.seed=[1,2]"])
    assert list(package.resolve(config)) == json.loads(printed)


def test_a_plan_file_is_resolved(dlbs: RunDlbs) -> None:
    import dlbs as package

    dlbs("build", "-o", "plan.jsonl", "-Pexp.framework=dummy", "-Vexp.replica_batch=[1,2]", check=True)
    config = package.load_config()
    assert [one["exp.effective_batch"] for one in package.resolve(config, "plan.jsonl")] == [1, 2]
    config = package.load_config(parameters={"exp.replica_batch": 8})
    assert [one["exp.effective_batch"] for one in package.resolve(config, Path("plan.jsonl"))] == [8, 8]
    config = package.load_config(variables={"exp.replica_batch": [8]})
    with pytest.raises(ConfigError, match=r"variables\['exp.replica_batch'\]: variables cannot be combined"):
        package.resolve(config, "plan.jsonl")


@pytest.mark.integration
def test_a_run_leaves_logs_and_goes_on_where_it_ended(tmp_path: Path) -> None:
    config = dlbs.load_config(parameters=DUMMY, variables={"exp.replica_batch": [1, 2, 3], "dummy.exit_code": [0, 5]})
    events: list[Event] = []
    summary = dlbs.run_plan(config, on_event=events.append, jobs=2, max_failures=1)
    assert summary.exit_code == 1
    assert summary.stopped
    again = dlbs.run_plan(config)
    assert again.kept == summary.outcomes.total()
    assert dlbs.run_plan(config).outcomes.total() == 0
    frame = dlbs.load_results("logs")
    assert sorted(frame["exp.status"]) == ["failure"] * 3 + ["ok"] * 3
    ended = [event for event in events if event.kind == "ended"]
    assert {event.total for event in events} == {6}
    assert [event.done for event in ended] == list(range(1, len(ended) + 1))
    assert all(event.outcome is not None for event in ended)


@pytest.mark.integration
def test_a_failed_experiment_is_tried_again() -> None:
    config = dlbs.load_config(parameters={**DUMMY, "dummy.exit_code": 5})
    kinds: list[str] = []
    dlbs.run_plan(config, retries=1, on_event=lambda event: kinds.append(event.kind))
    assert kinds == ["started", "retried", "started", "ended"]


@pytest.mark.integration
def test_resolved_experiments_are_run_in_another_order() -> None:
    experiments = list(dlbs.resolve(dlbs.load_config(parameters=DUMMY, variables={"exp.seed": list(range(8))})))
    seen: list[int] = []
    dlbs.run_plan(experiments, order="random", on_event=lambda event: seen.append(event.experiment["exp.seed"]))
    assert seen[::2] == seen[1::2]
    assert sorted(seen[::2]) == list(range(8)) != seen[::2]


def test_problems_stop_a_run_before_it_begins(tmp_path: Path) -> None:
    config = dlbs.load_config(parameters={**DUMMY, "exp.gpus": "4711"})
    with pytest.raises(ConfigError, match="4711"):
        dlbs.run_plan(config)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("plan", "said"),
    [("plan.json", "not a resolved plan"), ([{"exp.model": "a"}], "no exp.log_file"), ([], "no experiments")],
)
def test_something_else_than_a_plan(plan: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dlbs.run_plan(plan)


@pytest.mark.integration
def test_two_runs_over_the_same_logs_are_refused() -> None:
    config = dlbs.load_config(parameters={**DUMMY}, variables={"exp.seed": [1, 2]})
    refused: list[LaunchError] = []

    def run_another(event: Event) -> None:
        if event.kind == "started" and not refused:
            program = f"import dlbs; dlbs.run_plan(dlbs.load_config(parameters={DUMMY!r}))"
            done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True)
            refused.append(LaunchError(done.stderr.decode().strip().splitlines()[-1]))

    assert dlbs.run_plan(config, on_event=run_another).exit_code == 0
    assert "is writing to this directory" in str(refused[0])


@pytest.mark.integration
def test_frames_paths_and_records_are_compared_alike() -> None:
    dlbs.run_plan(dlbs.load_config(parameters={**DUMMY, "exp.repeats": 3}))
    frame = dlbs.load_results("logs")
    records = [{"exp.status": "ok", "exp.model": "alexnet", "results.throughput": 16000.0}] * 3
    for results in ("logs", ["logs"], frame, frame.to_dict("records"), records):
        assert dlbs.compare(results, results).counts.keys() <= {"same", "inconclusive"}


def test_a_comparison_takes_all_rules_with_their_defaults_in_python_and_on_the_command_line() -> None:
    rules = {field.name: field.default for field in dataclasses.fields(Rules)}
    given = inspect.signature(dlbs.compare).parameters
    assert set(given) - set(rules) == {"a", "b"}
    assert {name: given[name].default for name in rules} == rules
    assert api.CompareOptions.__annotations__.keys() == rules.keys() - {"by", "baseline"}
    assert rules.keys() < {parameter.name for parameter in compare_command.params}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threshold": "2%"}, "threshold: must be a number from 0.0 to below 1, not '2%'"),
        ({"threshold": -1}, "threshold: must be a number from 0.0 to below 1, not -1"),
        ({"threshold": 2}, "threshold: must be a number from 0.0 to below 1, not 2"),
        ({"confidence": 95}, "confidence: must be a number from 0.5 to below 1, not 95"),
        ({"estimator": "men"}, "did you mean 'mean'"),
        ({"metric": "results.throughputt"}, "did you mean 'results.throughput'"),
        ({"match": "exp.modle"}, "match: no experiment has 'exp.modle' .*did you mean 'exp.model'"),
        ({"match": ["exp.modle"]}, "match: no experiment has 'exp.modle'"),
        ({"ignore": ["exp.modle"]}, "ignore: no experiment has 'exp.modle'"),
    ],
)
def test_wrong_options_of_a_comparison(options: dict[str, Any], said: str) -> None:
    records = [{"exp.status": "ok", "exp.model": "a", "results.throughput": 1.0}] * 3
    with pytest.raises(LogError, match=said):
        dlbs.compare(records, records, **options)


@pytest.mark.parametrize("name", ["exp.model", ["exp.model"], ("exp.model",)])
def test_a_single_name_is_not_its_letters(name: Any) -> None:
    records = [
        {"exp.status": "ok", "exp.model": model, "exp.seed": seed, "results.throughput": rate}
        for model, rate in (("a", 1.0), ("b", 100.0))
        for seed in (1, 2, 3)
    ]
    assert [match.label for match in dlbs.compare(records, records, match=name).matches] == ["a", "b"]
    (only,) = dlbs.compare(records, records, ignore=name, match="exp.status").matches
    assert only.used == (6, 6)


def test_single_strings_of_a_configuration() -> None:
    config = dlbs.load_config(parameters="exp.framework=dummy", variables="exp.replica_batch=[1,2]")
    assert config.variables == {"exp.replica_batch": [1, 2]}
    extended = dlbs.load_config(parameters=DUMMY, extensions={"parameters": {"exp.seed": 7}})
    assert next(dlbs.resolve(extended))["exp.seed"] == 7
    with pytest.raises(ConfigError, match="no pack has the name, tag or group 'no-such-pack'"):
        dlbs.load_config(select="no-such-pack")
    with pytest.raises(ConfigError, match=r"command: must be a list of words.*command=\['sort', 'data'\]"):
        dlbs.load_config(command="sort data")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"by": "exp.sede"}, "by='exp.sede': no experiment has 'exp.sede'"),
        ({"by": "exp.seed", "ignore": "exp.modle"}, "ignore: no experiment has 'exp.modle'"),
    ],
)
def test_names_of_run_until_known_are_checked(options: dict[str, Any], said: str) -> None:
    config = dlbs.load_config(parameters=DUMMY, variables={"exp.seed": [1, 2]})
    with pytest.raises(LogError, match=said):
        dlbs.run_until_known(config, **options)


@pytest.mark.parametrize(
    ("options", "said"), [({"jobs": -3}, "jobs"), ({"jobs": 0}, "jobs"), ({"order": "rand"}, "did you mean 'random'")]
)
def test_wrong_options_of_a_run(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        dlbs.run_plan(dlbs.load_config(parameters=DUMMY), **options)


def test_a_plan_runs_in_the_main_thread_only() -> None:
    config = dlbs.load_config(parameters=DUMMY)
    with ThreadPoolExecutor() as pool, pytest.raises(LaunchError, match="main thread"):
        pool.submit(dlbs.run_plan, config).result()


@pytest.mark.integration
def test_a_frame_is_drawn(tmp_path: Path) -> None:
    dlbs.run_plan(dlbs.load_config(parameters=DUMMY, variables={"exp.replica_batch": [1, 2]}))
    dlbs.plot(dlbs.load_results("logs"), path=tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").read_text().startswith("<?xml")


def test_what_the_api_returns_is_short_in_a_notebook_and_becomes_a_frame() -> None:
    sides = [[make_record(model, repeat=n, time=time) for model in ("a", "<b>") for n in range(9)] for time in (10, 12)]
    made = dlbs.compare(*sides)
    assert repr(made).startswith("<Comparison: 2 experiments: ")
    assert "<td>&lt;b&gt;</td>" in made._repr_html_()
    frame = made.to_frame()
    assert {"experiment", "a", "b", "ratio", "low", "high", "verdict"} < set(frame.columns)
    assert [(low, high) for low, high in zip(frame.low, frame.high, strict=True)] == [
        (match.estimate.interval.low, match.estimate.interval.high) for match in made.matches
    ]
    assert list(frame.experiment) == [match.label for match in made.matches]
    by = dlbs.compare(
        [{**run, "my.kind": "x"} for run in sides[0]] + [{**run, "my.kind": "y"} for run in sides[1]], by="my.kind"
    )
    assert len(repr(by)) < 200
    assert list(by.to_frame()["my.kind"]) == ["y", "y"]
    known = Known(by, 3, ("a: y",), (), "", Summary(total=2, outcomes=Counter(ok=2)))
    assert repr(known).startswith("<Known after 3 rounds, 1 open pair: <ComparisonBy: y over x: 2 experiments")
    assert known.to_frame().equals(by.to_frame())
    assert repr(known.summary) == "<Summary: 2 of 2 experiments done: 2 ok>"
    assert known.summary.to_frame().values.tolist() == [["ok", 2]]
    config = dlbs.load_config(parameters={"exp.framework": "dummy"}, variables={"exp.replica_batch": [1, 2]})
    assert len(repr(config)) < 200
    assert config.to_frame().values.tolist()[-1][:2] == ["exp.replica_batch", [1, 2]]
