"""Measure on a GPU.

    python -m benchmarks.gpu [throughput] [compiled] [overhead] [data] [--only TEXT] [--prepare]

Prints a line for each measurement. In a session (`make gpu`) the results are added to its report. On a CPU, all measurements run with tiny sizes to test
the code; figures of a CPU are not reported.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.gpu.journal import Case, Journal, out_of_time
from benchmarks.gpu.sides import Effort, Measurement, NotHereError

# Group → its module, and the function there that lists the measurements.
GROUPS = {
    "throughput": ("throughput", "measurements"),
    "compiled": ("throughput", "compiled"),
    "overhead": ("overhead", "measurements"),
    "data": ("data", "measurements"),
}


def main() -> int:
    """Run the measurements; returns 0 if all succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; all of them by default")
    parser.add_argument("--only", default="", help="measurements whose names contain this text")
    parser.add_argument(
        "--prepare", action="store_true", help="run each once and measure nothing, to keep compiled code on disk"
    )
    options = parser.parse_args()
    if unknown := [group for group in options.groups if group not in GROUPS]:
        parser.error(f"unknown group {unknown[0]}; known are {', '.join(GROUPS)}")
    warnings.filterwarnings("ignore", category=UserWarning)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)  # more of them wait for each other, beside other processes for a long time
    listed = {
        f"{'prepare ' * options.prepare}{group}: {one.name}": one
        for group in options.groups or GROUPS
        for one in _measurements(group)
        if options.only in one.name
    }
    effort = Effort.of(device)
    if options.prepare:
        effort = replace(effort, rounds=1, seconds=0.0)
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(0.25)  # tests run on the same GPU
    journal = Journal.of_environment()
    left = journal.plan(list(listed)) if journal else list(listed)
    failed, tried = 0, set[object]()
    for name in left:
        if out_of_time():
            print("the time is over", flush=True)
            break
        if journal:
            journal.start(name)
        case = _measured(name, listed[name], effort, tried)
        if journal:
            journal.finish(case)
        failed += case.outcome == "failed"
        shown = "   ".join(f"{key} {value:,.3f}" for key, value in case.values.items() if value is not None)
        said = ": ".join([case.outcome, *case.reason.splitlines()[-1:]])
        print(f"{name:60} {shown or said}", flush=True)
        if "CUDA error" in case.reason:
            return 1  # the process is unusable after it; a session continues in a new one
    return int(failed > 0)


def _measurements(group: str) -> Iterator[Measurement]:
    module, function = GROUPS[group]
    found: Iterator[Measurement] = getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)()
    return found


def _measured(name: str, measurement: Measurement, effort: Effort, tried: set[object]) -> Case:
    """Run a measurement. On a CPU, code that was tested with another model is not tested again."""
    begin = time.perf_counter()
    case = Case("", name)
    code = measurement.run.func, measurement.run.args[1:]
    try:
        if effort.tiny:
            build = (
                "this PyTorch is built without CUDA" if torch.version.cuda is None else "PyTorch finds no CUDA device"
            )
            case.outcome, case.reason = (
                "skipped",
                f"requires a GPU: {build}; its code was tested on the CPU with tiny sizes",
            )
        if not effort.tiny or code not in tried:
            values = dict(measurement.run(effort))
            case.outcome, case.values = (
                ("skipped", {}) if effort.tiny else ("passed", values if effort.measures else {})
            )
        tried.add(code)
    except torch.OutOfMemoryError:
        if effort.measures:
            case.outcome, case.reason = "failed", traceback.format_exc()[-4000:]
        else:
            case.outcome, case.reason = "skipped", "not enough memory beside other parts"
    except NotHereError as error:
        case.outcome, case.reason = "skipped", str(error)
    except Exception:  # a failed measurement must not stop the others
        case.outcome, case.reason = "failed", traceback.format_exc()[-4000:]
    case.seconds = round(time.perf_counter() - begin, 2)
    gc.collect()
    if effort.device.type == "cuda":
        torch.cuda.empty_cache()
    if "torch._dynamo" in sys.modules:
        torch.compiler.reset()
    return case


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # skips the interpreter's shutdown, which takes a second
