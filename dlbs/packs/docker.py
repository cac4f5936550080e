"""A docker container as a place where one command runs over files that both sides see."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO

from dlbs.errors import LaunchError
from dlbs.text import printable

__all__ = ["DockerContainer", "DockerContainerError", "make_volume_map", "run_command"]

_LAST_LINES = 20
_MOST_PRINTED = 1 << 20  # bytes of what a container prints that are kept


class DockerContainerError(LaunchError):
    """A command in a container failed; the message has the last lines that it printed."""


class DockerContainer:
    """A container of an image, with a directory that the host and the container share.

    with DockerContainer("tutorial:1.0") as backend:
        Path(backend.host_dir, "input.jsonl").write_text(...)
        backend.run_command(f"python run.py --input-file {backend.container_dir}/input.jsonl ...")

    Each command runs in a container of its own, as the user of its image, so that it finds what the image keeps in that user's home
    directory, such as downloaded weights. What it writes into the shared directory is the caller's when it has ended, and the container is
    gone when it has ended, failed or run out of time.

    Args:
        image: Name of the image.
        docker: The docker command.
        name: Name of the containers; by default that of the experiment (`DLBS_CONTAINER`), or a unique one.

    Attributes:
        host_dir: The shared directory as the host sees it; removed at the end.
        container_dir: The same directory as commands in the container see it.
    """

    container_dir = "/shared"

    def __init__(self, image: str, *, docker: str = "docker", name: str | None = None) -> None:
        self.image = image
        self.host_dir = ""
        self._private_dir = ""
        self._docker = docker
        self._name = name or _name()

    def __enter__(self) -> DockerContainer:
        # Whoever the image's user is may write into the shared directory; the one around it keeps other users of the host out.
        self._private_dir = tempfile.mkdtemp(prefix="dlbs-container-")
        self.host_dir = os.path.join(self._private_dir, "shared")
        os.mkdir(self.host_dir)
        os.chmod(self.host_dir, 0o777)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _remove(self._docker, self._name)
        _take_back(self._docker, self.image, {self.host_dir: self.container_dir})
        _delete(self._private_dir)

    def run_command(
        self,
        command: str,
        *,
        cuda: bool = False,
        network_disabled: bool = False,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
        stdout: bool = True,
        stderr: bool = True,
        silent: bool = True,
    ) -> str:
        """Run a shell command in a new container that sees the shared directory, as `run_command` does.

        Raises:
            DockerContainerError: It failed, or ran out of time.
            LaunchError: docker cannot be started, or this is not open.
        """
        if not self.host_dir:
            raise LaunchError("the container is not open", hint="with DockerContainer(image) as backend: ...")
        return run_command(
            self.image, command, {self.host_dir: self.container_dir}, stdout=stdout, stderr=stderr, silent=silent,
            network_disabled=network_disabled, cuda=cuda, environment=environment, timeout=timeout, docker=self._docker, name=self._name,
        )  # fmt: skip


def make_volume_map(*volumes: str) -> dict[str, str]:
    """Where directories of the host are seen in a container: `/shared0`, `/shared1`, ..."""
    return {volume: f"/shared{number}" for number, volume in enumerate(volumes)}


def run_command(
    image: str,
    command: str,
    volume_map: Mapping[str, str] | None = None,
    stdout: bool = True,
    stderr: bool = True,
    silent: bool = True,
    network_disabled: bool = False,
    cuda: bool = False,
    *,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
    docker: str = "docker",
    name: str | None = None,
) -> str:
    """Run a shell command in a new container of an image, and return what it printed: the last MiB of that, if it is more.

    Args:
        image: Name of the image.
        command: For `/bin/sh -c`; several are joined by ` && `.
        volume_map: Directory of the host → where the container sees it. Those that do not exist are made.
        stdout, stderr: Return what it printed there.
        silent: Otherwise what is returned goes to standard error, too, while it runs.
        network_disabled: Give it no network.
        cuda: Let it see the GPUs, all of them; CUDA_VISIBLE_DEVICES in the command chooses.
        environment: Variables that it gets.
        timeout: Seconds after which the container is removed.
        docker: The docker command.
        name: Name of the container; by default that of the experiment (`DLBS_CONTAINER`), or a unique one.

    Raises:
        DockerContainerError: It failed, or ran out of time; the message has the last lines, whatever is returned.
        LaunchError: docker cannot be started.
    """
    name = name or _name()
    volumes = dict(volume_map or {})
    flags = ["--rm", "--name", name]
    for host, inside in volumes.items():
        os.makedirs(host, exist_ok=True)  # otherwise the daemon does, and it is root's
        flags += ["--volume", f"{os.path.abspath(host)}:{inside}"]
    flags += ["--log-driver", "none"]  # else the daemon keeps all that it prints on the host's disk
    flags += ["--gpus", "all"] if cuda else []
    flags += ["--network", "none"] if network_disabled else []
    for variable, value in (environment or {}).items():
        flags += ["--env", f"{variable}={value}"]
    giving_back = _give_back(volumes.values())
    # The trap is for root alone: nobody else can give files away.
    before = f"""if [ "$(id -u)" = 0 ]; then trap {shlex.quote(giving_back)} EXIT; fi\n""" if volumes else ""
    words = [docker, "run", *flags, "--entrypoint", "/bin/sh", image, "-c", before + command]
    printed = _Printed(stdout, stderr, silent)
    try:
        code = _run(words, printed, timeout)
    except subprocess.TimeoutExpired:
        _remove(docker, name)
        raise DockerContainerError(f"{image}: no end after {timeout:g} s{_ending(_text(printed.all))}") from None
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=docker, hint="install docker") from None
    except BaseException:  # such as Ctrl-C: the container must not live on
        _remove(docker, name)
        raise
    _take_back(docker, image, volumes)
    if code != 0:
        raise DockerContainerError(f"{image}: exit code {code}{_ending(_text(printed.all))}")
    return _text(printed.returned)


def _name() -> str:
    return os.environ.get("DLBS_CONTAINER") or f"dlbs-{uuid.uuid4().hex[:16]}"


def _give_back(inside: Iterable[str]) -> str:
    """Shell code by which everything in shared directories becomes the caller's, under whatever number the engine shows the caller."""
    return "; ".join(f'chown -hR "$(stat -c %u:%g {shlex.quote(path)})" {shlex.quote(path)}' for path in inside)


