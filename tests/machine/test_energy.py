"""Energy of an experiment, from its start to its end, by counters and a clock that the test sets."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dlbs.machine import monitor
from dlbs.machine.monitor import GPU_SERIES, CpuEnergy, Monitor

WATTS = 10.0


class Machine:
    """A clock, CPUs that use 10 W, and GPUs with the power of a list, one value for each sample."""

    found = True
    count = 1

    def __init__(self) -> None:
        self.now = 1000.0
        self.gpu_watts: list[float | None] = []
        self.samples = 0

    def joules(self) -> float:
        return WATTS * self.now

    def sample(self) -> list[list[float | None]]:
        self.samples += 1
        watts = self.gpu_watts[min(self.samples, len(self.gpu_watts)) - 1] if self.gpu_watts else WATTS
        return [[watts if name == "gpu_power" else 0.0] for name in GPU_SERIES]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    clock = SimpleNamespace(monotonic=lambda: found.now, time=lambda: 1.7e9 - found.now)  # one that is set back
    monkeypatch.setattr(monitor, "time", clock)
    monkeypatch.setattr(monitor, "CpuEnergy", lambda: found)
    monkeypatch.setattr(monitor, "Gpus", lambda numbers, *, shared: found)
    return found


def measured(machine: Machine, interval: float, seconds: float) -> dict[str, Any]:
    """What a monitor logs of an experiment."""
    one = Monitor(interval, gpus=[0])
    one.watch(os.getpid())
    end = machine.now + seconds
    while machine.now < end:
        machine.now = min(end, max(one.sample_if_due(), machine.now + 0.001))
    one.end(None)
    found = one.results()
    machine.now += 100
    one.end(None)
    assert one.results() == found
    return found


@pytest.mark.parametrize(("interval", "seconds"), [(5, 1), (1, 2.9), (0.5, 2.9), (1, 60), (100, 0.001)])
def test_energy_is_that_of_the_whole_experiment(machine: Machine, interval: float, seconds: float) -> None:
    found = measured(machine, interval, seconds)
    assert found["results.use.energy"] == pytest.approx(WATTS * seconds)
    assert found["results.use.gpu_energy"] == [pytest.approx(WATTS * seconds)]
    assert found["results.use.power"] == pytest.approx([WATTS] * len(found["results.use.time"]))


def test_a_power_sample_counts_since_the_one_before_and_the_last_one_until_the_end(machine: Machine) -> None:
    machine.gpu_watts = [0, 0, 100, 200]  # two before the first sample
    found = measured(machine, 1, 2.5)
    first, second = found["results.use.gpu_power"][0][:2]
    assert found["results.use.gpu_energy"] == [pytest.approx(first * 1 + second * 1.5)]


def test_a_missing_power_sample_counts_as_the_mean_of_the_others(machine: Machine) -> None:
    machine.gpu_watts = [WATTS] * 8 + [None] + [WATTS]
    found = measured(machine, 0.1, 2.0)
    assert None in found["results.use.gpu_power"][0]
    assert found["results.use.gpu_energy"] == [pytest.approx(WATTS * 2)]


def test_a_gpu_without_power_has_no_energy(machine: Machine) -> None:
    machine.gpu_watts = [None]
    assert measured(machine, 0.1, 2.0)["results.use.gpu_energy"] == [None]


def counters(directory: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> list[Path]:
    """The energy counters of zones with these names, which wrap around at 1 J."""
    found = []
    for number, name in enumerate(names):
        zone = directory / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text("1000000\n")
        (zone / "energy_uj").write_text("0900000\n")
        found.append(zone / "energy_uj")
    monkeypatch.setattr(monitor, "glob", SimpleNamespace(glob=lambda pattern: list(map(str, found))))
    return found


def test_a_counter_that_wraps_around_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (counter,) = counters(tmp_path, monkeypatch, "package-0")
    energy = CpuEnergy()
    found = [energy.joules()]
    for value in ("0000000", "500000", "100000"):
        counter.write_text(value)
        found.append(energy.joules())
    assert [later - found[0] for later in found] == pytest.approx([0, 0.1, 0.6, 1.2])


@pytest.mark.parametrize(("names", "packages"), [(["package-0", "package-1"], 2), (["package-0", "psys"], 1), ([], 0)])
def test_packages_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], packages: int) -> None:
    """A laptop has a counter of the whole machine (psys), of which its package is a part."""
    counters(tmp_path, monkeypatch, *names)
    energy = CpuEnergy()
    assert energy.found == bool(packages)
    assert energy.joules() == pytest.approx(0.9 * packages)
