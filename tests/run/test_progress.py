"""What a user sees while a plan runs, and what watching costs."""

from __future__ import annotations

import json
import math
import os
import pty
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from dlbs.core.experiment import Experiment
from dlbs.executors.base import Outcome
from dlbs.run.driver import Event, Observer, Summary
from dlbs.run.progress import Progress
from dlbs.run.status import Durations, last_line, rate_in, remaining_seconds, remaining_time
from tests.conftest import ROOT, RunDlbs
from tests.experiments import DUMMY, launcher, start
from tests.waiting import PATIENCE, wait_until


class Run:
    """A run of a plan, as an observer sees it."""

    def __init__(self, observer: Observer, total: int) -> None:
        self.observer, self.summary = observer, Summary(total)
        observer.begin(self.summary)

    def start(self, experiment: Experiment) -> None:
        self.observer.notify(Event("started", experiment, self.summary.done, self.summary.total))

    def end(self, experiment: Experiment, outcome: Outcome) -> None:
        self.summary.end(outcome)
        self.observer.notify(Event("ended", experiment, self.summary.done, self.summary.total, outcome))


def test_progress_file(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", *DUMMY, "-Vdummy.exit_code=[0,1]", "--progress-file", "p.json")
    state = json.loads((tmp_path / "p.json").read_text())
    assert (state["total"], state["done"], state["failed"], state["left"], state["running"]) == (2, 2, 1, 0, False)


@pytest.mark.integration
def test_progress_on_a_terminal(tmp_path: Path) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dlbs", "run", *DUMMY, '-Vexp.model,dummy.seconds=[["a", 0], ["b:b:16", 0.2]]'],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        stderr=terminal,
        stdout=terminal,
    )
    os.close(terminal)
    shown = b""
    while True:
        try:
            piece = os.read(master, 4096)
        except OSError:  # Linux reports the end of a terminal as an error
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    assert process.wait(PATIENCE) == 0
    text = shown.decode()
    assert "dummy.seconds=0.2" in text
    assert "b:b:16" in text
    assert "🅱" not in text
    assert "1/2" in text
    assert "2 ok" in text


def test_hostile_names_write_no_control_sequences(dlbs: RunDlbs) -> None:
    done = dlbs("run", *DUMMY, '-Pexp.model="a\\u001b[31mb"')
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"epoch 1\nepoch 2\n", "epoch 2"),
        (b"epoch 1\nloss 0.1", "epoch 1"),  # more digits may follow
        (b"epoch 1\n__results.time__= 12.5\n", "epoch 1"),
        (b"epoch 1\n__results.ti", "epoch 1"),
        (b"epoch 1\n__results.time_data__= [" + b"12.5, " * 2000 + b"12.5]\n", ""),  # its beginning is out of sight
        (b" 10 %\r 20 %\r 3", "20 %"),
        (b"", ""),
    ],
)
def test_the_last_line_of_a_log_is_whole(tmp_path: Path, written: bytes, shown: str) -> None:
    (tmp_path / "a.log.part").write_bytes(written)
    assert last_line(tmp_path / "a.log") == shown


def test_labels_hold_what_differs(dlbs: RunDlbs, tmp_path: Path) -> None:
    swept = ("-Vexp.replica_batch=[2,4]", "-Vruntime.malloc=[keep,system]")
    done = dlbs("run", *DUMMY, *swept, "-Pexp.repeats=2", check=True)
    assert "[1/8] batch 2, runtime.malloc=keep, repeat 1: ok" in done.stderr
    assert "[8/8] batch 4, runtime.malloc=system, repeat 2: ok" in done.stderr
    dlbs("build", *DUMMY, *swept, "-o", "plan.json", check=True)
    done = dlbs("run", "--plan", "plan.json", "-Pexp.log_dir=other", check=True)
    assert "[4/4] batch 4, runtime.malloc=system: ok" in done.stderr


