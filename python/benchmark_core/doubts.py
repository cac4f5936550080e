"""Every warning that a run logs about its own numbers: its threshold, its text and its remedy. Results with warnings are doubtful."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmark_core.text import short_number

MONITOR_WARNINGS = "results.use.warnings"
# Share of the CPUs or of a GPU that other programs may use, and of the time in which the clock of a GPU may be lowered, without a warning.
DISTURBED_FROM = 0.05

_FAR_OUT = 14.826  # modified z-score of an outlier (Iglewicz and Hoaglin 1993): ten median absolute deviations
_OUTLIER_FROM = 0.05  # minimum share above the median, since smaller differences are outliers too if times hardly vary
_FEWEST = 5  # times that the detection of outliers requires
_LONGEST = 60  # characters of a kind
_FIGURE = r"[+-]?\b\d[\d,.]* %|[+-]\d[\d,.]* %|\b\d[\d,]* of \d[\d,]*"


class DoubtKind(NamedTuple):
    """A kind of warning.

    Attributes:
        meaning: The cause of the warning.
        remedy: The fix.
        worst: The meaning with `{}` for the figure of the worst run; empty if such warnings have no figure.
    """

    meaning: str
    remedy: str
    worst: str = ""


KINDS: dict[str, DoubtKind] = {
    "CPU contention": DoubtKind(
        "other programs used the CPUs", "rerun on an idle machine", "other programs used up to {} of the CPUs"
    ),
    "neighbours": DoubtKind(
        "experiments of the same plan ran at the same time on the same CPUs",
        "rerun with --jobs 1, or give each separate CPUs (-Pruntime.cpus=N)",
        "experiments of the same plan ran at the same time, and up to {} of the CPUs were not available to this one",
    ),
    "GPU contention": DoubtKind(
        "other programs used the GPU", "end them (see nvidia-smi) and rerun", "other programs used up to {} of a GPU"
    ),
    "GPU throttling": DoubtKind(
        "heat or the power supply lowered the clock of the GPU",
        "improve the cooling and rerun",
        "heat or the power supply lowered the clock of a GPU up to {} of the time",
    ),
    "drift": DoubtKind(
        "times changed between the first and the last third of the run",
        "warm up longer (exp.num_warmup_batches), fix clocks and cooling",
        "times changed by up to {} between the first and the last third of the run",
    ),
    "unsteady warm-up": DoubtKind(
        "times were still changing when the warm-up reached its limit", "rerun on an idle machine with fixed clocks"
    ),
    "slow first run": DoubtKind(
        "the first timed run took much longer than the others",
        "warm up (exp.num_warmup_batches), or clear caches before each run (command.prepare)",
    ),
    "outliers": DoubtKind(
        "some runs took much longer than the others",
        "rerun on an idle machine",
        "in the worst experiment {} runs took much longer than the others",
    ),
    "failures": DoubtKind(
        "failed runs were counted",
        "fix the command, or remove command.ignore_failure",
        "in the worst experiment {} runs failed and were counted",
    ),
    "invalid result": DoubtKind(
        "a run violates the rules of MLPerf's load generator",
        "see results.serving.reason: run longer (serving.min_duration), or lower serving.target_qps",
    ),
    "rejected queries": DoubtKind(
        "the queue was full; rejected queries count as too late",
        "lower serving.target_qps, or raise serving.queue_limit",
        "in the worst experiment {} queries were rejected",
    ),
    "failed requests": DoubtKind(
        "requests failed; they count as too late",
        "see results.serving.errors and the log of the server",
        "in the worst experiment {} requests failed",
    ),
    "cached prompts": DoubtKind(
        "the server had prompts in its cache that should be unique",
        "restart the server, or set serving.prompts=repeat if this is intended",
        "the server had up to {} of the prompt tokens in its cache",
    ),
    "tokens not counted": DoubtKind(
        "the server does not report the tokens of its answers, so figures per token are unknown",
        "set serving.tokenizer",
    ),
    "several tokens per event": DoubtKind(
        "several tokens arrive together: gaps between events are not those between tokens",
        "use the time per output token (tpot) instead of the inter-token latency (itl)",
    ),
    "short answers": DoubtKind(
        "answers were shorter than requested",
        "set serving.ignore_eos if the server supports it",
        "in the worst experiment {} answers were shorter than requested",
    ),
    "client limit": DoubtKind(
        "the client, not the server, limited the load",
        "run the client on another machine, or raise serving.clients or serving.max_concurrency",
    ),
    "late load generator": DoubtKind(
        "queries were issued later than they were due", "reserve a CPU for the load generator (pytorch.num_threads)"
    ),
    "imprecise limit": DoubtKind(
        "the confidence interval of the highest rate is wider than requested",
        "raise serving.find_trials or serving.min_duration",
    ),
    "server not restarted": DoubtKind(
        "repeated searches do not cover restarts of the server", "restart the server between them"
    ),
    "limit not reached": DoubtKind(
        "every tested rate met the bounds", "tighten the bounds, or use the offline throughput as the limit"
    ),
    "slow data type": DoubtKind(
        "the CPU has no instructions for the data type", "use float32 (exp.dtype), or another CPU"
    ),
    "oversubscription": DoubtKind("more threads than CPUs", "set pytorch.num_threads to at most the number of CPUs"),
    "accuracy differs from the weights' entry": DoubtKind(
        "the accuracy differs from the published accuracy of the weights",
        "check the images, the precision and the weights",
    ),
    "memory not measured": DoubtKind(
        "the pass that measures memory failed; times are not affected", "disable it (pytorch.passes)"
    ),
    "operations not counted": DoubtKind(
        "the pass that counts operations failed; times are not affected", "disable it (pytorch.passes)"
    ),
    "profile not written": DoubtKind(
        "the pass that writes a profile failed; times are not affected", "disable it (pytorch.profile)"
    ),
    "effective batch changed": DoubtKind(
        "training was continued with a different number of replicas", "continue with the same number of replicas"
    ),
}


def warning(kind: str, figures: str, remedy: str = "") -> str:
    """A warning of a kind: `kind: figures; remedy`. The remedy is that of the kind unless another one is known to help."""
    return f"{kind}: {figures}; {remedy or KINDS[kind].remedy}"


def cpu_contention(share: float | None, preemptions: float | None = None) -> list[str]:
    """The warning, if there is a reason, about the share of the CPUs that other programs used; the number of preemptions if known."""
    if share is None or share <= DISTURBED_FROM:
        return []
    figures = f"{100 * share:.0f} %" + ("" if preemptions is None else f", {preemptions:,.0f} preemptions")
    return [warning("CPU contention", figures)]


def gpu_contention(share: float, gpu: str, others: Sequence[int]) -> list[str]:
    """The warning, if there is a reason, about the share of a GPU that other processes used."""
    if share <= DISTURBED_FROM:
        return []
    who = ", ".join(map(str, others))
    return [warning("GPU contention", f"other programs (process {who}) used {100 * share:.0f} % of GPU {gpu}")]


def gpu_throttling(share: float, gpu: str, reasons: Sequence[str]) -> list[str]:
    """The warning, if there is a reason, about the share of the time in which the clock of a GPU was lowered."""
    if share <= DISTURBED_FROM:
        return []
    figures = f"the clock of GPU {gpu} was lowered {100 * share:.0f} % of the time ({', '.join(reasons)})"
    return [warning("GPU throttling", figures)]


def drifted(times: Sequence[float]) -> list[str]:
    """The warning about a drift of more than 3 % that exceeds the drift of noise, if there is one."""
    from benchmark_core.intervals import STEADY_WITHIN, drift, drift_of_noise

    moved = drift(times)
    if moved is None or abs(moved) <= STEADY_WITHIN or abs(moved) <= (noise := drift_of_noise(times)):
        return []
    return [
        warning(
            "drift", f"times {100 * moved:+.0f} % from the first third to the last, noise alone {100 * noise:.1f} %"
        )
    ]


def slow_runs(times: Sequence[float]) -> list[str]:
    """The warning about outliers among the times of runs, in ms, or about a slow first run, if there is one."""
    far = outliers(times)
    if not far:
        return []
    import statistics

    median = f"the median is {short_number(statistics.median(times))} ms"
    if far == [times[0]]:
        return [warning("slow first run", f"{short_number(times[0])} ms, {median}")]
    return [warning("outliers", f"{len(far)} of {len(times)} runs, up to {short_number(max(far))} ms, {median}")]


def outliers(times: Sequence[float]) -> list[float]:
    """Times far above the median, measured by the median absolute deviation."""
    if len(times) < _FEWEST:
        return []
    import statistics

    middle = statistics.median(times)
    spread = statistics.median(abs(one - middle) for one in times)
    limit = max(_FAR_OUT * spread / 0.6745, _OUTLIER_FROM * middle)
    return [one for one in times if one - middle > limit]


DOUBT_KEYS = ("results.warnings", MONITOR_WARNINGS, "exp.neighbours", "exp.cpus")  # what `warnings_of` reads


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """The warnings that a run, or its monitor, logged about its own numbers; empty if there are none."""
    lists = (record.get(key) for key in ("results.warnings", MONITOR_WARNINGS))
    lines = [line for found in lists if isinstance(found, list) for line in found if isinstance(line, str)]
    if record.get("exp.neighbours") and not record.get("exp.cpus"):  # a benchmark does not know whose load it sees
        lines = [
            warning("neighbours", figure_of(line)) if doubt_kind(line) == "CPU contention" else line for line in lines
        ]
    return lines


def doubt_kind(warning: str) -> str:
    """The kind of a warning, without its figures and its remedy: `CPU contention`."""
    return _shortened(warning.partition(":")[0])


@functools.lru_cache(maxsize=256)  # there are few kinds, and many runs
def _shortened(kind: str) -> str:
    import textwrap

    return textwrap.shorten(kind, _LONGEST, placeholder="…")


def doubts_of(record: Mapping[str, Any]) -> list[str]:
    """The distinct kinds of the warnings of a run."""
    return list(dict.fromkeys(map(doubt_kind, warnings_of(record))))


def figure_of(warning: str) -> str:
    """The share or count in a warning: `86 %`, `2 of 30`; empty if it has none."""
    kind = KINDS.get(doubt_kind(warning))
    found = re.search(_FIGURE, warning.partition(":")[2]) if kind is not None and kind.worst else None
    return found[0] if found else ""
