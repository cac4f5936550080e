"""Speed and memory of results: `dlbs parse`, `report`, `compare` and `db`, each beside a limit measured in the same run.

    python benchmarks/results.py [--sizes 10000 100000] [--store 1000000] [--logs DIR] [--only parse report] [--rounds 1]

Makes logs of 180 lines (40 models, 10 batch sizes, 5 types, and as many runs of each as the size needs), in DIR/SIZE or a temporary directory; logs
that are there already are used again. A limit does the least that any program has to do with the same files: read them, and parse the JSON in them;
group and take medians of the Parquet file with polars, DuckDB or pyarrow, the first that is installed; read all of its columns. `--store N` fills
an SQLite store with N experiments through `dlbs db add`, and queries it.

Memory is the largest sum over a process and its children, with pages that several share counted once (proportional set size), sampled every 50 ms, or
the peak of the largest process if that is more. The best of the rounds counts, since other load only adds time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmark_core.log import key_line
from dlbs import api

MODELS, BATCHES, TYPES = 40, 10, ("float32", "float16", "bfloat16", "tf32", "int8")
LINES = 180
BATCH_TIMES = 20
TOGETHER = 50_000  # experiments in a file that fills a store

# The limits, as programs of their own: what is measured includes the start of Python and its imports, as it does for dlbs.
READ_LOGS = """
import os, sys, orjson
for name in os.listdir(sys.argv[1]):
    with open(os.path.join(sys.argv[1], name), "rb") as stream:
        lines = stream.read().split(b"\\n")
    values = b",".join(line.partition(b"__=")[2] for line in lines if line.startswith(b"__"))
    assert orjson.loads(b"[" + values + b"]")
"""
READ_LINES = """
import sys, orjson
with open(sys.argv[1], "rb") as stream:
    for line in stream:
        orjson.loads(line)
"""
GROUP = {
    "polars": """
import sys, polars
names = ["exp.model", "exp.replica_batch", "exp.dtype"]
polars.scan_parquet(sys.argv[1]).group_by(names).agg(polars.col("results.time").median()).collect()
""",
    "duckdb": """
import sys, duckdb
names = '"exp.model", "exp.replica_batch", "exp.dtype"'
duckdb.sql(f'select {names}, median("results.time") from read_parquet(\\'{sys.argv[1]}\\') group by {names}').fetchall()
""",
    "pyarrow": """
import sys, pyarrow.parquet as parquet
names = ["exp.model", "exp.replica_batch", "exp.dtype"]
table = parquet.read_table(sys.argv[1], columns=[*names, "results.time"])
table.group_by(names).aggregate([("results.time", "approximate_median")])
""",
}
ALL_COLUMNS = "import sys, pyarrow.parquet as parquet; parquet.read_table(sys.argv[1])"
INSERT = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[2])
store.execute("create table experiments (number integer primary key, data text)")
with open(sys.argv[1]) as stream, store:
    store.executemany("insert into experiments (data) values (?)", ((line,) for line in stream))
"""


class Cost(NamedTuple):
    """Seconds and bytes of a command."""

    seconds: float
    memory: int


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--store", type=int, default=0, help="Experiments of a store.")
    parser.add_argument("--logs", type=Path, help="Directory of the logs, which are kept.")
    parser.add_argument("--only", nargs="*", default=[], help="Begin of the names of rows to measure.")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--make-only", action="store_true", help="Make the logs, and measure nothing.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        os.environ["XDG_CACHE_HOME"] = str(work / "cache")
        for size in options.sizes:
            logs = (options.logs or work) / str(size)
            write_logs(logs, size)
            if not options.make_only:
                measure(logs, size, work, options.only, options.rounds)
        if options.store and not options.make_only:
            measure_store(options.store, work, options.rounds)


