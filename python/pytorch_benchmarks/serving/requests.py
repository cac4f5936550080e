"""Outcomes of the requests to a server: results from their records, and records in the form of vLLM's `bench serve`.

python requests.py LOG.requests.jsonl > vllm.json      # as `vllm bench serve --save-result --save-detailed` writes it
python requests.py vllm.json > logs/vllm.log           # and back: a log, which reports and plots read beside others
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[2])

from benchmark_core.crash import guarded
from benchmark_core.exits import UsageError
from benchmark_core.intervals import latency_quantile, quantile_interval
from benchmark_core.log import key_line

Record = dict[str, Any]  # a line of LOG.requests.jsonl; docs/serving.md describes its names

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)
GOODPUT = ("ttft", "tpot", "e2e")


def percentile_name(percentile: float) -> str:
    """`p99`, `p999` for 99.9."""
    return "p" + f"{percentile:g}".replace(".", "")


def percentiles(name: str, times: Sequence[float], evaluated: float = 0.0, *, intervals: bool = True) -> dict[str, Any]:
    """Mean, minimum, maximum and percentiles of times; `NAME_target` is the evaluated percentile. Keys of intervals end in `_ci95`."""
    ordered = sorted(times)
    known = [time for time in ordered if math.isfinite(time)]
    found: dict[str, Any] = {
        name: fmean(known) if known else None,
        f"{name}_min": finite(ordered[0]),
        f"{name}_max": finite(ordered[-1]),
    }
    rows = [(percentile_name(one), one) for one in PERCENTILES] + ([("target", evaluated)] if evaluated else [])
    for label, percentile in rows:
        found[f"{name}_{label}"] = finite(latency_quantile(ordered, percentile / 100))
        if intervals:
            found[f"{name}_{label}_ci95"] = _interval(times, percentile)
    return found


def finite(value: float) -> float | None:
    """The value; None for infinity, which JSON lacks."""
    return value if math.isfinite(value) else None


def _interval(times: Sequence[float], percentile: float) -> list[float | None] | None:
    found = quantile_interval(times, percentile / 100)
    return None if found is None else [finite(bound) for bound in found]


def is_ok(record: Record) -> bool:
    """Whether the request was answered."""
    return bool(record["status"] == "ok")


def latency(record: Record, since: str = "due") -> float:
    """Milliseconds from when a request was due, or sent, to its complete answer; infinite if there is none."""
    return 1000 * (record["done"] - record[since]) if is_ok(record) else math.inf


def ttft(record: Record, since: str = "due") -> float:
    """Milliseconds to the first event with text; infinite if there is none."""
    known = is_ok(record) and record["first"] is not None
    return 1000 * (record["first"] - record[since]) if known else math.inf


def tpot(record: Record) -> float | None:
    """Milliseconds per output token after those of the first event; infinite without an answer, None if it is unknown.

    If an event has several tokens, those of the first one arrive together: if the tokenizer does not tell their number, it is the mean number.
    """
    if not is_ok(record):
        return math.inf
    tokens, events = record["output_tokens"], len(record["gaps"]) + 1
    if tokens is None or record["first"] is None or events < 2:
        return None
    after = tokens - (record.get("first_tokens") or max(1.0, tokens / events))
    return sum(record["gaps"]) / after if after > 0 else None


def keeps(record: Record, bounds: Mapping[str, float]) -> bool:
    """Whether a request is answered within all bounds (`ttft`, `tpot`, `e2e`, in milliseconds)."""
    times = {"ttft": ttft(record), "tpot": tpot(record), "e2e": latency(record)}
    return all((time := times[name]) is not None and time <= bound for name, bound in bounds.items()) and is_ok(record)


def parse_goodput(words: str) -> dict[str, float]:
    """Bounds of goodput: `ttft:200,tpot:12,e2e:2000`.

    Raises:
        UsageError: They have another form.
    """
    found = {}
    for part in filter(None, words.split(",")):
        name, _, bound = part.partition(":")
        try:
            found[name.strip()] = float(bound)
        except ValueError:
            found[""] = 0.0
    if not set(found) <= set(GOODPUT) or not all(0 < bound < math.inf for bound in found.values()):
        raise UsageError(
            f"--serving_goodput {words!r} is not bounds in milliseconds, such as ttft:200,tpot:12,e2e:2000"
        )
    return found


def metrics(
    records: Sequence[Record], *, percentile: float = 99.0, goodput: Mapping[str, float] | None = None, users: int = 1
) -> dict[str, Any]:
    """Results of a run, without the prefix `results.serving.`. Times are milliseconds; unknown values are None.

    Args:
        records: Of all requests, at least one.
        percentile: The evaluated one.
        goodput: Bounds of `keeps`.
        users: Of a closed loop.
    """
    records = sorted(records, key=lambda record: record["due"])
    answered = [record for record in records if is_ok(record)]
    begin, last = records[0]["due"], records[-1]["due"]
    seconds = max(1e-9, max(record["done"] for record in answered or records) - begin)
    waits = [1000 * (record["sent"] - record["due"]) for record in records]
    errors = Counter(record["status"] for record in records if not is_ok(record))
    found: dict[str, Any] = {
        "queries": len(records),
        "failed": len(records) - len(answered),
        "rejected": errors.get("rejected", 0),
        "errors": dict(sorted(errors.items())),
        "retries": sum(record["retries"] for record in records),
        "qps": len(answered) / seconds,
        "qps_steady": steady_rate(records, users),
        "percentile": percentile,
        "client_queue_time": fmean(waits),
        "client_queue_time_max": max(waits),
        **_concurrency(records, begin, last),
        **percentiles("latency", [latency(record) for record in records], percentile),
        **percentiles("latency_sent", [latency(record, "sent") for record in records], intervals=False),
    }
    if goodput:
        kept = sum(keeps(record, goodput) for record in records)
        found |= {"goodput": kept / seconds, "goodput_share": kept / len(records)}
    return found | _token_metrics(records, answered, seconds, percentile)


def _token_metrics(
    records: Sequence[Record], answered: Sequence[Record], seconds: float, percentile: float
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if any(record["first"] is not None for record in answered):
        found |= percentiles("ttft", [ttft(record) for record in records], percentile)
        found |= percentiles("ttft_sent", [ttft(record, "sent") for record in records], intervals=False)
        if gaps := [gap for record in answered for gap in record["gaps"]]:
            found |= percentiles("itl", gaps, intervals=False)
        rates = [time for record in records if (time := tpot(record)) is not None]
        if any(math.isfinite(time) for time in rates):
            found |= percentiles("tpot", rates, percentile)
            found["tokens_per_second_user"] = 1000 / found["tpot"] if found["tpot"] else None
    sums = {
        name: sum(counts) if (counts := [record[name] for record in answered]) and None not in counts else None
        for name in ("prompt_tokens", "output_tokens")
    }
    prompt, output = sums.values()
    if any(record["asked_tokens"] or record["output_tokens"] for record in records):
        found |= {
            "prompt_tokens": None if prompt is None else prompt / len(answered),
            "output_tokens": None if output is None else output / len(answered),
            "tokens_per_second": None if output is None else output / seconds,
            "prompt_tokens_per_second": None if prompt is None else prompt / seconds,
            "total_tokens_per_second": None if prompt is None or output is None else (prompt + output) / seconds,
        }
    if prompt and all(record["cached_tokens"] is not None for record in answered):
        found["cache_hit_rate"] = sum(record["cached_tokens"] for record in answered) / prompt
    return found


def steady_rate(records: Sequence[Record], users: int = 1) -> float | None:
    """Answers per second between the first answer and the last request, without the start and the drain; None if this is no time.

    Users of a closed loop are answered in groups, as many as the server has slots: times are compared with those of a whole number of rounds later,
    because the rate from the first answer of a group to the last one of another is too high.
    """
    done = sorted(record["done"] for record in records if is_ok(record))
    last = max(record["due"] for record in records)
    within = [time for time in done if time <= last]
    period = (len(within) - 1) // users * users
    times = [after - before for before, after in zip(within, within[period:])] if period > 0 else []  # noqa: B905
    return period / fmean(times) if times and sum(times) > 0 else None


def backlog(records: Sequence[Record], rate: float) -> tuple[int, int, float, float]:
    """Counts of the requests that were due while the run was steady, which tell whether the queue of the server grows.

    A server that keeps pace falls behind bursts as one does that answers exactly the offered rate; one that is too slow falls behind further. Answers
    of different lengths take the longest of them until as many end as arrive, so the steady part begins late: after the 90th percentile of the early
    latencies, at most at half of the run.

    Args:
        records: Of an open loop.
        rate: Mean rate of its arrivals, per second.

    Returns:
        Their number, how many fewer were answered, how many of these a burst of arrivals explains, and the standard deviation of the rest: times of
        answers vary by chance, as adjacent latencies tell, and so do the numbers of requests under way at the beginning and at the end.
    """
    records = sorted(records, key=lambda record: record["due"])
    due, latencies = [record["due"] for record in records], [record["done"] - record["due"] for record in records]
    early = sorted(latencies[: max(1, len(records) // 4)])
    first = min((record["done"] for record in records if is_ok(record)), default=0.0)
    begin, end = max(first, min(due[0] + latency_quantile(early, 0.9), (due[0] + due[-1]) / 2)), due[-1]
    arrived = [time for time in due if begin < time]
    ended = sum(begin < record["done"] <= end for record in records)
    burst, before = 0.0, begin
    for time in arrived:
        burst, before = max(0.0, burst - rate * (time - before)) + 1, time
    steps = [(after - before) ** 2 / 2 for before, after in itertools.pairwise(latencies)]
    spread = min(1.0, math.sqrt(fmean(steps)) / max(1e-9, fmean(early))) if steps else 1.0
    under_way = sum(record["due"] <= begin < record["done"] for record in records)
    error = math.sqrt(spread**2 * len(arrived) + 2 * min(under_way, len(arrived)))
    return len(arrived), len(arrived) - ended, burst, error


def keeps_pace(records: Sequence[Record], rate: float, *, allows_chance: bool = True) -> bool:
    """Whether the backlog of an open loop at a rate grows by no more than 2 % beyond bursts, and than chance explains (in about 95 % of runs below 0.9 of the highest rate).

    Without an allowance for chance, half of the short runs pass at 1.05 times the highest rate: the criterion of a search.
    `benchmarks/serving_pace.py` simulates how often servers are found.
    """
    arrived, more, burst, error = backlog(records, rate)
    return more - burst <= max(0.02 * arrived, 1.645 * error if allows_chance else 0.0)


def _concurrency(records: Sequence[Record], begin: float, end: float) -> dict[str, Any]:
    """Mean and maximum number of requests that were sent and not complete, the mean up to the last request."""
    area = sum(max(0.0, min(record["done"], end) - record["sent"]) for record in records)
    steps = sorted([(record["sent"], 1) for record in records] + [(record["done"], -1) for record in records])
    most = max(itertools.accumulate(step for _, step in steps))
    return {"concurrency": area / (end - begin) if end > begin else float(most), "concurrency_max": most}


def load_requests(path: Path) -> list[Record]:
    """Records from LOG.requests.jsonl.

    Raises:
        UsageError: The file cannot be read, or has other contents.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            records = [json.loads(line) for line in lines]
        for record in records:
            latency(record), tpot(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: not the requests of a run: {error}") from None
    return records


def to_vllm(records: Sequence[Record]) -> dict[str, Any]:
    """Results by the names that `vllm bench serve --save-result --save-detailed` uses. Lists are seconds, in the order of arrival."""
    records = sorted(records, key=lambda record: record["due"])
    answered = [record for record in records if is_ok(record)]
    duration = max(record["done"] for record in records) - min(record["sent"] for record in records)
    prompt, output = (sum(record[name] or 0 for record in answered) for name in ("prompt_tokens", "output_tokens"))
    rates = [time for record in answered if (time := tpot(record)) is not None]
    series = {
        "ttft": [ttft(record, "sent") for record in answered if record["first"] is not None],
        "tpot": rates,
        "itl": [gap for record in answered for gap in record["gaps"]],
        "e2el": [latency(record, "sent") for record in answered],
    }
    found: dict[str, Any] = {
        "duration": duration,
        "completed": len(answered),
        "failed": len(records) - len(answered),
        "num_prompts": len(records),
        "total_input_tokens": prompt,
        "total_output_tokens": output,
        "request_throughput": len(answered) / duration,
        "output_throughput": output / duration,
        "total_token_throughput": (prompt + output) / duration,
        "input_lens": [record["prompt_tokens"] or 0 for record in records],
        "output_lens": [record["output_tokens"] or 0 for record in records],
        "start_times": [record["sent"] for record in records],
        "ttfts": [record["first"] - record["sent"] if record["first"] is not None else 0.0 for record in records],
        "itls": [[gap / 1000 for gap in record["gaps"]] for record in records],
        "errors": ["" if is_ok(record) else record["error"] or record["status"] for record in records],
    }
    for name, times in series.items():
        if times:
            ordered = sorted(times)
            found |= {f"mean_{name}_ms": fmean(times), f"median_{name}_ms": statistics.median(times)}
            found |= {f"std_{name}_ms": statistics.pstdev(times)}
            found |= {f"p{one}_{name}_ms": latency_quantile(ordered, one / 100) for one in (50, 90, 95, 99)}
    return found


def from_vllm(found: Mapping[str, Any]) -> list[Record]:
    """Records from the detailed results of `vllm bench serve`, whose clock starts when a request is sent.

    Raises:
        UsageError: The lists of `--save-detailed` are missing.
    """
    names = ("input_lens", "output_lens", "ttfts", "itls", "errors")
    if not all(isinstance(found.get(name), list) for name in names):
        raise UsageError("these results of vLLM have no lists of requests: run `vllm bench serve` with --save-detailed")
    lists = [found[name] for name in names]
    starts = found.get("start_times") or [0.0] * len(lists[0])
    origin = min(starts, default=0.0)
    made: list[Record] = []
    for number, (start, prompt, output, first, gaps, error) in enumerate(zip(starts, *lists)):  # noqa: B905 - cut lists
        sent = start - origin
        made.append(
            {
                "number": number, "turn": 0, "due": sent, "sent": sent, "first": sent + first, "done": sent + first + sum(gaps),
                "gaps": [1000 * gap for gap in gaps], "asked_tokens": output, "prompt_tokens": prompt, "output_tokens": output,
                "cached_tokens": None, "first_tokens": None, "status": "failed" if error else "ok", "error": error or None, "retries": 0
            }
        )  # fmt: skip
    return made


def to_log(found: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the log of an experiment from the detailed results of `vllm bench serve`.

    Raises:
        UsageError: The lists of `--save-detailed` are missing.
    """
    rate, measured = found.get("request_rate"), metrics(from_vllm(found))
    is_open = isinstance(rate, (int, float))  # otherwise `inf`
    given = {
        "exp.model": found.get("model_id"), "exp.model_title": found.get("model_id"), "exp.phase": "serving",
        "exp.framework": "vllm", "exp.framework_title": "vLLM bench serve",
        "serving.scenario": "server" if is_open else "concurrent", "serving.target_qps": rate if is_open else None,
        "serving.users": found.get("max_concurrency"), "exp.status": "ok", "results.throughput": measured["qps"],
    }  # fmt: skip
    known = {name: value for name, value in given.items() if value is not None}
    return known | {f"results.serving.{name}": value for name, value in measured.items()}


def main(arguments: Sequence[str]) -> int:
    """Convert a file to the other form on standard output; the exit code."""
    try:
        (name,) = arguments
        path = Path(name)
        if path.suffix == ".jsonl":
            print(json.dumps(to_vllm(load_requests(path))))
        else:
            for key, value in to_log(json.loads(path.read_text(encoding="utf-8"))).items():
                print(key_line(key, value))
    except (UsageError, OSError, ValueError, RecursionError, AttributeError, TypeError, LookupError) as error:
        print(
            f"error: {' '.join(arguments)}: {error}; requests.py FILE.jsonl writes vLLM's form, requests.py FILE.json a log",
            file=sys.stderr,
        )
        return UsageError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:])))
