"""`dlbs run -- COMMAND`: a command that knows nothing of dlbs, from the command line to the table."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import RunDlbs
from tests.experiments import logs, values
from tests.services import BASE_IMAGE
from tests.slurm_cluster import Cluster
from tests.waiting import LIMITS

pytestmark = pytest.mark.integration

BENCH = """\
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int)
size = parser.parse_args().size
print("sorting", size)
sorted(range(size * 1000, 0, -1))
"""


def shown(text: str) -> list[list[str]]:
    """The cells of a table's rows."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if line.startswith("│")]


def bench(tmp_path: Path, more: str = "") -> None:
    (tmp_path / "bench.py").write_text(BENCH + more)


def test_a_sweep_as_in_the_manual(dlbs: RunDlbs, tmp_path: Path) -> None:
    bench(tmp_path)
    flags = ("-Pexp.num_batches=3", "-Pexp.repeats=3")
    done = dlbs(
        "run", *flags, "--order", "round-robin", "--", "python3", "bench.py", "--size", "{size}", "-Vsize=[1,2,4]"
    )
    assert done.returncode == 0, done.stderr
    assert "[9/9] python3 bench.py --size 4, repeat 3: ok in " in done.stderr
    assert " ms" in done.stderr
    assert "alexnet" not in done.stderr
    assert "docker" not in done.stderr
    found = [values(log) for log in logs(tmp_path)]
    assert sorted(one["size"] for one in found) == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    for one in found:
        assert len(one["results.time_data"]) == 3
        assert "results.throughput" not in one
        assert {"results.time_user", "results.time_system", "results.memory_host"} <= one.keys()
    log = logs(tmp_path)[0].read_text()
    assert log.count("\nsorting ") == 1

    report = dlbs("report", "logs", check=True).stdout
    assert report.startswith("Time, ms; median of 3 runs")
    assert [row[0] for row in shown(report)] == ["1", "2", "4"]
    assert "all runs: python3 bench.py --size {size}, cpu" in report
    compared = json.loads(dlbs("compare", "logs", "--by", "size", "--format", "json", check=True).stdout)
    assert {one["metric"] for one in compared["comparisons"]} == {"results.time"}
    assert [one["value"] for one in compared["comparisons"]] == [2, 4]
    assert "also differs" not in dlbs("compare", "logs", "--by", "size", check=True).stdout
    dlbs("report", "logs", "--html", "page.html", check=True)
    page = (tmp_path / "page.html").read_text()
    assert "Time by size" in page
    assert "batch time" not in re.sub("<script.*?</script>", "", page, flags=re.DOTALL)
    scores = dlbs("report", "logs", "--scores", check=True).stdout
    assert "perf of a benchmark without throughput: runs per second" in scores
    for text in (scores, dlbs("status", check=True).stdout):
        assert not {"alexnet", "float32", "training"} & set(text.replace(",", " ").split())
    for kind in ("bars", "series"):
        given = str(logs(tmp_path)[0]) if kind == "series" else "logs"
        dlbs("plot", given, "--type", kind, "-o", f"{kind}.png", check=True)
        assert (tmp_path / f"{kind}.png").stat().st_size > 1000
    log = str(logs(tmp_path)[0].relative_to(tmp_path))
    assert "1 experiment: 1 ok" in dlbs("rerun", log, check=True).stderr
    again = dlbs("run", *flags, "--", "python3", "bench.py", "--size", "{size}", "-Vsize=[1,2,4]", check=True)
    assert "9 already finished" in again.stderr


def test_what_the_command_prints_are_the_results(dlbs: RunDlbs, tmp_path: Path) -> None:
    bench(tmp_path, 'print(f"__results.throughput__= {100 * size}")\nprint("__results.unit__= \\"rows\\"")\n')
    done = dlbs(
        "run", "-Pexp.num_batches=2", "--", "python3", "bench.py", "--size", "{size}", "-Vsize=[1,2]", check=True
    )
    assert "[2/2] python3 bench.py --size 2: ok in " in done.stderr
    assert "200.0 rows/s" in done.stderr
    report = dlbs("report", "logs", check=True).stdout
    assert "Throughput, rows/s" in report
    assert [row[:2] for row in shown(report.replace(" ⚠", ""))] == [["1", "100.0"], ["2", "200.0"]]


def test_a_command_that_fails_says_why_everywhere(dlbs: RunDlbs, tmp_path: Path) -> None:
    done = dlbs("run", "--", "bash", "-c", "echo working; echo no such table >&2; exit 3")
    assert done.returncode == 1
    assert "failure in " in done.stderr
    assert "exit code 3: no such table" in done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "failure"
    assert "\nworking\nno such table\n" in log.read_text()
    assert "exit code 3: no such table" in dlbs("status").stdout


