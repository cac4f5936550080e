"""The way of adding a benchmark script, from its first step to its last, with the real voir from PyPI."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import dlbs_environment
from tests.forked import ForkServer
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def workplace(forked_dlbs: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a pack made from the template, installed and prepared."""
    directory = tmp_path_factory.mktemp("packs")
    done = run_in(forked_dlbs, directory)("pack", "new", "ornatebench", "--template", "benchmark")
    assert done.returncode == 0, done.stderr
    for verb in ("install", "prepare"):
        done = run_in(forked_dlbs, directory)("pack", verb, "ornatebench")
        assert done.returncode == 0, done.stderr
    return directory


def run_in(forked_dlbs: ForkServer, directory: Path) -> Run:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = dlbs_environment(DLBS_BASE=str(directory / "base"), **more)
        return forked_dlbs.run("-m", "dlbs", *arguments, directory=directory, environment=environment, timeout=PATIENCE)

    return run


@pytest.fixture
def dlbs(forked_dlbs: ForkServer, workplace: Path) -> Run:
    return run_in(forked_dlbs, workplace)


PACK = ("-Pexp.framework=pack", "-Pexp.docker=false", "-Pvoir.interval=5", "-Pvoir.skip=1", "-Pvoir.stop=4")


def records(dlbs: Run, logs: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(dlbs("parse", logs).stdout)["data"]
    return found


def test_the_template_runs_under_voir_and_is_swept_over_batch_sizes(dlbs: Run, workplace: Path) -> None:
    done = dlbs("run", *PACK, "-Pexp.pack=ornatebench", "-Vargv.batch_size=[8,32]", "-Pexp.log_dir=logs/sweep")
    assert done.returncode == 0, done.stderr
    small, large = sorted(records(dlbs, "logs/sweep"), key=lambda record: record["exp.replica_batch"])
    sweep = ("-Pexp.pack=ornatebench", "-Vargv.batch_size=[8,32]", "-Pexp.log_dir=logs/sweep")
    assert "2 already finished\n" in dlbs("run", *PACK, *sweep).stderr
    main = workplace / "packs" / "ornatebench" / "main.py"
    source = main.read_text()
    main.write_text(f"{source}# changed\n")
    assert "2 of them with other code: main.py changed" in dlbs("run", *PACK, *sweep).stderr
    main.write_text(source)
    # The template sleeps for 10 ms a batch, so the rate is below 100 batches a second.
    for record in (small, large):
        assert record["exp.status"] == "ok"
        assert len(record["results.throughput_data"]) == 4
        assert 10.0 <= record["results.time"] < 10_000  # milliseconds: neither seconds nor microseconds
        assert 0 < record["results.loss"] < 1
    assert small["results.throughput"] < 8 * 100
    for record in (small, large):
        rates, batch = record["results.throughput_data"], record["exp.replica_batch"]
        assert record["results.time_data"] == pytest.approx([1000 * batch / rate for rate in rates])
    assert re.search(r"│ 32 +│", dlbs("report", "logs/sweep").stdout)


def test_installing_and_preparing_again_does_nothing(dlbs: Run, workplace: Path) -> None:
    assert "ornatebench: already prepared" in dlbs("pack", "prepare", "ornatebench").stderr
    assert (workplace / "base" / "data" / "ornatebench").is_dir()
    environment = workplace / "base" / "venv" / "ornatebench"
    marker = environment / "marker"
    marker.touch()
    assert "ornatebench: up to date" in dlbs("pack", "install", "ornatebench").stderr
    assert marker.exists()
    (workplace / "packs" / "ornatebench" / "requirements.in").write_text("voir\ngiving\nsix\n")
    done = dlbs("pack", "install", "ornatebench")
    assert "installed ornatebench" in done.stderr, done.stderr
    assert marker.exists()
    assert dlbs("pack", "shell", "ornatebench", "--", "python", "-c", "import six").returncode == 0


def test_the_shell_has_the_environment_of_the_pack(dlbs: Run, workplace: Path) -> None:
    done = dlbs(
        "pack",
        "shell",
        "ornatebench",
        "--",
        "sh",
        "-c",
        "command -v voir; pwd; echo $DLBS_DATA_DIR $MILABENCH_DATA_DIR",
    )
    voir, directory, data = done.stdout.splitlines()
    assert voir == str(workplace / "base" / "venv" / "ornatebench" / "bin" / "voir")
    assert directory == str(workplace / "packs" / "ornatebench")
    assert data == " ".join([str(workplace / "base" / "data")] * 2)


def test_the_dashboard_works_as_in_the_document(dlbs: Run) -> None:
    done = dlbs(
        "pack",
        "shell",
        "ornatebench",
        "--",
        "voir",
        "--dash",
        "--interval",
        "5",
        "--skip",
        "0",
        "--stop",
        "2",
        "main.py",
    )
    assert done.returncode == 0, done.stderr


def test_pinning_writes_every_package_with_its_version_and_is_installed(dlbs: Run, workplace: Path) -> None:
    assert dlbs("pack", "pin", "ornatebench", "--variant", "cpu").returncode == 0
    lines = (workplace / "packs" / "ornatebench" / "requirements.cpu.txt").read_text().splitlines()
    names = [line.split("==")[0] for line in lines if not line.startswith("#")]
    assert {"voir", "giving", "omegaconf", "reactivex"} <= set(names)  # also what they need in turn
    assert all("==" in line for line in lines if not line.startswith("#"))
    done = dlbs("pack", "install", "ornatebench", "--variant", "cpu")
    assert done.returncode == 0, done.stderr
    (version,) = (line.partition("==")[2] for line in lines if line.startswith("giving=="))
    assert list(workplace.glob(f"base/venv/ornatebench/lib/python*/site-packages/giving-{version}.dist-info"))


def test_a_script_without_a_rate_is_a_failure_with_the_reason(dlbs: Run, workplace: Path) -> None:
    pack = workplace / "silent"
    pack.mkdir(exist_ok=True)
    (pack / "main.py").write_text("import voir\nprint('nothing to measure')\n")
    done = dlbs(
        "run",
        *PACK,
        "-Pexp.pack=./silent",
        f"-Ppack.python={workplace / 'base/venv/ornatebench/bin/python'}",
        "-Pexp.log_dir=logs/silent",
    )
    assert done.returncode == 1
    (record,) = records(dlbs, "logs/silent")
    assert record["exp.status"] == "failure"
    assert "no rate was measured" in record["exp.status_msg"]


def test_a_script_that_asks_to_be_ended_keeps_its_rates(dlbs: Run, workplace: Path) -> None:
    """As voirfiles do that leave the end of the script to whoever started it, for the script has children."""
    pack = workplace / "stopping"
    pack.mkdir(exist_ok=True)
    (pack / "main.py").write_text(
        "import subprocess, sys, time, voir\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(10000)'])\n"
        "print('child', child.pid, flush=True)\n"
        "for i in voir.iterate('train', range(10**9), report_batch=True, batch_size=4):\n    time.sleep(0.01)\n"
    )
    (pack / "voirfile.py").write_text(
        "from voir.instruments import early_stop, log, rate\n"
        "def instrument_main(overseer):\n"
        "    yield overseer.phases.init\n"
        "    overseer.require(log('value', 'progress', 'rate', 'units', context='task'))\n"
        "    overseer.require(early_stop(n=3, key='rate', signal='stop'))\n"
        "    yield overseer.phases.load_script\n"
        "    overseer.require(rate(interval=5, skip=1, sync=None))\n"
    )
    python = f"-Ppack.python={workplace / 'base/venv/ornatebench/bin/python'}"
    done = dlbs(
        "run",
        "-Pexp.framework=pack",
        "-Pexp.docker=false",
        "-Pexp.pack=./stopping",
        python,
        "-Pexp.log_dir=logs/stopping",
    )
    assert done.returncode == 0, done.stderr
    (record,) = records(dlbs, "logs/stopping")
    assert record["exp.status"] == "ok"
    assert len(record["results.throughput_data"]) >= 3
    log = next((workplace / "logs" / "stopping").glob("*.log")).read_text()
    child = re.search(r"^child (\d+)", log, re.MULTILINE)
    assert child is not None
    state = Path(f"/proc/{child[1]}/stat")  # of a process that nobody has waited for yet it is Z
    wait_until(lambda: not state.exists() or " Z " in state.read_text(), "the end of the child")


def test_a_script_that_fails_is_a_failure_with_its_error(dlbs: Run, workplace: Path) -> None:
    pack = workplace / "failing"
    pack.mkdir(exist_ok=True)
    (pack / "main.py").write_text("import voir\n\ndef main():\n    raise RuntimeError('no luck today')\n\nmain()\n")
    done = dlbs(
        "run",
        *PACK,
        "-Pexp.pack=./failing",
        f"-Ppack.python={workplace / 'base/venv/ornatebench/bin/python'}",
        "-Pexp.log_dir=logs/failing",
    )
    assert done.returncode == 1
    (record,) = records(dlbs, "logs/failing")
    assert record["exp.status_msg"] == "RuntimeError: no luck today"


def test_a_benchfile_overrides_install_prepare_and_run(dlbs: Run, workplace: Path) -> None:
    pack = workplace / "own"
    pack.mkdir(exist_ok=True)
    (pack / "pack.yaml").write_text("own: {install_group: ornatebench}\n")
    (pack / "benchfile.py").write_text(
        "from dlbs.packs.benchfile import BenchmarkPack\n"
        "class Own(BenchmarkPack):\n"
        "    def install(self):\n        self.run_in_environment('python', '-c', 'open(\"installed\", \"w\")')\n"
        "    def prepare(self):\n        (self.data / 'own.txt').write_text('7')\n"
        "    def command(self, script):\n        return ['sh', '-c', 'echo __results.throughput__= $(cat $DLBS_DATA_DIR/own.txt)']\n"
    )
    for verb in ("install", "prepare"):
        done = dlbs("pack", verb, "./own")
        assert done.returncode == 0, done.stderr
    assert (pack / "installed").exists()
    done = dlbs("run", "-Pexp.framework=pack", "-Pexp.docker=false", "-Pexp.pack=./own", "-Pexp.log_dir=logs/own")
    assert done.returncode == 0, done.stderr
    assert records(dlbs, "logs/own")[0]["results.throughput"] == 7


def test_two_packs_of_a_group_share_an_environment_and_jobs_run_side_by_side(dlbs: Run, workplace: Path) -> None:
    done = dlbs("pack", "new", "second")
    assert done.returncode == 0, done.stderr
    definition = workplace / "packs" / "second" / "pack.yaml"
    text = definition.read_text().replace("install_group: second", "install_group: ornatebench")
    definition.write_text(text.replace("  weight: 1.0", "  plan: {method: njobs, n: 2}\n  weight: 1.0"))
    assert dlbs("pack", "install", "second").returncode == 0
    assert not (workplace / "base" / "venv" / "second").exists()
    done = dlbs("run", *PACK, "--select", "second", "--jobs", "2", "-Pexp.log_dir=logs/second")
    assert done.returncode == 0, done.stderr
    both = records(dlbs, "logs/second")
    assert [record["exp.job"] for record in sorted(both, key=lambda record: record["exp.job"])] == [0, 1]
    assert both[0]["exp.neighbours"] or both[1]["exp.neighbours"]


def test_a_failed_install_is_not_listed_as_installed_and_harms_no_other_pack(dlbs: Run, workplace: Path) -> None:
    pack = workplace / "packs" / "failed"
    pack.mkdir()
    (pack / "main.py").write_text("print('__results.throughput__= 7')\n")
    (pack / "pack.yaml").write_text("failed: {install_group: ornatebench}\n")
    (pack / "requirements.in").write_text("--no-index\nthere-is-no-such-package-anywhere==99\n")
    marker = workplace / "base" / "venv" / "ornatebench" / "marker"
    marker.touch()
    assert dlbs("pack", "install", "ornatebench").returncode == 0
    for _ in range(2):  # it is tried again
        done = dlbs("pack", "install", "failed")
        assert done.returncode == 2
        assert "requirements.in failed with exit code 1" in done.stderr
        assert "Traceback" not in done.stderr
    assert "ornatebench: not installed (run dlbs pack install failed)" in dlbs("pack", "check", "failed").stdout
    assert "failed is not installed" in dlbs("pack", "shell", "failed", "true").stderr
    done = dlbs("run", "-Pexp.framework=pack", "-Pexp.pack=failed", "-Pexp.docker=false")
    assert done.returncode == 2
    assert "failed is not installed (run dlbs pack install failed)" in done.stderr
    assert "ornatebench: up to date" in dlbs("pack", "install", "ornatebench").stderr
    (pack / "requirements.in").write_text("")
    assert "ornatebench: installed failed" in dlbs("pack", "install", "ornatebench", "failed").stderr
    assert "venv/ornatebench: installed" in dlbs("pack", "check", "failed").stdout
    assert dlbs("pack", "shell", "failed", "true").returncode == 0
    assert marker.exists()
