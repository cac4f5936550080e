"""Variation between runs of the same code: the same configurations repeatedly, alternating, idle or under intermittent load.

    python benchmarks/same_code.py measure DIRECTORY [--minutes 20] [--load] [--share 1]
    python benchmarks/same_code.py turns DIRECTORY [--condition changing] [--minutes 20] [--same]
    python benchmarks/same_code.py table DIRECTORY
    python benchmarks/same_code.py condense "at rest=DIRECTORY" "under load=DIRECTORY" --output_file FILE.json.gz

`condense` writes a results file with the keys that comparisons need, such as tests/results/statistics/real_runs.json.gz; error_rates.md beside it has the results.

`turns` measures what turns find: the same code, and slowdowns of 3, 5 and 10 % that are really executed (more work in each batch), all sides in turns with
the base; then the base and the slowdown of 5 % once more as independent runs. Each line of DIRECTORY/turns.jsonl is one such round; more lines are
appended until the time is over. `table` makes comparisons of ten rounds from them, each round once, and counts the verdicts; beside it are the shares
of verdicts in comparisons of ten rounds that are drawn with replacement. With --same, a round is one pair of the same code alone, and comparisons have
three pairs, the fewest that get a verdict: many real ones in little time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dlbs.executors.turns import TurnGiver
from dlbs.results.read.records import read_runs, write_records
from dlbs.results.runs import TIME, number
from dlbs.results.statistics.ratio import FEWEST_RUNS, Interval, PairRatio, pair_ratio, pairs_interval, rank_interval

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"

# Model, phase → options; warm-up and timed batches.
CONFIGURATIONS = {
    ("deep_mnist", "training"): ({"forward_only": "false", "batch_size": 16}, 10, 200),
    ("alexnet", "inference"): ({"forward_only": "true", "batch_size": 4}, 5, 60),
    ("resnet18", "training"): ({"forward_only": "false", "batch_size": 4}, 2, 15),
}
FEWEST = 10  # timed batches
# The settings of `pytorch.malloc=keep`: memory is kept between batches.
SETTINGS = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
KEPT = (
    "results.throughput",
    "results.time_data",
    "results.warnings",
    "results.competing_load",
    "results.context_switches_involuntary",
    "results.drift",
)


def measure(directory: Path, minutes: float, load: bool, share: float) -> None:
    """Run all configurations in turn until the time is over; each run writes its own log."""
    end = time.monotonic() + 60 * minutes
    other = subprocess.Popen([sys.executable, __file__, "load"]) if load else None
    number = 0
    try:
        while time.monotonic() < end:
            number += 1
            for (model, phase), (options, warmup, batches) in CONFIGURATIONS.items():
                log = directory / f"{model}-{phase}" / f"run-{number:03}.log"
                log.parent.mkdir(parents=True, exist_ok=True)
                counts = {"num_warmup_batches": max(1, round(share * warmup))}
                counts["num_batches"] = max(FEWEST, round(share * batches))
                given = {"model": model, **options, **counts}
                arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
                with log.open("wb") as stream:
                    command = [sys.executable, str(PROGRAM), *arguments]
                    subprocess.run(command, env={**os.environ, **SETTINGS}, stdout=stream, stderr=stream, check=True)
    finally:
        if other is not None:
            other.kill()
            other.wait()


SLOWDOWNS = {"same": 0.0, "3 %": 0.03, "5 %": 0.05, "10 %": 0.10}
INDEPENDENT = "5 %"
PAIRS = 10  # of a comparison
CONDITIONS = {"rest": [], "changing": ["load"], "full": ["full"] * (os.cpu_count() or 1)}
COMMAND = "command"
SECONDS, TURNS = 0.15, 16  # of each side
ALONE = SECONDS * TURNS  # seconds of an independent run
DRAWS = 2000
LOOPS = 5_000_000  # of the command


def turns(directory: Path, condition: str, minutes: float, same: bool) -> None:
    """Measure rounds of all configurations until the time is over."""
    directory.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    others = [subprocess.Popen([sys.executable, __file__, word]) for word in CONDITIONS[condition]]
    try:
        while time.monotonic() < end:
            lines = [line for line in measured(directory) if line["condition"] == condition and same is is_same(line)]
            done = Counter(line["configuration"] for line in lines)
            configuration = min([*CONFIGURATIONS, (COMMAND, "")], key=lambda one: done[" ".join(one).strip()])
            line = {"condition": condition, "configuration": " ".join(configuration).strip(), "time": time.time()}
            line |= one_round(directory, configuration, {"same": 0.0} if same else SLOWDOWNS)
            with (directory / "turns.jsonl").open("a") as stream:
                stream.write(json.dumps(line) + "\n")
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(directory: Path) -> list[dict[str, Any]]:
    """All rounds so far."""
    path = directory / "turns.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def is_same(line: dict[str, Any]) -> bool:
    """Whether the round was a pair of the same code alone."""
    return "independent" not in line


def one_round(directory: Path, configuration: tuple[str, str], slowdowns: dict[str, float]) -> dict[str, Any]:
    """Logarithms of the ratios of all sides to the base in turns, those of independent runs if a side is slower, and the seconds that both took."""
    sides = {"base": 0.0, **slowdowns}
    giver = TurnGiver(len(sides), SECONDS, TURNS)
    began = time.monotonic()
    processes = [
        run(directory, f"turns-{name[0]}", configuration, slower, variables)
        for (name, slower), variables in zip(sides.items(), giver.environments, strict=True)
    ]
    try:
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
        giver.close()
    if any(codes):
        raise SystemExit(f"{directory}: a side ended with {codes}")
    together = time.monotonic() - began
    base, *others = (read_runs([str(directory / f"turns-{name[0]}.log")])[0] for name in sides)
    ratios = {name: pair_ratio(one, base, TIME) for name, one in zip(slowdowns, others, strict=True)}
    found = {
        "turns": {name: [one.log, one.error, one.turns] for name, one in ratios.items() if one is not None},
        "seconds": round(together, 1),
    }
    if INDEPENDENT not in slowdowns:
        return found
    alone, began = {}, time.monotonic()
    for name in random.sample(["base", INDEPENDENT], 2):
        if run(directory, f"alone-{name[0]}", configuration, sides[name], {}).wait():
            raise SystemExit(f"{directory}/alone-{name[0]}.log: failed")
        alone[name] = number(read_runs([str(directory / f"alone-{name[0]}.log")])[0], TIME)
    return {**found, "independent": alone, "independent_seconds": round(time.monotonic() - began, 1)}


def run(
    directory: Path, name: str, configuration: tuple[str, str], slower: float, variables: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start one side, with its log in the directory."""
    if configuration[0] == COMMAND:
        words = [sys.executable, "-c", f"sum(range({LOOPS + units(directory, configuration, slower)}))"]
        command = [sys.executable, str(ROOT / "python" / "command_runner"), "--min-seconds", f"{ALONE}", "--", *words]
    else:
        options, warmup, _ = CONFIGURATIONS[configuration]
        given = {"model": configuration[0], **options, "num_warmup_batches": warmup, "min_time": ALONE}
        command = [sys.executable, __file__, "program", str(units(directory, configuration, slower))]
        command += [text for name, value in given.items() for text in (f"--{name}", str(value))]
    with (directory / f"{name}.log").open("wb") as stream:
        return subprocess.Popen(command, env={**os.environ, **SETTINGS, **variables}, stdout=stream, stderr=stream)


