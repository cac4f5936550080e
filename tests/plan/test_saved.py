"""What `-P` and other flags may change in the experiments of a plan file: nothing is logged that was not used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dlbs.api import run_plan
from dlbs.core.errors import ConfigError
from dlbs.core.experiment import Experiment
from dlbs.language.template import escape
from dlbs.packs.configure import configure
from dlbs.plan.build import build
from dlbs.plan.files import plan_contains, write_plan
from dlbs.plan.pipeline import Repeats, planned_and_ordered, processor_for, resolved_plan
from dlbs.run.manifest import read_plan_file
from tests.conftest import RunDlbs
from tests.experiments import logs

PYTORCH = {"exp.model": "alexnet", "exp.gpus": "", "exp.docker": False}
DUMMY = {"exp.framework": "dummy", "exp.gpus": "", "exp.docker": False}


@pytest.fixture
def resolved(tmp_path: Path) -> str:
    config = configure(parameters=PYTORCH)
    path = tmp_path / "resolved.json"
    write_plan(path, map(escape, processor_for(config).resolve_all(build(config))))
    return str(path)


@pytest.fixture
def raw(tmp_path: Path) -> str:
    path = tmp_path / "raw.json"
    write_plan(path, build(configure(parameters=DUMMY, variables={"exp.model": ["a", "b"]})))
    return str(path)


def changed(plan: str, **given: Any) -> list[Experiment]:
    return list(resolved_plan(configure(**given, plan=plan), plan)())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exp.replica_batch", 64),
        ("pytorch.num_threads", 4),
        ("exp.nodes", ["one", "two"]),  # does not identify, but exp.num_nodes is computed from it
        ("exp.log_dir", "other"),  # exp.log_file is final
        ("exp.id", "mine"),
        ("exp.repeats", 3),
        ("monitor.frequency", 2),
    ],
)
@pytest.mark.parametrize("discard", [False, True])
def test_a_resolved_plan_refuses_what_its_values_depend_on(resolved: str, name: str, value: Any, discard: bool) -> None:
    with pytest.raises(ConfigError, match=r"would have no effect on .*resolved\.json: experiment 1") as found:
        changed(resolved, parameters={name: value}, discard_default=discard)
    assert f"-P{name}" in found.value.where


def test_a_resolved_plan_takes_policies_and_the_values_that_it_has(resolved: str) -> None:
    given = {"exp.rerun": "always", "exp.status": "simulate", "exp.timeout": 5, "exp.project": "mine"}
    (before,), (after,) = changed(resolved), changed(resolved, parameters={**given, **PYTORCH, "exp.seed": "1"})
    assert before["exp.seed"] == 1
    assert after == {**before, **given}


def test_an_experiment_with_its_own_id_is_not_resolved(tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    write_plan(plan, build(configure(parameters={**PYTORCH, "exp.id": "mine"})))
    (experiment,) = changed(plan, parameters={"exp.replica_batch": 64})
    assert experiment["pytorch.common_options"]["batch_size"] == 64


def test_a_plan_written_by_hand_takes_parameters_that_it_lacks(tmp_path: Path) -> None:
    plan = str(tmp_path / "plan.json")
    write_plan(plan, [{**DUMMY, "exp.log_file": "a.log", "exp.replica_batch": 16}])
    (experiment,) = changed(plan, parameters={"dummy.seconds": 1})
    assert experiment["dummy.seconds"] == 1
    with pytest.raises(ConfigError, match="would have no effect"):
        changed(plan, parameters={"exp.replica_batch": 64})


@pytest.mark.parametrize(
    "given",
    [
        {"variables": {"exp.seed": [1, 2]}},
        {"extensions": [{"condition": {"exp.model": "a"}, "parameters": {"exp.replica_batch": 8}}]},
        {"files": ["extensions: [{condition: {exp.model: a}, parameters: {exp.replica_batch: 8}}]"]},
        {"files": ["exclude: [{exp.model: a}]"]},
        {"files": ["parameters: {exp.replica_batch: 8}"]},
        {"files": ["parameters: {exp.replica_batch: {val: 8}}"]},
        {"files": ["variables: {exp.replica_batch: [8]}"]},
    ],
)
def test_what_only_building_uses_is_refused(raw: str, tmp_path: Path, given: dict[str, Any]) -> None:
    if "files" in given:
        (tmp_path / "config.yaml").write_text(given["files"][0], encoding="utf-8")
        given = {"files": [str(tmp_path / "config.yaml")]}
    with pytest.raises(ConfigError, match="cannot be combined with a list of experiments"):
        changed(raw, **given)


def test_a_file_may_declare_parameters_of_a_plan(raw: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("parameters: {exp.mine: {val: 1, type: int, desc: mine}}", encoding="utf-8")
    made = changed(raw, files=[tmp_path / "config.yaml"], parameters={"exp.mine": "7"})
    assert [one["exp.mine"] for one in made] == [7, 7]


def test_a_pack_is_chosen_when_the_plan_is_built(raw: str) -> None:
    with pytest.raises(ConfigError, match="would have no effect"):
        changed(raw, parameters={"exp.pack": "other"})


def test_repeats_of_a_plan_are_all_run(raw: str, tmp_path: Path) -> None:
    made = changed(raw, parameters={"exp.repeats": 3})
    assert [(one["exp.model"], one["exp.repeat"]) for one in made] == [(name, n) for name in "ab" for n in (1, 2, 3)]
    assert len({one["exp.log_file"] for one in made}) == 6
    repeated = str(tmp_path / "repeated.json")
    write_plan(repeated, build(configure(parameters={**DUMMY, "exp.repeats": 3})))
    assert len(changed(repeated, parameters={"exp.repeats": 3})) == 3
    for count in (1, 5):
        with pytest.raises(ConfigError, match="would have no effect"):
            changed(repeated, parameters={"exp.repeats": count})
    with pytest.raises(ConfigError, match=r"exp\.repeats must be 1"):
        Repeats(configure(parameters={"exp.repeats": 3}), raw)


@pytest.mark.parametrize("order", ["plan", "round-robin", "random"])
def test_values_that_differ_each_time_are_computed_once_for_a_run(tmp_path: Path, order: str) -> None:
    config = configure(parameters={**DUMMY, "exp.id": "$(uuid4())$"}, variables={"exp.seed": list(range(9))})
    plan = str(tmp_path / "plan.jsonl.gz")
    write_plan(plan, build(config))
    assert plan_contains(plan, ["uuid4"])
    for planned, experiments in (
        planned_and_ordered(config, None, order=order, seed=1),
        planned_and_ordered(configure(), plan, order=order, seed=1),
    ):
        ids = {one["exp.seed"]: one["exp.id"] for one in planned()}
        assert {one["exp.seed"]: one["exp.id"] for one in experiments()} == ids
        assert len(set(ids.values())) == 9
    repeats = Repeats(config)
    assert repeats.experiment(0, 1) == repeats.experiment(0, 1) != repeats.experiment(0, 2)


def test_the_plan_beside_logs_names_the_logs_of_random_ids(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = [f"-P{name}={value}" for name, value in DUMMY.items()]
    dlbs("run", *flags, "-Pexp.docker=false", "-Pexp.id=$(uuid4())$", "-Vexp.seed=[1,2]", check=True)
    written = sorted(log.name for log in logs(tmp_path))
    assert sorted(read_plan_file(tmp_path / "logs").logs) == written
    assert len(written) == 2


@pytest.mark.integration
def test_random_ids_of_python_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = configure(parameters={**DUMMY, "exp.id": "$(uuid4())$"}, variables={"exp.seed": [1, 2]})
    assert run_plan(config, order="random").exit_code == 0
    assert sorted(read_plan_file(tmp_path / "logs").logs) == sorted(log.name for log in logs(tmp_path))


def test_experiments_written_by_hand_are_repeated(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('[{"exp.framework": "dummy", "exp.model": "a"}]')
    config = configure(parameters={"exp.repeats": 3}, plan=str(path))
    assert [one["exp.repeat"] for one in resolved_plan(config, str(path))()] == [1, 2, 3]
