"""Servers behind a URL: the requests and their times, the processes that send them, and the results with the reasons to doubt them."""

from __future__ import annotations

import base64
import fcntl
import json
import math
import mimetypes
import os
import queue
import random
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmark_core.doubts import warning
from benchmark_core.exits import BenchmarkError, UnavailableError, UsageError
from benchmark_core.files import replaced
from benchmark_core.gpus import Energy, cuda_name, named_gpu, open_nvml, visible_gpus
from benchmark_core.log import LOG_VARIABLE, Log
from benchmark_core.measure import log_program
from benchmark_core.timing import Moments, rate_words
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.serving import requests
from pytorch_benchmarks.serving.loadgen import fewest_queries
from pytorch_benchmarks.serving.prompts import draw_lengths, read_data
from pytorch_benchmarks.serving.requests import Record

_USUAL_WARMUP = 10  # requests, where the options say `auto`
_HIT_RATE = 0.01  # of cached prompt tokens, above which prompts were not unique
_BUSY = 0.8  # share of a CPU above which a client is late for its events
_LAG = 10.0  # milliseconds of the event loop's lag, 99th percentile
_QUEUED = 0.01  # share of requests that waited for max_concurrency
_FEWEST_ERRORS = 10  # before a run ends because of its errors
# Seconds, rounds and growth of a step to the highest throughput.
_CLIMB, _ROUNDS, _GROWTH, _MOST_USERS = 2.0, 4, 1.1, 1024
_UNLOADED = 8  # requests without load: enough to see that a bound is out of reach
_PACED = 150  # requests of a trial: with fewer, a server 10 % too slow seems to keep pace
_METRICS = (
    ("vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"),
    ("sglang:cached_tokens_total", "sglang:prompt_tokens_total"),
)
# At the end of its input, ends the process group $1, by force after $2 tenths of a second, with a command before and afterwards. It outlives all others.
_GUARD = (
    'trap "" TERM; read -r _; pid=$1; left=$2; shift 2; "$@"; kill -TERM "-$pid"; '
    'while kill -0 "-$pid" && [ "$left" -gt 0 ]; do left=$((left - 1)); sleep 0.1; done; kill -KILL "-$pid"; "$@"'
)
_GRACE = 100  # tenths of a second that a server has to end
_START = 0.05  # seconds from the announcement of the start to the start


def check_remote(options: BenchmarkOptions) -> None:
    """Reject combinations of options that a server behind a URL does not support.

    Raises:
        UsageError: A combination is invalid, or the package httptools is missing.
    """
    try:
        import httptools  # noqa: F401
    except ImportError as error:
        raise UsageError(f"--serving_url needs httptools ({error}): pip install httptools") from None
    try:
        parts = urlsplit(options.serving_url)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"--serving_url {options.serving_url}: {error}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"--serving_url {options.serving_url!r} is not an address such as http://127.0.0.1:8000")
    if options.serving_scenario == "multi-stream":
        raise UsageError("--serving_scenario multi-stream is for models: use concurrent with --serving_users")
    for flag in ("workers", "max_batch", "max_wait", "queue_limit"):
        if getattr(options, f"serving_{flag}"):
            raise UsageError(f"--serving_{flag} belongs to models, the server at --serving_url has its own: omit it")
    if options.serving_turns > 1 and options.serving_protocol != "chat":
        raise UsageError("--serving_turns needs --serving_protocol chat")
    if options.serving_key_variable and options.serving_key_variable not in os.environ:
        raise UsageError(f"--serving_key_variable: the environment has no variable {options.serving_key_variable}")
    headers = [
        *options.serving_headers,
        *options.serving_headers.values(),
        os.environ.get(options.serving_key_variable),
    ]
    if not all(str(text).isprintable() for text in headers):
        raise UsageError(
            "--serving_headers or the key of --serving_key_variable: a line break or another control character"
        )
    kind, _, count = options.serving_prompts.partition(":")
    if kind not in {"unique", "repeat", "shared-prefix"} or (kind == "shared-prefix") != count.isdigit():
        raise UsageError(f"--serving_prompts {options.serving_prompts!r} is not unique, repeat or shared-prefix:TOKENS")
    draw_arrivals(options.serving_arrivals, 1.0, 0.0, 1, 1, None)
    requests.parse_goodput(options.serving_goodput)