def test_exit_code_77_is_skipped(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", "-Pexp.num_batches=1", "--", "bash", "-c", "echo needs a GPU; exit 77")
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "skipped"


def test_a_command_that_takes_too_long_is_ended(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = ("-Pexp.rerun=always", "-Pcommand.cleanup=touch cleaned", "--", "sh", "-c", "touch begun; exec sleep 1000")
    for limit in LIMITS:
        dlbs("run", f"-Pexp.timeout={limit:g}", *flags)
        (log,) = logs(tmp_path)
        assert values(log)["exp.status"] == "timeout"
        if (tmp_path / "begun").exists():
            break
    assert (tmp_path / "cleaned").exists()


def test_validate_finds_what_is_not_there(dlbs: RunDlbs) -> None:
    done = dlbs("validate", "-Pcommand.prepare=./prep", "--", "{program}", "-Vprogram=[true,frobnicate]")
    assert done.returncode == 2
    assert "program 'frobnicate' not found" in done.stderr
    assert "command.prepare: program './prep' not found" in done.stderr
    assert "1 experiment, no problems found" in dlbs("validate", "--", "true", check=True).stdout


def test_build_and_explain_take_commands_too(dlbs: RunDlbs) -> None:
    plan = json.loads(dlbs("build", "--", "echo", "{n}", "-Vn=[1,2]", check=True).stdout)
    assert [one["command.argv"] for one in plan] == [["echo", "${n}"]] * 2
    explained = dlbs("explain", "command.argv", "--", "echo", "{n}", "-Vn=[7]", check=True).stdout
    assert explained.startswith('command.argv = ["echo", 7]')
    assert "set at -- echo {n}" in explained
    assert "set at -Vn" in explained


def test_a_built_plan_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("build", "-o", "plan.json", "-Pexp.num_batches=2", "--", "echo", "{n}", "-Vn=[1,2]", check=True)
    done = dlbs("run", "--plan", "plan.json", check=True)
    assert "2 experiments: 2 ok" in done.stderr
    assert [one["command.argv"][1] for one in map(values, logs(tmp_path))] == [1, 2]


def test_no_value_becomes_shell_code(dlbs: RunDlbs, tmp_path: Path) -> None:
    evil: list[Any] = ["$(touch a)", "; touch b", "`touch c`", "'; touch d; '", "${x}", "\\", "a\nb", ""]
    dlbs(
        "run",
        "-Pexp.num_batches=1",
        f"-Vx={json.dumps([one.replace('${', chr(92) + '${') for one in evil])}",
        "--",
        "printf",
        "%s|",
        "{x}",
    )
    assert not {path.name for path in tmp_path.iterdir()} & set("abcd")
    described = re.compile(r"^__exp\.(env|code|software)\..*\n", re.MULTILINE)  # before the first run
    outputs = {
        described.sub("", log.read_text()).partition("__exp.start_time__=")[2].split("\n", 1)[1].partition("|")[0]
        for log in logs(tmp_path)
    }
    assert outputs == set(evil)


def test_a_launcher_can_be_run_by_hand(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("run", "-Pexp.num_batches=2", "--", "echo", "hello", check=True)
    (script,) = (tmp_path / "logs").glob("*.sh")
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=True)
    assert "\nhello\n" in done.stdout
    assert '__exp.status__= "ok"' in done.stdout


@pytest.mark.needs("docker", "base image")
def test_a_command_runs_in_the_image_that_is_named(dlbs: RunDlbs, tmp_path: Path) -> None:
    (tmp_path / "script.sh").write_text('echo in a container; ls /.dockerenv; echo "[$1]"')
    image = f"-Pexp.docker_image={BASE_IMAGE}"
    done = dlbs("run", image, "-Pexp.num_batches=2", "--", "sh", "script.sh", "")
    (log,) = logs(tmp_path)
    text = log.read_text()
    assert done.returncode == 0, text
    assert "\nin a container\n/.dockerenv\n[]\n" in text
    assert len(values(log)["results.time_data"]) == 2


def test_commands_run_side_by_side_on_cpus_of_their_own(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = ("-Pexp.num_batches=2", "-Pruntime.cpus=1", "--jobs", "2")
    show = "import os; print('__exp.given__=', sorted(os.sched_getaffinity(0)))"
    dlbs("run", *flags, "--", "python3", "-c", show, "{n}", "-Vn=[1,2,3]", check=True)
    found = [values(log) for log in logs(tmp_path)]
    assert len(found) == 3
    for one in found:
        assert [str(cpu) for cpu in one["exp.given"]] == [one["exp.cpus"]]


@pytest.mark.needs("Slurm")
def test_commands_run_on_a_cluster(cluster: Cluster, dlbs: RunDlbs, tmp_path: Path) -> None:
    arguments = ("--executor", "slurm", "-Pexp.num_batches=2", "--", "echo", "{n}", "-Vn=[1,2]")
    done = dlbs("run", *arguments, check=True, **cluster.environment)
    assert "2 experiments: 2 ok" in done.stderr
    assert [one["command.argv"][1] for one in map(values, logs(tmp_path))] == [1, 2]
