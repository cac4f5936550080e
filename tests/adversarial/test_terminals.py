"""Broken standard streams, signals and defects: each case is a line, run by a real shell with real pipes, devices and signals."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import termios
from contextlib import ExitStack
from pathlib import Path

import pytest

from dlbs.core.text import formula_escaped
from tests.conftest import ROOT, RunDlbs, dlbs_environment
from tests.experiments import DUMMY, launcher, logs, values
from tests.forked import ForkServer
from tests.waiting import PATIENCE, has_ended, wait_until

PROGRAM = f"{shlex.quote(sys.executable)} -m dlbs"
RUN = f"{PROGRAM} run {shlex.join(DUMMY)}"

# 10^9 experiments
GRID = " ".join(
    f"-V{name}={list(range(1, 1001))}".replace(" ", "") for name in ("exp.seed", "exp.replica_batch", "exp.timeout")
)

# How standard error is broken, and what is left of it.
BROKEN_ERRORS = {
    "closed": "2>&-",
    "full": "2>/dev/full",
    "a reader that went away": "2> >(head -c1 >/dev/null)",
    "a reader that reads nothing": "2> >(true)",
    "read only": "2</dev/null",
    "both closed": ">&- 2>&-",
    "all closed": "<&- >&- 2>&-",
}

# How standard output is broken, and what the error says.
BROKEN_OUTPUTS = {
    "full": (">/dev/full", "No space left on device"),
    "closed": (">&-", "Bad file descriptor"),
    "read only": ("1</dev/null", "Bad file descriptor"),
}

VERBS = {
    "build": "build",
    "print-config": "print-config --json",
    "explain": "explain exp.model",
    "help": "help exp.model",
    "--help": "--help",
    "--version": "--version",
    "completion": "completion bash",
    "validate": f"validate {shlex.join(DUMMY)}",
    "dry run": f"run --dry-run {shlex.join(DUMMY)}",
    "status": "status logs",
    "status as JSON": "status --json logs",
    "parse": "parse logs",
    "report": "report logs",
    "report as CSV": "report logs --format csv",
    "pack list": "pack list --json",
    "sysinfo": "sysinfo",
    "db query": "db query",
}


def shell(command: str, directory: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(directory), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, forked_dlbs: ForkServer) -> Path:
    """A directory with the log of one experiment in `logs`, and a database with its results."""
    directory = tmp_path_factory.mktemp("measured")
    for arguments in (["run", *DUMMY], ["db", "add", "logs"]):
        forked_dlbs.run(
            "-m", "dlbs", *arguments, directory=directory, environment=dlbs_environment(), timeout=PATIENCE, check=True
        )
    return directory


@pytest.mark.parametrize(
    ("redirection", "codes", "code"),
    [
        *(pytest.param(how, "0,1", 1, id=f"{name}, half of them fail") for name, how in BROKEN_ERRORS.items()),
        *(pytest.param(BROKEN_ERRORS[name], "0", 0, id=f"{name}, all well") for name in ("full", "all closed")),
    ],
)
def test_progress_that_cannot_be_written_stops_no_plan(tmp_path: Path, redirection: str, codes: str, code: int) -> None:
    done = shell(
        f"{RUN} -v --progress-file p.json -Vdummy.exit_code=[{codes}] -Vexp.seed=[1,2] {redirection}", tmp_path
    )
    assert done.returncode == code
    assert json.loads((tmp_path / "p.json").read_text())["left"] == 0
    statuses = sorted(values(log)["exp.status"] for log in logs(tmp_path))
    assert statuses == (["failure", "failure", "ok", "ok"] if code else ["ok", "ok"])


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_output_that_cannot_be_written_is_one_clear_error(measured: Path, forked_dlbs: ForkServer, verb: str) -> None:
    done = forked_dlbs.run(
        "-m", "dlbs", *shlex.split(verb),
        directory=measured, environment=dlbs_environment(), timeout=PATIENCE, output="/dev/full",
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: standard output: cannot be written: No space left on device"]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("redirection", "message"), BROKEN_OUTPUTS.values(), ids=BROKEN_OUTPUTS)
@pytest.mark.parametrize("verb", ["build", "--help"])
def test_each_way_in_which_output_is_broken_is_the_same_error(
    tmp_path: Path, verb: str, redirection: str, message: str
) -> None:
    """To the end of the interpreter, which prints "Exception ignored" where it cannot write."""
    done = shell(f"{PROGRAM} {verb} {redirection}", tmp_path)
    assert (done.returncode, done.stderr) == (2, f"error: standard output: cannot be written: {message}\n")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    done = shell(f"{PROGRAM} build {GRID} | head -c1; echo ${{PIPESTATUS[0]}}", tmp_path)
    assert (done.stdout, done.stderr) == ("[0\n", "")


# What makes a plan that no memory could hold.
CASES = [{"cases": [{f"my.x{number}": value} for value in range(10)]} for number in range(12)]
LARGE_PLANS = {
    "a grid": GRID,
    "a grid, resolved": f"--resolve {GRID}",
    "cases that multiply": "--plan cases.json",
    "cases that multiply, resolved": "--resolve --plan cases.json",
    "repeats": "-Pexp.repeats=1000000000000",
}


@pytest.mark.parametrize("flags", LARGE_PLANS.values(), ids=LARGE_PLANS)
def test_build_streams_a_plan_that_no_memory_could_hold(tmp_path: Path, flags: str) -> None:
    (tmp_path / "cases.json").write_text(json.dumps({"parameters": {"exp.framework": "dummy"}, "extensions": CASES}))
    done = shell(f"ulimit -v 1500000; {PROGRAM} build {flags} | head -c 100000 | wc -c", tmp_path)
    assert (done.stdout.strip(), done.stderr) == ("100000", "")


def test_an_error_of_output_in_the_middle_of_a_plan_leaves_no_process_behind(tmp_path: Path) -> None:
    """One experiment runs while another one is only simulated, so that its launcher is printed."""
    body = "echo $$ > pid; sleep 300"
    statuses = shlex.quote('-Vexp.status,exp.seed=[["",1],["simulate",2]]')
    flags = f"{statuses} -Pexp.log_file='logs/${{exp.seed}}.log' --jobs 2 {launcher(tmp_path, body)}"
    done = shell(f"{RUN} {flags} >/dev/full", tmp_path)
    assert done.returncode == 2
    assert "standard output: cannot be written" in done.stderr
    (log,) = logs(tmp_path)
    assert values(log)["exp.status"] == "cancelled"
    written = (tmp_path / "pid").read_text() if (tmp_path / "pid").exists() else ""
    if written:  # it may have been ended before it began, or before it wrote
        wait_until(lambda: has_ended(int(written)))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root")
def test_a_progress_file_on_a_full_disk_stops_no_plan(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(tmp_path / "small")], check=True)
    try:
        body = "head -c 100000 /dev/zero > small/all 2>/dev/null; true"
        done = shell(f"{RUN} {launcher(tmp_path, body)} --progress-file small/p.json -Vexp.seed=[1,2,3]", tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    assert done.returncode == 0, done.stderr
    assert len(logs(tmp_path)) == 3
    assert done.stderr.count("progress file") == 1
    assert "No space left on device; the plan continues" in done.stderr


def test_a_progress_file_that_cannot_be_begun_is_an_error_before_anything_runs(tmp_path: Path) -> None:
    done = shell(f"{RUN} --progress-file missing/p.json", tmp_path)
    assert done.returncode == 2
    assert "missing/p.json: cannot be written" in done.stderr
    assert not (tmp_path / "logs").exists()


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)
    return reading, writing


def stopped_terminal() -> tuple[int, int]:
    """A terminal whose user has typed Ctrl-S."""
    reading, writing = os.openpty()
    termios.tcflow(writing, termios.TCOOFF)
    return reading, writing


def test_a_reader_that_has_stopped_stops_no_plan_and_no_comparison(tmp_path: Path) -> None:
    """At the same time, because each waits seconds for its reader."""
    plan = ["-v", "-Vexp.seed=[1,2,3]", "--progress-file", "p.json"]
    comparison = ["-Vexp.seed=[1,2]", "--until-known", "--by", "exp.seed", "--max-repeats", "2"]
    cases = {
        "pipe": (full_pipe, plan, 0, 3),
        "terminal": (stopped_terminal, plan, 0, 3),
        "comparison": (full_pipe, comparison, 4, 4),  # two rounds tell nothing
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:
        begun = {}
        for name, (stopped, words, _, _) in cases.items():
            (tmp_path / name).mkdir()
            reading, writing = stopped()
            stack.callback(os.close, reading)
            command = [*shlex.split(RUN), *words]
            begun[name] = subprocess.Popen(command, cwd=tmp_path / name, env=environment, stderr=writing)
            stack.callback(begun[name].kill)
            os.close(writing)
        for name, (_, words, code, count) in cases.items():
            assert begun[name].wait(PATIENCE) == code, name
            assert [values(log)["exp.status"] for log in logs(tmp_path / name)] == ["ok"] * count, name
            if words is plan:
                assert json.loads((tmp_path / name / "p.json").read_text())["left"] == 0


def test_a_reader_that_goes_on_misses_nothing(tmp_path: Path) -> None:
    reading, writing = full_pipe()
    body = "touch begun; while [ ! -e go ]; do sleep 0.05; done"
    command = [*shlex.split(RUN), "-v", "-Vexp.seed=[1,2,3]", launcher(tmp_path, body)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=writing)
    os.close(writing)
    wait_until(lambda: (tmp_path / "begun").exists())
    (tmp_path / "go").touch()
    with os.fdopen(reading, "rb") as stream:
        printed = stream.read().decode()
    assert process.wait(PATIENCE) == 0
    assert printed.count(": started") == 3
    assert "3 experiments: 3 ok" in printed


# Files that the user names for what is written, which are no regular files: what comes of them.
OUTPUTS = {
    "a device": ("build -o /dev/null", 0),
    "standard output": ("build -o /dev/stdout", 0),
    "a pipe that is read": ("build -o >(cat >read.json)", 0),
    "a full device": ("build -o /dev/full", 2),
    "a pipe that nobody reads": ("build -o pipe", 2),
    "a directory": ("build -o directory", 2),
    "a link": ("build -o link.json", 0),
    "a dangling link": ("build -o dangling.json", 0),
    "a link to itself": ("build -o loop.json", 2),
    "a table in a device": ("report logs -o /dev/null", 0),
    "a page in a device": ("report logs --html /dev/null", 0),
    "results in a device": ("parse logs -o /dev/null", 2),
    "a page under a file": ("report logs --html plain/x.html", 2),
    "a table under a file": ("report logs -o plain/x.csv", 2),
    "results under a file": ("parse logs -o plain/x.json", 2),
    "a plot under a file": ("plot logs -o plain/x.svg", 2),
    "a page under a missing directory": ("report logs --html missing/x.html", None),
    "a progress file in a pipe": (f"run {shlex.join(DUMMY)} --progress-file pipe", 2),
    "a progress file in a device": (f"run {shlex.join(DUMMY)} --progress-file /dev/null", 2),
}


@pytest.mark.parametrize(("verb", "code"), OUTPUTS.values(), ids=OUTPUTS)
def test_a_file_to_write_that_is_no_regular_file(
    measured: Path, tmp_path: Path, dlbs: RunDlbs, verb: str, code: int | None
) -> None:
    shutil.copytree(measured / "logs", tmp_path / "logs")
    (tmp_path / "directory").mkdir()
    (tmp_path / "plain").write_text("precious")
    (tmp_path / "target.json").write_text("[]")
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("link", "target"), ("dangling", "new"), ("loop", "loop")):
        (tmp_path / f"{name}.json").symlink_to(f"{target}.json")
    before = {name: os.stat(name).st_rdev for name in ("/dev/null", "/dev/full")}
    kinds = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    done = shell(f"{PROGRAM} {verb}", tmp_path) if ">(" in verb else dlbs(*shlex.split(verb))
    assert code is None or done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected error, a bug" not in done.stderr
    assert {name: os.stat(name).st_rdev for name in before} == before
    assert {name: (tmp_path / name).lstat().st_mode for name in kinds} == kinds
    assert (tmp_path / "plain").read_text() == "precious"
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("form", ["csv", "markdown", "latex", "html", "terminal"])
def test_a_table_on_a_terminal_has_no_escape_sequences_of_a_log(tmp_path: Path, form: str) -> None:
    lines = ['__exp.model__= "\\u001b[31mred"', "__results.throughput__= 5", '__exp.status__= "ok"']
    (tmp_path / "a.log").write_text("\n".join(lines) + "\n")
    report = f"{PROGRAM} report a.log --format {form} --rows exp.model"
    done = shell(f"script -qec {shlex.quote(report)} /dev/null", tmp_path, NO_COLOR="1")
    assert "[31mred" in done.stdout
    assert "\x1b[31m" not in done.stdout


FORMULAS = ["=1+1", "+1", "-1+1", "@SUM(A1)", " =1", "\n=1", "\t=1", " \r\n +1", "\uff1d1"]


@pytest.mark.parametrize(
    "verb", [["parse"], ["report", "--format", "csv", "--rows", "exp.model"]], ids=lambda verb: verb[0]
)
def test_a_table_in_a_file_has_no_formula(tmp_path: Path, dlbs: RunDlbs, verb: list[str]) -> None:
    (tmp_path / "logs").mkdir()
    for number, value in enumerate(FORMULAS):
        lines = [f"__exp.model__= {json.dumps(value)}", "__results.throughput__= 5", '__exp.status__= "ok"']
        (tmp_path / "logs" / f"{number}.log").write_text("\n".join(lines) + "\n")
    dlbs(*verb, "logs", "-o", "x.csv", check=True)
    with open(tmp_path / "x.csv", newline="", encoding="utf-8") as stream:
        cells = {cell for row in csv.reader(stream) for cell in row}
    assert set(map(formula_escaped, FORMULAS)) <= cells
    assert not cells & set(FORMULAS)


# What writes to a file system that is read only, or full.
WRITES = {
    "a plan": f"build {shlex.join(DUMMY)} -o small/plan.json",
    "a log": f"run {shlex.join(DUMMY)} -Pexp.log_file=small/a.log",
    "results": "parse logs -o small/x.csv",
    "a page": "report logs --html small/x.html",
    "a database": "db add logs --db small/x.db",
    "a plot": "plot logs -o small/x.svg",
}


# How it is mounted, and how many bytes of its five pages are taken.
DISKS = {
    "read only": ("ro", 0),
    "full": ("rw", 5 * 4096),
    "room for one page": ("rw", 4 * 4096),
    "room for two pages": ("rw", 3 * 4096),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
@pytest.mark.parametrize(("mode", "taken"), DISKS.values(), ids=DISKS)
@pytest.mark.parametrize("verb", WRITES.values(), ids=WRITES)
def test_a_disk_that_takes_nothing_is_one_error(
    measured: Path, tmp_path: Path, dlbs: RunDlbs, verb: str, mode: str, taken: int
) -> None:
    shutil.copytree(measured / "logs", tmp_path / "logs")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"{mode},size=20k", "none", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        if taken:
            (small / "taken").write_bytes(b"." * taken)
        done = dlbs(*shlex.split(verb))
        left = [path.name for path in small.rglob("*") if path.name.endswith(".tmp")]
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert done.returncode in ({1, 2} if mode == "ro" or taken == 5 * 4096 else {0, 1, 2, 69}), done.stderr
    assert done.returncode == 0 or "error: " in done.stderr.lower() or "stopped: " in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected error, a bug" not in done.stderr
    assert left == []


DEFECTS = {
    "RecursionError": "def f(): f()\n    f()",
    "OSError": "open('/missing')",
    "ZeroDivisionError": "1 / 0",
    "KeyError": "{}['x']",
}


@pytest.mark.parametrize(("name", "code"), DEFECTS.items(), ids=DEFECTS)
def test_an_unforeseen_error_is_one_line_and_a_file_with_the_details(tmp_path: Path, name: str, code: str) -> None:
    """A real program that runs a command of ours with a defect in it."""
    (tmp_path / "defect.py").write_text(
        "from dlbs.cli.main import run\nfrom dlbs.cli.options import verb\n@verb('defect')\ndef defect():\n"
        f"    {code}\nrun(defect, 'defect')\n"
    )
    program = f"{shlex.quote(sys.executable)} defect.py"
    done = shell(program, tmp_path)
    assert done.returncode == 70
    assert done.stderr.count("\n") == 1
    name = "FileNotFoundError" if name == "OSError" else name
    assert done.stderr.startswith(f"error: unexpected error, a bug in dlbs: {name}: ".rstrip())
    (details,) = tmp_path.glob("dlbs-error-*.txt")
    assert f"(details: {details})" in done.stderr
    assert details.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in details.read_text()
    if name == "KeyError":
        assert "Traceback" in shell(f"{program} --debug", tmp_path).stderr


def test_details_that_cannot_be_written_are_said_to_be_missing(tmp_path: Path) -> None:
    program = "import click; from dlbs.cli.main import run; import tempfile; tempfile.tempdir = '/missing'; "
    program += "run(click.Command('x', callback=lambda: 1 / 0), 'x')"
    done = shell(f"{shlex.quote(sys.executable)} -c {shlex.quote(program)}", tmp_path)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert "details cannot be written: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_signal_while_a_plan_is_written_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "dlbs", "build", "-o", "plan.jsonl", *shlex.split(GRID)]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: list(tmp_path.glob(".plan.jsonl.*.tmp")))
    process.send_signal(number)
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_the_terminal_does_not_matter_under_nohup(tmp_path: Path) -> None:
    body = "touch begun; while [ ! -e go ]; do sleep 0.05; done"
    process = subprocess.Popen(
        ["nohup", *shlex.split(RUN), launcher(tmp_path, body)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: (tmp_path / "begun").exists())
    process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    assert "1 ok" in process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0


HOSTILE = "a\x1b]0;title\x07\x1b[2J\x9b31m\rb\u202ec\u200b\x08"
ON_A_TERMINAL = {
    "a dry run": ("run", "--dry-run"),
    "a dry run of one value of several": ("run", "--dry-run", "-Vexp.seed=[1,2]"),
    "a run": ("run",),
    "a failure": ("run", "-Pdummy.exit_code=3", "-Vexp.seed=[1,2]"),
    "a plan": ("build",),
    "a resolved plan": ("build", "--resolve"),
    "a validation": ("validate", f"-Pexp.framework={HOSTILE}"),
    "an explanation": ("explain", "my.x"),
    "a wrong value": ("run", f"-Pexp.phase={HOSTILE}"),
    "a wrong name": ("run", f"-Pexp.{HOSTILE}=1"),
    "a wrong executor": ("run", "--executor", HOSTILE),
    "a wrong plan": ("run", "--plan", HOSTILE),
    "a wrong option": ("run", f"--{HOSTILE}"),
    "a warning": ("run", "-Pexp.log_dir=/proc/nope/" + HOSTILE),
}


@pytest.mark.integration
@pytest.mark.parametrize("arguments", ON_A_TERMINAL.values(), ids=ON_A_TERMINAL)
def test_control_characters_are_shown_and_not_sent_to_a_terminal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    parameters = {
        "exp.docker": False,
        "exp.gpus": "",
        "exp.framework": "dummy",
        "my.x": HOSTILE,
        "runtime.env.X": HOSTILE,
    }
    (tmp_path / "c.json").write_text(json.dumps({"parameters": parameters}))
    reading, writing = os.openpty()
    words = [sys.executable, "-m", "dlbs", *arguments]
    if "--plan" not in arguments:
        words += ["--config", "c.json"]
    run = subprocess.Popen(
        words, cwd=tmp_path, stdin=writing, stdout=writing, stderr=writing, env=dlbs_environment(TERM="xterm")
    )
    os.close(writing)
    received = b""
    with contextlib.suppress(OSError):  # the end, on Linux
        while data := os.read(reading, 65536):
            received += data
    os.close(reading)
    run.wait()
    said = received.decode()
    for sent in ("\x1b]", "\x1b[2J", "\x9b", "\u202e", "\u200b", "\x07", "\x08", "\rb"):
        assert sent not in said, said
    if "--dry-run" in arguments:
        assert r"\x1b]0;title\x07\x1b[2J\x9b31m\rb\u202ec\u200b\x08" in said


def test_a_file_keeps_control_characters(dlbs: RunDlbs) -> None:
    done = dlbs("run", "--dry-run", *DUMMY, f"-Pruntime.env.X={HOSTILE}")
    assert HOSTILE.replace("\r", "\n") in done.stdout.replace("\r", "\n")
