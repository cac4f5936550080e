"""Run launchers on this machine, one at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.executors.outcome import Outcome
from dlbs.executors.signals import Signals
from dlbs.launcher import Launcher
from dlbs.logs import last_values, parameter_line
from dlbs.monitor import Monitor

__all__ = ["LocalExecutor"]

_GRACE = 10.0  # seconds between asking a group of processes to end and ending it


class LocalExecutor:
    """Runs launchers as process groups of their own.

    Args:
        signals: The context whose signals end a run.
        tick: Called about every `tick_seconds` while an experiment runs, for progress displays.
        tick_seconds: None to be called never.
        grace: Seconds that an experiment has to end by itself when it is asked to.
    """

    def __init__(
        self,
        signals: Signals,
        *,
        tick: Callable[[], None] | None = None,
        tick_seconds: float | None = None,
        grace: float = _GRACE,
    ) -> None:
        self.signals = signals
        self.tick = tick
        self.tick_seconds = tick_seconds
        self.grace = grace

    def run(self, launcher: Launcher) -> Outcome:
        """Run one experiment and leave its complete log file, and beside it its launcher.

        Raises:
            LaunchError: The files cannot be written, or bash cannot be started.
        """
        part = Path(f"{launcher.log}.part")
        try:
            launcher.log.parent.mkdir(parents=True, exist_ok=True)
            _write_script(launcher)
            # A new file, not the old one emptied: what a killed run left running may still be writing to that.
            part.unlink(missing_ok=True)
            with part.open("xb") as log:
                outcome = self._run(launcher, log.fileno())
            return self._finish(launcher, part, outcome)
        except OSError as error:
            raise LaunchError(
                f"cannot run the launcher: {error.strerror}", where=str(error.filename or launcher.log)
            ) from None

    def _run(self, launcher: Launcher, log: int) -> Outcome:
        timeout = float(launcher.experiment.get("exp.timeout") or 0)
        start = time.monotonic()
        process = subprocess.Popen(
            ["bash", str(launcher.script)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        monitor = Monitor.of(launcher.experiment, process.pid)
        status, message = "", ""
        try:
            while process.poll() is None and not status:
                if self.signals.stop_signal:
                    status = "cancelled"
                    message = f"stopped by {signal.Signals(self.signals.stop_signal).name}"
                elif timeout and time.monotonic() - start >= timeout:
                    status, message = "timeout", f"not finished after {timeout:g} s (exp.timeout)"
                else:
                    self._wait(start + timeout if timeout else None, monitor)
        finally:
            self._end_group(process)
        seconds = time.monotonic() - start
        for key, value in monitor.results().items() if monitor else ():
            os.write(log, f"{parameter_line(key, value)}\n".encode())
        if not status:
            status = "ok" if process.returncode == 0 else "failure"
            message = _exit_message(process.returncode)
        return Outcome(status, message, seconds)

    def _wait(self, deadline: float | None, monitor: Monitor | None) -> None:
        """Block until something is to be done: the child ended, a signal, the deadline, a sample, a tick."""
        moments = [] if deadline is None else [deadline]
        if monitor is not None:
            moments.append(monitor.sample_if_due())
        if self.tick is not None and self.tick_seconds is not None:
            self.tick()
            moments.append(time.monotonic() + self.tick_seconds)
        self.signals.wait_until(min(moments, default=None))

    def _end_group(self, process: subprocess.Popen[bytes]) -> None:
        """End everything that the launcher started and that is still there."""
        if process.poll() is None:
            _signal_group(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + self.grace
            while process.poll() is None and time.monotonic() < deadline:
                self.signals.wait_until(deadline)
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()

    def _finish(self, launcher: Launcher, part: Path, outcome: Outcome) -> Outcome:
        """Write how the experiment ended and give the log its name."""
        values = last_values(part)
        message = outcome.message
        if outcome.status == "failure" and values.get("exp.status_msg"):
            message = str(values["exp.status_msg"])
        ending = {
            "exp.status": outcome.status,
            "exp.status_msg": message,
            "exp.seconds": round(outcome.seconds, 3),
        }
        if outcome.status in {"cancelled", "timeout"} and not _has_parameters(part):
            ending = {**launcher.experiment, **ending}  # it was ended before it could say what it is
        lines = [parameter_line(key, value) for key, value in ending.items()]
        with part.open("r+b") as log:
            if log.seek(0, os.SEEK_END) and _last_byte(log.fileno()) != b"\n":
                log.write(b"\n")
            log.write("".join(f"{line}\n" for line in lines).encode())
            log.flush()
            os.fsync(log.fileno())  # a log with a final name is complete even after a power cut
        os.replace(part, launcher.log)
        results = {key: value for key, value in values.items() if key.startswith("results.")}
        return Outcome(outcome.status, message, outcome.seconds, results)


def _write_script(launcher: Launcher) -> None:
    beside = launcher.script.with_name(f".{launcher.script.name}.tmp")
    beside.write_text(launcher.source, encoding="utf-8")
    os.replace(beside, launcher.script)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return


def _has_parameters(log: Path) -> bool:
    """Whether the launcher got as far as the line that follows the parameters."""
    with log.open("rb") as stream:
        return b"__exp.start_time__" in stream.read(1 << 20)


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)


def _exit_message(code: int) -> str:
    if code == 0:
        return ""
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        try:
            return f"ended by {signal.Signals(number).name}"
        except ValueError:
            return f"exit code {code}"
    return f"exit code {code}"
