"""Run hostile work in child processes with limits: `python bounded.py` forks one for each line of JSON on its standard input.

The process that forks has imported what the work needs, so that a case costs milliseconds, not a start of Python.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["serve"]


def serve(work: Callable[[Any], Any]) -> None:
    """Answer each line `{"input": ..., "seconds": ..., "mib": ...}` with one line that has `output`, or `error` and its `kind`.

    A child that is killed, or dies of its limits, is answered with the kind `killed`. `seconds` and `mib` say what the child needed.
    """
    for line in sys.stdin:
        case = json.loads(line)
        reading, writing = os.pipe()
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            os.close(reading)
            _limit(case["seconds"], case["mib"])
            os.write(writing, json.dumps(_answer(work, case["input"])).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        _, status, usage = os.wait4(child, 0)
        result = json.loads(answer) if answer else {"kind": "killed", "error": f"status {status}"}
        result["seconds"] = usage.ru_utime + usage.ru_stime
        result["wall"] = time.monotonic() - start
        print(json.dumps(result), flush=True)


def _limit(seconds: int, mib: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    with open("/proc/self/statm") as sizes:
        now = int(sizes.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mib << 20),) * 2)
    signal.alarm(seconds * 20)  # waits for nothing either, on a busy machine


def _answer(work: Callable[[Any], Any], given: Any) -> dict[str, Any]:
    try:
        return {"kind": "ok", "output": work(given)}
    except BaseException as error:  # the test says which kinds it expects
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"kind": "refused" if "DlbsError" in kinds else kinds[0], "error": str(error)[:500]}
