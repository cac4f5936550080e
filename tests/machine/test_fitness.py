"""Whether a machine is fit to measure: findings from /proc and /sys of made-up machines, and the noise of this one."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import dlbs as package
from dlbs.core.errors import LaunchError
from dlbs.machine import fitness
from dlbs.machine.fitness import Finding, Machine, Noise, check_machine, detectable, machine_warnings, measure_noise
from tests.conftest import RunDlbs

CPU = "sys/devices/system/cpu"
QUIET = {
    f"{CPU}/cpu0/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/cpu1/cpufreq/scaling_governor": "performance\n",
    f"{CPU}/intel_pstate/no_turbo": "1\n",
    f"{CPU}/smt/active": "0\n",
    f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "0\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/devices/system/node/node0/cpulist": "0-1\n",
    "sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
    "sys/class/thermal/thermal_zone0/temp": "45000\n",
    "sys/class/thermal/thermal_zone0/trip_point_0_temp": "100000\n",
    "sys/fs/cgroup/cpu.max": "max 100000\n",
    "proc/meminfo": "MemTotal: 100 kB\nSwapTotal:  2048 kB\nSwapFree:  2048 kB\n",
    "proc/stat": "cpu  100 0 50 1000 0 0 0 0 0 0\n",
}
UUID = "GPU-5d2c2a8a-1fbe-4bfa-9d0c-9a3e7d6a1b20"
IDLE = "0x0000000000000001"
H100 = ["0", UUID, "Enabled", "700.00", "700.00", IDLE, IDLE, "1980", "1980", "0"]


def machine(root: Path, gpus: list[list[str]] | None = None, **changes: str | None) -> Machine:
    """A quiet machine but for some files."""
    for name, content in {**QUIET, **changes}.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
    return Machine(root, seconds=0, nvidia=lambda fields: gpus or [])


def findings(made: Machine) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_machine(made)}


def test_a_quiet_machine_has_no_warning(tmp_path: Path) -> None:
    made = findings(machine(tmp_path, [H100]))
    assert {finding.state for finding in made.values()} == {"ok"}
    assert not any(finding.remedy for finding in made.values())
    assert "1980 of 1980 MHz" in made["GPU 0 clock"].value


@pytest.mark.parametrize(
    ("name", "file", "content", "value"),
    [
        ("governor", f"{CPU}/cpu1/cpufreq/scaling_governor", "powersave", "performance, powersave"),
        ("turbo", f"{CPU}/intel_pstate/no_turbo", "0", "on"),
        ("SMT", f"{CPU}/smt/active", "1", "on"),
        ("transparent huge pages", "sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise", "always"),
        ("NUMA", "sys/devices/system/node/node1/cpulist", "2-3", "2 nodes"),
        ("swap", "proc/meminfo", "SwapTotal: 4096 kB\nSwapFree: 1024 kB\n", "3 MiB"),
        ("CPU quota", "sys/fs/cgroup/cpu.max", "150000 100000", "1.5 CPUs"),
        ("temperature", "sys/class/thermal/thermal_zone0/temp", "98000", "98 °C"),
        ("temperature", f"{CPU}/cpu0/thermal_throttle/core_throttle_count", "12", "throttled 12 times"),
    ],
)
def test_each_source_of_variation_is_a_warning_with_a_remedy(
    tmp_path: Path, name: str, file: str, content: str, value: str
) -> None:
    made = findings(machine(tmp_path, **{file: content}))
    assert made[name].state == "warning"
    assert value in made[name].value
    assert made[name].remedy
    assert [other.name for other in made.values() if other.state == "warning"] == [name]


@pytest.mark.parametrize(
    ("gpu", "name", "value"),
    [
        ([*H100[:2], "Disabled", *H100[3:]], "GPU 0 persistence", "off"),
        ([*H100[:3], "400.00", *H100[4:]], "GPU 0 power limit", "400 W instead of 700 W"),
        ([*H100[:5], "0x0000000000000044", *H100[6:]], "GPU 0 clock", "power cap, hardware thermal slowdown"),
        ([*H100[:5], "", "0x0000000000000004", *H100[7:]], "GPU 0 clock", "power cap"),  # a driver before 535
        ([*H100[:9], "97"], "GPU 0 load", "97 %"),
    ],
)
def test_gpus(tmp_path: Path, gpu: list[str], name: str, value: str) -> None:
    made = findings(machine(tmp_path, [gpu]))
    assert made[name].state == "warning"
    assert value in made[name].value


def test_answers_that_a_gpu_does_not_give_are_no_warning(tmp_path: Path) -> None:
    made = findings(machine(tmp_path, [["0", *["[N/A]"] * 9]]))
    assert all(finding.state != "warning" for finding in made.values())


def test_a_driver_that_does_not_respond_is_named(tmp_path: Path) -> None:
    def hang(fields: tuple[str, ...]) -> list[list[str]]:
        raise LaunchError("nvidia-smi did not respond within 60 s")

    made = findings(Machine(tmp_path, seconds=0, nvidia=hang))
    assert made["GPUs"].state == "unknown"
    assert made["GPUs"].value == "nvidia-smi did not respond within 60 s"


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A machine with two GPUs, both busy, the second without persistence mode; the number of queries so far."""
    queries: list[int] = []

    def answer(fields: tuple[str, ...]) -> list[list[str]]:
        queries.append(len(queries))
        return [[*H100[:9], "97"], ["1", "GPU-1", "Disabled", *H100[3:9], "97"]]

    monkeypatch.setattr("dlbs.machine.fitness.Machine", functools.partial(Machine, nvidia=answer))
    for cached in (fitness._gpu_warnings, fitness._warnings):
        cached.cache_clear()
    yield queries
    for cached in (fitness._gpu_warnings, fitness._warnings):
        cached.cache_clear()


