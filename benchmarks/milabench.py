"""Three benchmarks with milabench's interface (benchmarks/milabench/): run by voir's own runner and by dlbs, in turn.

    python benchmarks/milabench.py [--python PYTHON] [--rounds 7] [--stop 10] [NAME ...]

One side does what `milabench run` does: it starts `voir --config OPTIONS SCRIPT ARGUMENTS` in the directory of the benchmark by `voir.proc.run`, collects the rates of
the task train from the events, and reports their mean. The other is `dlbs run -Pexp.framework=pack -Pexp.pack=NAME`, of which results.throughput is the mean of the
rates. Both start the same script, voirfile and options in the same interpreter, with one thread and the allocator as the system has it. Each round runs both in a random
order and gives one ratio; the ratio of all rounds and its interval are those of `dlbs compare` for runs in rounds (docs/statistics.md).

PYTHON is an interpreter with voir and torch (`pip install voir torch`), by default this one; without them the benchmark is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from dlbs.core.files import load_json
from dlbs.core.logs import parse_line
from dlbs.packs.definition import find_packs
from dlbs.packs.pack import Pack, constant_argv
from dlbs.results.statistics.sequential import is_enough, signed_rank_interval

ROOT = Path(__file__).resolve().parent.parent
COLLECTION = ROOT / "benchmarks" / "milabench" / "base.yaml"
CONFIDENCE = 0.95

# The steps of `milabench run` for one pack, in the interpreter that has voir.
RUNNER = """
import json, os, sys
from voir.proc import run

rates, end = [], None
for event in run(sys.argv[1:], info={}, timeout=None):
    if event.event == "data" and event.data.get("task") == "train" and event.data.get("rate") is not None:
        rates.append(event.data["rate"])
    elif event.event == "line" and event.pipe == "stderr":
        sys.stderr.write(event.data)
    elif event.event == "end":
        end = event.data["return_code"]
print(json.dumps(rates))
sys.exit(end)
"""

Side = Callable[[Pack], list[float]]  # runs a pack once: its rates


def by_voir(python: str, options: Mapping[str, object], directory: Path) -> Side:
    """voir's own runner, as milabench uses it."""
    config = directory / "voir.json"
    config.write_text(json.dumps({"options": options}))

    def measure(pack: Pack) -> list[float]:
        words = ["-m", "voir", "--config", str(config), f"{pack.name}.py", *constant_argv(pack)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        command = [python, "-c", RUNNER, python, *words]
        # In a session of its own, as milabench and dlbs start scripts: Linux divides a busy CPU among sessions.
        done = subprocess.run(
            command,
            cwd=pack.directory,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            start_new_session=True,
        )
        rates: list[float] = load_json(done.stdout)
        return rates

    return measure


def by_dlbs(python: str, options: Mapping[str, object], directory: Path) -> Side:
    """An experiment of dlbs."""
    log = directory / "experiment.log"
    given = [f"-Pvoir.{name}={value}" for name, value in options.items()]
    given += ["-Pexp.framework=pack", "-Pexp.docker=false", f"-Ppack.python={python}", f"-Pexp.log_file={log}"]
    given += ["-Pruntime.malloc=system", "-Pexp.rerun=always"]

    def measure(pack: Pack) -> list[float]:
        environment = {**os.environ, "DLBS_PACK_PATH": str(COLLECTION), "OMP_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, "-m", "dlbs", "run", *given, f"-Pexp.pack={pack.name}"]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{pack.name}: {done.stderr}{log.read_text() if log.exists() else ''}")
        with log.open(encoding="utf-8") as stream:
            results = dict(filter(None, map(parse_line, stream)))
        rates: list[float] = results["results.throughput_data"]
        return rates

    return measure


def compare(pack: Pack, sides: Mapping[str, Side], rounds: int, order: random.Random) -> str:
    """A row: the rates of both sides, and the ratio with its interval."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name in order.sample(list(sides), len(sides)):
            found[name].append(statistics.fmean(sides[name](pack)))
    suite, ours = found.values()
    estimated = signed_rank_interval(ours, suite, CONFIDENCE)
    assert estimated is not None
    ratio, interval = estimated
    row = "".join(f"{statistics.median(rates):12.4g}" for rates in (suite, ours))
    return f"{pack.name:14}{row}{ratio:10.3f}  [{interval.low:.3f}, {interval.high:.3f}]"


def missing(python: str) -> str:
    """The module that the interpreter lacks; empty if it has all."""
    try:
        done = subprocess.run([python, "-c", "import voir, torch"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{python}: {error.strerror}"
    return "" if done.returncode == 0 else f"{python}: {done.stderr.strip().splitlines()[-1]}"


def main() -> None:
    packs = find_packs([COLLECTION])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(packs), metavar="NAME", help=f"of {', '.join(packs)}")
    parser.add_argument("--python", default=sys.executable, help="with voir and torch")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stop", type=int, default=10, help="rates of a run")
    options = parser.parse_args()
    if unknown := set(options.names) - set(packs):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(packs)}")
    if not is_enough(options.rounds, 1 - CONFIDENCE):
        parser.error("so few rounds give no interval: --rounds 6, or more")
    if lack := missing(options.python):
        print(f"skipped: {lack} (pip install voir torch, or --python PYTHON)")
        return
    python = os.path.abspath(options.python)
    print(f"rates as reported, medians of {options.rounds} rounds of {options.stop} measurements, one thread")
    print(f"{'':14}{'voir':>12}{'dlbs':>12}{'ratio':>10}  {100 * CONFIDENCE:g} % interval")
    order = random.Random(21)
    with tempfile.TemporaryDirectory() as name:
        for pack in (packs[name] for name in options.names):
            voir = {**pack.voir, "stop": options.stop}
            sides = {
                "voir": by_voir(python, voir, Path(name)),
                "dlbs": by_dlbs(python, voir, Path(name)),
            }
            print(compare(pack, sides, options.rounds, order), flush=True)


if __name__ == "__main__":
    main()
