"""`dlbs run -- COMMAND` and `dlbs run --until-known`: hostile command lines, and commands that print hostile results. A case is a line."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from tests.adversarial.commands import SECONDS, Commands
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, values
from tests.waiting import has_ended, wait_until

# Words of a command: in the plan each word is what it was, or the command line is one error.
WORDS: list[list[str]] = [
    [],
    [""],
    ["", "x"],
    [" "],
    ["x", ""],
    ["--"],
    ["x", "--", "-Px=1"],
    ["x", "{"],
    ["x", "}"],
    ["x", "{}"],
    ["x", "{{}}"],
    ["x", "{a"],
    ["x", "{a" * 20_000],
    ["x", "{" * 50_000],
    ["x", "{a." * 20_000],
    ["x", "{{a}"],
    ["x", "{a}}"],
    ["x", "{missing}"],
    ["x", "{exp.id}"],
    ["x", "{exp.log_file}"],
    ["x", "{command.argv}"],
    ["x", "{__class__}"],
    ["x", "{a.__class__}"],
    ["x", "{a[0]}"],
    ["x", "{a!r}"],
    ["x", "{a:>100000000}"],
    ["x", "${HOME}"],
    ["x", "$(touch pwned)"],
    ["x", "$(1 + 1)$"],
    ["x", "$([i for i in range(10**9)])$"],
    ["x", "`touch pwned`"],
    ["x", "; touch pwned"],
    ["x", "\\{a}"],
    ["x", "\\" * 50_000],
    ["x", "a\nb"],
    ["x", "\nEND_OF_PARAMETERS\ntouch pwned\n"],
    ["x", "\x1b[2J"],
    ["x", "\u202e"],
    ["x", "\udcff"],
    ["x", "x" * 100_000],
    ["x"] * 5_000,
    ["x" * 5_000],
    ["a/b\nc"],
    ["../../x"],
    ["/dev/null"],
    ["{size}", "-Psize=/dev/zero"],
    ["x", "{size}", "-Psize=${size}"],
    ["x", "{size}", "-Vsize=[1,2]", "-Psize=3"],
    ["x", "{size}", "-Psize"],
    ["x", "{size}", "-Vsize=[" + "1," * 300 + "1]"],
    ["x", "{size}", "-Psize=" + "[" * 50_000],
]


@pytest.mark.parametrize("words", WORDS, ids=range(len(WORDS)))
def test_the_words_of_a_command(commands: Commands, tmp_path: Path, words: list[str]) -> None:
    verbs = [["build", "--resolve", "-o", "plan.jsonl"], ["validate"], ["run", "--dry-run"]]
    ended = commands.run_all((tmp_path, [*verb, "--", *words]) for verb in verbs)
    for verb, done in zip(verbs, ended, strict=True):
        assert not done.is_crash(), (verb, done)
        assert done.code in {0, 1} or done.is_clear_error(), (verb, done)
        assert done.seconds < SECONDS
        assert "\x1b" not in done.errors
    assert {path.name for path in tmp_path.iterdir()} <= {"plan.jsonl"}
    if not (tmp_path / "plan.jsonl").exists() or "{size}" in words:
        return
    (experiment,) = map(json.loads, (tmp_path / "plan.jsonl").read_text().splitlines())
    assert experiment["exp.framework"] == "command"


# Commands that print something strange as a result; both values of the compared parameter do.
RESULTS: dict[str, str] = {
    "nothing": "",
    "text": '"fast"',
    "a list": "[1, 2]",
    "an object": '{"a": 1}',
    "null": "null",
    "a boolean": "true",
    "zero": "0",
    "negative": "-1",
    "not a number": "NaN",
    "infinite": "Infinity",
    "largest": "1.7e308",
    "smallest": "5e-324",
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5_000,
    "brackets": "[" * 50_000,
    "half of a surrogate pair": '"\\ud800"',
    "an escape sequence": '"\\u001b[2J"',
}


@pytest.mark.parametrize("value", RESULTS.values(), ids=RESULTS)
def test_a_comparison_of_strange_results(commands: Commands, tmp_path: Path, value: str) -> None:
    (tmp_path / "said").write_text(f"__results.throughput__= {value}\n" if value else "hello\n")
    flags = [launcher(tmp_path, f"cat {shlex.quote(str(tmp_path / 'said'))}"), "-Vexp.seed=[1,2]"]
    known = ["--until-known", "--by", "exp.seed", "--max-repeats", "2", "--no-validation"]
    for _ in range(2):  # the second one reads the logs of the first one
        done = commands.run(tmp_path, "run", *DUMMY, *flags, *known)
        assert not done.is_crash(), done
        assert done.code in {0, 1, 2, 3, 4}, done
        assert done.seconds < SECONDS
        assert "\x1b" not in done.errors
    assert logs(tmp_path)


# Options of --until-known, each one error or an answer.
OPTIONS: list[list[str]] = [
    [],
    ["--by", ""],
    ["--by", "missing"],
    ["--by", "a\x1b[2J"],
    ["--by", "exp.model"],
    ["--by", "exp.repeat"],
    ["--by", "exp.log_file"],
    ["--by", "exp.id"],
    ["--by", "results.throughput"],
    ["--by", "exp.seed,exp.model"],
    ["--by", "exp.seed", "--baseline", ""],
    ["--by", "exp.seed", "--baseline", "3"],
    ["--by", "exp.seed", "--baseline", "9" * 5_000],
    ["--by", "exp.seed", "--baseline", "\x1b[2J"],
    ["--by", "exp.seed", "--metric", "results.nothing"],
    ["--by", "exp.seed", "--metric", "exp.model"],
    ["--by", "exp.seed", "--metric", "\x1b[2J"],
    ["--by", "exp.seed", "--threshold", "nan"],
    ["--by", "exp.seed", "--threshold", "inf"],
    ["--by", "exp.seed", "--threshold", "-1"],
    ["--by", "exp.seed", "--threshold", "1e400"],
    ["--by", "exp.seed", "--threshold", "100%"],
    ["--by", "exp.seed", "--threshold", "%"],
    ["--by", "exp.seed", "--confidence", "nan"],
    ["--by", "exp.seed", "--confidence", "99.99999999999999%"],
    ["--by", "exp.seed", "--confidence", "0.9999999999999999"],
    ["--by", "exp.seed", "--confidence", "100%"],
    ["--by", "exp.seed", "--budget", "0s"],
    ["--by", "exp.seed", "--budget", "-1h"],
    ["--by", "exp.seed", "--budget", "9" * 400 + "h"],
    ["--by", "exp.seed", "--budget", "٣h"],
    ["--by", "exp.seed", "--max-repeats", "0"],
    ["--by", "exp.seed", "--max-repeats", "9" * 30],
    ["--by", "exp.seed", "--ignore", "exp.seed"],
    ["--by", "exp.seed", "--ignore", "missing,\x1b[2J"],
    ["--by", "exp.seed", "-Pexp.repeats=3"],
    ["--by", "exp.seed", "-Pexp.log_file=same.log"],
    ["--by", "exp.seed", "-Pexp.log_dir=logs/${exp.repeat}"],
    ["--by", "exp.seed", "--retries", "9" * 30],
    ["--by", "exp.seed", "--order-seed", "9" * 5_000],
]


def test_an_option_of_a_comparison(commands: Commands, tmp_path: Path) -> None:
    lines = []
    for number, options in enumerate(OPTIONS):
        directory = tmp_path / str(number)
        directory.mkdir()
        limits = [] if "--max-repeats" in options else ["--max-repeats", "1"]
        # All experiments are "inactive" in the end: what is looked at is the command line.
        seeds = ["-Vexp.seed=[1,2]", "-Pexp.status=inactive"]
        lines.append((directory, ["run", *DUMMY, *seeds, "--until-known", *limits, *options]))
    for options, done in zip(OPTIONS, commands.run_all(lines), strict=True):
        assert not done.is_crash(), (options, done)
        assert done.code in {0, 1, 2, 3, 4}, (options, done)
        assert done.seconds < SECONDS, options
        assert "\x1b" not in done.errors, options


# Commands that are hard to end, or whose output is hard to take; each is measured, or fails by itself.
COMMANDS: dict[str, tuple[str, int]] = {
    "no such program": ("/nowhere/program", 1),
    "a directory": ("/", 1),
    "a file that is no program": ("/etc/passwd", 1),
    "bytes": ("head -c 100000 /dev/urandom", 0),
    "a line of 20 MB": ("head -c 20000000 /dev/zero", 0),
    "killed by itself": ("bash -c 'kill -9 $$'", 1),
    "a child that stays": ("bash -c 'sleep 300 & echo $! >> pids'", 0),
    "closed streams": ("bash -c 'exec >&- 2>&-'", 0),
    "reads standard input": ("cat", 0),
    "results of a stranger": (
        "bash -c 'echo __results.time__= -1; echo __exp.status__= 3; echo __exp.log_file__= 4'",
        0,
    ),
}


@pytest.mark.parametrize(("command", "code"), COMMANDS.values(), ids=COMMANDS)
def test_a_command_that_is_run(tmp_path: Path, dlbs: RunDlbs, command: str, code: int) -> None:
    flags = ["-Pexp.num_batches=2", "-Pexp.num_warmup_batches=0", "-Pcommand.min_seconds=0", "--no-validation"]
    done = dlbs("run", *flags, "--", *shlex.split(command))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected error, a bug" not in done.stderr
    assert "\x1b" not in done.stderr
    (log,) = logs(tmp_path)
    said = log.read_bytes()
    assert b"Traceback" not in said
    assert b"unexpected error, a bug" not in said
    if (tmp_path / "pids").exists():
        pids = list(map(int, (tmp_path / "pids").read_text().split()))
        wait_until(lambda: all(map(has_ended, pids)))


def test_results_of_a_command_do_not_change_what_the_experiment_is(tmp_path: Path, dlbs: RunDlbs) -> None:
    command = "echo '__exp.model__= \"other\"'; echo '__exp.id__= \"0\"'"
    dlbs("run", "-Pexp.num_batches=1", "-Pcommand.min_seconds=0", "--", "bash", "-c", command, check=True)
    (log,) = logs(tmp_path)
    assert values(log)["exp.id"] in log.name
