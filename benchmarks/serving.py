"""The overhead of serving, with a no-op model: microseconds per query in single-stream, and added latency in server.

    python benchmarks/serving.py [--seconds 5] [--rounds 5] [--rates 100,1000]

Three sides alternate: LoadGen's C++ alone (the time between two queries that it does not count as latency, from its log), a callback of four
lines of Python, and the system under test of pytorch_benchmarks. Requires the package mlcommons-loadgen.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python")]

from benchmark_core.intervals import latency_quantile  # noqa: E402
from pytorch_benchmarks.serving.loadgen import (  # noqa: E402
    LoadGenAnswers,
    Outcome,
    Settings,
    run_loadgen,
    undisturbed,
)
from pytorch_benchmarks.serving.system import (  # noqa: E402
    Pace,
    Progress,
    Queue,
    System,
)

GOAL = 50.0  # microseconds per query in single-stream: the error for a model of 1 ms is then below 5 %


class Nothing:
    """A no-op model."""

    def warm_up(self) -> None:
        pass

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        pass

    def close(self) -> None:
        pass


class Bare(System):
    """The least work in Python: the callback answers each query itself."""

    def start(self) -> Pace:
        return Pace(0.0, 0.0)

    def issue(self, responses: Sequence[int], samples: Sequence[int]) -> None:
        self.answers.complete(responses, ())

    def stop(self) -> None:
        pass


def measured(kind: type[System], settings: Settings, directory: str) -> Outcome:
    system = kind(LoadGenAnswers(), Queue(1), [Nothing], inline=settings.scenario == "single-stream")
    outcome = run_loadgen(settings, system, Path(directory))
    system.stop()
    return outcome


def costs(outcome: Outcome) -> tuple[float, float]:
    """Microseconds per query: in total, and the part that LoadGen counts as latency."""
    said: dict[str, Any] = outcome.detail
    return 1e6 / said["result_qps_with_loadgen_overhead"], 1e6 / said["result_qps_without_loadgen_overhead"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", default="100,1000")
    options = parser.parse_args()
    settings = Settings("single-stream", 90.0, options.seconds, 64, expected_latency=20e-6, samples=64)
    found: dict[str, list[float]] = {"loadgen": [], "bare": [], "system": [], "latency": []}
    with tempfile.TemporaryDirectory() as directory, undisturbed():
        for _ in range(options.rounds):
            whole, counted = costs(measured(Bare, settings, directory))
            found["loadgen"].append(whole - counted)
            found["bare"].append(whole)
            whole, counted = costs(measured(System, settings, directory))
            found["system"].append(whole)
            found["latency"].append(counted)
        middle = {name: statistics.median(values) for name, values in found.items()}
        print(f"single-stream, no-op model; medians of {options.rounds} runs of {options.seconds:g} s")
        print("                                            µs/query   queries/s")
        for name, words in (
            ("loadgen", "LoadGen's own C++ between two queries"),
            ("bare", "LoadGen and four lines of Python"),
            ("system", "pytorch_benchmarks"),
            ("latency", "  of which count as latency"),
        ):
            print(f"{words:42} {middle[name]:>9.1f} {1e6 / middle[name]:>11,.0f}")
        print(f"goal: under {GOAL:g} µs per query: {'reached' if middle['system'] < GOAL else 'MISSED'}\n")
        print("server, no-op model: latency from the due time of a query")
        print("queries/s    p50 µs    p90 µs    p99 µs   issued late by, mean µs")
        for rate in map(float, options.rates.split(",")):
            wanted = replace(settings, scenario="server", target_qps=rate, target_latency=1.0, percentile=99.0)
            outcome = measured(System, wanted, directory)
            ordered = sorted(outcome.latencies)
            p50, p90, p99 = (1e6 * latency_quantile(ordered, share) for share in (0.5, 0.9, 0.99))
            late = 1e6 * statistics.fmean(outcome.delays)
            print(f"{rate:>9,.0f} {p50:>9.0f} {p90:>9.0f} {p99:>9.0f} {late:>12.0f}")


if __name__ == "__main__":
    main()
