"""`dlbs run --until-known`, with real processes: rounds, resuming, budget, failures, and what is said."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from pathlib import Path

import pytest

import dlbs as package
from benchmark_core.exits import FAILED, INTERRUPTED, OK, REGRESSION, UNDECIDED, WRONG_INPUT
from tests.conftest import RunDlbs
from tests.experiments import DUMMY, launcher, logs, start, values
from tests.slurm_cluster import Cluster
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

BY = ("--until-known", "--by", "exp.seed")
# Throughputs of seed 1, 2 and 3: 2 is as fast as 1, 3 is faster by a half; runs spread by 3 %.
MEASURES = (
    "echo '__results.throughput__= '{{ 100 * (1.5 if exp.seed == 3 else 1.0) * (1 + 0.008 * ((exp.repeat * 7 + exp.seed) % 5)) }}"
    "\necho {{ exp.seed }} {{ exp.repeat }} >> order"
)


def order(directory: Path) -> list[tuple[int, int]]:
    """Seed and repeat of the experiments that ran, in the order in which they did."""
    return [(int(seed), int(repeat)) for seed, repeat in map(str.split, (directory / "order").read_text().splitlines())]


def test_rounds_run_only_what_is_open_and_the_comparison_ends_them(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,2,3]", *BY, "--baseline", "1", "--threshold", "3%")
    done = dlbs("run", *flags)
    assert done.returncode == OK, done.stderr
    ran = order(tmp_path)
    assert [repeat for _, repeat in ran] == sorted(repeat for _, repeat in ran)  # one round after the other
    counts = Counter(seed for seed, _ in ran)
    assert counts[1] == counts[2] > counts[3] == 6
    assert len(logs(tmp_path)) == len(ran)
    assert "2 pairs, 3 experiments per round; no verdict before round 6" in done.stderr
    assert re.search(
        r"round 6: seed=3 vs seed=1: 1\.[45]\d+ (± 0\.\d+|\[.*\]) times as fast, faster, decided after 6 rounds",
        done.stderr,
    )
    assert f"known after {counts[1]} rounds" in done.stderr
    assert "seed=3 ran 1." in done.stdout
    assert "seed=2 ran as fast as seed=1, within 3 %" in done.stdout
    # The logs are those of exp.repeats, so `compare` reads them and `run` knows them.
    compared = json.loads(dlbs("compare", "logs", "--by", "exp.seed", "--format", "json").stdout)
    assert [one["verdicts"] for one in compared["comparisons"]] == [{"same": 1}, {"faster": 1}]
    again = dlbs("run", *flags[:-7], "-Pexp.repeats=6")
    assert f"{18} already finished" in again.stderr
    # Known is known.
    before = len(ran)
    again = dlbs("run", *flags)
    assert again.returncode == OK
    assert len(order(tmp_path)) == before
    assert "round 6" not in again.stderr.replace("before round 6", "")
    assert again.stdout == done.stdout


def test_the_order_within_rounds_is_random_and_seeded(dlbs: RunDlbs, tmp_path: Path) -> None:
    orders = []
    for seed in ("1", "1", "2"):
        directory = tmp_path / f"run{len(orders)}"
        directory.mkdir()
        flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,2,3]", *BY, "--order-seed", seed)
        dlbs("run", *flags, f"-Pexp.log_dir={directory}", "--max-repeats", "4")
        orders.append(order(tmp_path))
        (tmp_path / "order").unlink()
    assert orders[0] == orders[1] != orders[2]
    rounds = [[seed for seed, at in orders[0] if at == repeat] for repeat in range(1, 5)]
    assert all(sorted(one) == [1, 2, 3] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 1


def test_what_stays_open_has_an_exit_code_and_the_same_command_goes_on(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,2]", *BY)
    done = dlbs("run", *flags, "--max-repeats", "4")
    assert done.returncode == UNDECIDED
    assert "1 pair open after 4 rounds: each experiment ran 4 times (--max-repeats)" in done.stderr
    assert re.search(r"seed=2 vs seed=1: 1\.\d+ times as fast, open: at least 1 more round \(", done.stderr)
    assert "inconclusive" in done.stdout
    first = order(tmp_path)
    done = dlbs("run", *flags, "--max-repeats", "50")
    assert done.returncode == OK, done.stderr
    assert order(tmp_path)[: len(first)] == first
    assert len(set(order(tmp_path))) == len(order(tmp_path))  # nothing is measured twice


def test_nothing_is_started_that_does_not_fit_into_the_budget(dlbs: RunDlbs, tmp_path: Path) -> None:
    slow = launcher(tmp_path, f"sleep 0.4\n{MEASURES}")
    done = dlbs("run", *DUMMY, slow, "-Vexp.seed=[1,2]", *BY, "--budget", "1s")
    assert done.returncode == UNDECIDED, done.stderr
    # Two take 0.8 s, and two more would take longer than what is left; a slow machine does not come so far.
    assert len(logs(tmp_path)) <= 2
    assert re.search(
        r"(of the budget is left; the next round would take about|the budget of 1.0 s is spent)", done.stderr
    )
    assert "run the same command again to continue" in done.stderr
    before = order(tmp_path)
    done = dlbs("run", *DUMMY, slow, "-Vexp.seed=[1,2]", *BY, "--budget", "1h")
    assert done.returncode == OK
    assert order(tmp_path)[: len(before)] == before


def test_a_side_that_fails_is_given_up(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, f"{MEASURES}\n(exit {{{{ 7 if exp.seed == 2 else 0 }}}})")
    flags = (*DUMMY, flag, "-Vexp.seed=[1,2,3]", *BY, "--baseline", "1", "--fail-on-regression")
    done = dlbs("run", *flags)
    assert done.returncode == FAILED
    assert Counter(seed for seed, _ in order(tmp_path)) == {1: 6, 2: 3, 3: 6}
    assert "seed=2 vs seed=1: broken, given up: seed=2 failure 3 times in a row: exit code 7" in done.stderr
    assert dlbs("run", *flags).returncode == REGRESSION  # nothing failed this time, and it is still broken
    assert dlbs("run", *flags[:-1]).returncode == UNDECIDED


def test_a_regression_is_an_exit_code_of_its_own(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,3]", *BY, "--baseline", "3")
    assert dlbs("run", *flags).returncode == OK
    done = dlbs("run", *flags, "--fail-on-regression")
    assert done.returncode == REGRESSION
    assert "slower" in done.stdout


def test_ctrl_c_shows_what_is_known_and_loses_nothing(dlbs: RunDlbs, tmp_path: Path) -> None:
    flag = launcher(tmp_path, "while [ {{ exp.repeat }} = 6 ] && [ ! -e go ]; do sleep 0.1; done\n" + MEASURES)
    flags = (flag, "-Vexp.seed=[1,2,3]", *BY)
    process = start(tmp_path, *flags)
    wait_until(lambda: len(logs(tmp_path)) == 15 and any((tmp_path / "logs").glob("*.part")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == INTERRUPTED
    assert "2 pairs open after 5 rounds" in said
    assert "run the same command again to continue" in said
    (tmp_path / "go").touch()
    done = dlbs("run", *DUMMY, *flags)
    assert done.returncode == OK, done.stderr
    assert len(set(order(tmp_path))) == len(order(tmp_path))


def test_side_by_side_the_next_round_waits_for_the_last_of_the_one_before(dlbs: RunDlbs, tmp_path: Path) -> None:
    slow = launcher(tmp_path, f"{MEASURES}\nsleep 0.{{{{ exp.seed }}}}\necho done {{{{ exp.repeat }}}} >> ends")
    done = dlbs("run", *DUMMY, slow, "-Vexp.seed=[1,2,3]", *BY, "--jobs", "3", "--max-repeats", "3")
    assert done.returncode == UNDECIDED, done.stderr
    assert [line.split()[1] for line in (tmp_path / "ends").read_text().splitlines()] == list("111222333")
    assert [repeat for _, repeat in order(tmp_path)] == [1, 1, 1, 2, 2, 2, 3, 3, 3]


@pytest.mark.needs("Slurm")
def test_on_a_cluster(dlbs: RunDlbs, tmp_path: Path, cluster: Cluster) -> None:
    flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,3]", *BY, "--executor", "slurm")
    done = dlbs("run", *flags, **cluster.environment)
    assert done.returncode == OK, done.stderr
    assert "seed=3 vs seed=1: 1." in done.stderr
    assert len(logs(tmp_path)) == 10


def test_a_written_plan_is_repeated_too(dlbs: RunDlbs, tmp_path: Path) -> None:
    flags = (*DUMMY, launcher(tmp_path, MEASURES), "-Vexp.seed=[1,3]")
    dlbs("build", *flags, "-o", "plan.json", check=True)
    done = dlbs("run", "--plan", "plan.json", *BY)
    assert done.returncode == OK, done.stderr
    assert {values(log)["exp.repeat"] for log in logs(tmp_path)} == set(range(1, 6))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--by", "exp.seed"), "--by requires --until-known or --turns N"),
        (("--until-known",), "--until-known requires --by NAME"),
        ((*BY, "--dry-run"), "remove --until-known"),
        ((*BY, "--detach", "--executor", "slurm"), "remove --detach"),
        ((*BY, "--order", "random"), "remove --order"),
        ((*BY, "--fail-on-regression"), "requires --baseline"),
        ((*BY, "-Pexp.repeats=5"), "-Pexp.repeats: exp.repeats must be 1"),
        ((*BY, "--budget", "soon"), "'soon' is not a duration"),
        ((*BY, "--threshold", "x"), "'x' is not a share"),
        (("--until-known", "--by", "exp.sede"), "no experiment has 'exp.sede'"),
        (("--until-known", "--by", "exp.model"), "nothing to compare"),
        ((*BY, "--baseline", "7"), "no experiment has exp.seed = 7"),
        ((*BY, "-Pexp.log_file=logs/${exp.seed}.log"), "all repeats of an experiment would write to the same log file"),
        ((*BY, "-Pexp.log_dir=logs${exp.repeat}"), "write logs to different directories"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(
    dlbs: RunDlbs, tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    done = dlbs("run", *DUMMY, "-Vexp.seed=[1,2]", *flags)
    assert done.returncode == WRONG_INPUT, done.stderr
    assert message in done.stderr
    assert not list(tmp_path.glob("logs*/*.log"))


def test_a_resolved_plan_cannot_be_repeated(dlbs: RunDlbs) -> None:
    dlbs("build", *DUMMY, "--resolve", "-o", "plan.json", "-Vexp.seed=[1,2]", check=True)
    done = dlbs("run", "--plan", "plan.json", *BY)
    assert done.returncode == WRONG_INPUT
    assert "without --resolve" in done.stderr


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    template = launcher(tmp_path, MEASURES).partition("=")[2]
    config = package.load_config(
        parameters={"exp.framework": "dummy", "exp.docker": False, "exp.gpus": "", "dummy.launcher": template},
        variables={"exp.seed": [1, 3]},
    )
    lines: list[str] = []
    known = package.run_until_known(config, by="exp.seed", max_repeats=4, on_line=lines.append)
    assert (known.rounds, known.is_decided, known.exit_code, lines) == (4, False, UNDECIDED, [])
    assert known.stopped == "each experiment ran 4 times (--max-repeats)"
    events = []
    known = package.run_until_known(config, by="exp.seed", baseline=3, on_line=lines.append, on_event=events.append)
    assert (known.rounds, known.is_decided, known.exit_code) == (5, True, OK)
    assert known.comparison.counts == {"1": {"slower": 1}}
    assert known.gate_code() == REGRESSION
    assert known.summary.kept == 8
    assert [event.kind for event in events] == ["started", "ended"] * 2
    assert (events[-1].done, events[-1].total) == (10, 10)
    assert len(lines) == 1


def test_experiments_skipped_by_an_earlier_run_are_decided_again_within_the_budget(
    dlbs: RunDlbs, tmp_path: Path
) -> None:
    """Batches of 8 are skipped while 4 do not fit; without those of 4 in the plan, they have to run, which takes time."""
    flag = launcher(tmp_path, f"{MEASURES}\ntest {{{{ exp.replica_batch }}}} -lt 4 || (exit 3)")
    grid = (*DUMMY, flag, "-Vexp.seed=[1,2]", *BY, "--max-repeats", "1")
    batches = "-Vexp.replica_batch=[2,4,8]"
    orders = [str(seed) for seed in range(1, 9)]
    for seed in orders:  # 8 is skipped in orders in which 4 comes first
        dlbs("run", *grid, batches, "--order-seed", seed)
        if Counter(values(log)["exp.status"] for log in logs(tmp_path))["skipped"] == 2:
            break
        for log in logs(tmp_path):
            log.unlink()
    ran = order(tmp_path)
    for seed in orders[:4]:  # 4 still does not fit, whichever comes first
        again = dlbs("run", *grid, batches, "--budget", "1h", "--order-seed", seed)
        assert "6 already finished" in again.stderr
        assert order(tmp_path) == ran
    spent = dlbs("run", *grid, "-Pexp.replica_batch=8", "--budget", "0.0001s")
    assert order(tmp_path) == ran
    assert "is spent" in spent.stderr
    dlbs("run", *grid, "-Pexp.replica_batch=8", "--budget", "1h")
    assert len(order(tmp_path)) == len(ran) + 2
