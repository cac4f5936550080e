"""Experiments side by side on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmark_core.doubts import doubts_of
from dlbs.core.errors import LaunchError
from dlbs.executors.job import Grant
from dlbs.executors.local import Slots
from dlbs.machine.resources import Request
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values
from tests.waiting import PATIENCE


def test_what_is_taken_is_nobody_elses_until_it_is_given_back() -> None:
    slots = Slots(gpus=(0, 1, 2), cpus=(0, 1, 2, 3), memory=100)
    first = slots.take(Request(any_gpus=2, any_cpus=3, memory=60))
    assert first == Grant((0, 1), (0, 1, 2), 60)
    assert slots.take(Request(gpus=frozenset({1}))) is None
    assert slots.take(Request(any_gpus=2)) is None
    assert slots.take(Request(any_cpus=2)) is None
    assert slots.take(Request(memory=41)) is None
    second = slots.take(Request(gpus=frozenset({2}), any_cpus=1, memory=40))
    assert second == Grant((2,), (3,), 40)
    assert slots.take(Request()) == Grant()
    slots.give_back(first)
    assert slots.take(Request(gpus=frozenset({1}), cpus=frozenset({0}), memory=60)) == Grant((1,), (0,), 60)


@pytest.mark.parametrize(
    "request_",
    [
        Request(any_gpus=2),
        Request(gpus=frozenset({0, 3})),
        Request(any_cpus=3),
        Request(cpus=frozenset({9})),
        Request(memory=101),
    ],
)
def test_what_no_machine_like_this_has_is_an_error(request_: Request) -> None:
    with pytest.raises(LaunchError, match="requests"):
        Slots(gpus=(0,), cpus=(0, 1), memory=100).check(request_)


# An experiment that ends when so many have begun.
MEET = "touch here{{{{ exp.seed }}}}; while test $(ls here* | wc -l) -lt {}; do sleep 0.05; done"


def test_jobs_run_side_by_side_and_say_so(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (launcher(tmp_path, MEET.format(4)), "-Vexp.seed=[1,2,3,4]", f"-Pexp.timeout={PATIENCE}", "--jobs", "4")
    done = dlbs("run", *DUMMY, *flags)
    assert done.returncode == 0, done.stderr
    found = [values(log) for log in logs(tmp_path)]
    ids = {one["exp.id"] for one in found}
    for one in found:
        assert set(one["exp.neighbours"]) == ids - {one["exp.id"]}
    dlbs("run", *DUMMY, "-Pexp.log_dir=alone", check=True)
    assert values(next(tmp_path.glob("alone/*.log")))["exp.neighbours"] == []


def test_neighbours_on_the_same_processors_are_named_before_and_after(dlbs: RunDlbs, tmp_path: Path) -> None:
    warning = """echo '__results.warnings__= ["CPU contention: 86 %, 3 preemptions; rerun on an idle machine"]'"""
    flags = (
        launcher(tmp_path, f"{MEET.format(2)}; {warning}"),
        "-Vexp.seed=1,2",
        f"-Pexp.timeout={PATIENCE}",
        "--jobs",
        "2",
    )
    done = dlbs("run", *DUMMY, *flags)
    assert done.returncode == 0, done.stderr
    assert "up to 2 experiments at a time share" in done.stderr
    assert "⚠ neighbours 86 %" in done.stderr
    assert "experiments of the same plan ran at the same time" in done.stderr
    assert "other programs" not in done.stderr
    record = values(logs(tmp_path)[0])
    assert doubts_of(record) == ["neighbours"]
    assert doubts_of({**record, "exp.cpus": "0"}) == ["CPU contention"]


@pytest.mark.integration
def test_gpus_are_given_to_one_experiment_at_a_time(dlbs: RunDlbs, tmp_path: Path) -> None:
    pairs = MEET.format("{{ exp.seed + exp.seed % 2 }}")  # the first with the second, the third with the fourth, ...
    body = f'echo "$CUDA_VISIBLE_DEVICES" >> got; mkdir "gpu$CUDA_VISIBLE_DEVICES" || exit 9; {pairs}; rmdir "gpu$CUDA_VISIBLE_DEVICES"'
    flags = (*DUMMY[:2], "-Pexp.gpus=any:1", launcher(tmp_path, body), "-Vexp.seed=[1,2,3,4,5,6]")
    done = dlbs("run", *flags, "--jobs", "6", CUDA_VISIBLE_DEVICES="2,5")
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "got").read_text().split()) == ["2"] * 3 + ["5"] * 3
    for log in logs(tmp_path):
        found = values(log)
        assert found["exp.gpus"] == "any:1"
        assert found["exp.gpu_ids"] in {"2", "5"}
        assert found["exp.num_gpus"] == 1
        assert found["exp.device_type"] == "gpu"
        assert len(found["exp.neighbours"]) >= 1


def test_processors_are_bound_and_shared_with_nobody(dlbs: RunDlbs, tmp_path: Path) -> None:
    count = len(os.sched_getaffinity(0))
    body = f"taskset -cp $$; {MEET.format(min(4, count))}"
    done = dlbs(
        "run", *DUMMY, launcher(tmp_path, body), "-Pruntime.cpus=1", f"-Vexp.seed={list(range(1, 5))}", "-j", "4"
    )
    assert done.returncode == 0, done.stderr
    got = [values(log)["exp.cpus"] for log in logs(tmp_path)]
    for log in logs(tmp_path):
        assert f"affinity list: {values(log)['exp.cpus']}\n" in log.read_text()
    assert len(set(got)) == min(4, count)
    refused = dlbs("run", *DUMMY, f"-Pruntime.cpus={count + 1}")
    assert refused.returncode == 2
    assert f"{count + 1} CPUs, but {count} are usable" in refused.stderr
