"""Measure on a GPU.

    python -m benchmarks.gpu [throughput] [overhead] [data] [--only TEXT]

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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from benchmarks.gpu.sides import Effort, Measurement, NotHereError
from scripts.gpu.journal import Case, Journal, out_of_time

GROUPS = ("throughput", "overhead", "data")


def main() -> int:
    """Run the measurements; returns 0 if all succeeded."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; all of them by default")
    parser.add_argument("--only", default="", help="measurements whose names contain this text")
    options = parser.parse_args()
    if unknown := [group for group in options.groups if group not in GROUPS]:
        parser.error(f"unknown group {unknown[0]}; known are {', '.join(GROUPS)}")
    warnings.filterwarnings("ignore", category=UserWarning)
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    listed = {
        f"{group}: {one.name}": one
        for group in options.groups or GROUPS
        for one in importlib.import_module(f"benchmarks.gpu.{group}").measurements()
        if options.only in one.name
    }
    journal = Journal.of_environment()
    left = journal.plan(list(listed)) if journal else set(listed)
    failed, tried = 0, set[object]()
    for name, measurement in listed.items():
        if name not in left:
            continue
        if out_of_time():
            print("the time is over", flush=True)
            break
        if journal:
            journal.start(name)
        case = _measured(name, measurement, Effort.of(device), tried)
        if journal:
            journal.finish(case)
        failed += case.outcome == "failed"
        shown = "   ".join(f"{key} {value:,.3f}" for key, value in case.values.items() if value is not None)
        print(f"{name:60} {shown or case.outcome + ': ' + case.reason.splitlines()[-1]}", flush=True)
        if "CUDA error" in case.reason:
            return 1  # the process is unusable after it; a session continues in a new one
    return int(failed > 0)


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
            case.outcome, case.values = ("skipped", {}) if effort.tiny else ("passed", values)
        tried.add(code)
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