def units(directory: Path, configuration: tuple[str, str], slower: float) -> int:
    """Units of work that take this share of a batch: measured once, alternating with batches."""
    path = directory / f"units-{'-'.join(configuration)}"
    if slower and not path.exists() and configuration[0] == COMMAND:
        whole, start = (statistics.median(seconds(loops) for _ in range(30)) for loops in (LOOPS, 0))
        path.write_text(f"{LOOPS * whole / (whole - start):.1f}")
    elif slower and not path.exists():
        options, _, _ = CONFIGURATIONS[configuration]
        words = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        command = [
            sys.executable,
            __file__,
            "program",
            "-1",
            "--model",
            configuration[0],
            *words,
            "--num_batches",
            "30",
        ]
        done = subprocess.run(command, env={**os.environ, **SETTINGS}, capture_output=True, text=True, check=True)
        path.write_text(done.stdout.partition("units in a batch: ")[2].split()[0])
    return round(slower * float(path.read_text())) if slower else 0


def seconds(loops: int) -> float:
    """Seconds of the command."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"sum(range({loops}))"], check=True)
    return time.perf_counter() - begin


def program(count: int, arguments: list[str]) -> None:
    """Run the benchmark program with `count` more units of work in each batch; -1 prints how many units take as long as a batch."""
    sys.path.insert(0, str(PROGRAM.parents[1]))
    import torch

    from benchmark_core import measure

    matrix = torch.ones(32, 32)
    whole, parts = [], []

    def work(units: int) -> float:
        begin = time.perf_counter()
        for _ in range(units):
            matrix @ matrix
        return time.perf_counter() - begin

    def benchmark(subject: Any, *rest: Any) -> None:
        def step(batch: Any) -> Any:
            work(max(0, count))
            begin = time.perf_counter()
            result = subject.step(batch)
            if count < 0:
                whole.append(time.perf_counter() - begin)
                parts.append(work(200) / 200)
            return result

        original(dataclasses.replace(subject, step=step), *rest)

    original = measure.benchmark
    measure.benchmark = benchmark  # type: ignore[assignment]
    from pytorch_benchmarks import benchmarks

    if code := benchmarks.main(arguments):
        sys.exit(code)
    if count < 0:
        print(f"units in a batch: {statistics.median(a / b for a, b in zip(whole, parts, strict=True)):.1f}")


def table(directory: Path) -> None:
    """Print what comparisons of ten rounds found: in turns, and by independent runs of the same total time."""
    lines = measured(directory)
    print(
        "| condition | configuration | side | ratio | SD of pairs | s per pair | comparisons | not same at 0 % | slower at 0 % | slower at 3 % | drawn: slower at 0 % | at 3 % |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for condition, configuration in sorted({(line["condition"], line["configuration"]) for line in lines}):
        every = [line for line in lines if (line["condition"], line["configuration"]) == (condition, configuration)]
        alone_same = list(filter(is_same, every))
        rounds = [line for line in every if not is_same(line)]
        if alone_same:
            pairs = [PairRatio(*line["turns"]["same"]) for line in alone_same if "same" in line["turns"]]
            seconds = statistics.fmean(line["seconds"] for line in alone_same)
            show((condition, configuration, f"same, {FEWEST_RUNS} pairs"), pairs, FEWEST_RUNS, seconds, of_pairs)
        if not rounds:
            continue
        seconds = statistics.fmean(line["seconds"] for line in rounds) * 2 / (1 + len(SLOWDOWNS))
        for side in SLOWDOWNS:
            pairs = [PairRatio(*line["turns"][side]) for line in rounds if side in line["turns"]]
            show((condition, configuration, f"{side}, turns"), pairs, PAIRS, seconds, of_pairs)
        alone = [line["independent"] for line in rounds]
        each = statistics.fmean(line["independent_seconds"] for line in rounds)
        size = max(3, round(PAIRS * seconds / each))
        names = condition, configuration, f"{INDEPENDENT}, {size} independent runs per side"
        show(names, alone, size, each, of_runs)


def of_pairs(pairs: Sequence[PairRatio]) -> Interval:
    """Interval of the ratio of times from pairs."""
    return pairs_interval(pairs, 0.95)[1]


def of_runs(runs: Sequence[dict[str, float]]) -> Interval:
    """Interval of the ratio of times from independent runs."""
    return rank_interval([one[INDEPENDENT] for one in runs], [one["base"] for one in runs])[1]


def show(
    names: tuple[str, ...], rounds: list[Any], size: int, seconds: float, interval: Callable[[Any], Interval]
) -> None:
    """Print a row of the table: comparisons of `size` rounds, each round once, and drawn with replacement."""
    logs = [one.log if isinstance(one, PairRatio) else math.log(one[INDEPENDENT] / one["base"]) for one in rounds]
    spread = f"{100 * statistics.stdev(logs):.1f} %" if len(logs) > 1 else "-"
    found = [interval(rounds[at : at + size]) for at in range(0, len(rounds) - size + 1, size)]
    source = random.Random(1)
    drawn = [interval(source.choices(rounds, k=size)) for _ in range(DRAWS)]
    cells = [
        *names, f"{math.exp(statistics.fmean(logs)):.3f}", spread, f"{seconds:.0f}", str(len(found)),
        *(str(sum(map(is_so, found))) for is_so in (differs, slower, much_slower)),
        *(f"{100 * sum(map(is_so, drawn)) / DRAWS:.0f} %" for is_so in (slower, much_slower)),
    ]  # fmt: skip
    print(f"| {' | '.join(cells)} |")


def differs(ratio: Interval) -> bool:
    return ratio.low > 1 or ratio.high < 1


def slower(ratio: Interval) -> bool:
    return ratio.low > 1


def much_slower(ratio: Interval) -> bool:
    return 1 / ratio.low < 0.97


def busy() -> None:
    """Keep a CPU busy."""
    parent = os.getppid()
    while os.getppid() == parent:
        sum(range(10000))


def busy_now_and_then(source: random.Random) -> None:
    """Keep one CPU alternately busy and idle, for one to twenty seconds each."""
    parent = os.getppid()
    while os.getppid() == parent:
        end = time.monotonic() + source.uniform(1, 20)
        while time.monotonic() < end:
            sum(range(10000))
        time.sleep(source.uniform(1, 20))


def condense(conditions: list[str], output: str) -> None:
    """Write one results file of all logs; batch times have four digits."""
    records: list[dict[str, Any]] = []
    for text in conditions:
        condition, _, directory = text.partition("=")
        for log in sorted(Path(directory).glob("*/*.log"), key=lambda path: (path.stem, path.stat().st_mtime)):
            (found,) = read_runs([str(log)])
            model, _, phase = log.parent.name.partition("-")
            if "results.throughput" not in found:
                continue  # the last run may have been stopped
            record: dict[str, Any] = {"exp.model": model, "exp.phase": phase, "noise.condition": condition}
            record["exp.repeat"] = int(log.stem.partition("-")[2])
            record.update({key: found[key] for key in KEPT if key in found})
            record["results.throughput"] = float(f"{found['results.throughput']:.6g}")
            record["results.time_data"] = [float(f"{value:.4g}") for value in found["results.time_data"]]
            records.append(record)
    write_records(output, records)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("measure")
    verb.add_argument("directory", type=Path)
    verb.add_argument("--minutes", type=float, default=20)
    verb.add_argument("--load", action="store_true", help="keep a CPU busy intermittently")
    verb.add_argument(
        "--share", type=float, default=1.0, help="fraction of the usual number of batches, for a slow machine"
    )
    verb = verbs.add_parser("condense")
    verb.add_argument("conditions", nargs="+", metavar="CONDITION=DIRECTORY")
    verb.add_argument("--output_file", required=True)
    verb = verbs.add_parser("turns")
    verb.add_argument("directory", type=Path)
    verb.add_argument("--condition", choices=CONDITIONS, default="rest")
    verb.add_argument("--minutes", type=float, default=20)
    verb.add_argument("--same", action="store_true", help="pairs of the same code alone")
    verbs.add_parser("table").add_argument("directory", type=Path)
    verbs.add_parser("load")
    verbs.add_parser("full")
    if sys.argv[1:2] == ["program"]:
        program(int(sys.argv[2]), sys.argv[3:])
        return
    options = parser.parse_args()
    if options.verb == "measure":
        measure(options.directory, options.minutes, options.load, options.share)
    elif options.verb == "turns":
        turns(options.directory, options.condition, options.minutes, options.same)
    elif options.verb == "table":
        table(options.directory)
    elif options.verb == "full":
        busy()
    elif options.verb == "condense":
        condense(options.conditions, options.output_file)
    else:
        busy_now_and_then(random.Random(13))


if __name__ == "__main__":
    main()