def draw_arrivals(
    words: str, rate: float, seconds: float, least: int, seed: int, stamps: Sequence[float] | None
) -> list[float]:
    """Due times in seconds from the start, until both a duration and a number of requests are reached.

    Args:
        words: `poisson`, `constant`, `gamma:SHAPE` (below 1: bursts), `ramp:FACTOR` (Poisson, up to a multiple of the rate), or `trace`.
        rate: Requests per second.
        seconds, least: Minimum duration and number.
        seed: Of the random times.
        stamps: Time stamps of the data, for `trace`.

    Raises:
        UsageError: The form is invalid.
    """
    kind, _, text = words.partition(":")
    try:
        value = float(text) if text else 1.0
    except ValueError:
        value = 0.0
    has_value = {"poisson": False, "constant": False, "gamma": True, "ramp": True, "trace": False}
    if not 0 < value < 1e6 or has_value.get(kind) is not bool(text):
        raise UsageError(f"--serving_arrivals {words!r} is not poisson, constant, gamma:SHAPE, ramp:FACTOR or trace")
    if kind == "trace":
        return [stamp - stamps[0] for stamp in stamps] if stamps else []
    chance, now = random.Random(seed), 0.0
    due: list[float] = []
    while now < seconds or len(due) < least:
        due.append(now)
        share = min(1.0, now / seconds) if seconds else 0.0
        current = rate * (1 + (value - 1) * share) if kind == "ramp" else rate
        now += (
            1 / current if kind == "constant"
            else chance.gammavariate(value, 1 / (value * current)) if kind == "gamma"
            else chance.expovariate(current)
        )  # fmt: skip
    return due


