"""Run a command in a docker container with a directory that it shares with the host."""

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
from typing import IO, Any

from benchmark_core.text import printable
from dlbs.core.errors import LaunchError
from dlbs.launch.containers import gpu_arguments

_LAST_LINES = 20
_MOST_PRINTED = 1 << 20  # bytes of a container's output that are kept


class DockerContainerError(LaunchError):
    """A command in a container failed; the message contains the last lines of its output."""


class DockerContainer:
    """A container of an image, with a directory that the host and the container share.

    with DockerContainer("tutorial:1.0") as backend:
        Path(backend.host_dir, "input.jsonl").write_text(...)
        backend.run_command(f"python run.py --input-file {backend.container_dir}/input.jsonl ...")

    Each command runs in a separate container, as the user of its image, so that it finds files in that user's home
    directory, such as downloaded weights. Afterwards, files in the shared directory belong to the caller. The container is
    removed when the command ends, fails or times out.

    Args:
        image: Name of the image.
        docker: The docker command.
        name: Name of the containers; by default that of the experiment (`DLBS_CONTAINER`), or a unique one.

    Attributes:
        host_dir: Path of the shared directory on the host; removed at the end.
        container_dir: Path of the same directory in the container.
    """

    container_dir = "/shared"

    def __init__(self, image: str, *, docker: str = "docker", name: str | None = None) -> None:
        self.image = image
        self.host_dir = ""
        self._private_dir = ""
        self._docker = docker
        self._name = name or _name()

    def __enter__(self) -> DockerContainer:
        # Any user of the image may write to the shared directory; its parent keeps other users of the host out.
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

    def run_command(self, command: str, **options: Any) -> str:
        """Run a shell command in a new container with the shared directory, with options of the function `run_command`.

        Raises:
            DockerContainerError: The command failed or timed out.
            LaunchError: docker cannot be started, or the context is not open.
        """
        if not self.host_dir:
            raise LaunchError("the container is not open", hint="use `with DockerContainer(image) as backend:`")
        volumes = {self.host_dir: self.container_dir}
        return run_command(self.image, command, volumes, **options, docker=self._docker, name=self._name)


def make_volume_map(*volumes: str) -> dict[str, str]:
    """Map directories of the host to paths in a container: `/shared0`, `/shared1`, ..."""
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
    """Run a shell command in a new container of an image, and return its output, at most the last MiB.

    Args:
        image: Name of the image.
        command: For `/bin/sh -c`; several are joined by ` && `.
        volume_map: Directory of the host → path in the container. Missing directories are created.
        stdout, stderr: Return this output.
        silent: If false, also copy the returned output to standard error while it runs.
        network_disabled: Disable the network.
        cuda: Make the GPUs of the experiment visible (`DLBS_CONTAINER_GPUS`), or all; CUDA_VISIBLE_DEVICES in the command selects some.
        environment: Environment variables of the command.
        timeout: Seconds after which the container is removed.
        docker: The docker command.
        name: Name of the container; by default that of the experiment (`DLBS_CONTAINER`), or a unique one.

    Raises:
        DockerContainerError: The command failed or timed out; the message contains the last lines of its output.
        LaunchError: docker cannot be started.
    """
    name = name or _name()
    volumes = dict(volume_map or {})
    flags = ["--rm", "--name", name]
    for host, inside in volumes.items():
        os.makedirs(host, exist_ok=True)  # otherwise the daemon creates it, owned by root
        flags += ["--volume", f"{os.path.abspath(host)}:{inside}"]
    flags += ["--log-driver", "none"]  # otherwise the daemon stores all output on the host's disk
    flags += gpu_arguments(docker, os.environ.get("DLBS_CONTAINER_GPUS", "all").split(",")) if cuda else []
    flags += ["--network", "none"] if network_disabled else []
    for variable, value in (environment or {}).items():
        flags += ["--env", f"{variable}={value}"]
    giving_back = _give_back(volumes.values())
    # The trap is for root only: other users cannot change the owner of files.
    before = f"""if [ "$(id -u)" = 0 ]; then trap {shlex.quote(giving_back)} EXIT; fi\n""" if volumes else ""
    words = [docker, "run", *flags, "--entrypoint", "/bin/sh", image, "-c", before + command]
    printed = _Printed(stdout, stderr, silent)
    try:
        code = _run(words, printed, timeout)
    except subprocess.TimeoutExpired:
        _remove(docker, name)
        raise DockerContainerError(f"{image}: timed out after {timeout:g} s{_ending(_text(printed.all))}") from None
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=docker, hint="install docker") from None
    except BaseException:  # such as Ctrl-C: the container must not keep running
        _remove(docker, name)
        raise
    _take_back(docker, image, volumes)
    if code != 0:
        raise DockerContainerError(f"{image}: exit code {code}{_ending(_text(printed.all))}")
    return _text(printed.returned)


