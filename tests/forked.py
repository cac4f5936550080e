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
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NoReturn

__all__ = ["ForkServer"]

# What an interpreter, its allocator and its threads read when they start: a program that is given others of these is started the usual way.
READ_AT_START = ("COVERAGE_", "LANG", "LC_", "LD_", "MALLOC_", "OMP_", "PYTHON", "TMPDIR", "TZ")
RUN_BY_IMPORT = ("__main__", "migrations.env")  # modules that are started, by Python and by Alembic


class ForkServer:
    """A process that forks programs, one at a time.

    Args:
        imports: Modules that it imports first, those of them that are installed. `dlbs.*` is `dlbs` with all modules in it.
        path: Where these are looked for besides, but by programs only if they look there themselves.
        environment: Of the server.
    """

    def __init__(self, imports: Sequence[str], path: Path, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._connection, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, __file__, str(theirs.fileno()), str(path), *imports]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()]
            )

    def run(
        self, *command: str, directory: Path, environment: Mapping[str, str], timeout: float, check: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run `python COMMAND`, which is `-m MODULE` or a file and then arguments, and wait until its output is closed, as `subprocess.run` does.

        Raises:
            subprocess.TimeoutExpired: It took longer than `timeout` seconds, and was killed.
            subprocess.CalledProcessError: It failed, and `check` is true.
        """
        words = [sys.executable, *command]
        if _read_at_start(environment) != _read_at_start(self._environment):
            return subprocess.run(
                words, cwd=directory, env=environment, capture_output=True, text=True, timeout=timeout, check=check
            )
        request = json.dumps([command, str(directory), dict(environment)]).encode()
        (out, their_out), (err, their_err) = os.pipe(), os.pipe()
        with os.fdopen(out, "rb") as stdout, os.fdopen(err, "rb") as stderr:
            socket.send_fds(self._connection, [len(request).to_bytes(8, "big")], [their_out, their_err])
            os.close(their_out)
            os.close(their_err)
            self._connection.sendall(request)
            child = self._number()
            texts = _read_both(stdout, stderr, timeout)
            if texts is None:
                os.kill(child, signal.SIGKILL)
            code = self._number()
        if texts is None:
            raise subprocess.TimeoutExpired(words, timeout)
        done = subprocess.CompletedProcess(words, code, *texts)
        if check:
            done.check_returncode()
        return done

    def close(self) -> None:
        """End it."""
        self._connection.close()
        self._process.wait()

    def _number(self) -> int:
        data = self._connection.recv(8, socket.MSG_WAITALL)
        if len(data) < 8:
            raise RuntimeError(f"the server of forks ended with exit code {self._process.wait()}")
        return int.from_bytes(data, "big", signed=True)


def _read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


def _read_both(stdout: IO[bytes], stderr: IO[bytes], timeout: float) -> tuple[str, str] | None:
    """All that is written into two pipes, unless it takes too long."""
    end = time.monotonic() + timeout
    parts: dict[object, list[bytes]] = {stdout: [], stderr: []}
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        while selector.get_map():
            if not (ready := selector.select(max(0.0, end - time.monotonic()))):
                return None
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                parts[key.fileobj].append(data)
                if not data:
                    selector.unregister(key.fileobj)
    out, err = (io.TextIOWrapper(io.BytesIO(b"".join(parts[stream]))).read() for stream in (stdout, stderr))
    return out, err


# The server


def _serve(connection: socket.socket) -> tuple[list[str], str, dict[str, str], list[int]] | None:
    """Fork for each request; return in what was forked with its request, and in the server when nobody asks any more."""
    while True:
        try:
            length, streams, _, _ = socket.recv_fds(connection, 8, 2)
        except KeyboardInterrupt:
            return None
        if not length:
            return None
        request = connection.recv(int.from_bytes(length, "big"), socket.MSG_WAITALL)
        child = os.fork()
        if child == 0:
            connection.close()
            command, directory, environment = json.loads(request)
            return command, directory, environment, streams
        for stream in streams:
            os.close(stream)
        connection.sendall(child.to_bytes(8, "big"))
        _, status = os.waitpid(child, 0)
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))


def _import(name: str) -> None:
    """Import a module, unless it is or needs one that is not installed: whoever uses it will find that out."""
    package = name.removesuffix(".*")
    with contextlib.suppress(ModuleNotFoundError):
        module = importlib.import_module(package)
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
