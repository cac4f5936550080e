"""The cost of launching: `dlbs run` compared with a bash loop over the same launcher scripts.

    python benchmarks/launch.py [--experiments 50] [--rounds 5] [--many 1000] [--jobs 8]

The experiments do nothing, so that only launching is measured. Both sides run the same scripts with their output in a file; the
start-up time of a program is subtracted by also running it with one experiment. Rounds alternate, and the best of each is
compared, because other load only adds time.

Then many experiments in parallel, compared with `xargs -P` over the same scripts: the rate, and the memory growth of `dlbs run`.
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

import psutil

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=8)
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
        print(f"overhead of dlbs run   {each - each_loop:>10.2f} ms per experiment, ratio {each / each_loop:.2f}")
        side_by_side(directory, options.many, options.jobs, rounds=3)


def side_by_side(directory: Path, count: int, jobs: int, rounds: int) -> None:
    plan = write_plan(directory, count)
    best = {"dlbs run": 1e9, "xargs": 1e9}
    growth = 0.0
    for _ in range(rounds):
        shutil.rmtree(directory / "logs", ignore_errors=True)
        start = time.perf_counter()
        command = [*dlbs(), "run", "--quiet", "--no-validation", "--plan", plan, "--jobs", str(jobs)]
        run = psutil.Popen(command, cwd=directory, env=environment())
        sizes = []
        while run.poll() is None:
            time.sleep(0.1)
            if len(sizes) < 5 or time.perf_counter() - start > 0.1 * len(sizes):
                try:
                    sizes.append(run.memory_info().rss)
                except psutil.NoSuchProcess:
                    break
        run.wait()
        best["dlbs run"] = min(best["dlbs run"], time.perf_counter() - start)
        steady = [size for size in sizes[len(sizes) // 3 :] if size]
        growth = max(growth, steady[-1] - steady[0]) if steady else growth
        scripts = sorted((directory / "logs").glob("*.sh"))
        assert len(scripts) == count == len(list((directory / "logs").glob("*.log")))
        names = directory / "scripts"
        names.write_text("".join(f"{script}\n" for script in scripts))
        xargs = f"xargs -a {names} -P {jobs} -I X sh -c 'bash X >X.out 2>&1'"
        best["xargs"] = min(best["xargs"], timed(["bash", "-c", xargs], directory))
    rates = {side: count / seconds for side, seconds in best.items()}
    print(f"{count} no-op experiments, {jobs} in parallel")
    print(f"dlbs run               {rates['dlbs run']:>10.0f} per second, memory growth {growth / 1e6:.1f} MB")
    print(
        f"xargs -P {jobs:<2}            {rates['xargs']:>10.0f} per second, ratio {rates['dlbs run'] / rates['xargs']:.2f}"
    )


LOOP = 'for script in "$@"; do bash "$script" >"$script.out" 2>&1; done'


def dlbs() -> list[str]:
    return [sys.executable, "-m", "dlbs"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def write_plan(directory: Path, count: int) -> str:
    name = f"plan{count}.json"
    flags = ["-Pexp.framework=dummy", "-Pexp.docker=false", "-Pexp.gpus=", f"-Vexp.seed={list(range(count))}"]
    command = [*dlbs(), "build", "-o", name, *flags]
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    return name


def timed(command: list[str], directory: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=directory, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
