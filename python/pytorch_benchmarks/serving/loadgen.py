"""MLPerf's load generator (LoadGen, the package mlcommons-loadgen): its settings, a run, and its logs."""

from __future__ import annotations

import bisect
import gc
import json
import sys
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.timing import Moments, rate_words
from pytorch_benchmarks.serving.system import System

# Seconds that a thread may keep others waiting; Python's default of 5 ms would be visible in latencies.
_SWITCH = 0.0005
PERCENTILES = {"single-stream": 90.0, "multi-stream": 99.0, "server": 99.0, "offline": 99.0}
_SCENARIOS = {"single-stream": "SingleStream", "multi-stream": "MultiStream", "server": "Server", "offline": "Offline"}
_NO_BOUND = 10**15  # nanoseconds, eleven days
_PREFIX = "mlperf_log_"
_EARLY_STOPPING = 0.01  # 1 - the confidence that LoadGen requires
_MOST_QUERIES = 1 << 62
_FASTEST_QUERY = 20e-6  # seconds: limits the number of queries that LoadGen generates, however fast a model is
_MARGIN = 0.5  # of the minimum time of a query: LoadGen runs out of queries if a run is faster than expected


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of a run of LoadGen. Times are seconds.

    Attributes:
        scenario: A key of `PERCENTILES`.
        percentile: Evaluated percentile of the latencies, 0 to 100.
        min_duration, min_queries: Minimum of a run.
        target_qps: server: queries per second; offline: expected samples per second.
        target_latency: server: bound of the percentile; 0 is no bound.
        target_ttft, target_tpot: server with tokens: the same for the time to first token, and per further token.
        expected_latency: single-stream and multi-stream: of a query; LoadGen generates queries for twice the duration in advance.
        samples_per_query: multi-stream only.
        samples: Number of samples in the library.
        seeds: Of arrival times, of samples in queries, and of the library.
        has_tokens: Whether answers consist of tokens.
    """

    scenario: str
    percentile: float
    min_duration: float
    min_queries: int
    target_qps: float = 0.0
    target_latency: float = 0.0
    target_ttft: float = 0.0
    target_tpot: float = 0.0
    expected_latency: float = 0.0
    samples_per_query: int = 1
    samples: int = 1
    seeds: tuple[int, int, int] = (1, 1, 1)
    has_tokens: bool = False

    @property
    def is_sequential(self) -> bool:
        """Whether LoadGen issues one query at a time and waits for its answer."""
        return self.scenario in {"single-stream", "multi-stream"}

    @property
    def uses_token_latencies(self) -> bool:
        """Whether LoadGen uses its token mode. In the server scenario, this mode checks the bounds of tokens and no other bound."""
        return self.has_tokens and (self.scenario != "server" or bool(self.target_ttft or self.target_tpot))


@dataclass(frozen=True, slots=True)
class LoadGenResult:
    """LoadGen's results of a run.

    Attributes:
        detail: Results and settings from its detail log, by key.
        latencies: Seconds from when a query was due until it was answered, in the order of arrival.
        delays: Seconds from when a query was due until LoadGen issued it.
    """

    detail: dict[str, Any] = field(default_factory=dict)
    latencies: array[float] = field(default_factory=lambda: array("d"))
    delays: array[float] = field(default_factory=lambda: array("d"))

    @property
    def is_valid(self) -> bool:
        """Whether the run is valid by LoadGen's rules."""
        return self.detail.get("result_validity") == "VALID"

    @property
    def reason(self) -> str:
        """LoadGen's reason why it is invalid; empty if it is valid."""
        if self.is_valid:
            return ""
        reason = str(self.detail.get("result_invalid_reason", "")).strip()
        stopped = [key for key in self.detail if key.startswith("early_stopping") and key.endswith("result")]
        if self.detail.get("early_stopping_met") is False:
            reason = " ".join([reason, *(str(self.detail[key]) for key in stopped)])
        return " ".join(reason.replace(" * ", " ").split()) or "LoadGen gives no reason"


