"""The files of one experiment: log, partial log, launcher. Only files that dlbs wrote are replaced, and links are not followed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_core.log import KEY_LINE, STATUSES, key_line
from dlbs.core.errors import DlbsError, InfrastructureError, LaunchError, LogError
from dlbs.core.experiment import Experiment
from dlbs.core.files import create_file, open_regular, write_bytes
from dlbs.core.logs import last_values

if TYPE_CHECKING:
    from dlbs.launch.script import Launcher

_HEAD = 4096
_MARK = b"written by dlbs"  # in launchers made from our templates
_HINT = "choose another exp.log_file, or move it away"
# Errors of the machine or its file systems, whichever file is written.
_OF_THE_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.EMFILE, errno.ENFILE,
    errno.ENOMEM, errno.EAGAIN, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT,
}  # fmt: skip


def cannot(what: str, error: OSError, log: Path) -> LaunchError:
    """The error for a file of an experiment; an `InfrastructureError` if no file can be written in the directory of its log."""
    is_outside = error.errno in _OF_THE_MACHINE or not os.access(log.parent, os.W_OK | os.X_OK)
    kind = InfrastructureError if is_outside else LaunchError
    return kind(f"cannot {what}: {error.strerror}", where=str(error.filename or log))


def check_replaceable(log: Path) -> None:
    """Check that a log may be written at this path: nothing exists there, or a log of dlbs.

    A log of dlbs is empty, begins with parameters, or ends with the experiment's outcome.

    Raises:
        LaunchError: Another kind of file exists there.
    """
    for path in (f"{log}.part", f"{log}.sh"):
        _check_kind(path)
    _check_log(log)


def _check_log(log: Path) -> None:
    """Like `check_replaceable`, without the log's partial log and launcher."""
    head = _head(log).strip(b"\0") if _check_kind(str(log)) else b""  # a power cut leaves NULs
    if head and not _begins_with_parameters(head) and last_values(log).get("exp.status") not in STATUSES:
        raise LaunchError("is not a log written by dlbs, so it is not replaced", where=str(log), hint=_HINT)


def create_part(log: Path) -> int:
    """Create the partial log, `<log>.part`, and return its descriptor; call `check_replaceable` first.

    Raises:
        OSError: It cannot be created.
    """
    part = f"{log}.part"
    # O_APPEND, because programs may append to the file by name (--exp_log_file), which standard output must not overwrite.
    flags = os.O_RDWR | os.O_APPEND
    try:
        return create_file(part, flags)
    except FileExistsError:
        # Create a new file instead of truncating the old one: processes of a killed run may still write to the old one.
        with suppress(FileNotFoundError):
            os.unlink(part)
        return create_file(part, flags)


def finish_log(log: Path) -> None:
    """Rename the partial log to its final name.

    Raises:
        LaunchError: A file that dlbs did not write has appeared there.
        OSError: It cannot be renamed.
    """
    _check_log(log)
    os.replace(f"{log}.part", log)


def has_result(log: Path) -> bool:
    """Whether there is the log of an earlier run that ended, which one of a run that was cancelled must not replace.

    Raises:
        LogError: It cannot be read.
    """
    status = last_values(log).get("exp.status")
    return status in STATUSES and status != "cancelled"


def keep_attempt(log: Path, attempt: int) -> None:
    """Keep the log of a failed attempt as `<log>.attemptN`; do nothing if there is no log.

    Raises:
        LaunchError: A file that dlbs did not write exists there, or the log cannot be renamed.
    """
    kept = Path(f"{log}.attempt{attempt}")
    check_replaceable(kept)
    try:
        os.replace(log, kept)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LaunchError(f"cannot be written: {error.strerror}", where=str(kept)) from None


def write_script(launcher: Launcher) -> None:
    """Write the launcher next to the log.

    Raises:
        LaunchError: A script that dlbs did not write exists there, or the launcher cannot be written.
    """
    try:
        source = launcher.source.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise LaunchError(f"cannot be written: {error}", where=str(launcher.script)) from None
    existing = _head(launcher.script).strip(b"\0")
    if existing and _MARK not in existing and _MARK in source and not _has_log(launcher.log):
        raise LaunchError(
            "is not a launcher written by dlbs, so it is not replaced", where=str(launcher.script), hint=_HINT
        )
    try:
        write_bytes(launcher.script, source, sync=False, private=True)
    except DlbsError as error:
        if isinstance(error.__context__, OSError):
            raise cannot("run the launcher", error.__context__, launcher.log) from None
        raise LaunchError(f"cannot run the launcher: {error.what}", where=error.where) from None


def opened_script(launcher: Launcher) -> int:
    """Open the launcher that was written for reading, and check that nobody has exchanged or changed it: its source, owner and mode.

    Raises:
        LaunchError: Somebody has.
        OSError: It cannot be opened.
    """
    descriptor = os.open(launcher.script, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    with open(os.dup(descriptor), "rb") as stream:
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022
        if is_ours and stream.read() == launcher.source.encode("utf-8", "surrogateescape"):
            os.lseek(descriptor, 0, os.SEEK_SET)
            return descriptor
    os.close(descriptor)
    raise LaunchError(
        "another user has changed the launcher, so it is not run",
        where=str(launcher.script),
        hint="choose an exp.log_dir that only you can write to",
    )


def _has_log(log: Path) -> bool:
    return log.exists() or Path(f"{log}.part").exists()


def write_log(log: Path, experiment: Experiment, status: str, message: str, *, infrastructure: bool = False) -> None:
    """Write a complete log for an experiment that did not run; its directory exists. If it was cancelled, an earlier result remains.

    Raises:
        LaunchError: A file that dlbs did not write exists there, or the log cannot be written.
    """
    values = {**experiment, "exp.status": status, "exp.status_msg": message, "exp.seconds": 0.0}
    if infrastructure:
        values["exp.infrastructure"] = True
    try:
        check_replaceable(log)
        if status == "cancelled" and has_result(log):
            return
        with open(create_part(log), "w", encoding="ascii") as stream:
            stream.writelines(f"{key_line(key, value)}\n" for key, value in values.items())
            stream.flush()
            os.fsync(stream.fileno())
        finish_log(log)
    except OSError as error:
        raise cannot("write the log", error, log) from None


def _check_kind(path: str) -> bool:
    """Whether a file exists at a path.

    Raises:
        LaunchError: It is not a regular file.
    """
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return True
    kinds = {
        stat.S_IFLNK: "symbolic link",
        stat.S_IFDIR: "directory",
        stat.S_IFIFO: "named pipe",
        stat.S_IFSOCK: "socket",
    }
    kind = kinds.get(stat.S_IFMT(mode), "device")
    raise LaunchError(f"is a {kind}, not a regular file, so it is not replaced", where=path, hint=_HINT)


def _head(path: Path) -> bytes:
    """The first bytes of a file; empty if it does not exist.

    Raises:
        LaunchError: It cannot be read.
    """
    if not os.path.lexists(path):  # also if a parent of the path is a file
        return b""
    try:
        with open_regular(path) as stream:
            return stream.read(_HEAD)
    except FileNotFoundError:
        return b""
    except LogError as error:
        raise LaunchError(error.what, where=error.where) from None
    except OSError as error:
        raise LaunchError(f"cannot be read: {error.strerror}", where=str(path)) from None


def _begins_with_parameters(head: bytes) -> bool:
    first = head.split(b"\n", 1)[0].decode("utf-8", "replace")
    return KEY_LINE.match(first) is not None
