"""The program that runs main scripts: what reaches the log, and what counts as a measurement."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pack_runner.run import Events, TerminalCodes

from tests.conftest import ROOT, RunDlbs
from tests.packs.test_packs import write_pack

RUNNER = str(ROOT / "python" / "pack_runner" / "run.py")
COLOURED = b"\x1b[1;31mred\x1b[0m \x1b]0;a title\x07plain\x1b(B \x1b[?25l\x1b[2Kend \x1b]8;;http://x\x1b\\link\x1bM\n"


def run(script: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, RUNNER, *flags, "--", *([sys.executable] if flags else []), str(script)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_terminal_codes_are_removed_wherever_the_stream_is_cut(size: int) -> None:
    codes = TerminalCodes()
    pieces = [COLOURED[start : start + size] for start in range(0, len(COLOURED), size)]
    assert b"".join(map(codes.without, pieces)) + codes.rest() == b"red plain end link\n"


def test_an_escape_that_begins_no_code_is_kept_at_the_end() -> None:
    codes = TerminalCodes()
    assert codes.without(b"text\x1b[12") == b"text"
    assert codes.rest() == b"\x1b[12"


def test_a_script_may_ask_to_be_ended() -> None:
    events = Events()
    events.take({"task": "train", "rate": 5.0})
    assert not events.stopped
    events.take({"$event": "stop"})
    assert events.stopped
    assert events.results()["results.throughput"] == 5


@pytest.mark.integration
def test_a_script_that_reports_nothing_has_failed(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print('done')\n")
    for flags in ((), ("--command",)):
        done = run(tmp_path / "main.py", *flags)
        assert done.returncode == 1
        assert "done\n" in done.stdout
        assert '__exp.status_msg__= "nothing was measured: ' in done.stdout


@pytest.mark.integration
@pytest.mark.parametrize("flags", [(), ("--command",)])
def test_a_result_is_seen_wherever_it_is_printed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    (tmp_path / "main.py").write_text(
        "import sys, time\n"
        "sys.stderr.write('\\x1b[32mwarm\\x1b[0m\\n')\n"
        "sys.stdout.write('  __results.thr')\nsys.stdout.flush()\n"
        "time.sleep(0.2)\n"
        "print('oughput__= 7')\n"
    )
    done = run(tmp_path / "main.py", *flags)
    printed = [line for line in done.stdout.splitlines() if not line.startswith("__exp.")]
    assert (done.returncode, printed, done.stderr) == (0, ["  __results.throughput__= 7"], "warm\n")


@pytest.mark.integration
def test_the_exit_code_is_the_scripts(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("import os, signal, sys\nos.kill(os.getpid(), int(sys.argv[1]))\n")
    command = [sys.executable, RUNNER, "--", str(tmp_path / "main.py")]
    for number in (9, 15):
        assert subprocess.run([*command, str(number)], check=False).returncode == 128 + number


@pytest.mark.integration
def test_a_run_without_a_measurement_is_a_failure_with_the_reason(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "silent", main="print('nothing to see')\n")
    own = write_pack(tmp_path / "packs" / "own")
    (own / "benchfile.py").write_text(
        "from dlbs.packs.benchfile import BenchmarkPack\n"
        "class Own(BenchmarkPack):\n    def command(self, script): return ['echo', 'nothing']\n"
    )
    done = dlbs("run", "-Pexp.framework=pack", "-Vexp.pack=[silent,own]", "-Pexp.docker=false")
    assert done.returncode == 1
    records = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert [record["exp.status"] for record in records] == ["failure", "failure"]
    assert all("nothing was measured" in record["exp.status_msg"] for record in records)


@pytest.mark.integration
def test_njobs_makes_as_many_experiments_with_and_without_gpus(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_pack(tmp_path / "packs" / "jobs", "jobs: {plan: {method: njobs, n: 3}}")
    for flags in ((), ("-Pexp.gpus=",), ("-Pexp.gpus=0",)):
        done = dlbs("build", "--resolve", "-Pexp.framework=pack", "-Pexp.pack=jobs", *flags)
        assert [one["exp.job"] for one in json.loads(done.stdout)] == [0, 1, 2]


@pytest.mark.integration
def test_a_pack_without_requirements_runs_with_the_python_of_dlbs(dlbs: RunDlbs, tmp_path: Path) -> None:
    main = "import sys\nprint('__results.throughput__= 5')\nprint(f'__results.python__= \"{sys.executable}\"')\n"
    write_pack(tmp_path / "packs" / "plain", main=main)
    base = {"DLBS_BASE": str(tmp_path / "base")}
    assert "plain: nothing to install" in dlbs("pack", "install", "plain", **base).stderr
    done = dlbs("run", "-Pexp.framework=pack", "-Pexp.pack=plain", "-Pexp.docker=false", **base)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(dlbs("parse", "logs").stdout)["data"]
    assert os.path.samefile(record["results.python"], sys.executable)
    assert dlbs("pack", "check", "plain", **base).returncode == 0
    assert not (tmp_path / "base").exists()


HIDDEN = """
import json, sys, time
def hide(**event):
    digits = (json.dumps(event) + "\\n").encode().hex().translate(str.maketrans("abcdef", ":;<=>?"))
    print(f"\\x1b[{digits}z", end="", flush=True)
print("before", end="")
for rate in range(1, 1000):
    hide(task="train", rate=rate, units="items/s", note="x" * 3000)
    time.sleep(0.01)
"""


@pytest.mark.integration
def test_events_that_are_hidden_in_standard_output_are_found_and_a_script_that_never_ends_is_ended(
    tmp_path: Path,
) -> None:
    (tmp_path / "endless.py").write_text(HIDDEN)
    done = subprocess.run(
        [sys.executable, str(RUNNER), "--events", "--stdout", "--stop", "5", "--", sys.executable, "endless.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [one for one in done.stdout.splitlines() if one.startswith("__results.throughput_data__=")]
    assert json.loads(line.partition("=")[2])[:5] == [1, 2, 3, 4, 5]
    assert "before" in done.stdout
    assert "\x1b" not in done.stdout
