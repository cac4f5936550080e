"""What the manual shows of runs is what the program prints of these runs, whose results are kept in tests/quoted/.

Each file there is what `dlbs parse` made of the logs of an example, with the keys that matter. Where an example is run anew, its results are kept anew.
"""

from __future__ import annotations

import random
import re
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.doubts import warnings_of
from dlbs.adaptive.pairs import Pairs, pair_line
from dlbs.config.load import load_config
from dlbs.core.doubts import Doubts
from dlbs.executors.base import Outcome
from dlbs.plan.pipeline import unlabelled_names
from dlbs.results.read.records import read_runs, write_records
from dlbs.results.statistics.ratio import Rules
from dlbs.run.driver import Event, Summary
from dlbs.run.manifest import Differences
from dlbs.run.progress import Progress
from tests.conftest import ROOT, RunDlbs
from tests.made_logs import make_record

QUOTED = ROOT / "tests" / "quoted"
DECLARATIONS = load_config().declarations


def quoted(page: str, command: str) -> list[str]:
    """The lines that a page of the manual shows below a command."""
    text = (ROOT / "docs" / page).read_text()
    (found,) = re.findall(rf"^    \$ {re.escape(command)}\n((?:(?!    \$)(?:    .*)?\n)*)", text, re.MULTILINE)
    return textwrap.dedent(found).strip().splitlines()


def results(name: str) -> list[dict[str, Any]]:
    return read_runs([str(QUOTED / name)])


def printed(words: str) -> list[str]:
    return [line.rstrip() for line in words.strip().splitlines()]


@pytest.mark.parametrize(
    ("page", "command", "files"),
    [
        ("commands.md", "dlbs report logs", {"logs": "command.json"}),
    ],
)
def test_tables_of_real_runs(dlbs: RunDlbs, page: str, command: str, files: dict[str, str]) -> None:
    words = [str(QUOTED / files[word]) if word in files else word for word in command.split()[1:]]
    done = dlbs(*words, check=True)
    for word, file in files.items():
        done.stdout = done.stdout.replace(str(QUOTED / file), word)
    assert printed(done.stdout) + ([""] if done.stderr else []) + printed(done.stderr) == quoted(page, command)


def progress_lines(records: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of `dlbs run` that these experiments had."""
    differences = Differences(unlabelled_names(load_config(), None) | {"exp.start_time", "exp.seconds"})
    for record in records:
        differences.add({name: value for name, value in record.items() if not name.startswith("results.")})
    progress = Progress(names=differences.names)
    summary = Summary(len(records))
    progress.begin(summary)
    capsys.readouterr()
    for record in records:
        found = {name: value for name, value in record.items() if name.startswith("results.")}
        outcome = Outcome(record["exp.status"], record.get("exp.status_msg", ""), record["exp.seconds"], found)
        summary.end(outcome)
        progress.notify(Event("ended", {**record, "exp.log_file": ""}, summary.done, summary.total, outcome))
    return printed(capsys.readouterr().err)


def ending(runs: list[dict[str, Any]]) -> list[str]:
    """What `dlbs run` says at the end of runs that all ended well."""
    doubts = Doubts()
    for run in runs:
        doubts.add(warnings_of(run))
    first, *kinds = doubts.lines()
    return [f"{len(runs)} experiments: {len(runs)} ok", f"⚠ {first}", *(f"  {kind}" for kind in kinds), "logs: logs"]


def test_progress_of_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    runs = sorted(results("command.json"), key=lambda one: (one["exp.repeat"], one["level"]))  # round-robin
    lines = progress_lines(runs, capsys)
    command = "dlbs run -Pexp.repeats=3 -Pexp.num_batches=5 --order round-robin -- gzip -kf -{level} text -Vlevel=1,6,9"
    shown = quoted("commands.md", command)
    at = shown.index("...")
    assert shown[:at] == lines[:at]
    assert shown[at + 1 :] == ending(runs)


def test_rounds_until_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    runs = sorted(results("until_known.json"), key=lambda one: one["exp.start_time"])
    text = (ROOT / "docs" / "running.md").read_text()
    shown = text.partition("--by exp.replica_batch --trust-doubtful")[2].partition("\n")[2].partition("\n\n")[0]
    lines = textwrap.dedent(shown).splitlines()
    first = [one for one in runs if one["exp.repeat"] == 1]
    first.sort(key=lambda one: one["exp.replica_batch"])
    pairs = Pairs(first, DECLARATIONS, Rules(by="exp.replica_batch", trust_doubtful=True))
    expected = [f"1 pair, 2 experiments per round; no verdict before round {pairs.first_round}"]
    progress = progress_lines(runs, capsys)
    skipped = lines.index("...") - 1
    expected += [*progress[:skipped], "..."]
    left = sum(line.startswith("[") for line in lines) - skipped
    expected += progress[-left:]
    for repeat in range(1, max(one["exp.repeat"] for one in runs) + 1):
        of_round = {one["exp.replica_batch"]: one for one in runs if one["exp.repeat"] == repeat}
        pairs.add({number: of_round[one["exp.replica_batch"]] for number, one in enumerate(first)})
        if repeat >= pairs.first_round:
            expected.append(f"round {repeat}: {pair_line(pairs, pairs.pairs[0])}")
    expected += [*ending(runs), "...", f"known after {repeat} rounds"]
    assert lines == expected


@pytest.mark.integration
@pytest.mark.parametrize(
    "command",
    [
        "dlbs run -- bash -c 'echo no such table >&2; exit 3'",
        "dlbs run -- sleep {seconds}",
        "dlbs run -- sleep {size} -Psize=1 -Pexp.num_batches=3",
    ],
)
def test_commands_that_fail(dlbs: RunDlbs, command: str) -> None:
    said = printed(dlbs(*shlex.split(command)[1:]).stderr)
    shown = quoted("commands.md", command)
    if shown[0] == "...":
        shown, said = shown[1:], said[-len(shown) + 1 :]
    took = re.compile(r" in [\d.]+ s(?=:)")
    assert [took.sub("", line) for line in said] == [took.sub("", line) for line in shown]


def made_runs() -> Iterable[dict[str, Any]]:
    """The runs of docs/reporting.md that are generated: five of each setting, which vary by 1 %."""
    source = random.Random(1)
    for batch, ratio in ((2, 1.30), (4, 1.04)):
        for malloc in ("system", "keep"):
            for repeat in range(1, 6):
                rate = 33.5 * (ratio if malloc == "keep" else 1.0) * source.gauss(1, 0.01)
                yield {
                    **make_record("resnet18", batch, repeat=repeat, time=1000 * batch / rate),
                    "results.throughput": rate,
                    "runtime.malloc": malloc,
                }


def test_the_comparison_of_generated_runs(dlbs: RunDlbs, tmp_path: Path) -> None:
    write_records(str(tmp_path / "logs.json"), made_runs())
    command = "dlbs compare logs --by runtime.malloc --baseline system"
    done = dlbs(*command.replace("logs", "logs.json").split()[1:], check=True)
    assert [*printed(done.stdout), "", *printed(done.stderr)] == quoted("reporting.md", command)
