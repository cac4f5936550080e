"""Lock log directories for one run at a time, and tell whose run it is."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from dlbs.core.errors import InfrastructureError, LaunchError, LogError
from dlbs.core.files import load_json, open_regular, write_all
from dlbs.core.text import counted
from dlbs.executors.base import Executor, executor_name, is_registered, make_executor
from dlbs.executors.leftovers import clear_directory
from dlbs.run.manifest import PLAN_NAME

LOCK_NAME = ".dlbs.lock"
_LONGEST = 65_536  # bytes of a lock file


class Locked(NamedTuple):
    """Locked log directories.

    Attributes:
        owned: The logs in them that the executor is writing for an earlier run.
        places: The identity of each directory when it was locked, and its lock file.
    """

    owned: Set[Path]
    places: Mapping[Path, tuple[os.stat_result, IO[str]]]

    def check(self, directory: Path) -> None:
        """Check that a directory is still the one that was locked: it may have been removed, moved or mounted over.

        Raises:
            InfrastructureError: It is not.
        """
        before = self.places.get(directory)
        if before is None:  # another path of a locked one
            return
        try:
            now = os.stat(directory)
        except OSError as error:
            what = f"the log directory has vanished: {error.strerror}"
        else:
            if os.path.samestat(before[0], now):
                return
            what = "this is no longer the log directory of this run"
        place = os.path.dirname(_place_of(before[1].fileno()))
        moved = f"it is {place} now, with the finished logs: move it back" if place else ""
        raise InfrastructureError(what, where=str(directory), hint=moved)


def _place_of(descriptor: int) -> str:
    """The current path of an open file; empty if it was removed, or the system does not tell."""
    with suppress(OSError):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        return path if os.path.exists(path) else ""
    return ""


@contextmanager
def locked(directories: Iterable[Path], executor: Executor, *, wait: bool = False) -> Iterator[Locked]:
    """Lock log directories while a plan runs.

    Processes that an earlier run left there are ended first, except those of `Locked.owned`; its partial logs next to complete ones
    are removed. A run that fails before it has run anything leaves no files. The lock is a kernel lock on a file, so it ends with the
    process in every case. The file names the executor until none of its experiments is left, so that another executor can detect them.

    Args:
        directories: They are created if missing. Several may be the same one, through links.
        executor: Runs the plan.
        wait: Wait for another run to end instead of raising an error.

    Raises:
        LaunchError: Another run has locked one of them, another executor is still running experiments of an earlier one, or a directory
            cannot be written to.
    """
    with ExitStack() as stack:
        held: list[tuple[Path, IO[str]]] = []
        for directory in _without_duplicates(directories):
            held.append((directory, stack.enter_context(_held(directory, wait))))
        owned: set[Path] = set()
        for directory, stream in held:
            _reject_other_executors(directory, stream, executor)
            here = executor.owned_logs(directory)
            clear_directory(directory, here)
            owned |= here
        content = {
            "pid": os.getpid(),
            "since": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "executor": executor_name(executor),
            "jobs": getattr(executor, "jobs", None),
        }
        for directory, stream in held:
            try:
                _write(stream, content)
            except OSError as error:
                raise _unwritable(error, directory) from None
        for directory in directories:  # other paths of the same ones may lead through directories that do not exist yet
            directory.mkdir(parents=True, exist_ok=True)
        yield Locked(owned, {directory: (os.stat(directory), stream) for directory, stream in held})
        for directory, stream in held:
            # If that cannot be determined, the name stays; on a full disk the file is empty, which is equivalent to {}.
            with suppress(LaunchError, OSError):
                if not executor.owned_logs(directory):
                    _write(stream, {})


def _without_duplicates(directories: Iterable[Path]) -> list[Path]:
    """Each directory once, or a run would wait for itself; by a path without links if there is one."""
    places: dict[str, Path] = {}
    for directory in directories:
        place = os.path.realpath(directory)
        if place not in places or place == str(directory):
            places[place] = directory
    return [directory for _, directory in sorted(places.items())]


@contextmanager
def _held(directory: Path, wait: bool) -> Iterator[IO[str]]:
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        before = None if os.path.lexists(directory / LOCK_NAME) else set(os.listdir(directory))
        stream = _locked_file(directory, wait)
    except OSError as error:
        raise _unwritable(error, directory) from None
    with stream:
        try:
            yield stream
        except BaseException:
            if before is not None:
                _remove_created(directory, before, missing)
            raise


def _remove_created(directory: Path, before: set[str], missing: list[Path]) -> None:
    """Remove the files of this run from a log directory if nothing was run: only its own two files are new."""
    with suppress(OSError):  # a file system that became read-only, or files that appeared since
        new = set(os.listdir(directory)) - before
        if not new <= {LOCK_NAME, PLAN_NAME}:
            return
        for name in new:
            (directory / name).unlink()
        for one in missing:
            one.rmdir()


def _locked_file(directory: Path, wait: bool) -> IO[str]:
    """The lock file of a directory, locked.

    Raises:
        LaunchError: Another run has locked it, or it is not a lock file.
        OSError: It cannot be opened.
    """
    path = directory / LOCK_NAME
    while True:
        stream = _open_lock(path)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.path.lexists(path) and os.path.samestat(os.fstat(stream.fileno()), path.lstat()):
                return stream
            stream.close()  # the previous run has removed this file, and another process may have locked a new one
        except BlockingIOError:
            pid = _content(stream).get("pid")
            stream.close()
            raise LaunchError(
                f"another dlbs run (process {pid if isinstance(pid, int) else 'unknown'}) is writing to this directory",
                where=str(directory),
                hint="add --wait to wait for it, or choose another exp.log_dir",
            ) from None


def _open_lock(path: Path) -> IO[str]:
    """Open a lock file, which must not be a link or a foreign file, since it will be truncated."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    hint = "remove it, or choose another exp.log_dir"
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError:
        if path.is_symlink():
            raise LaunchError("is a symbolic link, which is not followed", where=str(path), hint=hint) from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LaunchError("is not a regular file", where=str(path), hint=hint)
    stream = open(descriptor, "a+", encoding="utf-8", errors="replace")
    stream.seek(0)
    content = stream.read(_LONGEST).strip("\0")  # a power cut may leave NULs
    if content and not content.startswith("{"):
        stream.close()
        raise LaunchError("is not a lock file of dlbs, so it is not overwritten", where=str(path), hint=hint)
    return stream