def test_the_accuracy_of_a_training_stands_before_its_speed(capsys: pytest.CaptureFixture[str]) -> None:
    results = {"results.accuracy_top1": 71.2345, "results.throughput": 812.25, "results.unit": "images"}
    with Progress() as progress:
        run = Run(progress, 1)
        run.end({"exp.model": "resnet18", "exp.log_file": "a.log"}, Outcome("ok", "", 65.0, results))
    assert "[1/1] resnet18: ok in 1 min 5 s, accuracy 71.23 %, 812.2 images/s\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("left", "running", "slots", "seconds"),
    [
        (5, [0.0], 1, 50.0),
        (5, [4.0], 1, 46.0),  # counts down while one runs
        (5, [25.0], 1, 40.0),  # one that takes longer than usual takes nothing from the others
        (1, [25.0], 1, 0.0),
        (4, [2.0, 4.0], 2, 17.0),
        (3, [0.0], 2, 15.0),
        (2, [0.0, 9.0], 2, 10.0),  # one experiment is not shared
        (0, [], 1, 0.0),
    ],
)
def test_remaining_time(left: int, running: list[float], slots: int, seconds: float) -> None:
    assert remaining_seconds(10.0, left, running, slots) == seconds


def seconds_left(progress: Progress) -> float | None:
    left = progress.remaining()
    return None if left is None else left.seconds


def test_the_interval_is_wide_until_every_model_has_run() -> None:
    ended = [(f"pytorch_alexnet_training_b{batch}", 10.0 + batch) for batch in (1, 2, 4) for _ in range(3)]
    known, other = (
        remaining_time(Durations(ended), {f"pytorch_{model}_training_b4": 3}, [], 1) for model in ("alexnet", "vgg16")
    )
    assert known is not None
    assert other is not None
    assert known.seconds == pytest.approx(42.0)
    assert None not in (known.low, known.high, other.low, other.high)
    assert (known.high or 0) / (known.low or 1) < 2
    assert (other.high or 0) / (other.low or 1) > 10
    assert (other.low or 0) < other.seconds < (other.high or 0)


def plans(order: str, count: int) -> Iterator[list[tuple[str, float]]]:
    """Kinds and durations of grids of models and batch sizes with repeats, whose spreads differ from plan to plan."""
    source = random.Random(order)
    for _ in range(count):
        models, batches, repeats = source.randint(1, 5), source.randint(1, 6), source.choice([1, 1, 3, 5])
        of_models, growth, noise = source.uniform(0.3, 1.3), source.uniform(0, 0.9), source.uniform(0.01, 0.25)
        plan = []
        for model in range(models):
            base, slope = source.gauss(3, of_models), growth * source.uniform(0.7, 1.3)
            for batch in range(batches):
                middle = base + slope * batch * math.log(2) + source.gauss(0, 0.05)
                plan += [
                    (repeat, f"model{model}_b{batch}", math.exp(middle + source.gauss(0, noise)))
                    for repeat in range(repeats)
                ]
        if order == "random":
            source.shuffle(plan)
        elif order == "round-robin":
            plan.sort(key=lambda one: one[0])
        yield [one[1:] for one in plan]


def share_held(replayed: Iterable[list[tuple[str, float]]]) -> float:
    """The share of moments after the end of an experiment, averaged over plans, at which the interval held the time that was left."""
    shares = []
    for plan in replayed:
        held = []
        for at in range(1, len(plan)):
            found = remaining_time(Durations(plan[:at]), Counter(kind for kind, _ in plan[at:]), [], 1)
            assert found is not None
            assert found.low is not None
            assert found.high is not None
            held.append(found.low <= sum(seconds for _, seconds in plan[at:]) <= found.high)
        shares += [sum(held) / len(held)] if held else []
    return sum(shares) / len(shares)


@pytest.mark.parametrize("order", ["plan", "round-robin", "random"])
def test_the_interval_holds_the_time_as_often_as_it_says(order: str) -> None:
    assert 0.88 <= share_held(plans(order, 400)) <= 0.98