class Remote:
    """A server under load.

    Attributes:
        count: Number of requests so far.
        client: Facts about the client of the last run: `cpu`, `lag`, `lag_p99`, `lag_max`.
    """

    def __init__(self, options: BenchmarkOptions, log: Log) -> None:
        self._options, self._log = options, log
        self._stamps: list[float] | None = None
        self._gpus = _gpus_of_server(options)
        self.count, self.client, self._first = 0, {"cpu": 0.0, "lag": 0.0, "lag_p99": 0.0, "lag_max": 0.0}, 0
        self._plan = self._make_plan()

    def _make_plan(self) -> dict[str, Any]:
        options = self._options
        protocol, seed = options.serving_protocol, options.seed
        bodies: list[str] = []
        items: list[tuple[list[Any], int]] = []
        kind = "application/json"
        if protocol == "predict":
            bodies, kind = _bodies(options)
        elif options.serving_data:
            items, self._stamps = read_data("--serving_data", options.serving_data)
            if options.serving_arrivals == "trace" and self._stamps is None:
                raise UsageError(f"--serving_arrivals trace: {options.serving_data} has no time stamps")
        else:
            count = max(options.serving_samples, 1 if options.serving_prompts == "repeat" else 1024)
            answers = options.serving_output_tokens or (
                options.serving_prompt_tokens if options.serving_prompt_tokens.startswith("file:") else "16"
            )
            asked = draw_lengths("--serving_output_tokens", answers, count, seed + 1, 1)
            turns = [
                draw_lengths("--serving_prompt_tokens", options.serving_prompt_tokens or "128", count, seed + 2 * turn)
                for turn in range(options.serving_turns)
            ]
            items = [(list(lengths), most) for *lengths, most in zip(*turns, asked, strict=True)]
        mode, _, prefix = options.serving_prompts.partition(":")
        path = options.serving_url.rstrip("/")
        if protocol != "predict":
            end = "/chat/completions" if protocol == "chat" else "/completions"
            address, mark, query = path.partition("?")
            if not address.endswith(end):
                address += ("" if address.endswith("/v1") else "/v1") + end
            path = address + mark + query
        return {
            "url": path, "protocol": protocol, "model": options.model, "stream": options.serving_stream,
            "headers": {str(name): str(value) for name, value in options.serving_headers.items()},
            "extra": options.serving_extra_body, "ignore_eos": options.serving_ignore_eos,
            "tokenizer": _tokenizer_file(options.serving_tokenizer), "timeout": options.serving_timeout,
            "retries": options.serving_retries, "items": items, "bodies": bodies, "kind": kind,
            # A server that was asked before must not know the prompts, unless it shall.
            "nonce": str(seed) if mode == "repeat" else secrets.token_hex(8),
            "repeat": mode == "repeat", "prefix": int(prefix or 0),
            "due": None, "users": 1, "seconds": 0.0, "least": 1, "most": 1 << 60, "limit": 0,
        }  # fmt: skip

    def warm_up(self) -> None:
        """Send a number of requests at the same time, which are not measured.

        Raises:
            BenchmarkError: None of them was answered.
        """
        count = self._options.num_warmup_batches
        count = _USUAL_WARMUP if count is None else count
        if count:
            records = self.send(due=[0.0] * count, what="warm-up", may_fail=True)
            if not any(map(requests.is_ok, records)):
                reasons = Counter(record["error"] for record in records)
                raise self._failure(records, reasons.most_common(1)[0][0])

    def _failure(self, records: Sequence[Record], reason: str) -> BenchmarkError:
        """The error of a run without results: the server cannot be reached, or this experiment fails."""
        is_gone = all(record["status"] == "connection" for record in records) and not self._options.serving_command
        return (UnavailableError if is_gone else BenchmarkError)(f"{self._options.serving_url}: {reason}")

    def run(self, scenario: str, rate: float = 0.0, seed: int | None = None) -> list[Record]:
        """One run of a scenario; the records of its requests."""
        options = self._options
        seconds, least = options.serving_min_duration, self.fewest(scenario)
        if scenario in {"single-stream", "concurrent"}:
            return self.send(
                users=options.serving_users if scenario == "concurrent" else 1, seconds=seconds, least=least
            )
        if scenario == "offline":
            due = [0.0] * max(least, options.serving_samples)
        else:
            seed = options.serving_schedule_seed if seed is None else seed
            due = draw_arrivals(options.serving_arrivals, rate, seconds, least, seed, self._stamps)
        return self.send(due=due)

    def fewest(self, scenario: str) -> int:
        """The minimum number of requests: with a bound, as many as its percentile needs."""
        options = self._options
        if options.serving_min_queries or not bounds_of(options) or scenario in {"offline", "concurrent"}:
            return options.serving_min_queries or 1
        fewest = fewest_queries(options.serving_percentile or 99.0)
        return max(fewest, _PACED) if options.serving_find else fewest

    def send(
        self, *, due: list[float] | None = None, users: int = 1, seconds: float = 0.0, least: int = 1, what: str = "",
        may_fail: bool = False,
    ) -> list[Record]:  # fmt: skip
        """Send requests from separate processes.

        Raises:
            BenchmarkError: Too many requests failed, or a client process died.
        """
        options = self._options
        most = len(self._plan["items"]) if options.serving_data and not self._plan["repeat"] else 1 << 60
        if due is not None:
            due = due[:most]
        share = options.serving_clients or max(1, min(4, len(os.sched_getaffinity(0)) // 4))
        clients = max(1, min(share, users if due is None else len(due), options.serving_max_concurrency or share))
        arrived: queue.Queue[Any] = queue.Queue()
        processes = []
        try:
            for number in range(clients):
                plan = {
                    **self._plan, "first": self._first + number, "step": clients, "seconds": seconds,
                    "due": None if due is None else due[number::clients],
                    "users": _part(users, number, clients), "least": _part(least, number, clients), "most": _part(most, number, clients),
                    "limit": _part(options.serving_max_concurrency, number, clients),
                }  # fmt: skip
                if options.serving_key_variable:  # in a pipe, never in a file or on a command line
                    key = os.environ[options.serving_key_variable]
                    plan["headers"] = {"Authorization": f"Bearer {key}", **plan["headers"]}
                processes.append(_started(plan, arrived))
            for _ in processes:
                while _next(arrived, processes, 1.0) is None:
                    pass  # a machine may be slow, and a client that died is an error
            for gpu in self._gpus:
                gpu.start()
            start = time.monotonic() + _START
            for process in processes:
                process.stdin.write(f"{start!r}\n".encode())
                process.stdin.flush()
            records = self._collect(arrived, processes, what, may_fail)
            for gpu in self._gpus:
                gpu.stop()
            return records
        finally:
            for process in processes:
                process.kill()
                process.wait()
                process.stdin.close()

    def _collect(self, arrived: Any, processes: Sequence[Any], what: str, may_fail: bool) -> list[Record]:
        options, records, ends, errors = self._options, list[Record](), list[dict[str, float]](), Counter[str]()
        moments = Moments()
        while len(ends) < len(processes):
            line = _next(arrived, processes, moments.seconds_left)
            if moments.is_due() and self._log.reports:
                words = rate_words(len(records), moments.seconds, "requests")
                print(f"{what or 'so far'}: {len(records):,} answers in {moments.seconds:.0f} s, {words}", flush=True)
            if line is None:
                continue
            if "end" in line:
                ends.append(line["end"])
                continue
            records.append(line)
            if line["status"] not in {"ok", "rejected"}:
                errors[f"{line['status']}: {line['error']}"] += 1
                failed = errors.total()
                most = options.serving_max_error_rate / 100 * len(records)
                if not may_fail and failed >= _FEWEST_ERRORS and failed > most:
                    self._write(records)
                    reason = errors.most_common(1)[0][0]
                    words = f"{failed} of {len(records)} requests failed, more than serving.max_error_rate: {reason}"
                    raise self._failure(records, words)
        self._first += max((record["number"] for record in records), default=0) - self._first + 1
        self.count += len(records)
        self.client = {name: max(end[name] for end in ends) for name in ends[0]}
        if not records:
            raise BenchmarkError("no request was sent: raise serving.min_duration, or check the data")
        return sorted(records, key=lambda record: record["due"])

    def bound_by_client(self, records: Sequence[Record]) -> str:
        """Why the client, and not the server, limited a run; empty if it did not."""
        client, limit = self.client, self._options.serving_max_concurrency
        queued = sum(record["sent"] - record["due"] > 0.001 for record in records)
        if limit and queued > _QUEUED * len(records) and requests.metrics(records)["concurrency_max"] >= limit:
            return f"{queued} of {len(records)} requests waited for serving.max_concurrency={limit}"
        if client["cpu"] > _BUSY:
            return f"a client process used {100 * client['cpu']:.0f} % of a CPU"
        if client["lag_p99"] > _LAG:
            return f"the client waited up to {client['lag_p99']:.0f} ms for a CPU (p99)"
        return ""

    def _write(self, records: Sequence[Record]) -> None:
        if self._options.serving_requests:
            with replaced(self._options.serving_requests) as stream:
                stream.writelines(json.dumps(record) + "\n" for record in records)

    def measure(self, scenario: str, rate: float) -> None:
        """One run, whose results are those of the experiment."""
        before, records, after = self._cache_counters(), self.run(scenario, rate), self._cache_counters()
        hits = (after[0] - before[0]) / (after[1] - before[1]) if before and after and after[1] > before[1] else None
        self._log_run(scenario, records, hits, rate)

    def _log_run(self, scenario: str, records: Sequence[Record], hits: float | None, rate: float) -> None:
        """Log the results of a run, with a warning for each reason to doubt them."""
        options, log = self._options, self._log
        percentile = options.serving_percentile or (90.0 if scenario == "single-stream" else 99.0)
        goodput = requests.parse_goodput(options.serving_goodput)
        users = options.serving_users if scenario == "concurrent" else 1
        found = requests.metrics(records, percentile=percentile, goodput=goodput, users=users)
        if hits is not None:
            found["cache_hit_rate"] = hits
        found |= {f"client_{name}": value for name, value in self.client.items()}
        reasons = self._breaches(scenario, records, found, rate)
        found |= {"scenario": scenario, "valid": not reasons, "reason": "; ".join(reasons)}
        bounds = {"e2e" if name == "latency" else name: bound for name, bound in bounds_of(options).items()}
        if scenario == "server":
            found["offered_qps"] = rate
        if bounds:
            found["late"] = sum(not requests.keeps(record, bounds) for record in records)
        found |= self._energy(records)
        log.many(found, "results.serving.")
        log("results.throughput", found["qps"])
        self._write(records)
        for text in self._doubts(records, found, reasons):
            log.warn(text)
        if log.reports and not options.serving_find:
            print_line(options.model, log.values)

    def _energy(self, records: Sequence[Record]) -> dict[str, float]:
        """Joules of all GPUs of the server, per request and per output token; empty if one of them does not report its energy."""
        answered = [record for record in records if requests.is_ok(record)]
        parts = [gpu.metrics(max(1, len(answered))) for gpu in self._gpus]
        if not parts or not all(parts):
            return {}
        self._log.many({name: sum(part[name] for part in parts) for name in parts[0]})
        tokens = sum(record["output_tokens"] or 0 for record in answered)
        return {"energy_per_token": sum(part["results.energy"] for part in parts) / tokens} if tokens else {}

    def _breaches(self, scenario: str, records: Sequence[Record], found: dict[str, Any], rate: float) -> list[str]:
        options, percentile = self._options, found["percentile"]
        reasons = []
        is_even = options.serving_arrivals.partition(":")[0] not in {"ramp", "trace"}
        if scenario == "server" and is_even and not requests.keeps_pace(records, rate):
            arrived, more, *_ = requests.backlog(records, rate)
            reasons.append(
                f"the server answered {arrived - more} requests while {arrived} arrived: its queue grows with the run"
            )
        if len(records) < self.fewest(scenario):
            reasons.append(f"{len(records)} requests are too few for {requests.percentile_name(percentile)}")
        return reasons + _exceeded(options, found)

    def _doubts(self, records: Sequence[Record], found: dict[str, Any], reasons: Sequence[str]) -> list[str]:
        doubts = {"invalid result": "; ".join(reasons), "client limit": self.bound_by_client(records)}
        answered = [record for record in records if requests.is_ok(record)]
        if found["failed"]:
            kinds = ", ".join(f"{kind}: {count}" for kind, count in found["errors"].items())
            doubts["failed requests"] = f"{found['failed']} of {len(records)} ({kinds})"
        is_unique = self._options.serving_prompts == "unique" and not any(record["turn"] for record in records)
        if is_unique and (found.get("cache_hit_rate") or 0) > _HIT_RATE:
            doubts["cached prompts"] = f"{100 * found['cache_hit_rate']:.1f} % of prompt tokens"
        if self._options.serving_protocol != "predict" and answered:
            counts = [record["output_tokens"] for record in answered]
            events = sum(len(record["gaps"]) + 1 for record in answered)
            if None in counts:
                doubts["tokens not counted"] = f"{counts.count(None)} of {len(counts)} answers"
            elif self._options.serving_stream and sum(counts) > 1.05 * events:
                doubts["several tokens per event"] = f"{sum(counts) / events:.1f} tokens on average"
            short = sum(
                bool(record["output_tokens"]) and record["output_tokens"] < (record["asked_tokens"] or 0)
                for record in answered
            )
            doubts["short answers"] = f"{short} of {len(answered)}" if short else ""
        return [warning(name, figures) for name, figures in doubts.items() if figures]

    def _cache_counters(self) -> tuple[float, float] | None:
        """Cached and all prompt tokens so far, from the server's /metrics; None without them."""
        text = _page(self._options, "/metrics") or ""
        with suppress(ValueError):
            for pair in _METRICS:
                sums = [_metric(text, name) for name in pair]
                if None not in sums:
                    return sums[0] or 0.0, sums[1] or 0.0
        return None

    # What a search needs, as of `search.Runs`.

    def offline(self) -> float:
        """The highest throughput, in requests per second: more and more users, until it grows no more, or the client binds."""
        best, users = 0.0, 1
        while users <= _MOST_USERS:
            records = self.send(
                users=users, seconds=min(_CLIMB, self._options.serving_min_duration), least=_ROUNDS * users
            )
            rate = requests.steady_rate(records, users) or 0.0
            if rate < _GROWTH * best or self.bound_by_client(records):
                return max(best, rate)
            best, users = rate, 2 * users
        return best

    def unloaded(self) -> tuple[float, bool]:
        """Sequential requests: the evaluated percentile in milliseconds, and whether it is above the bounds."""
        latency, is_within = self._judged(self.send(users=1, least=_UNLOADED))
        return latency, not is_within

    def _judged(self, records: Sequence[Record]) -> tuple[float, bool]:
        options = self._options
        found = requests.metrics(records, percentile=options.serving_percentile or 99.0)
        latency = found.get(f"{next(iter(bounds_of(options)))}_target")
        return math.inf if latency is None else latency, not _exceeded(options, found)

    def trial(self, rate: float, number: int, seed: int) -> tuple[bool, float]:
        """A run at a rate, with the arrivals of a seed: whether it met the bounds, and the evaluated percentile.

        Raises:
            BenchmarkError: The client, and not the server, limits the rate.
        """
        records = self.run("server", rate, seed)
        latency, is_within = self._judged(records)
        if bound := self.bound_by_client(records):
            raise BenchmarkError(
                f"the highest rate is not known: at {rate:.3g} queries/s, {bound}; run the client on another machine, "
                "or raise serving.clients or serving.max_concurrency"
            )
        return is_within and requests.keeps_pace(records, rate, allows_chance=False), latency

    def confirm(self, rate: float, log: Log) -> None:
        """The final run, whose results are those of the experiment."""
        self.measure("server", rate)


def print_line(model: str, values: dict[str, Any]) -> None:
    """Print log values of a run as one line."""
    found = {key.removeprefix("results.serving."): value for key, value in values.items()}
    target, percentile = found["latency_target"], requests.percentile_name(found["percentile"])
    words = "without an answer" if target is None else f"{target:.2f} ms"
    figures = f"{found['qps']:.1f} queries/s, {percentile} {words}, {found['queries']} queries"
    print(f"{model} serving, {found['scenario']}: {figures}, {'valid' if found['valid'] else 'INVALID'}", flush=True)


def bounds_of(options: BenchmarkOptions) -> dict[str, float]:
    """The bounds of a percentile, in milliseconds, by the names of results."""
    given = {
        "latency": options.serving_target_latency,
        "ttft": options.serving_target_ttft,
        "tpot": options.serving_target_tpot,
    }
    return {name: bound for name, bound in given.items() if bound}


def _exceeded(options: BenchmarkOptions, found: Mapping[str, Any]) -> list[str]:
    """For each bound that the evaluated percentile exceeds, what it is."""
    words, reasons = requests.percentile_name(found["percentile"]), []
    for name, bound in bounds_of(options).items():
        time = found.get(f"{name}_target")
        if time is None or time > bound:
            shown = "unknown" if time is None else f"{time:.2f} ms"
            reasons.append(f"{words} of {name} is {shown}, the bound {bound:g} ms")
    return reasons


def serve_url(options: BenchmarkOptions, log: Log, search: Callable[..., object]) -> None:
    """Put the server at a URL under load, once or in a search, and log the results.

    Raises:
        BenchmarkError: The server does not answer, or too many requests failed.
    """
    remote = Remote(options, log)
    log("exp.framework_title", "HTTP")
    log_program(log, options, {})  # of the client; the device of the server is unknown
    log("exp.model_title", options.model)
    log("exp.data", options.serving_data or options.serving_body or "synthetic")
    log("results.unit", "requests" if options.serving_protocol == "predict" else "sequences")
    with server_of(options, log):
        remote.warm_up()
        if options.serving_find:
            search(options, remote, log)
            return
        remote.measure(options.serving_scenario, options.serving_target_qps)


def _gpus_of_server(options: BenchmarkOptions) -> list[Energy]:
    """The energy counters of the GPUs of a server that runs on this machine because of this experiment."""
    is_ours = options.serving_command and urlsplit(options.serving_url).hostname in {"127.0.0.1", "localhost", "::1"}
    nvml = open_nvml() if is_ours else None
    return [] if nvml is None else [Energy(named_gpu(nvml, cuda_name(number))) for number in visible_gpus()]


@contextmanager
def server_of(options: BenchmarkOptions, log: Log) -> Iterator[None]:
    """Start the server of `serving.command`, wait until it is ready, and end it and its processes afterwards, whatever happens.

    Raises:
        BenchmarkError: It cannot be started, ends, or is not ready in time.
    """
    if not options.serving_command:
        yield
        return
    if _answers(options):
        raise BenchmarkError(
            f"{options.serving_url}: another server answers there already; end it, or change the port in serving.url and serving.command"
        )
    try:
        command, remove = _removable(shlex.split(options.serving_command))
        if not command:
            raise ValueError("it names no program")
        output: Any = open(options.serving_server_log, "wb") if options.serving_server_log else subprocess.DEVNULL
        # A process group of its own can be ended as a whole; a session of its own would be scheduled as another program.
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, preexec_fn=os.setpgrp
        )
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"serving.command {options.serving_command!r} cannot be started: {error}") from None
    # Launchers end programs by SIGTERM; as an exception, it reaches `finally`.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Whatever kills this process, even SIGKILL, closes the pipe. A launcher must not kill the guard with what the experiment leaves: no LOG_VARIABLE.
    environment = {name: value for name, value in os.environ.items() if name != LOG_VARIABLE}
    guard: Any = subprocess.Popen(
        ["sh", "-c", _GUARD, "sh", str(server.pid), str(_GRACE), *remove],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        _wait_until_ready(options, server, log)
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        guard.stdin.close()
        while guard.poll() is None:
            server.poll()  # a process that is not waited for seems to live
            time.sleep(0.05)
        if server.poll() is None:  # the guard was killed
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _removable(command: list[str]) -> tuple[list[str], list[str]]:
    """The command of a server, and one that removes its container, which is no child of `docker run` and survives it."""
    if [Path(word).name for word in command[:1]] + command[1:2] not in (["docker", "run"], ["podman", "run"]):
        return command, ["true"]
    label = f"dlbs.server={secrets.token_hex(8)}"
    remove = '"$0" ps --all --quiet --filter "label=$1" | xargs -r "$0" rm --force'
    return [*command[:2], "--label", label, *command[2:]], ["sh", "-c", remove, command[0], label]


def _wait_until_ready(options: BenchmarkOptions, server: subprocess.Popen[bytes], log: Log) -> None:
    moments, where = Moments(), options.serving_server_log or "serving.server_log"
    while not _answers(options):
        if server.poll() is not None:
            raise BenchmarkError(f"the server of serving.command ended with exit code {server.returncode}: see {where}")
        if moments.seconds > options.serving_ready_timeout:
            raise BenchmarkError(f"the server is not ready after {options.serving_ready_timeout:g} s: see {where}")
        if moments.is_due() and log.reports:
            print(f"waiting for the server, {moments.seconds:.0f} s", flush=True)
        time.sleep(0.1)
    log("results.serving.time_ready", 1000 * moments.seconds)
    with suppress(ValueError, AttributeError):
        log("results.serving.server_version", str(json.loads(_page(options, "/version") or "{}").get("version", "")))


def _answers(options: BenchmarkOptions) -> bool:
    return any(_page(options, path) is not None for path in ("/health", "/v1/models"))


def _page(options: BenchmarkOptions, path: str) -> str | None:
    from pytorch_benchmarks.serving.client import fetch

    return fetch(urlsplit(options.serving_url)._replace(path=path, query="", fragment=""))


def _part(whole: int, number: int, parts: int) -> int:
    return whole * (number + 1) // parts - whole * number // parts


def _started(plan: dict[str, Any], arrived: Any) -> Any:
    """Start a client process in this session, whose scheduler group is the server's if that runs here."""
    root = str(Path(__file__).absolute().parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "pytorch_benchmarks.serving.client"]
    process: Any = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    with suppress(AttributeError, OSError):  # so that many answers at once do not wait for this process
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, 1 << 20)

    def read() -> None:
        for line in process.stdout:
            if line.startswith(b"{"):
                arrived.put(json.loads(line))
            else:  # a message of the crash handler
                print(line.decode(errors="replace"), end="", flush=True)
        arrived.put(EOFError)

    threading.Thread(target=read, daemon=True).start()
    process.stdin.write(json.dumps(plan).encode() + b"\n")
    process.stdin.flush()
    return process


