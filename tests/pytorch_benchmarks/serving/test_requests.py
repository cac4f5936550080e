"""Results from the records of requests, and their form of vLLM: figures by hand."""

from __future__ import annotations

import heapq
import itertools
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark_core.exits import UsageError
from dlbs.core.logs import parse_line
from pytorch_benchmarks.serving import requests
from pytorch_benchmarks.serving.prompts import read_data
from pytorch_benchmarks.serving.remote import draw_arrivals


def record(due: float, **values: Any) -> requests.Record:
    """Sent 10 ms late; 100 ms to the first token; 4 tokens, 20 ms apart."""
    made = {
        "number": 0, "turn": 0, "due": due, "sent": due + 0.01, "first": due + 0.1, "done": due + 0.16, "gaps": [20.0, 20.0, 20.0],
        "asked_tokens": 4, "prompt_tokens": 10, "output_tokens": 4, "cached_tokens": 5, "first_tokens": None, "status": "ok",
        "error": None, "retries": 0,
    }  # fmt: skip
    return {**made, **values}


FAILED: dict[str, Any] = {
    "first": None,
    "gaps": [],
    "output_tokens": None,
    "prompt_tokens": None,
    "cached_tokens": None,
    "status": "cut",
}


def test_times_count_from_due_and_from_sent() -> None:
    found = requests.metrics([record(0.0), record(1.0)])
    assert found["latency_p50"] == pytest.approx(160)
    assert found["latency_sent_p50"] == pytest.approx(150)
    assert found["ttft_p50"] == pytest.approx(100)
    assert found["ttft_sent_p50"] == pytest.approx(90)
    assert found["tpot"] == pytest.approx(20)
    assert found["itl_max"] == 20
    assert found["tokens_per_second"] == pytest.approx(8 / 1.16)
    assert found["total_tokens_per_second"] == pytest.approx(28 / 1.16)
    assert found["cache_hit_rate"] == 0.5
    assert found["client_queue_time"] == pytest.approx(10)


def test_failed_requests_are_late_and_counted_by_kind() -> None:
    found = requests.metrics([record(0.0), record(1.0, **FAILED), record(2.0, **{**FAILED, "status": "rejected"})])
    assert (found["failed"], found["rejected"], found["errors"]) == (2, 1, {"cut": 1, "rejected": 1})
    assert found["latency_max"] is None
    assert found["latency"] == pytest.approx(160)
    assert found["output_tokens"] == 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, 20),
        ({"output_tokens": 16}, 60 / 12),  # 4 tokens per event: the first four arrive together
        ({"output_tokens": 10, "first_tokens": 4}, 10),
        ({"output_tokens": None}, None),
        ({"gaps": []}, None),
        (FAILED, math.inf),
    ],
)
def test_time_per_output_token(values: dict[str, Any], expected: float | None) -> None:
    assert requests.tpot(record(0.0, **values)) == expected


def test_goodput_needs_all_bounds_at_once() -> None:
    records = [record(0.0), record(1.0, first=1.3, done=1.36), record(2.0, **FAILED)]
    bounds = requests.parse_goodput("ttft:200,tpot:25,e2e:1000")
    assert requests.metrics(records, goodput=bounds)["goodput_share"] == pytest.approx(1 / 3)
    assert requests.parse_goodput("") == {}
    for words in ("ttft", "ttft:-1", "itl:3", "ttft:x", "ttft:inf"):
        with pytest.raises(UsageError, match="not bounds"):
            requests.parse_goodput(words)


def test_a_queue_that_grows_is_found() -> None:
    steady = [record(0.1 * number, done=0.1 * number + 0.5) for number in range(200)]
    assert requests.keeps_pace(steady, 10)
    assert requests.steady_rate(steady) == pytest.approx(10)
    growing = [record(0.1 * number, done=0.5 + 0.125 * number) for number in range(200)]
    assert not requests.keeps_pace(growing, 10)
    assert requests.steady_rate(growing) == pytest.approx(8)


def answered_by(slots: int, rate: float, count: int, seconds: Callable[[], float], chance: random.Random) -> list[Any]:
    """Poisson arrivals at a server with slots, which is free as long as they are."""
    free, now, made = [0.0] * slots, 0.0, []
    for _ in range(count):
        begin = max(now, heapq.heappop(free))
        made.append(record(now, done=begin + seconds()))
        heapq.heappush(free, made[-1]["done"])
        now += chance.expovariate(rate)
    return made


