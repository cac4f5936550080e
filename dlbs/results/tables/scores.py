"""Scores: one number for each benchmark and one for all of them, the weighted geometric mean."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from benchmark_core.text import short_number
from dlbs.core.text import counted, finite, text
from dlbs.results.grouping import distinguishing_names, label_of, ordered_keys, title_name, varying
from dlbs.results.runs import Record, Runs, number
from dlbs.results.tables.cells import doubt_lines
from dlbs.results.tables.table import Cell, Table

_MEMORY = (
    "results.memory_device_reserved",
    "results.use.gpu_mem_peak",
    "results.memory_host",
    "results.use.mem_res_peak",
)

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Score:
    """Score of a benchmark.

    Attributes:
        bench: Label of the benchmark.
        fail: Number of runs that failed or timed out.
        n: Number of runs, without skipped ones.
        ngpu: GPUs of a run; 0 on CPUs.
        perf: Mean throughput of successful runs, instances per second; 0 without any. A program that logs a time but no throughput counts as
            one instance in that time.
        sem: Standard error of the mean, relative to the mean; None with a single value.
        std: Standard deviation, relative to the mean.
        source: Source of the standard deviation: `runs` or `batches`.
        peak_memory: Bytes; None if no run measured it.
        weight: Weight in the total.
        is_from_time: A run logged no throughput, so `perf` is runs per second.
        runs: The runs of the benchmark.
    """

    bench: str
    fail: int
    n: int
    ngpu: int
    perf: float
    sem: float | None
    std: float | None
    source: str
    peak_memory: float | None
    weight: float
    is_from_time: bool = False
    runs: Runs = field(default_factory=lambda: Runs.of(()))

    @property
    def score(self) -> float:
        """Throughput times the share of successful runs."""
        return self.perf * (self.n - self.fail) / self.n if self.n else 0.0


def scores(runs: Runs) -> list[Score]:
    """Compute the score of each benchmark, a group of experiments that differ only in `exp.repeat`. Skipped experiments do not count."""
    ran = runs.where([status not in {"skipped", "cancelled", "unfinished"} for status in runs.statuses])
    names = [title_name(ran) or "exp.model", "exp.replica_batch"]
    keys = [*names, *distinguishing_names(ran, given=names, without=["exp.effective_batch"])]
    found, shown = ran.group(keys), varying(ran, keys)
    return [_score(label_of(found[key][0], shown), found[key]) for key in ordered_keys(found, keys)]


def _score(bench: str, runs: Runs) -> Score:
    ok = runs.ok
    fine = ok.where(map(_rate, ok))
    values = list(map(_rate, fine))
    perf = statistics.fmean(values) if values else 0.0
    sem = std = None
    source = ""
    if len(values) > 1:
        source = "runs"
        std = statistics.stdev(values) / perf
        sem = std / math.sqrt(len(values))
    elif values and isinstance(times := fine[0].get("results.time_data"), list) and len(times) > 1:
        mean, deviation = number(fine[0], "results.time"), number(fine[0], "results.time_std")
        if mean and deviation is not None:
            source = "batches"
            std = deviation / mean
            sem = std / math.sqrt(len(times))
    return Score(
        bench=bench,
        fail=len(runs) - len(fine),
        n=len(runs),
        ngpu=int(max(count or 0 for count in runs.numbers("exp.num_gpus"))),
        perf=perf,
        sem=sem,
        std=std,
        source=source,
        peak_memory=_peak_memory(runs),
        is_from_time=any("results.throughput" not in record for record in fine),
        weight=next((value for value in runs.numbers("exp.weight") if value is not None), 1.0),
        runs=runs,
    )


def _rate(record: Record) -> float:
    """Instances per second; 0 without a throughput and a time."""
    time = number(record, "results.time")
    return number(record, "results.throughput") or (1000 / time if time and "results.throughput" not in record else 0.0)


def _peak_memory(runs: Runs) -> float | None:
    for key in _MEMORY:
        found: list[Any] = []
        for value in runs.present(key):
            found += [value] if isinstance(value, (int, float)) else value if isinstance(value, list) else []
        numbers = [one for value in found if (one := finite(value)) is not None]
        if numbers:
            return max(numbers)
    return None


def total_score(scored: Iterable[Score]) -> float:
    """Weighted geometric mean of the scores: exp(Σ weight · ln(score) / Σ weight); 0 if any score is 0.

    Geometric, because instances differ between benchmarks: doubling the speed of any benchmark has the same effect (Fleming and Wallace 1986).
    """
    weighted = [score for score in scored if score.weight > 0]
    weights = math.fsum(score.weight for score in weighted)
    if not weighted or any(score.score <= 0 for score in weighted):
        return 0.0
    return math.exp(math.fsum(score.weight * math.log(score.score) for score in weighted) / weights)


_COLUMNS = ["fail", "n", "ngpu", "perf", "sem%", "std%", "peak_memory", "score", "weight"]


def score_table(scored: list[Score], *, explain: bool = False) -> Table:
    """Format scores as a table, with the total in its legend."""
    cells = [
        [
            Cell(score.fail),
            Cell(score.n),
            Cell(score.ngpu),
            _perf(score),
            *(Cell("-") if share is None else Cell(100 * share) for share in (score.sem, score.std)),
            Cell("-") if score.peak_memory is None else Cell(score.peak_memory / _MIB),
            Cell(score.score),
            Cell(score.weight),
        ]
        for score in scored
    ]
    table = Table(
        "Scores; perf: mean throughput of runs, instances/s; peak_memory: MiB",
        ["bench"],
        [[score.bench] for score in scored],
        _COLUMNS,
        cells,
    )
    total = total_score(scored)
    weighted = [score for score in scored if score.weight > 0]
    ran = [score for score in weighted if score.score > 0]
    table.legend.append(f"score: {short_number(total)} (weighted geometric mean)")
    failed = [score.bench for score in weighted if score.score <= 0]
    if failed:
        table.legend.append(f"no successful run: {', '.join(failed)}")
        if ran:
            table.legend.append(f"score without them: {short_number(total_score(ran))}")
    if any(score.source == "batches" for score in scored):
        table.legend.append("sem% and std% of a benchmark with one run: of its batch times")
    if any(score.is_from_time for score in scored):
        table.legend.append("perf of a benchmark without throughput: runs per second, 1,000 / results.time")
    table.add_legend()
    table.legend += doubt_lines(Runs.together(score.runs for score in scored), ["results.throughput"])
    table.legend += [f"{score.bench}: {reason}" for score in scored for reason in _reasons(score)]
    if explain:
        table.formulas += [line for score in scored for line in _explained(score)]
        weights = " + ".join(f"{score.weight:g}" for score in ran)
        logs = " + ".join(f"{score.weight:g}·ln({short_number(score.score)})" for score in ran)
        if ran:
            table.formulas.append(
                f"score without failed benchmarks = exp(({logs}) / ({weights})) = {short_number(total_score(ran))}"
            )
    return table


def _perf(score: Score) -> Cell:
    doubtful = sum(map(bool, score.runs.ok.doubts))
    return Cell(score.perf, doubtful=doubtful, tone="doubt" if doubtful else "")


def _reasons(score: Score) -> list[str]:
    """Reasons of failed runs, each once."""
    found = zip(score.runs.statuses, score.runs.values("exp.status_msg"), strict=True)
    return list(dict.fromkeys(f"{status}: {text(message)}" for status, message in found if status != "ok" and message))


def _explained(score: Score) -> list[str]:
    good = score.n - score.fail
    lines = [f"{score.bench}: perf = mean throughput of {counted(good, 'run')} = {short_number(score.perf)}"]
    if score.std is not None and score.sem is not None and score.source == "runs":
        spread = short_number(score.std * score.perf)
        lines.append(f"{score.bench}: std% = 100 · {spread} / {short_number(score.perf)} = {100 * score.std:.3g}")
        lines.append(f"{score.bench}: sem% = std% / √{good} = {100 * score.sem:.3g}")
    score_text = f"{short_number(score.perf)} · ({score.n} - {score.fail}) / {score.n} = {short_number(score.score)}"
    lines.append(f"{score.bench}: score = perf · (n - fail) / n = {score_text}")
    return lines
