"""Statistics, load, memory, operations, environment, precision: what is reported beside times."""

from __future__ import annotations

import itertools
import json
import mmap
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import torch

from pytorch_benchmarks.bootstrap import block_length, mean_interval
from pytorch_benchmarks.devices import synchronizer
from pytorch_benchmarks.environment import environment, git_revision
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.load import Load
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.metrics import drift, time_metrics
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.options import parse_options
from pytorch_benchmarks.passes import Work, count_work, peak_memory, write_profile
from pytorch_benchmarks.peaks import peak_tflops
from pytorch_benchmarks.phases.inference import inference_step
from pytorch_benchmarks.phases.training import training_step
from pytorch_benchmarks.precision import choose_precision
from tests.waiting import wait_until

CPU = torch.device("cpu")


def autoregressive(count: int, correlation: float, seed: int) -> list[float]:
    """Values around 100 of which each depends on the one before."""
    source = random.Random(seed)
    value, values = 0.0, []
    for index in range(count + 100):
        value = correlation * value + source.gauss(0, 1)
        if index >= 100:
            values.append(100 + value)
    return values


@pytest.mark.parametrize(("correlation", "count", "least"), [(0.0, 10, 0.90), (0.0, 100, 0.91), (0.5, 300, 0.85)])
def test_the_interval_holds_the_mean_as_often_as_promised(correlation: float, count: int, least: float) -> None:
    held = 0
    for seed in range(200):
        bounds = mean_interval(autoregressive(count, correlation, seed))
        assert bounds is not None
        held += bounds[0] <= 100 <= bounds[1]
    assert least <= held / 200 <= 0.99


def test_blocks_are_as_long_as_the_correlation_asks_for() -> None:
    alone = torch.tensor(autoregressive(2000, 0.0, 1))
    together = torch.tensor(autoregressive(2000, 0.9, 1))
    assert block_length(alone) <= 3
    assert block_length(together) > 20
    assert block_length(torch.ones(50)) == 1


def test_an_interval_that_ignores_correlation_would_be_too_narrow() -> None:
    values = autoregressive(400, 0.9, 2)
    shuffled = random.Random(0).sample(values, len(values))
    (low, high), (narrow_low, narrow_high) = mean_interval(values) or (0, 0), mean_interval(shuffled) or (0, 0)
    assert high - low > 2 * (narrow_high - narrow_low)


def test_too_few_values_have_no_interval() -> None:
    assert mean_interval([1.0, 2.0, 3.0]) is None
    assert time_metrics([0.1, 0.1], 1)["results.throughput_ci95"] is None


def test_throughput_lies_in_its_interval_and_is_no_whole_number() -> None:
    found = time_metrics([1.1, 1.2, 1.0, 1.1, 1.15, 1.05], instances=1)
    low, high = found["results.throughput_ci95"]  # type: ignore[misc]
    assert low < found["results.throughput"] < high  # type: ignore[operator]
    assert 0 < found["results.throughput"] < 1  # type: ignore[operator]


@pytest.mark.parametrize(
    ("times", "steady"),
    [([1.0] * 9, True), ([1.0] * 6 + [1.04] * 3, False), ([1.05] * 3 + [1.0] * 6, False), ([1.0] * 5, None)],
)
def test_a_run_whose_ends_differ_is_not_steady(times: list[float], steady: bool | None) -> None:
    assert time_metrics(times, 1)["results.steady"] is steady


def test_drift_has_a_sign() -> None:
    assert drift([1.0] * 4 + [1.5] * 2) == pytest.approx(0.5)


def touch_fresh_memory(size: int) -> None:
    """Have so many bytes of pages that the process did not have before, and give them back."""
    with mmap.mmap(-1, size + 4096) as memory:
        memory.write(b"x" * size)


def test_page_faults_are_counted_for_each_batch() -> None:
    load = Load()
    load.start()
    touch_fresh_memory(64 << 20)
    load.stop()
    found = load.metrics(batches=2)
    assert found["results.page_faults"] > 100  # type: ignore[operator]


def test_an_interval_that_is_too_short_has_no_competing_load() -> None:
    elapsed = 1.0
    while elapsed > 0.4:  # it was, unless this process had to wait for a processor
        load, begin = Load(), time.perf_counter()
        load.start()
        load.stop()
        elapsed = time.perf_counter() - begin
    assert load.metrics(1)["results.competing_load"] is None


def busy_seconds() -> float:
    """What the processors of this process have worked, for anybody."""
    allowed = os.sched_getaffinity(0)
    times = [one for number, one in enumerate(psutil.cpu_times(percpu=True)) if number in allowed]
    return sum(one.user + one.nice + one.system + one.irq + one.softirq + one.steal for one in times)


@contextmanager
def spinning(detached: bool) -> Iterator[psutil.Process]:
    """A process that uses a processor: a child of this one, or one that is not."""
    spin = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", spin]
    if detached:
        command = ["sh", "-c", f'setsid {sys.executable} -c "$0" & echo $!', spin]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline().strip()
        process = psutil.Process(int(first) if detached else child.pid)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.integration