def test_the_interval_holds_for_recorded_plans() -> None:
    recorded = []
    for name in ("command", "until_known", "sweep"):
        runs = json.loads((ROOT / "tests" / "quoted" / f"{name}.json").read_text())["data"]
        runs.sort(key=lambda run: str(run.get("exp.start_time")))
        recorded.append(
            [
                (
                    f"{run.get('exp.model')}-{run.get('runtime.malloc')}_b{run.get('exp.replica_batch', run.get('level'))}",
                    float(run["exp.seconds"]),
                )
                for run in runs
            ]
        )
    shuffled = [random.Random(seed).sample(plan, len(plan)) for plan in recorded for seed in range(30)]
    assert share_held([*recorded, *shuffled]) >= 0.88


def test_nothing_has_a_remaining_time_before_an_end() -> None:
    assert remaining_time(Durations(), {"a": 4}, [], 1) is None


@pytest.mark.parametrize(
    ("line", "rate"),
    [
        ("epoch 3/90: loss 2.1, 812 images/s", "812 images/s"), ("812.5images/s then 813 images/s", "813 images/s"), ("1,234.5 tokens/s", "1,234.5 tokens/s"),
        ("812.3 images/s so far, batch 40 of 100", "812.3 images/s"), ("88.1 samples/s so far, 440 samples in 5 s", "88.1 samples/s"),
        ("reading /a/s", ""), ("5 m/h2", ""), ("", ""), ("12 ms", ""),
    ],
)  # fmt: skip
def test_the_rate_in_a_line(line: str, rate: str) -> None:
    assert rate_in(line) == rate


def test_the_remaining_time_counts_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("dlbs.run.progress.time.monotonic", lambda: now)
    experiments = [{"exp.log_file": str(tmp_path / f"{number}.log")} for number in range(4)]
    progress = Progress(quiet=True)
    run = Run(progress, 4)
    assert progress.remaining() is None
    for experiment in experiments[:2]:
        Path(f"{experiment['exp.log_file']}.part").touch()
        run.start(experiment)
        if experiment is experiments[0]:
            assert progress.remaining() is None
            now += 40
            run.end(experiment, Outcome("ok", "", 40.0, {}))
    seen = []
    for _ in range(5):
        seen.append(seconds_left(progress))
        now += 10
    assert seen == [120.0, 110.0, 100.0, 90.0, 80.0]


def test_experiments_in_a_queue_do_not_run_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("dlbs.run.progress.time.monotonic", lambda: now)
    experiments = [{"exp.log_file": str(tmp_path / f"{number}.log")} for number in range(4)]
    progress = Progress(quiet=True)
    run = Run(progress, 4)
    (tmp_path / "0.log.part").touch()
    for experiment in experiments:  # a cluster takes all of them
        run.start(experiment)
    now += 40
    run.end(experiments[0], Outcome("ok", "", 40.0, {}))
    assert seconds_left(progress) == 120.0


def test_a_single_experiment_has_the_usual_label(dlbs: RunDlbs) -> None:
    done = dlbs("run", *DUMMY, check=True)
    assert "[1/1] alexnet, training, float32, cpu, batch 16: ok" in done.stderr
    assert "1 experiment: 1 ok" in done.stderr
    quiet = dlbs("run", "-q", *DUMMY, "-Pexp.rerun=always", check=True)
    assert quiet.stderr == "1 experiment: 1 ok\nlogs: logs\n"


@pytest.mark.integration
def test_waiting_takes_no_processor_time(tmp_path: Path) -> None:
    process = start(tmp_path, launcher(tmp_path, "while test ! -e go; do sleep 0.1; done"))
    wait_until(lambda: list(tmp_path.glob("logs/*.part")))
    own = psutil.Process(process.pid)

    def used(seconds: float) -> tuple[float, int]:
        """CPU seconds, and how often it woke up."""
        before, switches = own.cpu_times(), own.num_ctx_switches()
        time.sleep(seconds)
        after, more = own.cpu_times(), own.num_ctx_switches()
        return after.user + after.system - before.user - before.system, more.voluntary - switches.voluntary

    found: list[
        tuple[float, int]
    ] = []  # it may still be beginning: one quiet time will do, because whoever polls has none
    while not found or found[-1][0] >= 0.05 or found[-1][1] >= 10:
        assert len(found) < 20, found
        found.append(used(1.5))
    (tmp_path / "go").touch()
    assert process.wait(PATIENCE) == 0
