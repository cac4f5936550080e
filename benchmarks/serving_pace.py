"""How often the doubt that a server does not keep pace is raised, at loads below and above what it sustains: simulated servers, true rates known.

    python benchmarks/serving_pace.py [--runs 200] [--requests 150,500,1500]

`D/8` has 8 slots and answers of one length, `L/8` lognormal lengths (sigma 0.6), `M/8` exponential ones. `batch` is an engine whose steps take longer
with each of up to 32 requests in them. `D/∞` and `L/∞` have no limit: 45 requests are under way. benchmarks/README.md has the figures.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent / "python")]

from pytorch_benchmarks.serving.requests import keeps_pace  # noqa: E402

LOADS = (0.7, 0.9, 0.97, 1.0, 1.05, 1.1, 1.2)
STEP, EACH, MOST, TOKENS = (
    0.01,
    0.001,
    32,
    64,
)  # seconds of a step and of each request in it, requests, steps of a request
BATCHED = MOST / (TOKENS * (STEP + MOST * EACH))  # highest rate, per second
Server = Callable[[list[float], random.Random], list[float]]  # times of answers for due times


def slots(count: int, length: Callable[[random.Random], float]) -> Server:
    def answer(due: list[float], chance: random.Random) -> list[float]:
        free, done = [0.0] * count, []
        for time in due:
            done.append(max(time, heapq.heappop(free)) + length(chance))
            heapq.heappush(free, done[-1])
        return done

    return answer


def batch(due: list[float], chance: random.Random) -> list[float]:
    now, active, next_one, done = 0.0, dict[int, int](), 0, [0.0] * len(due)
    while next_one < len(due) or active:
        while next_one < len(due) and due[next_one] <= now and len(active) < MOST:
            active[next_one] = TOKENS
            next_one += 1
        if not active:
            now = due[next_one]
            continue
        now += STEP + EACH * len(active)
        active = {number: left - 1 for number, left in active.items()}
        for number in [number for number, left in active.items() if not left]:
            done[number] = now
            del active[number]
    return done


SERVERS: dict[str, tuple[Server, float]] = {  # with the highest rates
    "D/8": (slots(8, lambda _: 0.08), 100.0),
    "L/8": (slots(8, lambda chance: 0.08 * chance.lognormvariate(-0.18, 0.6)), 100.0),
    "M/8": (slots(8, lambda chance: chance.expovariate(12.5)), 100.0),
    "D/1": (slots(1, lambda _: 0.01), 100.0),
    "batch": (batch, BATCHED),
    "D/∞": (slots(10_000, lambda _: 0.75), 60.0),
    "L/∞": (slots(10_000, lambda chance: 0.75 * chance.lognormvariate(-0.18, 0.6)), 60.0),
}


def is_doubted(server: Server, rate: float, requests: int, seed: int) -> bool:
    chance, due = random.Random(seed), [0.0]
    for _ in range(requests - 1):
        due.append(due[-1] + chance.expovariate(rate))
    done = server(due, chance)
    records = [{"due": begin, "done": end, "status": "ok"} for begin, end in zip(due, done, strict=True)]
    return not keeps_pace(records, rate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--requests", default="150,500,1500")
    options = parser.parse_args()
    print("| requests | server |" + "".join(f" {load:g} |" for load in LOADS))
    print("| ---: | --- |" + " ---: |" * len(LOADS))
    for requests in map(int, options.requests.split(",")):
        for name, (server, highest) in SERVERS.items():
            loads = (1.0,) if name.endswith("∞") else LOADS  # these have no highest rate
            found = {
                load: sum(is_doubted(server, load * highest, requests, seed) for seed in range(options.runs))
                for load in loads
            }
            shares = "".join(
                f" {100 * found[load] / options.runs:.0f} % |" if load in found else " |" for load in LOADS
            )
            print(f"| {requests} | {name} |{shares}", flush=True)


if __name__ == "__main__":
    main()
