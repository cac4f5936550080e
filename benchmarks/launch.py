"""What launching costs: `dlbs run` beside a bash loop over the same launcher scripts.

    python benchmarks/launch.py [--experiments 50] [--rounds 5]

The experiments do nothing, so that only launching is left. Both sides run the very same scripts with their output in a file; the
cost of a program's start is taken out by running it with one experiment too. Rounds alternate, and the best of each is
compared, because neighbours on the machine can only add.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        plans = {count: write_plan(directory, count) for count in (1, options.experiments)}
        ours: dict[int, float] = {}
        loop: dict[int, float] = {}
        for _ in range(options.rounds):
            for count, plan in plans.items():
                shutil.rmtree(directory / "logs", ignore_errors=True)
                ours[count] = min(ours.get(count, 1e9), timed([*dlbs(), "run", "--quiet", "--plan", plan], directory))
                scripts = sorted((directory / "logs").glob("*.sh"))
                assert len(scripts) == count == len(list((directory / "logs").glob("*.log")))
                loop[count] = min(
                    loop.get(count, 1e9), timed(["bash", "-c", LOOP, "loop", *map(str, scripts)], directory)
                )
        more = options.experiments - 1
        each, each_loop = ((side[options.experiments] - side[1]) / more * 1000 for side in (ours, loop))
        print(f"{options.experiments} no-op experiments      ms each    start ms")
        print(f"dlbs run               {each:>10.2f} {ours[1] * 1000 - each:>11.0f}")
        print(f"bash loop              {each_loop:>10.2f} {max(0.0, loop[1] * 1000 - each_loop):>11.0f}")
        print(f"overhead of dlbs run   {each - each_loop:>10.2f} ms an experiment, ratio {each / each_loop:.2f}")


LOOP = 'for script in "$@"; do bash "$script" >"$script.out" 2>&1; done'


def dlbs() -> list[str]:
    return [sys.executable, "-m", "dlbs"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def write_plan(directory: Path, count: int) -> str:
    name = f"plan{count}.json"
    flags = ["-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=", f"-Vexp.seed={list(range(count))}"]
    command = [*dlbs(), "build", "--plan", name, *flags]
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    return name


def timed(command: list[str], directory: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
