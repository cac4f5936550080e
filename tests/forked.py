"""Programs that tests start again and again, forked from a process that has imported already what they import.

Starting Python takes half a second of CPU time with dlbs and two seconds with PyTorch, and more under coverage; a fork takes a small part of that. What is
forked is a process of its own all the same: with its own directory, environment, output, signals and exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

__all__ = ["ForkServer", "Program"]

# What an interpreter, its allocator and its threads read when they start: a program that is given others of these is started the usual way.
READ_AT_START = ("COVERAGE_", "LANG", "LC_", "LD_", "MALLOC_", "OMP_", "PYTHON", "TMPDIR", "TZ")
RUN_BY_IMPORT = ("__main__", "migrations.env")  # modules that are started, by Python and by Alembic


class Program:
    """A program that a server has forked, with what tests use of `subprocess.Popen`."""

    def __init__(self, args: Sequence[str], stdout: IO[bytes], stderr: IO[bytes], report: IO[bytes]) -> None:
        self.args, self.stdout, self.stderr, self._report = args, stdout, stderr, report
        self.pid = _number(report)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._code(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return its exit code, or minus the signal."""
        code = self._code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait until its output is closed, and it has ended; return standard output and standard error."""
        texts = _read_both(self.stdout, self.stderr, timeout)
        if texts is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait()
        return texts

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def _code(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            self.returncode = _number(self._report)
            self._report.close()
        return self.returncode


class ForkServer:
    """A process that forks programs.

    Args:
        imports: Modules that it imports first, those of them that are installed. `dlbs.*` is `dlbs` with all modules in it, `module:function` calls a
            function that remembers what it reads.
        path: Where these are looked for besides, but by programs only if they look there themselves.
        environment: Of the server.
    """

    def __init__(self, imports: Sequence[str], path: Path, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._connection, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno()), str(path), *imports]
            # It serves the next tests, too: it is not a process that the test which needed it first left running.
            own = {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}
            self._process = subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])

    def start(
        self, *command: str, directory: Path, environment: Mapping[str, str], output: str | None = None
    ) -> Program | subprocess.Popen[str]:
        """Start `python COMMAND`, which is `-m MODULE` or a file and then arguments, with pipes for its output.

        Args:
            command: The command.
            directory: Where it runs.
            environment: Of the program.
            output: A file or device for its standard output, instead of the pipe.
        """
        words = [sys.executable, *command]
        if _read_at_start(environment) != _read_at_start(self._environment):
            pipe = subprocess.PIPE
            with open(output, "w") if output else contextlib.nullcontext(pipe) as stdout:
                return subprocess.Popen(words, cwd=directory, env=environment, stdout=stdout, stderr=pipe, text=True)
        request = json.dumps([command, str(directory), dict(environment)]).encode()
        ours, theirs = zip(*(os.pipe() for _ in range(3)), strict=True)
        try:
            if output:
                opened = os.open(output, os.O_WRONLY)
                os.dup2(opened, theirs[0])
                os.close(opened)
            socket.send_fds(self._connection, [len(request).to_bytes(8, "big")], theirs)
            self._connection.sendall(request)
        finally:
            for descriptor in theirs:
                os.close(descriptor)
            stdout, stderr, report = (os.fdopen(descriptor, "rb", buffering=0) for descriptor in ours)
        return Program(words, stdout, stderr, report)

    def run(
        self,
        *command: str,
        directory: Path,
        environment: Mapping[str, str],
        timeout: float,
        check: bool = False,
        output: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Start `python COMMAND` and wait until its output is closed, as `subprocess.run` does.

        Raises:
            subprocess.TimeoutExpired: It took longer than `timeout` seconds, and was killed.
            subprocess.CalledProcessError: It failed, and `check` is true.
        """
        program = self.start(*command, directory=directory, environment=environment, output=output)
        try:
            texts = program.communicate(timeout)
        except BaseException:
            program.kill()
            program.wait()
            raise
        done = subprocess.CompletedProcess(program.args, program.wait(), *texts)
        if check:
            done.check_returncode()
        return done

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.wait()