def _unwritable(error: OSError, directory: Path) -> LaunchError:
    hint = "choose another directory with exp.log_dir"
    return LaunchError(f"cannot write logs: {error.strerror}", where=str(directory), hint=hint)


def _reject_other_executors(directory: Path, lock: IO[str], executor: Executor) -> None:
    """Raise a LaunchError if another executor still runs experiments of an earlier run here."""
    name = _executor_left(directory, lock)
    if name in _names(executor):
        return
    count = len(_logs_of(name, directory, executor))
    if count:
        raise LaunchError(
            f"{counted(count, 'experiment')} of an earlier run with --executor {name} will still write here",
            where=str(directory),
            hint=f"continue with --executor {name}, or cancel them",
        )


def owned_logs(directory: Path, known: Executor | None = None) -> Set[Path]:
    """Logs in a directory that the executor of an earlier run is writing or will write.

    Args:
        directory: Directory of the logs.
        known: An executor that is accepted even if it is not registered.

    Raises:
        LaunchError: That executor does not respond, or is neither registered nor the known one.
    """
    try:
        with open_regular(directory / LOCK_NAME) as stream:
            name = _executor_left(directory, stream)
    except OSError:
        name = _executor_left(directory)
    except LogError as error:
        raise LaunchError(error.what, where=error.where) from None
    return _logs_of(name, directory, known)


def _executor_left(directory: Path, lock: IO[str] | IO[bytes] | None = None) -> Any:
    """The executor whose experiments an earlier run left, by its lock file, or by its lists of tasks if that was removed or damaged."""
    if lock is not None and (content := _read(lock)) is not None:
        return content.get("executor")
    return next(
        (file.name.removeprefix(".dlbs-").rpartition("-")[0] for file in directory.glob(".dlbs-*-*.jsonl")), None
    )


def _names(executor: Executor) -> set[str]:
    return {executor_name(executor), getattr(executor, "engine", "").lower()}


def _logs_of(name: Any, directory: Path, known: Executor | None) -> Set[Path]:
    if not isinstance(name, str):
        return frozenset()
    if known is not None and name in _names(known):
        return known.owned_logs(directory)
    if not is_registered(name):  # not imported: a file in a log directory must not be able to execute code
        raise LaunchError(
            f"an earlier run used --executor {name}, which is not registered, so its experiments may still be running",
            where=str(directory),
            hint=f"`dlbs status --executor {name}` shows them, and `dlbs run --executor {name}` continues them; "
            f"if none is running, remove {directory / LOCK_NAME}",
        )
    return make_executor(name).owned_logs(directory)


def _content(stream: IO[str] | IO[bytes]) -> dict[str, Any]:
    """The content of a lock file; empty if it is damaged."""
    return _read(stream) or {}


def _read(stream: IO[str] | IO[bytes]) -> dict[str, Any] | None:
    stream.seek(0)
    try:
        content = load_json(stream.read(_LONGEST))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _write(stream: IO[str], content: dict[str, Any]) -> None:
    os.ftruncate(stream.fileno(), 0)
    write_all(stream.fileno(), json.dumps(content).encode())  # closing a buffered file on a full disk would fail again


def run_facts(directory: Path) -> dict[str, Any] | None:
    """The facts that the run in a log directory has recorded: `pid`, `since` (its start), `executor`, `jobs` (experiments that run at the same
    time; null for no limit); None if there is no run."""
    try:
        with open_regular(directory / LOCK_NAME) as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _content(stream)
    except (OSError, LogError):
        return None
    return None
