"""What disturbs the GPUs of an experiment: lowered clocks and other programs, by answers of NVML that a test makes up."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import dlbs as package
from benchmark_core.doubts import doubts_of
from dlbs.machine.monitor import GPU_SERIES, Gpus, Monitor
from tests.experiments import logs, values

THERMAL, POWER_CAP, IDLE = 0x40, 0x4, 0x1
LOST = 5
OTHER = 4_000_000  # a process ID that no process has


class Nvml:
    """Like the module pynvml: GPUs with a list of reasons of lowered clocks, one for each sample, and with processes and their shares."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        """What pynvml raises."""

    def __init__(self, reasons: list[int], programs: dict[int, int]) -> None:
        self.reasons, self.programs = reasons, programs
        self.now_running = list(programs)

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index == LOST:
            raise self.NVMLError("GPU_IS_LOST")
        return index

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 100_000 * handle

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid) for pid in self.now_running]

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: int) -> int:
        return self.reasons.pop(0)

    def nvmlDeviceGetProcessUtilization(self, handle: int, since: int) -> list[SimpleNamespace]:
        assert since >= 1.7e15  # microseconds since 1970
        if not any(self.programs.values()):
            raise self.NVMLError("NOT_FOUND")
        return [SimpleNamespace(pid=pid, smUtil=share) for pid, share in self.programs.items()]

    def __getattr__(self, name: str) -> object:
        def refuse(*_: object) -> object:
            raise self.NVMLError("NOT_SUPPORTED")

        return refuse


def now_at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr("dlbs.machine.monitor._microseconds", lambda: 1_700_000_000_000_000 + round(1e6 * seconds))


@pytest.fixture(autouse=True)
def _a_second_between_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = itertools.count(1_700_000_000)
    monkeypatch.setattr("dlbs.machine.monitor._microseconds", lambda: 1_000_000 * next(seconds))


def warnings(monkeypatch: pytest.MonkeyPatch, reasons: list[int], programs: dict[int, int]) -> list[str]:
    """The warnings about GPU 3 after as many samples as there are reasons."""
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(list(reasons), programs))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = Gpus([3])
    for _ in reasons:
        gpus.sample()
    return gpus.warnings()


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ([IDLE, 0, 0], []),
        ([POWER_CAP] * 4, []),  # what a GPU is built for
        ([IDLE, *[0] * 98, THERMAL], []),  # once
        ([0, THERMAL | POWER_CAP, 0x88, 0], ["GPU throttling: the clock of GPU 3 was lowered 50 % of the time (hardware"]),
    ],
)  # fmt: skip
def test_a_clock_that_heat_lowers_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, reasons: list[int], said: list[str]
) -> None:
    found = warnings(monkeypatch, reasons, {})
    assert len(found) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(found, said, strict=True))


def test_many_samples_at_the_start_are_not_most_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor looks after 2 ms, 4 ms, …, while the GPU may still be hot from the experiment before."""
    monkeypatch.setitem(sys.modules, "pynvml", Nvml([*[THERMAL] * 9, *[0] * 20], {}))
    now_at(monkeypatch, 0)
    gpus = Gpus([3])
    for seconds in (*(0.002 * 2**n for n in range(9)), *range(1, 21)):
        now_at(monkeypatch, seconds)
        gpus.sample()
    assert gpus.warnings() == []


def test_a_lost_gpu_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml([IDLE] * 9, {}))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    gpus = Gpus([0, LOST, 3])
    assert gpus.count == 3
    assert dict(zip(GPU_SERIES, gpus.sample(), strict=True))["gpu_power"] == [0.0, None, 300.0]
    assert Gpus([LOST]).count == 0


def test_programs_that_use_the_gpu_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = warnings(monkeypatch, [0, 0], {OTHER: 40})
    assert (
        said
        == f"GPU contention: other programs (process {OTHER}) used 40 % of GPU 3; end them (see nvidia-smi) and rerun"
    )


def test_a_program_that_only_occupies_memory_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings(monkeypatch, [0, 0], {OTHER: 0}) == []


def test_the_experiment_does_not_disturb_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes come to the GPU after its start."""
    nvml = Nvml([0, 0], {OTHER: 97})
    nvml.now_running = []
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus = Gpus([3])
    nvml.now_running = [OTHER]
    gpus.sample()
    assert gpus.warnings() == []


def test_the_server_that_shares_a_gpu_is_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS: its process runs the kernels of the experiment."""
    monkeypatch.setattr("dlbs.machine.monitor._command", lambda pid: "nvidia-cuda-mps")
    assert warnings(monkeypatch, [0, 0], {os.getpid(): 97}) == []


def test_the_server_that_an_experiment_queries_is_no_other_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """With serving.url, it may run on the same GPU, and was started before."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for url, count in (("http://127.0.0.1:8000", 0), ("", 1)):
        monkeypatch.setitem(sys.modules, "pynvml", Nvml([0, 0], {OTHER: 97}))
        monitor = Monitor.of({"monitor.interval": 0.1, "exp.gpu_ids": "3", "serving.url": url})
        assert monitor is not None
        monitor.watch(os.getpid())
        assert len(monitor.warnings()) == count


@pytest.mark.integration
def test_a_run_has_its_own_warnings_and_those_of_the_monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml([THERMAL] * 10_000, {}))
    monkeypatch.chdir(tmp_path)
    launcher = tmp_path / "own.sh"
    body = """\necho '__results.warnings__= ["drift: times changed by 5 %"]'\n"""
    launcher.write_text('{% extends "base.sh" %}{% block benchmark %}' + body + "{% endblock %}")
    settings = {"exp.framework": "dummy", "exp.docker": False, "exp.gpus": "0", "monitor.interval": 0.05}
    config = package.load_config(parameters={**settings, "dummy.launcher": str(launcher)})
    summary = package.run_plan(config, validation=False)
    (log,) = logs(tmp_path)
    found = values(log)
    assert found["results.warnings"] == ["drift: times changed by 5 %"]  # a key is in a log once
    (throttling,) = found["results.use.warnings"]
    assert doubts_of(found) == ["drift", "GPU throttling"]
    assert throttling.startswith("GPU throttling: the clock of GPU 0 was lowered 100 % of the time")
    assert summary.doubts.kinds == {"drift": 1, "GPU throttling": 1}