@pytest.mark.parametrize(
    ("slots", "load", "count", "spread", "least", "most"),
    [
        (8, 0.97, 150, 0.0, 0, 0.05),
        (8, 0.97, 500, 0.0, 0, 0.05),
        (8, 0.9, 150, 0.6, 0, 0.05),
        (1000, 0.05, 500, 0.6, 0, 0.05),  # without a queue: short answers end before long ones
        (8, 1.1, 150, 0.0, 0.3, 1),
        (8, 1.1, 500, 0.0, 0.85, 1),
        (8, 1.2, 500, 0.0, 0.95, 1),
        (8, 1.2, 1000, 0.6, 0.95, 1),
        (8, 1.5, 150, 0.0, 0.95, 1),
    ],
)
def test_a_sustainable_rate_is_not_doubted(
    slots: int, load: float, count: int, spread: float, least: float, most: float
) -> None:
    """Neither bursts of arrivals nor answers of different lengths are a queue that grows."""
    found = 0
    for seed in range(100):
        chance = random.Random(seed)
        draw = lambda chance=chance: 0.08 * chance.lognormvariate(-(spread**2) / 2, spread)  # noqa: E731
        rate = load * slots / 0.08
        found += not requests.keeps_pace(answered_by(slots, rate, count, draw, chance), rate)
    assert least <= found / 100 <= most


def test_concurrency_is_that_of_sent_requests() -> None:
    found = requests.metrics([record(0.0, done=1.01), record(0.5, done=2.01), record(1.5, done=2.01)])
    assert found["concurrency_max"] == 2
    assert found["concurrency"] == pytest.approx((1 + 0.99) / 1.5)


def test_records_go_to_vllm_and_back(tmp_path: Path) -> None:
    records = [record(0.0), record(1.0), record(2.0, **FAILED, error="the connection")]
    found = requests.to_vllm(records)
    assert (found["completed"], found["failed"], found["total_output_tokens"]) == (2, 1, 8)
    assert found["median_ttft_ms"] == pytest.approx(90)
    assert found["mean_tpot_ms"] == pytest.approx(20)
    assert found["p99_e2el_ms"] == pytest.approx(150)
    again = requests.metrics(requests.from_vllm(json.loads(json.dumps(found))))
    assert again["ttft_p50"] == pytest.approx(90)
    assert again["latency_p50"] == pytest.approx(150)
    assert again["failed"] == 1
    with pytest.raises(UsageError, match="--save-detailed"):
        requests.from_vllm({"duration": 1.0})


@pytest.mark.integration
def test_the_program_converts_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(record(0.0)) + "\n")

    def convert(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, requests.__file__, str(tmp_path / name)], capture_output=True, text=True)

    (tmp_path / "b.json").write_text(convert("a.jsonl").stdout)
    log = dict(pair for pair in map(parse_line, convert("b.json").stdout.splitlines()) if pair)
    assert log["results.serving.output_tokens"] == 4
    assert (log["exp.status"], log["serving.scenario"]) == ("ok", "concurrent")
    done = convert("none.jsonl")
    assert (done.returncode, done.stderr.startswith("error: ")) == (2, True)


@pytest.mark.parametrize("words", ["poisson", "constant", "gamma:0.2", "gamma:5", "ramp:3"])
def test_arrivals_have_the_rate_and_their_kind_of_gaps(words: str) -> None:
    due = draw_arrivals(words, 50.0, 200.0, 1, 1, None)
    mean = 100 if words == "ramp:3" else 50
    assert len(due) / 200 == pytest.approx(mean, rel=0.1)
    assert due[0] == 0
    assert due == sorted(due)
    gaps = [after - before for before, after in itertools.pairwise(due)]
    variation = (sum(gap**2 for gap in gaps) / len(gaps) / (sum(gaps) / len(gaps)) ** 2) - 1
    expected = {"poisson": 1, "constant": 0, "gamma:0.2": 5, "gamma:5": 0.2}.get(words)
    if expected is not None:
        assert variation == pytest.approx(expected, rel=0.15, abs=1e-6)
    assert draw_arrivals("trace", 1.0, 0.0, 1, 1, [5.0, 7.0]) == [0.0, 2.0]


@pytest.mark.parametrize(
    "text",
    ["", "[", "5", "[5]", '{"x": 1}', '{"prompt": 5}', '{"messages": []}', "[" * 100_000, '{"conversations": [1]}'],
)
def test_data_that_is_none_is_an_error_with_its_place(tmp_path: Path, text: str) -> None:
    (tmp_path / "data").write_text(text)
    with pytest.raises(UsageError, match=r"--serving_data .*data"):
        read_data("--serving_data", str(tmp_path / "data"))