def _next(arrived: Any, processes: Sequence[Any], seconds: float) -> dict[str, Any] | None:
    """The next line of a client; None if none comes in time."""
    try:
        line = arrived.get(timeout=max(0.01, seconds))
    except queue.Empty:
        return None
    if line is EOFError:
        if all(process.poll() in {None, 0} for process in processes):
            return None
        raise BenchmarkError("a client process died; its messages are above")
    return dict(line)


def _metric(text: str, name: str) -> float | None:
    values = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith((name + "{", name + " "))]
    return sum(values) if values else None


def _tokenizer_file(path: str) -> str:
    if not path:
        return ""
    found = Path(path) / "tokenizer.json" if Path(path).is_dir() else Path(path)
    if not found.is_file():
        raise UsageError(f"--serving_tokenizer {path}: there is no file {found}")
    return str(found.absolute())


def _bodies(options: BenchmarkOptions) -> tuple[list[str], str]:
    """The bodies of requests to a predict endpoint in base64, one for each sample, and their media type."""
    if options.serving_body:
        try:
            body = Path(options.serving_body).read_bytes()
        except OSError as error:
            raise UsageError(f"--serving_body {options.serving_body}: {error.strerror}") from None
        kind = mimetypes.guess_type(options.serving_body)[0] or "application/octet-stream"
        return [base64.b64encode(body).decode()], kind
    import torch

    from pytorch_benchmarks.workload import requested_model

    with torch.device("meta"):
        model = requested_model(options)
    generator = torch.Generator().manual_seed(options.seed)
    bodies = []
    for _ in range(options.serving_samples):
        inputs = model.inputs(1, generator)
        if isinstance(inputs, tuple):
            raise UsageError(f"{options.model} has several inputs: set the body of requests with --serving_body FILE")
        bodies.append(base64.b64encode(json.dumps({"instances": inputs.tolist()}).encode()).decode())
    return bodies, "application/json"
