"""Run hostile work in child processes with limits: `python bounded.py` forks one for each line of JSON on its standard input.

The process that forks has imported what the work needs, so that a case costs milliseconds, not a start of Python.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Ask", "ask_and_expect", "children", "serve", "sparse"]

Ask = Callable[[Any], dict[str, Any]]  # gives a case to a child and returns its answer


@contextmanager
def children(program: str, seconds: int = 60, mib: int = 700) -> Iterator[Ask]:
    """Start a program that calls `serve`; each question is answered by a child of its own.

    Args:
        program: Its source.
        seconds: Of CPU time that a child may take.
        mib: Of memory that it may ask for, beside what the program has.
    """
    # Not measured by coverage: its tracer takes a lock, and the exception of a backstop may come while it is held.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    root = str(Path(__file__).parents[2])
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{root}/python"}
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, cwd=root, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        stdin, stdout = server.stdin, server.stdout

        def ask(given: Any) -> dict[str, Any]:
            stdin.write(json.dumps({"input": given, "seconds": seconds, "mib": mib}) + "\n")
            stdin.flush()
            answer: dict[str, Any] = json.loads(stdout.readline())
            return answer

        yield ask
        stdin.close()


def ask_and_expect(ask: Ask, given: Any, expected: Any) -> None:
    """Compare an answer with what a table says: a text is part of the error, anything else is the value; None is either of them."""
    answer = ask(given)
    if expected is None:
        assert answer["kind"] in {"ok", "refused"}, answer
    elif isinstance(expected, str):
        assert answer["kind"] == "refused", answer
        assert expected in answer["error"], answer
    else:
        assert answer["kind"] == "ok", answer
        assert answer["output"] == expected, answer
    assert "weights_only" not in str(answer)


def serve(work: Callable[[Any], Any]) -> None:
    """Answer each line `{"input": ..., "seconds": ..., "mib": ...}` with one line that has `output`, or `error` and its `kind`.

    A child that is killed, or dies of its limits, is answered with the kind `killed`. `seconds` and `mib` say what the child needed.
    """
    gc.collect()
    gc.freeze()  # otherwise each child copies what it inherits as soon as it collects garbage
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
        refused = "DlbsError" in kinds or "BenchmarkError" in kinds
        return {"kind": "refused" if refused else kinds[0], "error": str(error)[:500]}


def sparse(path: Path, size: int = 8 << 30) -> None:
    """Make a file of zeros that needs no space, beyond the largest size of files that tests may write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    try:
        path.write_bytes(b"")
        os.truncate(path, size)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
