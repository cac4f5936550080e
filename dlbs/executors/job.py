"""A running experiment: its process group, its log file, and how both end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmark_core.doubts import DOUBT_KEYS, MONITOR_WARNINGS
from benchmark_core.exits import OK, SIGNALLED, SKIPPED, UNAVAILABLE, exit_words
from benchmark_core.gpus import cuda_name
from benchmark_core.log import CODE, LOG_VARIABLE, PROVENANCE, key_line
from dlbs.core.errors import DlbsError, InfrastructureError
from dlbs.core.experiment import Experiment
from dlbs.core.files import foreign_hands, write_all
from dlbs.core.logs import last_values, parse_line
from dlbs.core.text import text
from dlbs.executors.base import Outcome
from dlbs.executors.leftovers import are_running, end_processes, processes_of, send
from dlbs.executors.logfiles import (
    cannot,
    check_replaceable,
    create_part,
    finish_log,
    has_result,
    opened_script,
    write_script,
)
from dlbs.launch.containers import (
    container_name,
    engine_error,
    engine_fault,
    image_of,
    remove_container,
    stop_container,
)
from dlbs.machine.fitness import machine_warnings, selected_facts
from dlbs.machine.resources import gpu_ids, reap

if TYPE_CHECKING:
    import resource

    import psutil

    from dlbs.launch.script import Launcher
    from dlbs.machine.monitor import Monitor


_LOOK_AGAIN = 0.1  # seconds

# Seconds within which a signal to all processes of a Slurm job or of a service reaches each of them.
_SIGNAL_DELAY = 1.0
_HEAD = 1 << 20  # bytes of a log that contain what is known before the first batch
_PROVENANCE = rf"(?m)^__(?:{'|'.join(map(re.escape, PROVENANCE))})__=.*$".encode()
_TAIL = 4096  # bytes at the end of a log that are searched for the error of the shell


class Grant(NamedTuple):
    """The resources granted to an experiment; without CPUs, it may use all of them, shared with other experiments."""

    gpus: tuple[int, ...] = ()
    cpus: tuple[int, ...] = ()
    memory: int = 0


class Elsewhere(NamedTuple):
    """How to run a job on other machines.

    Attributes:
        command: Starts the process that supervises it.
        environment: Environment of that process.
        order: Written first to its standard input, which stays open as long as this process lives.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    order: str


