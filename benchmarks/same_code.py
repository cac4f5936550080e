"""Variation between runs of the same code: the same configurations repeatedly, alternating, idle or under intermittent load.

    python benchmarks/same_code.py measure DIRECTORY [--minutes 20] [--load] [--share 1]
    python benchmarks/same_code.py condense "at rest=DIRECTORY" "under load=DIRECTORY" --output_file FILE.json.gz

`condense` writes a results file with the keys that comparisons need, such as tests/results/statistics/real_runs.json.gz; error_rates.md beside it has the results.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dlbs.results.read.records import read_runs, write_records

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
            (found,) = read_runs([str(log)], cached=False)
            model, _, phase = log.parent.name.partition("-")
            if "results.throughput" not in found:
                continue  # the last run may have been stopped
            record = {"exp.model": model, "exp.phase": phase, "noise.condition": condition}
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
    verbs.add_parser("load")
    options = parser.parse_args()
    if options.verb == "measure":
        measure(options.directory, options.minutes, options.load, options.share)
    elif options.verb == "condense":
        condense(options.conditions, options.output_file)
    else:
        busy_now_and_then(random.Random(13))


if __name__ == "__main__":
    main()
