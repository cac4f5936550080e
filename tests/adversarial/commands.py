"""Command lines of dlbs in child processes with limits: `python -m tests.adversarial.commands` runs each that it reads.

The processes are forked from one that has imported what they need, so that a hostile command line costs what dlbs does, not a start of Python.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from dlbs.plan import files as plans
from tests.adversarial.bounded import serve
from tests.compiled import compile_shipped

__all__ = ["SECONDS", "Commands", "Done"]

ROOT = Path(__file__).parents[2]  # tests.conftest has it, too, but imports pytest: each child would inherit its memory

# Of CPU time, and of memory beyond what the imports take. What is endless takes more on any machine; nothing else needs a twentieth of the time here, but
# for values that end after 5 s of CPU time (dlbs/language/limits.py).
SECONDS, MIB = 60, 1500


class Done:
    """What came of a command line: exit code, output, errors, CPU seconds, the processes it started, the files it opened for writing."""

    def __init__(self, answer: dict[str, Any], number: int = 0) -> None:
        self.seconds: float = answer["seconds"]
        self.kind: str = answer["kind"]
        self.processes: list[list[str]] = []
        self.written: list[str] = []
        if self.kind == "ok":
            self.code, self.output, self.errors, self.processes, self.written = answer["output"][number]
        else:
            self.code, self.output, self.errors = -1, "", answer["error"]

    def is_clear_error(self) -> bool:
        """Whether it is one error with exit code 2, which dlbs foresaw."""
        return self.code == 2 and "error: " in self.errors.lower() and not self.is_crash()

    def is_crash(self) -> bool:
        return self.kind != "ok" or "Traceback" in self.errors or "unexpected error, a bug" in self.errors

    def __repr__(self) -> str:
        return f"{self.kind} {self.code} in {self.seconds:.2f} s: {self.errors[-1500:]}"


class Commands:
    """The process that runs them; a context."""

    def __init__(self) -> None:
        # Not measured by coverage: its tracer takes a lock, and the exception of a limit may come while it is held.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.adversarial.commands"],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        stdin, _ = self._streams()
        stdin.close()
        self._process.wait()

    def run(self, directory: Path, *argv: str, **environment: str) -> Done:
        """Run `dlbs ARGV` in a directory."""
        return Done(self._ask([(directory, argv)], environment))

    def run_all(self, lines: Iterable[tuple[Path, Sequence[str]]], **environment: str) -> list[Done]:
        """Run command lines, each in its directory, one after another in the same child: a child costs as much as three of them.

        A child that does not reach the end answers for none of them: each then runs in a child of its own, so that the one at fault is found.
        The CPU seconds are those of all together.
        """
        lines = list(lines)
        answer = self._ask(lines, environment)
        if answer["kind"] == "ok":
            return [Done(answer, number) for number in range(len(lines))]
        return [Done(self._ask([line], environment)) for line in lines]

    def _ask(self, lines: Sequence[tuple[Path, Sequence[str]]], environment: dict[str, str]) -> dict[str, Any]:
        stdin, stdout = self._streams()
        given = {"lines": [(str(directory), argv) for directory, argv in lines], "environment": environment}
        stdin.write(json.dumps({"input": given, "seconds": SECONDS, "mib": MIB}) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def _streams(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout


# Events of the interpreter (PEP 578) that start a process, and where in their arguments the command is.
_STARTS = {"subprocess.Popen": 1, "os.exec": 1, "os.posix_spawn": 1, "os.system": 0, "os.spawn": 2, "pty.spawn": 0}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _run_all(given: dict[str, Any]) -> list[tuple[int, str, str, list[list[str]], list[str]]]:
    """In the child: the command lines, with their streams in files, and what the interpreter tells of processes and files."""
    processes: list[list[str]] = []
    written: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS:
            command = arguments[_STARTS[event]]
            processes.append(
                [os.fsdecode(word) for word in ([command] if isinstance(command, (str, bytes)) else command)]
            )
        elif event == "open" and not isinstance(arguments[0], int) and arguments[2] & _WRITES:
            written.append(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(note)
    os.environ.update(given["environment"])
    ended = []
    for directory, argv in given["lines"]:
        processes.clear()
        written.clear()
        ended.append((*_run(directory, argv), processes.copy(), written.copy()))
    return ended


def _run(directory: str, argv: list[str]) -> tuple[int, str, str]:
    from dlbs.cli.main import main

    os.chdir(directory)
    streams = [os.memfd_create(name) for name in ("output", "errors")]
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
    sys.argv = ["dlbs", *argv]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    contents = [os.pread(stream, 1 << 20, 0).decode("utf-8", "replace") for stream in streams]
    for stream in streams:
        os.close(stream)
    return code, contents[0], contents[1]


if __name__ == "__main__":
    for module in (
        "PIL.BmpImagePlugin",
        "PIL.GifImagePlugin",
        "PIL.JpegImagePlugin",
        "PIL.JpegPresets",
        "PIL.PpmImagePlugin",
        "alembic.command",
        "alembic.config",
        "csv",
        "difflib",
        "dlbs.cli.compare",
        "dlbs.cli.main",
        "dlbs.cli.packs",
        "dlbs.cli.plan",
        "dlbs.cli.results",
        "dlbs.cli.run",
        "dlbs.cli.status",
        "dlbs.cli.store",
        "dlbs.executors.local",
        "dlbs.executors.signals",
        "dlbs.packs.configure",
        "dlbs.plan.explain",
        "dlbs.plan.files",
        "dlbs.plan.pipeline",
        "dlbs.results.grouping",
        "dlbs.results.keys",
        "dlbs.results.page.report",
        "dlbs.results.plots.axes",
        "dlbs.results.plots.batches",
        "dlbs.results.plots.kinds",
        "dlbs.results.tables.lists",
        "dlbs.results.statistics.ratio",
        "dlbs.results.statistics.compare",
        "dlbs.results.store.blocks",
        "dlbs.results.store.schema",
        "dlbs.results.store.store",
        "dlbs.results.tables.comparison",
        "dlbs.results.tables.scores",
        "dlbs.results.tables.comparison",
        "dlbs.results.tables.lists",
        "dlbs.results.tables.terminal",
        "dlbs.run.driver",
        "dlbs.run.validate",
        "dlbs.run.driver",
        "jinja2.sandbox",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
        "matplotlib.font_manager",
        "matplotlib.figure",
        "mpl_toolkits.axes_grid1",
        "numpy",
        "orjson",
        "psutil",
        "re2",
        "rich.console",
        "rich.table",
        "sqlalchemy.dialects.sqlite",
        "sqlite3",
        "tarfile",
        "unicodedata",
        "yaml",
    ):
        importlib.import_module(module)
    compile_shipped()
    # Instead of 512 and 64 MiB: hostile plans, which are larger than the memory of a child, reach these limits sooner.
    plans._LARGEST_LIST, plans._LONGEST_LINE = 64 << 20, 16 << 20
    serve(_run_all)