class Job:
    """A launcher that runs in its own process group, with its output in `<log>.part`.

    Args:
        launcher: The launcher to run.
        grant: The resources it occupies; it is bound to these CPUs.
        grace: Seconds between TERM and KILL.
        elsewhere: How to run it on other machines; None runs the launcher here.
        environment: More environment variables.

    Attributes:
        concurrent: exp.id of each experiment that ran at the same time.
        lost_partner: Whether it is ended because an experiment with which it takes turns did not end well.

    Raises:
        LaunchError: The files cannot be written, or existing ones were not written by dlbs.
        InfrastructureError: No file can be written there, or bash cannot be started.
    """

    def __init__(
        self,
        launcher: Launcher,
        grant: Grant,
        *,
        grace: float,
        elsewhere: Elsewhere | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.launcher, self.grant, self.grace = launcher, grant, grace
        self.concurrent: list[str] = []
        self.lost_partner = False
        self.part = Path(f"{launcher.log}.part")
        self._container = container_name(launcher.experiment, launcher.log)
        self._timeout = float(launcher.experiment.get("exp.timeout") or 0)
        self._status = self._message = ""
        self._here = elsewhere is None
        self._kill_at = 0.0
        self._scattered: list[psutil.Process] = []  # in separate sessions when the experiment was told to end
        self._terminated_at = 0.0  # when SIGTERM that this process did not send ended the launcher
        self._usage: resource.struct_rusage | None = None
        self._monitor = _monitor(launcher.experiment, self._container) if self._here else None
        # Before the start, so that its own load on its GPUs does not count.
        self._machine_warnings = machine_warnings(_gpu_names(launcher.experiment)) if self._here else []
        self._code = self._code_of_container() if self._container else {}
        try:
            check_replaceable(launcher.log)
            write_script(launcher)
            # In a directory that others may write to, a descriptor: they may exchange what has the launcher's name.
            source = opened_script(launcher) if self._here and foreign_hands(launcher.log.parent) else None
            self._log = create_part(launcher.log)
        except OSError as error:
            raise cannot("run the launcher", error, launcher.log) from None
        self.start = time.monotonic()
        try:
            with _bound_to(grant.cpus):
                self._process = subprocess.Popen(
                    elsewhere.command
                    if elsewhere
                    else ["bash", str(launcher.script) if source is None else f"/dev/fd/{source}"],
                    pass_fds=() if source is None else (source,),
                    stdin=subprocess.PIPE if elsewhere else subprocess.DEVNULL,
                    stdout=self._log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    env={
                        **(elsewhere.environment if elsewhere else os.environ),
                        **environment,
                        LOG_VARIABLE: str(launcher.log),
                    },
                )
            if elsewhere and self._process.stdin is not None:
                self._process.stdin.write(elsewhere.order.encode())
                self._process.stdin.flush()  # left open
        except OSError as error:
            os.close(self._log)
            self.part.unlink(missing_ok=True)
            what = f"cannot start the launcher: {error.strerror}"
            raise InfrastructureError(what, where=str(error.filename or launcher.log)) from None
        finally:
            if source is not None:
                os.close(source)
        self._name = os.fsencode(f"{launcher.script if source is None else f'/dev/fd/{source}'}: line ")
        if self._monitor is not None:
            self._monitor.watch(self._process.pid)

    @property
    def exit_code(self) -> int | None:
        """Exit code of the launcher; None while it runs."""
        self._has_ended()
        return self._process.returncode

    def moments(self) -> Iterator[float]:
        """Times (`time.monotonic()`) at which `look` is due, in addition to the end of the process."""
        if self._status:
            # No signal reports the end of the last process of a group after its leader has ended.
            yield self._kill_at if not self._has_ended() else time.monotonic() + _LOOK_AGAIN
        elif self._terminated_at:
            yield self._terminated_at + _SIGNAL_DELAY
            return
        elif self._timeout:
            yield self.start + self._timeout
        if self._monitor is not None and not self._status:
            yield self._monitor.sample_if_due()

    def look(self) -> Outcome | None:
        """Do the work that is due; return the outcome if the experiment has ended."""
        now = time.monotonic()
        ended = self._has_ended()
        if not ended and not self._status and self._timeout and now >= self.start + self._timeout:
            self.end("timeout", f"not finished after {self._timeout:g} s (exp.timeout)")
        if self._status and now < self._kill_at and (not ended or self._others_live()):
            return None
        if not self._status and (not ended or self._may_be_stopped_with_us(now)):
            return None
        _signal_group(self._process.pid, signal.SIGKILL)
        self._has_ended(block=True)
        # Also after success if it started a server, which may have left its process group.
        if self._here and (self._status or self._process.returncode or self.launcher.experiment.get("serving.command")):
            end_processes({str(self.launcher.log)})
        if self._monitor is not None:
            self._monitor.end(self._usage)
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._container and (self._status or self._process.returncode):
            remove_container(self.launcher.experiment, self._container)
        return self._finish((self._terminated_at or now) - self.start)

    def end(self, status: str, message: str) -> None:
        """Terminate everything that the launcher started; kill it after the grace period."""
        if self._status:
            return
        self._status, self._message = status, message
        self._kill_at = time.monotonic() + self.grace
        if self._container:
            stop_container(self.launcher.experiment, self._container, self.grace)
        _signal_group(self._process.pid, signal.SIGTERM)
        if self._here:  # a session on other machines ends its connections itself, after the nodes have cleaned up
            self._scattered = [
                one for one in processes_of({str(self.launcher.log)}) if not _in_group(one, self._process.pid)
            ]
            send(signal.SIGTERM, self._scattered)

    def _others_live(self) -> bool:
        """Whether processes of the launcher have survived it."""
        return _group_lives(self._process.pid) or are_running(self._scattered)

    def _may_be_stopped_with_us(self, now: float) -> bool:
        """Whether SIGTERM ended the launcher just now: Slurm and systemd send it to all processes one by one, so this one may be next."""
        if self._process.returncode not in {-signal.SIGTERM, SIGNALLED + signal.SIGTERM}:
            return False
        self._terminated_at = self._terminated_at or now
        return now < self._terminated_at + _SIGNAL_DELAY

    def _has_ended(self, *, block: bool = False) -> bool:
        """Whether the launcher has ended; `block` waits for it."""
        if self._process.returncode is None:
            self._usage = reap(self._process, block=block)
        return self._process.returncode is not None

    def _finish(self, seconds: float) -> Outcome:
        """Write the outcome to the log and rename the log to its final name."""
        try:
            values = last_values(self.part)
            if not values and not self.part.exists():
                return Outcome("failure", "its log file was removed while it ran", seconds)
            fault = self._fault(values)
            if (fault or self._status == "cancelled") and has_result(self.launcher.log):
                self.part.unlink()
                return Outcome("cancelled", fault or self._message, seconds, infrastructure=bool(fault))
            ending = self._ending(values, seconds, fault)
            lines = "".join(f"{key_line(key, value)}\n" for key, value in ending.items())
            size = os.fstat(self._log).st_size
            torn = size > 0 and os.pread(self._log, 1, size - 1) != b"\n"
            os.lseek(self._log, 0, os.SEEK_END)
            write_all(self._log, ("\n" if torn else "").encode() + lines.encode())
            os.fsync(self._log)  # a log with a final name is complete even after a power cut
            finish_log(self.launcher.log)
        except DlbsError as error:
            return Outcome("failure", str(error), seconds)
        except OSError as error:
            problem = cannot("write the log", error, self.launcher.log)
            outside = isinstance(problem, InfrastructureError)
            return Outcome("cancelled" if outside else "failure", str(problem), seconds, infrastructure=outside)
        finally:
            os.close(self._log)
        results = {key: value for key, value in values.items() if key.startswith("results.")}
        results |= {key: found[key] for key in DOUBT_KEYS for found in (values, ending) if key in found}
        return Outcome(
            ending["exp.status"], ending["exp.status_msg"], seconds, results, _exit_code(values), bool(fault)
        )

    def _fault(self, values: dict[str, Any]) -> str:
        """Why the machine or a service, not the experiment, ended the launcher; empty if nothing says so."""
        experiment, code = self.launcher.experiment, self._process.returncode
        if self._status or code in _STATUS_OF:
            return ""
        if code == UNAVAILABLE:
            return (
                text(values.get("exp.status_msg")) or "the benchmark reports that something it needs is not available"
            )
        if not self._here:
            return f"the session with the nodes was {exit_words(code)}" if code < 0 else ""
        if self._container and (fault := engine_fault(experiment, self._tail() if code == _ENGINE else b"")):
            return fault
        if code in _NOT_RUN and not self._container:
            from shutil import which  # loads the modules of all compression formats

            for name in ("runtime.python", "pack.python", "pack.host_python"):
                if (program := text(experiment.get(name))) and which(program) is None:
                    return f"{name}: {program!r} does not exist, or is not executable"
        if (directory := text(experiment.get("pack.dir"))) and not os.path.isdir(directory):
            return f"the directory {directory} does not exist any more"
        space = os.fstatvfs(self._log)
        return "no space left on the device of the log" if space.f_blocks and not space.f_bavail else ""

    def _ending(self, values: dict[str, Any], seconds: float, fault: str) -> dict[str, Any]:
        """The last lines of the log."""
        status, message = ("cancelled", fault) if fault else (self._status, self._message)
        if not status:
            code = self._process.returncode
            status, message = (
                _STATUS_OF.get(code, "failure"),
                "" if code == OK else self._reason(code),
            )
        if status in {"failure", "skipped"} and values.get("exp.status_msg"):
            message = str(values["exp.status_msg"])
        ending: dict[str, Any] = {}
        if status in {"cancelled", "timeout"} and not self._has_parameters():
            ending.update(self.launcher.experiment)  # it ended before it could log its parameters
        if self._monitor is not None:
            ending.update(self._monitor.results())
        if self._here:
            ending.update(selected_facts(self.launcher.experiment))
            if self._machine_warnings:
                ending["exp.machine_warnings"] = self._machine_warnings
        ending.update(self._provenance())
        if fault:
            ending["exp.infrastructure"] = True
        if self.lost_partner:
            ending["exp.lost_partner"] = True
        if self.concurrent:
            ending["exp.neighbours"] = self.concurrent
            if cpus := self.launcher.experiment.get("exp.cpus"):  # at the end too, where warnings are looked up
                ending["exp.cpus"] = cpus
        if self._monitor is not None and (warnings := self._monitor.warnings()):
            ending[MONITOR_WARNINGS] = warnings  # after the long series: `last_values` reads the end of a log
        ending |= {"exp.status": status, "exp.status_msg": message, "exp.seconds": round(seconds, 3)}
        return ending

    def _provenance(self) -> dict[str, Any]:
        """Values that show later whether code or software has changed; the benchmark logged them when it began."""
        found = {}
        for line in re.findall(_PROVENANCE, os.pread(self._log, _HEAD, 0)):
            with suppress(DlbsError):  # cut off
                if (pair := parse_line(line.decode("utf-8", "replace"))) is not None:
                    found[pair[0]] = pair[1]
        experiment = self.launcher.experiment
        where = {name: experiment[name] for name in ("exp.nodes", "exp.docker") if experiment.get(name)}
        if self._container:
            where |= {
                "exp.docker_launcher": experiment.get("exp.docker_launcher"),
                "exp.docker_image": image_of(experiment),
            }
        return found | self._code | where

    def _code_of_container(self) -> dict[str, Any]:
        """Facts about the code that a container sees in the working directory: it has neither git nor the whole repository."""
        from benchmark_core.provenance import provenance  # here: most runs need no containers

        experiment, ours = self.launcher.experiment, list[str]()
        directory = Path.cwd() / text(experiment.get("exp.working_dir"))
        words = list(map(text, experiment.get("command.argv") or []))
        if directory_of_pack := text(experiment.get("pack.dir")):
            words, directory = ["python3", "main.py"], Path(directory_of_pack)
        elif not words:
            ours = ["benchmark_core"]
        facts = provenance(words, directory, packages=ours, log=str(self.launcher.log))
        reasons = facts.get(f"{CODE}unknown", {})
        found = {name: value for name, value in facts.items() if name.startswith(CODE)}
        if ours:
            del found[f"{CODE}files"]  # the program logs all of them
        return found | {f"{CODE}unknown": {name: why for name, why in reasons.items() if f"{CODE}{name}" in facts}}

    def _reason(self, code: int) -> str:
        """The exit code, with the error of the container engine or of the shell (an unset variable in a template) if that is the last output."""
        said = engine_error(self._tail()) if self._container and code == _ENGINE else ""
        if said:
            return f"{exit_words(code)}: {said}"
        last = next(
            (line for line in reversed(self._tail().splitlines()) if line.strip() and not line.startswith(b"__")), b""
        )
        place = self._name
        line = f": line {last.removeprefix(place).decode('utf-8', 'replace')}" if last.startswith(place) else ""
        return exit_words(code) + line

    def _tail(self) -> bytes:
        size = os.fstat(self._log).st_size
        return os.pread(self._log, _TAIL, max(0, size - _TAIL))

    def _has_parameters(self) -> bool:
        """Whether the launcher has logged the line after the parameters."""
        return b"__exp.start_time__" in os.pread(self._log, _HEAD, 0)


def _gpu_names(experiment: Experiment) -> list[str]:
    """The GPUs of an experiment, by number or UUID."""
    return [cuda_name(gpu) for gpu in gpu_ids(text(experiment.get("exp.gpu_ids")))]


def _monitor(experiment: Experiment, container: str) -> Monitor | None:
    """The monitor that an experiment requests, imported only then; None if it requests none."""
    if not experiment.get("monitor.interval"):
        return None
    from dlbs.machine.monitor import Monitor

    return Monitor.of(experiment, container)


@contextmanager
def _bound_to(cpus: tuple[int, ...]) -> Iterator[None]:
    """Bind processes started in this context to these CPUs; to all of this process's CPUs if empty."""
    if not cpus or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS returns EPERM for a group of zombies
        return


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group
    except ProcessLookupError:
        return True  # it has ended


def _exit_code(values: dict[str, Any]) -> int | None:
    code = values.get("exp.exit_code")
    return code if isinstance(code, int) else None


_STATUS_OF = {OK: "ok", SKIPPED: "skipped"}
_ENGINE = 125  # exit code of docker and podman themselves
_NOT_RUN = {126, 127}  # exit codes of shells for programs that cannot be executed, or are missing
