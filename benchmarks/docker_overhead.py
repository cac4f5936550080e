"""Overhead of containers: the same experiments in docker and on bare metal, alternating.

    dlbs images build docker/pytorch/cpu
    python benchmarks/docker_overhead.py [--models deep_mnist,resnet18] [--repeats 5]

Prints throughputs (medians) and their ratio, and the time that a container adds before the first batch.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def dlbs(directory: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "dlbs", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="deep_mnist,resnet18")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        grid = [f"-Vexp.model=[{options.models}]", "-Vexp.docker=[false,true]", "-Vexp.phase=[training,inference]"]
        size = ["-Pexp.gpus=", "-Pexp.replica_batch=8", "-Pexp.num_batches=20", f"-Pexp.repeats={options.repeats}"]
        dlbs(directory, "run", *grid, *size, "--order", "round-robin", "-q")
        dlbs(directory, "parse", "logs", "--output_file", "results.json")
        records = json.loads((Path(directory) / "results.json").read_text())["data"]

    def median(key: str, **wanted: Any) -> float:
        return statistics.median(
            record[key] for record in records if all(record[f"exp.{name}"] == value for name, value in wanted.items())
        )

    print("                         bare metal      docker   ratio   start outside s   inside s")
    for model in options.models.split(","):
        for phase in ("training", "inference"):
            case = {"model": model, "phase": phase}
            outside, inside = (median("results.throughput", docker=docker, **case) for docker in (False, True))
            starts = [
                median("exp.seconds", docker=docker, **case) - median("results.time", docker=docker, **case) * 30 / 1000
                for docker in (False, True)
            ]
            print(
                f"{model:12} {phase:10} {outside:>11.1f} {inside:>11.1f} {inside / outside:>7.3f} {starts[0]:>17.1f} {starts[1]:>10.1f}"
            )


if __name__ == "__main__":
    main()