def _number(report: IO[bytes]) -> int:
    data = report.read(8)
    if len(data) < 8:
        raise RuntimeError("the server of forks has ended")
    return int.from_bytes(data, "big", signed=True)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _read_both(stdout: IO[bytes], stderr: IO[bytes], timeout: float | None) -> tuple[str, str] | None:
    """All that is written into two pipes, unless it takes too long."""
    end = time.monotonic() + (timeout or 0.0)
    parts: dict[object, list[bytes]] = {stdout: [], stderr: []}
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        while selector.get_map():
            left = None if timeout is None else max(0.0, end - time.monotonic())
            if not (ready := selector.select(left)):
                return None
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                parts[key.fileobj].append(data)
                if not data:
                    selector.unregister(key.fileobj)
    stdout.close()
    stderr.close()
    out, err = (io.TextIOWrapper(io.BytesIO(b"".join(parts[stream]))).read() for stream in (stdout, stderr))
    return out, err


# The server


@dataclass(frozen=True)
class _Running:
    pid: int
    report: int  # the descriptor that its exit code is written to

    def tell(self, number: int) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            os.write(self.report, number.to_bytes(8, "big", signed=True))


def _serve(connection: socket.socket) -> tuple[list[str], str, dict[str, str], list[int]] | None:
    """Fork for each request; return in what was forked with its request, and in the server when nobody asks any more."""
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        while True:
            try:
                ready = [key for key, _ in selector.select()]
            except KeyboardInterrupt:
                return None
            for key in ready:
                if key.data:
                    _reap(selector, key.fd, key.data)
                    continue
                length, descriptors, _, _ = socket.recv_fds(connection, 8, 3)
                if not length:
                    return None
                request = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
                *streams, report = descriptors
                child = os.fork()
                if child == 0:
                    connection.close()
                    os.close(report)
                    for other in selector.get_map().values():
                        if other.data:
                            os.close(other.fd)
                            os.close(other.data.report)
                    command, directory, environment = json.loads(request)
                    return command, directory, environment, streams
                for stream in streams:
                    os.close(stream)
                running = _Running(child, report)
                running.tell(child)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, running)


def _reap(selector: selectors.BaseSelector, descriptor: int, ended: _Running) -> None:
    _, status = os.waitpid(ended.pid, 0)
    ended.tell(os.waitstatus_to_exitcode(status))
    selector.unregister(descriptor)
    os.close(descriptor)
    os.close(ended.report)


def _import(name: str) -> None:
    """Import a module, unless it is or needs one that is not installed: whoever uses it will find that out."""
    name, _, function = name.partition(":")
    package = name.removesuffix(".*")
    with contextlib.suppress(ModuleNotFoundError):
        module = importlib.import_module(package)
        if function:
            getattr(module, function)()
        if package != name:
            for found in pkgutil.iter_modules(module.__path__, f"{package}."):
                if not found.name.endswith(RUN_BY_IMPORT):
                    _import(f"{found.name}.*" if found.ispkg else found.name)


def _become(command: list[str], directory: str, environment: dict[str, str], streams: list[int]) -> None:
    """Be `python COMMAND` in a directory, with an environment and with streams for its output."""
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    if command[0] == "-m":
        sys.argv[:] = command[1:]
        sys.path.insert(0, directory)
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = command
        sys.path.insert(0, os.path.dirname(command[0]))
        runpy.run_path(command[0], run_name="__main__")


def _end(code: object) -> NoReturn:
    """End as Python does, but leave freeing what was imported to the operating system."""
    if not isinstance(code, int):
        if code is not None:
            print(code, file=sys.stderr)
        code = 0 if code is None else 1
    threading._shutdown()  # waits for threads
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


def _main(descriptor: str, path: str, *imports: str) -> None:
    sys.path[0] = path
    for name in imports:
        _import(name)
    del sys.path[0]
    gc.collect()
    gc.freeze()  # what is not looked at stays shared
    connection = socket.socket(fileno=int(descriptor))
    if request := _serve(connection):
        try:
            _become(*request)
        except SystemExit as end:
            _end(end.code)
        _end(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
