"""Measure a container pack: `python -m dlbs.packs.measure DEFINITION NAME ...`, from its launcher. A batch is one call of `predict_batch`."""

from __future__ import annotations

import argparse
import itertools
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlbs.errors import DlbsError, LogError
from dlbs.jsonio import JsonError, load_json
from dlbs.logs import parameter_line
from dlbs.packs.container_model import load_model
from dlbs.packs.definition import Pack, find_pack
from dlbs.packs.extend import option_name
from dlbs.packs.jsonlines import read_jsonl_file
from dlbs.packs.predictions import one_for_each
from dlbs.text import printable
from dlbs.unforeseen import guarded

__all__ = ["main"]

INPUTS = "inputs.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print log lines, and return the exit code."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the container is removed on exit
    try:
        _measure(options, find_pack(options.name, [options.definition]))
    except DlbsError as error:
        print(parameter_line("exp.status_msg", " ".join(printable(str(error)).split())[:500]), flush=True)
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


def _measure(options: argparse.Namespace, pack: Pack) -> None:
    inputs = _inputs(pack, options.inputs)
    model = load_model(
        pack, name=options.model, image=options.image, device=options.device, docker=options.docker,
        arguments=_model_arguments(options.words),
    )  # fmt: skip
    endless = itertools.cycle(inputs)
    times: list[float] = []
    first = 0.0
    for number in range(options.warmup + options.batches):
        batch = list(itertools.islice(endless, options.batch))
        begin = time.perf_counter()
        outputs = model.predict_batch(batch)
        seconds = time.perf_counter() - begin
        one_for_each(outputs, batch)
        first = first or seconds
        if number >= options.warmup:
            times.append(1000 * seconds)
    mean = statistics.fmean(times)
    results: dict[str, Any] = {
        "results.time": mean,
        "results.time_std": statistics.stdev(times) if len(times) > 1 else None,
        "results.time_min": min(times),
        "results.time_median": statistics.median(times),
        "results.time_max": max(times),
        "results.time_data": times,
        "results.time_first_batch": 1000 * first,
        "results.throughput": 1000 * options.batch / mean,
        "results.unit": "instances",
    }
    for key, value in results.items():
        print(parameter_line(key, value), flush=True)


def _inputs(pack: Pack, file: str) -> list[Any]:
    path = Path(file) if file else pack.directory / INPUTS
    inputs = read_jsonl_file(path)
    if not inputs:
        raise LogError("has no inputs", where=str(path), hint="write one JSON object per line")
    return inputs


def _model_arguments(words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a model's constructor: `--batch-size 64 --quiet` becomes batch_size=64 and quiet=True."""
    found: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name = option_name(word).removeprefix("argv.")
            found[name] = True
        elif name:
            try:
                found[name] = load_json(word)
            except JsonError:
                found[name] = word
    return found


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("definition", type=Path)
    parser.add_argument("name")
    parser.add_argument("--image", required=True)
    parser.add_argument("--inputs", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--device", type=int, default=-1)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--docker", default="docker")
    parser.add_argument("--debug", action="store_true", help="show the traceback of unexpected errors")
    given = list(sys.argv[1:] if arguments is None else arguments)
    end = given.index("--") if "--" in given else len(given)
    options = parser.parse_args(given[:end])
    options.words = given[end + 1 :]  # -- --NAME VALUE ...: arguments of the model's constructor
    return options


if __name__ == "__main__":
    sys.exit(guarded(main))