def run_loadgen(settings: Settings, system: System, directory: Path, *, keep_trace: bool = False) -> LoadGenResult:
    """Run LoadGen on a system and read its logs.

    LoadGen runs in a separate thread: interruptions and failures then reach the main thread at once, and the thread ends with the program.

    Args:
        settings: Where the speed is not known (`target_qps` of offline, `expected_latency`), the time of a batch tells what to expect.
        system: Started unless it is running.
        directory: For its logs; created if it does not exist.
        keep_trace: Keep the trace, a log with an entry for each query.

    Raises:
        BenchmarkError: The system failed, or LoadGen wrote no results.
    """
    module = _module()
    directory.mkdir(parents=True, exist_ok=True)
    system.reset()

    def drive() -> None:
        try:
            completed = _completed(settings, system)
            sut = module.ConstructFastSUT(system.issue, system.flush)
            qsl = module.ConstructQSL(completed.samples, completed.samples, lambda _: None, lambda _: None)
            wanted = _test_settings(module, completed)
            gc.collect()  # garbage of building and warm-up; there is no collection during a run
            module.StartTestWithLogSettings(sut, qsl, wanted, _log_settings(module, directory), "")
            module.DestroyQSL(qsl)
            module.DestroyFastSUT(sut)
        except BaseException as error:
            system.fail(error)
        system.ended.set()

    thread = threading.Thread(target=drive, daemon=True)
    thread.start()
    moments = Moments()
    while not system.ended.wait(moments.seconds_left):  # in this thread, so that workers spend nothing on it
        if moments.is_due() and system.queries:
            rate = rate_words(system.queue.taken, perf_counter() - system.queries[0].arrival, "samples")
            print(f"{rate} so far, {system.queue.taken:,} samples in {moments.seconds:.0f} s", flush=True)
    if system.failure is not None:
        raise system.failure
    thread.join()
    trace = directory / f"{_PREFIX}trace.json"
    detail = read_detail(directory / f"{_PREFIX}detail.txt")
    latencies, delays = read_trace(trace)
    if not keep_trace:
        trace.unlink()
    return LoadGenResult(detail, latencies, delays)


def _completed(settings: Settings, system: System) -> Settings:
    """Settings with the expected speed, from which LoadGen computes the number of queries."""
    pace = system.start()
    if settings.scenario == "offline" and not settings.target_qps:
        return replace(
            settings, target_qps=1.1 * system.workers * system.queue.max_batch / max(pace.full, _FASTEST_QUERY)
        )
    if settings.is_sequential and not settings.expected_latency:
        expected = pace.one if settings.samples_per_query == 1 else min(pace.one, pace.full)
        return replace(settings, expected_latency=max(_MARGIN * expected, _FASTEST_QUERY))
    return settings


class LoadGenAnswers:
    """Reports answers to LoadGen."""

    def __init__(self, uses_token_latencies: bool = False) -> None:
        module = _module()
        self._response, self._complete = module.QuerySampleResponse, module.QuerySamplesComplete
        self._first = module.FirstTokenComplete
        self.uses_token_latencies = uses_token_latencies

    def first_token(self, responses: Sequence[int]) -> None:
        """The first tokens of these responses are available."""
        if self.uses_token_latencies:
            response = self._response
            self._first([response(one, 0, 0) for one in responses])

    def complete(self, responses: Sequence[int], tokens: Sequence[int]) -> None:
        """These responses are complete; `tokens` has the number of tokens of each."""
        response = self._response
        if not self.uses_token_latencies:
            self._complete([response(one, 0, 0) for one in responses])
            return
        rejected = [one for one, count in zip(responses, tokens, strict=True) if not count]
        if rejected:  # LoadGen requires at least two tokens of each, and the first of them in advance
            self._first([response(one, 0, 0) for one in rejected])
        self._complete([response(one, 0, 0, count or 2) for one, count in zip(responses, tokens, strict=True)])