def _take_back(docker: str, image: str, volumes: Mapping[str, str]) -> None:
    """Make everything in shared directories the caller's, whoever wrote it."""
    foreign = {host: [path for path, owner in _owners(host) if owner != os.getuid()] for host in volumes}
    foreign = {host: paths for host, paths in foreign.items() if paths}
    if foreign and os.getuid() == 0:
        for paths in foreign.values():
            for path in paths:
                os.chown(path, 0, os.getgid(), follow_symlinks=False)
    elif foreign:  # of a user of the image who cannot give it away: its root can
        flags = ["--rm", "--user", "0:0", "--network", "none"]
        for host in foreign:
            flags += ["--volume", f"{os.path.abspath(host)}:{volumes[host]}"]
        give_back = _give_back(volumes[host] for host in foreign)
        words = [docker, "run", *flags, "--entrypoint", "/bin/sh", image, "-c", give_back]
        subprocess.run(words, capture_output=True, check=False)


def _remove(docker: str, name: str) -> None:
    subprocess.run([docker, "rm", "--force", name], capture_output=True, check=False)


class _Printed:
    """The end of what a container prints: all of it, and what its caller asked for."""

    def __init__(self, stdout: bool, stderr: bool, silent: bool) -> None:
        self.all, self.returned = bytearray(), bytearray()
        self.wanted = {"stdout": stdout, "stderr": stderr}
        self._silent = silent

    def take(self, stream: str, block: bytes) -> None:
        _extend(self.all, block)
        if self.wanted[stream]:
            _extend(self.returned, block)
            if not self._silent:
                sys.stderr.write(printable(block.decode("utf-8", "replace")))
                sys.stderr.flush()


def _extend(end: bytearray, block: bytes) -> None:
    end.extend(block)
    del end[:-_MOST_PRINTED]


def _run(words: Sequence[str], printed: _Printed, timeout: float | None) -> int:
    """Run a command and return its exit code; `printed` gets what it prints, while it runs."""

    def read(stream: IO[bytes], name: str) -> None:
        while block := os.read(stream.fileno(), 1 << 16):
            printed.take(name, block)

    # One pipe keeps the order of lines; two are needed only to tell them apart.
    apart = printed.wanted["stdout"] != printed.wanted["stderr"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE if apart else subprocess.STDOUT
    ) as process:
        streams = {"stdout": process.stdout, "stderr": process.stderr}
        readers = [
            threading.Thread(target=read, args=[stream, name], daemon=True)
            for name, stream in streams.items()
            if stream is not None
        ]
        for reader in readers:
            reader.start()
        try:
            return process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        finally:
            for reader in readers:
                reader.join()


def _owners(directory: str) -> Iterator[tuple[str, int]]:
    """Everything in a directory with the number of its owner; no link is followed."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.path, entry.stat(follow_symlinks=False).st_uid
                if entry.is_dir(follow_symlinks=False):
                    yield from _owners(entry.path)
    except (
        OSError,
        RecursionError,
    ):  # a directory that is closed to the caller, or too deep: its owner is another matter
        yield directory, -1


def _text(printed: bytearray) -> str:
    return printed.decode("utf-8", "replace").replace("\r\n", "\n")


def _delete(directory: str) -> None:
    """Remove a directory that a container has written to, whatever it has made there. No link is followed."""
    try:
        shutil.rmtree(directory)
    except (OSError, RecursionError):
        # Directories without permissions, or thousands of them inside each other, which Python's function gives up on.
        subprocess.run(["chmod", "-R", "u+rwX", "--", directory], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", "--", directory], capture_output=True, check=False)
        if os.path.lexists(directory):
            raise LaunchError("cannot be removed", where=directory, hint="remove it by hand") from None


def _ending(printed: str) -> str:
    lines = [line for line in printable(printed.replace("\r", "\n")).splitlines() if line.strip()]
    return ":\n  " + "\n  ".join(lines[-_LAST_LINES:]) if lines else ""