@pytest.mark.parametrize("detached", [True, False], ids=["neighbour", "child"])
def test_a_neighbour_is_noticed_and_a_child_is_not_one(detached: bool) -> None:
    """Counted in seconds of the processors that it really got, whatever else runs on this machine."""

    def used() -> float:
        return sum(process.cpu_times()[:2])

    load = Load()
    with spinning(detached) as process:
        busy, begin = busy_seconds(), time.perf_counter()
        load.start()
        before = used()
        wait_until(lambda: used() - before > 1.0)
        by_it = used() - before
        load.stop()
        seconds, busy = time.perf_counter() - begin, busy_seconds() - busy
    share = load.metrics(1)["results.competing_load"]
    assert share is not None
    by_others = share * seconds * len(os.sched_getaffinity(0))
    if detached:
        assert by_others > by_it / 2
    else:
        assert by_others < busy - by_it / 2


def test_operations_are_those_of_the_matrix_products() -> None:
    model = get_model("deep_mnist")
    generator = torch.Generator()
    batch = (model.inputs(4, generator), model.targets(4, generator))
    sizes = list(itertools.pairwise([784, 2500, 2000, 1500, 1000, 500, 10]))
    forward = 2 * 4 * sum(a * b for a, b in sizes)
    # Backward: gradients of weights and of inputs, but nobody wants those of the data.
    training = 3 * forward - 2 * 4 * sizes[0][0] * sizes[0][1]
    assert count_work(inference_step(model), batch, model).flops == forward
    assert count_work(training_step(model, model), batch, model).flops == training


def test_attention_and_recurrent_layers_are_counted() -> None:
    generator = torch.Generator()
    for name, options, least in (("sensor_net", {}, 24 * 2 * 7232 * 512 * 0.6), ("vit_b_16", {}, 2 * 17.5e9)):
        model = get_model(name, **options)
        batch = (model.inputs(1, generator), None)
        assert count_work(inference_step(model), batch, model).flops > least


def test_operations_of_resnet50_are_the_published_ones() -> None:
    model = get_model("resnet50")
    batch = (model.inputs(1, torch.Generator()), None)
    counted = count_work(inference_step(model), batch, model).flops
    assert counted / 2 == pytest.approx(4.1e9, rel=0.02)  # multiply-adds, as usually given


def test_the_peak_of_resident_memory_is_that_of_the_pass() -> None:
    step = touch_fresh_memory
    small = peak_memory(step, itertools.repeat(0), CPU, synchronizer(CPU))["memory_host"]
    large = peak_memory(step, itertools.repeat(120 << 20), CPU, synchronizer(CPU))["memory_host"]
    assert small is not None
    assert large is not None
    assert large - small > 80_000_000


def test_a_profile_names_the_operations(tmp_path: Path) -> None:
    model = get_model("deep_mnist")
    step = inference_step(model)
    batch = (model.inputs(1, torch.Generator()), None)
    write_profile(str(tmp_path / "trace.json"), step, itertools.repeat(batch), CPU)
    names = {event.get("name") for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]}
    assert "aten::linear" in names
    assert [path.name for path in tmp_path.iterdir()] == ["trace.json"]


def test_peaks() -> None:
    assert peak_tflops("NVIDIA H200", "bfloat16") == 989.4
    assert peak_tflops("NVIDIA A100-SXM4-80GB", "tf32") == 156.0
    assert peak_tflops("NVIDIA L40S", "float32") == 91.6
    assert peak_tflops("Tesla T4", "bfloat16") is None
    assert peak_tflops("AMD EPYC", "float32") is None


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "123")
    facts = environment(CPU)
    assert facts["torch"] == torch.__version__
    assert facts["settings"]["MALLOC_TRIM_THRESHOLD_"] == "123"
    assert json.dumps(facts)
    assert facts["memory"] > 1 << 28


def test_the_revision_is_read_without_git(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    assert git_revision(tmp_path / "file") is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_revision(tmp_path / "deep" / "file") == head
    subprocess.run([*git, "pack-refs", "--all"], check=True)
    assert git_revision(tmp_path / "file") == head
    subprocess.run([*git, "worktree", "add", "-q", "--detach", str(tmp_path / "tree")], check=True)
    assert git_revision(tmp_path / "tree" / "file") == head


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dtype=tf32"], "cpu devices like this one can do float32, float16, bfloat16"),
        (["--amp", "--dtype=float32"], "--amp computes in float16 or bfloat16"),
    ],
)
def test_what_the_device_cannot_do(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        choose_precision(parse_options(["--model=deep_mnist", *arguments]), CPU)


def test_precision_is_told_in_words() -> None:
    for arguments, words in (
        ([], "float32"),
        (["--dtype=bfloat16"], "bfloat16"),
        (["--dtype=float16", "--amp"], "float32 weights, float16 autocast"),
    ):
        assert choose_precision(parse_options(["--model=m", *arguments]), CPU).describe() == words


def test_a_result_file_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log("results.time", 1.5)
    log.warn("odd")
    log.warn("odder")
    log.write(str(tmp_path / "result.json"))
    written = json.loads((tmp_path / "result.json").read_text())
    assert written == {"results.time": 1.5, "results.warnings": ["odd", "odder"]}
    assert "warning: odder" in capsys.readouterr().out
    with pytest.raises(OSError, match="No such file"):
        log.write(str(tmp_path / "nope" / "result.json"))


def test_bytes_of_a_matrix_product_are_those_of_its_factors_and_its_result() -> None:
    left, right = torch.zeros(4, 8), torch.zeros(8, 16)
    assert count_work(lambda pair: pair[0] @ pair[1].view(8, 16), (left, right), None) == Work(
        flops=2 * 4 * 8 * 16, bytes=4 * (4 * 8 + 8 * 16 + 4 * 16)
    )