def _name() -> str:
    return os.environ.get("DLBS_CONTAINER") or f"dlbs-{uuid.uuid4().hex[:16]}"


def _give_back(inside: Iterable[str]) -> str:
    """Shell code that gives everything in shared directories to the caller, whose ID is read in the container."""
    return "; ".join(f'chown -hR "$(stat -c %u:%g {shlex.quote(path)})" {shlex.quote(path)}' for path in inside)


def _take_back(docker: str, image: str, volumes: Mapping[str, str]) -> None:
    """Make the caller the owner of everything in shared directories."""
    foreign = {host: [path for path, owner in _owners(host) if owner != os.getuid()] for host in volumes}
    foreign = {host: paths for host, paths in foreign.items() if paths}
    if foreign and os.getuid() == 0:
        for paths in foreign.values():
            for path in paths:
                os.chown(path, 0, os.getgid(), follow_symlinks=False)
    elif foreign:  # owned by another user of the image: only its root can change that
        flags = ["--rm", "--user", "0:0", "--network", "none"]
        for host in foreign:
            flags += ["--volume", f"{os.path.abspath(host)}:{volumes[host]}"]
        give_back = _give_back(volumes[host] for host in foreign)
        words = [docker, "run", *flags, "--entrypoint", "/bin/sh", image, "-c", give_back]
        subprocess.run(words, capture_output=True, check=False)


def _remove(docker: str, name: str) -> None:
    subprocess.run([docker, "rm", "--force", name], capture_output=True, check=False)


class _Printed:
    """The end of a container's output: all of it, and the streams that the caller requested."""

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
    """Run a command and return its exit code; its output goes to `printed` while it runs."""

    def read(stream: IO[bytes], name: str) -> None:
        while block := os.read(stream.fileno(), 1 << 16):
            printed.take(name, block)

    # A single pipe keeps the order of lines; two are used only to separate the streams.
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
    """All files in a directory with the ID of their owners; links are not followed."""
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                yield entry.path, entry.stat(follow_symlinks=False).st_uid
                if entry.is_dir(follow_symlinks=False):
                    yield from _owners(entry.path)
    except (
        OSError,
        RecursionError,
    ):  # a directory that the caller cannot read, or too deep: skip its content
        yield directory, -1


def _text(printed: bytearray) -> str:
    return printed.decode("utf-8", "replace").replace("\r\n", "\n")


def _delete(directory: str) -> None:
    """Remove a directory that a container has written to. Links are not followed."""
    try:
        shutil.rmtree(directory)
    except (OSError, RecursionError):
        # Directories without permissions, or nested thousands deep, where shutil.rmtree fails.
        subprocess.run(["chmod", "-R", "u+rwX", "--", directory], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", "--", directory], capture_output=True, check=False)
        if os.path.lexists(directory):
            raise LaunchError("cannot be removed", where=directory, hint="remove it manually") from None


def _ending(printed: str) -> str:
    lines = [line for line in printable(printed.replace("\r", "\n")).splitlines() if line.strip()]
    return ":\n  " + "\n  ".join(lines[-_LAST_LINES:]) if lines else ""