def records(count: int) -> Iterator[dict[str, Any]]:
    """Experiments whose parameters are those of a plan, with results that differ."""
    config = api.load_config(parameters={"exp.framework": "pytorch", "exp.docker": False, "exp.gpus": "0"})
    fixed = dict(next(iter(api.resolve(config))))
    source = random.Random(1)
    run = 1
    while count:
        for model in range(MODELS):
            for batch in range(BATCHES):
                for dtype, name in enumerate(TYPES):
                    if not count:
                        return
                    count -= 1
                    mean = (1 + model) * 2**batch / 100 / (1 + dtype / 10)
                    times = [round(mean * source.gauss(1, 0.02), 6) for _ in range(BATCH_TIMES)]
                    made = fixed | {
                        "exp.model": f"model{model}", "exp.model_title": f"Model {model}", "exp.replica_batch": 2**batch,
                        "exp.effective_batch": 2**batch, "exp.dtype": name, "exp.repeat": run, "exp.id": f"{source.getrandbits(64):016x}",
                        "exp.start_time": f"2026-{1 + run // 28 % 12:02}-{1 + run % 28:02}T{model % 24:02}:{batch:02}:{dtype:02}+0000",
                        "exp.env.host": f"node{model % 4}", "exp.device_title": "Imaginary GPU", "exp.dlbs_version": "0.1.0",
                        "results.unit": "images", "results.time": sum(times) / len(times), "results.time_data": times,
                        "results.throughput": 1000 * 2**batch * len(times) / sum(times), "results.time_p99": max(times),
                        "results.memory_host": source.randrange(1 << 28, 1 << 30), "exp.status": "ok", "exp.status_msg": "",
                    }  # fmt: skip
                    more = LINES - 2 - len(made)
                    made |= {f"exp.env.setting_{n}": f"value {n}" if n % 3 else n for n in range(more // 2)}
                    made |= {f"results.counter_{n}": source.randrange(100) for n in range(more - more // 2)}
                    yield made
        run += 1


def write_logs(directory: Path, count: int) -> None:
    """Write the logs of a sweep, unless they are there already."""
    if directory.is_dir() and sum(1 for _ in os.scandir(directory)) == count:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for number, record in enumerate(records(count)):
        lines = ["loading", *(key_line(key, value) for key, value in record.items()), "done"]
        (directory / f"{number:07}.log").write_text("\n".join(lines) + "\n")


def measure(logs: Path, size: int, work: Path, only: Sequence[str], rounds: int) -> None:
    """Measure the verbs on logs, and on the results files made of them."""
    place = work / f"made{size}"
    place.mkdir()
    lines, table, store = (str(place / name) for name in ("results.jsonl", "results.parquet", "results.db"))
    group = next(name for name in GROUP if installed(name))
    limits = {
        "read and JSON of the logs": [READ_LOGS, str(logs)], "read and JSON of the lines": [READ_LINES, lines],
        f"group and median, {group}": [GROUP[group], table], "all columns, pyarrow": [ALL_COLUMNS, table],
        "insert of the lines, SQLite": [INSERT, lines, str(place / "inserted.db")],
    }  # fmt: skip
    read_logs, read_lines, grouped, columns, inserted = limits
    rows = {
        "parse to JSON Lines": (["parse", str(logs), "-o", lines], read_logs),
        "parse to Parquet": (["parse", str(logs), "-o", table], read_logs),
        "report of JSON Lines": (["report", lines, "--format", "csv"], read_lines),
        "report of Parquet": (["report", table, "--format", "csv"], grouped),
        "db add": (["db", "add", table, "--db", store], inserted),
        "report of the store": (["report", "--db", store, "--format", "csv"], grouped),
        "compare --by exp.dtype": (["compare", table, "--by", "exp.dtype", "--format", "csv"], columns),
        "report --html": (["report", table, "--html", str(place / "page.html")], columns),
    }
    needed = {"parse to JSON Lines", "parse to Parquet", "db add"}  # they make what the others read
    chosen = [name for name in rows if not only or name in needed or name.startswith(tuple(only))]
    mb = sum(one.stat().st_size for one in os.scandir(logs)) / 1e6
    print(f"\n{size:,} logs, {mb:,.0f} MB; best of {rounds}")
    measured: dict[str, Cost] = {}
    print_head()
    for name in chosen:
        words, limit = rows[name]
        cost = best_of([sys.executable, "-m", "dlbs", *words], rounds if name != "db add" else 1)
        if limit not in measured:
            program, *arguments = limits[limit]
            measured[limit] = best_of([sys.executable, "-c", program, *arguments], rounds if limit != inserted else 1)
        print_row(name, cost, limit, measured[limit])
    sizes = [(what, path) for what, path in (("JSON Lines", lines), ("Parquet", table), ("store", store))]
    sizes.append(("page", str(place / "page.html")))
    print(
        "on disk: " + ", ".join(f"{what} {os.path.getsize(p) / 1e6:,.1f} MB" for what, p in sizes if os.path.exists(p))
    )


def measure_store(count: int, work: Path, rounds: int) -> None:
    """Fill a store in batches, and query it; the limit is group and median of a Parquet file with the columns that a report needs."""
    store, table, batch = (str(work / name) for name in ("large.db", "large.parquet", "batch.jsonl"))
    write_columns(count, table)
    seconds, memory = 0.0, 0
    made = records(count)
    for at in range(0, count, TOGETHER):
        with open(batch, "w") as stream:
            for _ in range(min(TOGETHER, count - at)):
                stream.write(json.dumps(next(made)) + "\n")
        cost = cost_of([sys.executable, "-m", "dlbs", "db", "add", batch, "--db", store])
        seconds, memory = seconds + cost.seconds, max(memory, cost.memory)
    group = next(name for name in GROUP if installed(name))
    limit = best_of([sys.executable, "-c", GROUP[group], table], rounds)
    print(f"\nstore of {count:,} experiments, {os.path.getsize(store) / 1e6:,.0f} MB; best of {rounds}")
    print_head()
    for name, words in {
        "report": ["report", "--db", store, "--format", "csv"],
        "db query": ["db", "query", '{"exp.model": "model3", "exp.replica_batch": 8}', "--db", store, "--format", "csv"],
        "one trend": ["db", "query", "--history", "model3 float16 batch 8", "--db", store, "--format", "csv"],
    }.items():  # fmt: skip
        cost = best_of([sys.executable, "-m", "dlbs", *words], rounds)
        print_row(name, cost, f"group and median, {group}", limit)
    print(f"db add, in batches of {TOGETHER:,}: {seconds:.1f} s, {memory / 1e6:,.0f} MB")


def write_columns(count: int, path: str) -> None:
    """Write the columns of a report as a Parquet file, as the limit of a store needs them."""
    import pyarrow as arrow
    from pyarrow import parquet

    names = ("exp.model", "exp.replica_batch", "exp.dtype", "results.time", "results.throughput")
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for record in records(count):
        for name, values in columns.items():
            values.append(record[name])
    parquet.write_table(arrow.table(columns), path)


def installed(module: str) -> bool:
    """Whether a module can be imported."""
    command = [sys.executable, "-c", f"import {module}"]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def best_of(command: Sequence[str], rounds: int) -> Cost:
    """The least time and the least memory of several runs."""
    costs = [cost_of(command) for _ in range(rounds)]
    return Cost(min(cost.seconds for cost in costs), min(cost.memory for cost in costs))


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command and measure it, with its children."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        ended = threading.Event()
        found: list[int] = [0]
        sampler = threading.Thread(target=_sample, args=(process.pid, ended, found))
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        ended.set()
        sampler.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            sys.exit(f"{' '.join(command)[:300]}: {errors.read().decode(errors='replace')[-2000:]}")
    return Cost(seconds, max(1024 * usage.ru_maxrss, *found))


def _sample(pid: int, ended: threading.Event, found: list[int]) -> None:
    """Add the memory of a process and its children, again and again."""
    while not ended.wait(0.05):
        total = 0
        try:
            process = psutil.Process(pid)
            tree = [process, *process.children(recursive=True)]
        except psutil.Error:
            continue
        for one in tree if len(tree) > 1 else ():  # wait4 has the peak of a single one
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue  # it has ended
        found.append(total)


def print_head() -> None:
    """Print the head of a table."""
    print(f"{'':26}{'s':>9}{'MB':>8}   {'limit':32}{'s':>8}{'MB':>7}{'time ×':>9}{'memory ×':>10}")


def print_row(name: str, cost: Cost, limit: str, least: Cost) -> None:
    """Print what was measured beside its limit."""
    print(
        f"{name:26}{cost.seconds:>9.2f}{cost.memory / 1e6:>8,.0f}   {limit:32}{least.seconds:>8.2f}{least.memory / 1e6:>7,.0f}"
        f"{cost.seconds / least.seconds:>9.1f}{cost.memory / least.memory:>10.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