def fewest_queries(percentile: float) -> int:
    """The minimum number of queries for LoadGen's early stopping: 64 for the 90th percentile, 662 for the 99th.

    With this number, one query may be too late, and the percentile is still within its bound with a confidence of 99 %.
    """
    share = percentile / 100

    def chance(count: int) -> float:  # probability that at most one is too late
        return share**count + count * (1 - share) * share ** (count - 1)

    return 1 + bisect.bisect_left(range(1, _MOST_QUERIES), True, key=lambda count: chance(count) < _EARLY_STOPPING)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Disable garbage collection, which stops all threads for up to 0.2 s, and let Python threads switch quickly."""
    before, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(_SWITCH)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(before)
        if collects:
            gc.enable()


def read_detail(path: Path) -> dict[str, Any]:
    """Values of LoadGen's detail log by key: lines `:::MLLOG {"key": ..., "value": ...}`; errors have the key `errors`.

    Raises:
        BenchmarkError: The log is missing or damaged.
    """
    found: dict[str, Any] = {}
    errors = []
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line.startswith(":::MLLOG "):
                    entry = json.loads(line.removeprefix(":::MLLOG "))
                    found[entry["key"]] = entry["value"]
                    if entry.get("metadata", {}).get("is_error"):
                        errors.append(f"{entry['key']}: {entry['value']}")
    except (OSError, ValueError, KeyError) as error:
        raise BenchmarkError(f"the log of LoadGen cannot be read: {path}: {error}") from None
    if errors:
        found["errors"] = errors
    return found


def read_trace(path: Path) -> tuple[array[float], array[float]]:
    """Latencies and delays of issue, in seconds and in the order of arrival, from the trace of LoadGen.

    Raises:
        BenchmarkError: The trace is missing or damaged.
    """
    found: list[tuple[int, int, int]] = []
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                if line.startswith('{"name":"Sample"') and '"complete_ns"' in line:
                    given = json.loads(line.rstrip().rstrip(","))["args"]
                    found.append((given["sample_seq"], given["complete_ns"], given["issue_start_ns"]))
    except (OSError, ValueError, KeyError) as error:
        raise BenchmarkError(f"the trace of LoadGen cannot be read: {path}: {error}") from None
    found.sort()
    return array("d", (1e-9 * done for _, done, _ in found)), array("d", (1e-9 * issued for *_, issued in found))


def _test_settings(module: Any, settings: Settings) -> Any:
    made = module.TestSettings()
    made.scenario = getattr(module.TestScenario, _SCENARIOS[settings.scenario])
    made.mode = module.TestMode.PerformanceOnly
    made.min_duration_ms = round(1000 * settings.min_duration)
    made.min_query_count = settings.min_queries
    made.schedule_rng_seed, made.sample_index_rng_seed, made.qsl_rng_seed = settings.seeds
    share = settings.percentile / 100
    expected = max(1, round(1e9 * settings.expected_latency))
    if settings.scenario == "single-stream":
        made.single_stream_expected_latency_ns = expected
        made.single_stream_target_latency_percentile = share
    elif settings.scenario == "multi-stream":
        made.multi_stream_expected_latency_ns = expected
        made.multi_stream_target_latency_percentile = share
        made.multi_stream_samples_per_query = settings.samples_per_query
    elif settings.scenario == "server":
        made.server_target_qps = settings.target_qps
        made.server_target_latency_ns = round(1e9 * settings.target_latency) or _NO_BOUND
        made.server_target_latency_percentile = share
    else:
        made.offline_expected_qps = settings.target_qps
    if settings.uses_token_latencies:
        made.use_token_latencies = True
        made.ttft_latency = round(1e9 * settings.target_ttft) or _NO_BOUND
        made.tpot_latency = round(1e9 * settings.target_tpot) or _NO_BOUND
    return made


def _log_settings(module: Any, directory: Path) -> Any:
    output = module.LogOutputSettings()
    output.outdir, output.prefix = str(directory), _PREFIX
    made = module.LogSettings()
    made.log_output, made.enable_trace = output, True
    return made


def _module() -> Any:
    try:
        import mlperf_loadgen
    except ImportError as error:
        raise UsageError(
            f"--serving needs MLPerf's load generator, which cannot be imported ({error}): pip install mlcommons-loadgen"
        ) from None
    return mlperf_loadgen
