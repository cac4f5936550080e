"""The cost of timing a command: `dlbs run -- COMMAND` compared with hyperfine and a loop in C.

    python benchmarks/command.py [--runs 500] [--rounds 5]

The command is /bin/true: all of its time is that of starting and ending a process, so the timer's overhead is most visible. For each side, the
table has the reported time of one run (the lowest decile of the runs), and the CPU time of a run including the timer. Rounds alternate, and the best
of each side is compared, because other load only adds time. The lower bound is a loop in C around posix_spawn and wait4.

Then the facts about code and software that are found out before the first run, compared with `git diff` of the same checkout: with a short
script in a small repository, and with a module and the packages of this environment in this one.

hyperfine (apt-get install hyperfine) and cc are skipped where they are not installed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRUE = shutil.which("true") or "/bin/true"

LOOP = r"""
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
extern char **environ;
int main(int count, char **words) {
    long runs = strtol(words[1], 0, 10);
    for (long run = 0; run < runs; run++) {
        struct timespec before, after;
        struct rusage usage;
        pid_t pid;
        int status;
        clock_gettime(CLOCK_MONOTONIC, &before);
        if (posix_spawn(&pid, words[2], 0, 0, words + 2, environ)) return 1;
        wait4(pid, &status, 0, &usage);
        clock_gettime(CLOCK_MONOTONIC, &after);
        printf("%.6f\n", (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6);
    }
}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sides = dict(available(Path(name)))
        reported: dict[str, list[float]] = {side: [] for side in sides}
        spent: dict[str, list[float]] = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, measure in sides.items():
                start = cpu_seconds()
                times = measure(options.runs)
                spent[side].append(1000 * (cpu_seconds() - start) / options.runs)
                assert len(times) == options.runs
                reported[side].append(statistics.quantiles(times, n=10)[0])
    first = next(iter(sides))
    print(f"{options.runs} runs of {TRUE}: best of {options.rounds} rounds, ms per run; ratio to {first}")
    print(f"{'':24}{'reported':>10}{'ratio':>8}{'CPU':>10}{'ratio':>8}")
    for side in sides:
        time_of, cpu = min(reported[side]), min(spent[side])
        ratios = time_of / min(reported[first]), cpu / min(spent[first])
        print(f"{side:24}{time_of:>10.3f}{ratios[0]:>8.2f}{cpu:>10.3f}{ratios[1]:>8.2f}")
    facts(options.rounds)


def facts(rounds: int) -> None:
    """Print the time that facts take, and that of git."""
    sys.path.insert(0, str(ROOT / "python"))
    from benchmark_core.provenance import provenance

    print(f"{'facts before the first run':34}{'ms':>8}{'git diff':>10}{'ratio':>8}")
    with tempfile.TemporaryDirectory() as name:
        small = Path(name)
        (small / "bench.py").write_text("import module\n")
        (small / "module.py").write_text("")
        for words in (
            ["init", "-q"],
            ["add", "-A"],
            ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "one"],
        ):
            subprocess.run(["git", *words], cwd=small, check=True)
        for title, place, words in (
            ("small repository", small, [sys.executable, "bench.py"]),
            ("this repository", ROOT, [sys.executable, "-m", "dlbs.cli.main"]),
        ):
            times = {"facts": 1e9, "git": 1e9}
            for _ in range(10 * rounds):
                start = time.perf_counter()
                assert provenance(words, place, log=str(small / "x.log"))["exp.code.commit"]
                times["facts"] = min(times["facts"], time.perf_counter() - start)
                start = time.perf_counter()
                subprocess.run(["git", "diff", "HEAD"], cwd=place, check=True, capture_output=True)
                times["git"] = min(times["git"], time.perf_counter() - start)
            ratio = times["facts"] / times["git"]
            print(f"{title:34}{1000 * times['facts']:>8.1f}{1000 * times['git']:>10.1f}{ratio:>8.2f}")


def cpu_seconds() -> float:
    """CPU time of all child processes that have ended."""
    used = os.times()
    return used.children_user + used.children_system


def available(directory: Path) -> list[tuple[str, Callable[[int], list[float]]]]:
    """The sides that can run here; each measures some runs and returns their times in ms."""
    sides: list[tuple[str, Callable[[int], list[float]]]] = []
    if shutil.which("cc"):
        (directory / "loop.c").write_text(LOOP)
        subprocess.run(["cc", "-O2", "-o", directory / "loop", directory / "loop.c"], check=True)
        sides.append(
            (
                "loop in C",
                lambda runs: [float(line) for line in output(str(directory / "loop"), str(runs), TRUE).split()],
            )
        )
    sides.append(("command_runner", command_runner))
    if shutil.which("hyperfine"):
        sides.append(("hyperfine -N", lambda runs: hyperfine(directory / "times.json", runs)))
    return sides


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def command_runner(runs: int) -> list[float]:
    lines = output(
        sys.executable, str(ROOT / "python" / "command_runner"), "--warmup", "0", "--batches", str(runs), "--", TRUE
    )
    (found,) = [line for line in lines.splitlines() if line.startswith("__results.time_data__=")]
    times: list[float] = json.loads(found.partition("=")[2])
    return times


def hyperfine(file: Path, runs: int) -> list[float]:
    output("hyperfine", "-N", "--style", "none", "--runs", str(runs), "--export-json", str(file), TRUE)
    return [1000 * one for one in json.loads(file.read_text())["results"][0]["times"]]


if __name__ == "__main__":
    main()