def test_a_log_has_the_warnings_about_the_settings_of_its_own_gpus(two_gpus: list[int]) -> None:
    """Without their load: that of an experiment that has just ended is its own."""

    def of_gpus(*gpus: str) -> list[str]:
        return [line for line in machine_warnings(gpus) if line.startswith("GPU")]

    assert of_gpus() == []
    assert not two_gpus  # nvidia-smi, which may take seconds, is not started for CPUs
    assert of_gpus("0") == of_gpus(UUID) == of_gpus("7") == []
    assert of_gpus("1") == of_gpus("GPU-1") == ["GPU 1 persistence: off: the driver unloads between runs"]
    assert len(two_gpus) == 1


def test_a_machine_that_shows_nothing_is_unknown(tmp_path: Path) -> None:
    made = findings(Machine(tmp_path, seconds=0, nvidia=lambda fields: []))
    assert {made[name].state for name in ("governor", "turbo", "SMT", "NUMA", "swap", "other load")} == {"unknown"}
    assert not any(finding.state == "warning" for finding in made.values())


def test_the_load_of_others_and_stolen_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = machine(tmp_path)

    def pass_time(seconds: float) -> None:
        (tmp_path / "proc/stat").write_text("cpu  10060 0 50 1030 0 0 0 10 0 0\n")

    monkeypatch.setattr("dlbs.machine.fitness.time.sleep", pass_time)
    monkeypatch.setattr("dlbs.machine.fitness.time.process_time", lambda: 0.0)
    found = findings(made)
    assert found["other load"].value == "100% of the CPUs"
    assert found["steal time"].state == "ok"
    assert found["other load"].state == "warning"


def test_the_detectable_difference_grows_with_the_noise_and_shrinks_with_the_runs() -> None:
    # Two samples of five, two-sided 5 %, power 80 %: an effect of 2.02 standard deviations (Cohen 1988, table 2.4.1).
    assert detectable(0.01, 5) == pytest.approx(0.0202, rel=0.01)
    assert detectable(0.10, 5) == pytest.approx(10 * detectable(0.01, 5))
    assert detectable(0.01, 3) > detectable(0.01, 5) > detectable(0.01, 10) > detectable(0.01, 20)


def test_noise_of_given_times() -> None:
    noise = Noise((1.0, 2.0, 1.0, 2.0))
    assert noise.spread == 2
    assert noise.difference == 0.5
    assert noise.variation == pytest.approx(0.385, abs=0.001)


@pytest.mark.integration
def test_the_work_is_timed_on_this_machine() -> None:
    seen: list[tuple[int, int]] = []
    noise = measure_noise(0, lambda number, runs: seen.append((number, runs)))
    assert len(noise.seconds) == len(seen) == seen[-1][0] == seen[-1][1]
    assert min(noise.seconds) > 0
    assert noise.variation >= 0


@pytest.mark.integration
def test_the_verb_prints_findings_and_what_can_be_detected(dlbs: RunDlbs) -> None:
    done = dlbs("check-machine", "--seconds", "0.1")
    assert done.returncode == 0, done.stderr
    assert "CPUs:" in done.stdout
    assert "5 runs per side" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


@pytest.mark.integration
def test_strict_and_json(dlbs: RunDlbs) -> None:
    done = dlbs("check-machine", "--seconds", "0", "--json", "--strict")
    document = json.loads(done.stdout)
    assert done.returncode == (1 if document["warnings"] else 0)
    assert {finding["state"] for finding in document["findings"]} <= {"ok", "warning", "unknown"}
    assert "noise" not in document


@pytest.mark.integration
def test_the_log_of_a_run_has_the_warnings_about_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dlbs.executors.job.machine_warnings", lambda gpus: ["governor: powersave"])
    monkeypatch.chdir(tmp_path)
    config = package.load_config(parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": ""})
    package.run_plan(config)
    (log,) = tmp_path.glob("logs/*.log")
    assert '__exp.machine_warnings__= ["governor: powersave"]' in log.read_text()
