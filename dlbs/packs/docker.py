"""A docker container as a place where one command runs over files that both sides see."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import IO

from dlbs.errors import LaunchError
from dlbs.text import printable

__all__ = ["DockerContainer", "DockerContainerError"]

_LAST_LINES = 20
# Inside, the shared directory itself is the caller's, under whatever number the engine shows the caller.
_GIVE_BACK = 'chown -hR "$(stat -c %u:%g /shared)" /shared'
_GIVING_BACK = f"""if [ "$(id -u)" = 0 ]; then trap '{_GIVE_BACK}' EXIT; fi
"""
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
        self._name = name or os.environ.get("DLBS_CONTAINER") or f"dlbs-{uuid.uuid4().hex[:16]}"

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
        self._remove()
        self._take_back()
        _delete(self._private_dir)

    def run_command(
        self,
        command: str,
        *,
        cuda: bool = False,
        network_disabled: bool = False,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Run a shell command in a new container, and return what it printed: the last MiB of that, if it is more.

        Args:
            command: For `/bin/sh -c`; several are joined by ` && `.
            cuda: Let it see the GPUs, all of them; CUDA_VISIBLE_DEVICES in the command chooses.
            network_disabled: Give it no network.
            environment: Variables that it gets.
            timeout: Seconds after which the container is removed.

        Raises:
            DockerContainerError: It failed, or ran out of time.
            LaunchError: docker cannot be started.
        """
        if not self.host_dir:
            raise LaunchError("the container is not open", hint="with DockerContainer(image) as backend: ...")
        flags = ["--rm", "--name", self._name, "--volume", f"{self.host_dir}:{self.container_dir}"]
        flags += ["--log-driver", "none"]  # else the daemon keeps all that it prints on the host's disk
        flags += ["--gpus", "all"] if cuda else []
        flags += ["--network", "none"] if network_disabled else []
        for name, value in (environment or {}).items():
            flags += ["--env", f"{name}={value}"]
        words = [self._docker, "run", *flags, "--entrypoint", "/bin/sh", self.image, "-c", _GIVING_BACK + command]
        printed = bytearray()
        try:
            code = _run(words, printed, timeout)
        except subprocess.TimeoutExpired:
            self._remove()
            raise DockerContainerError(f"{self.image}: no end after {timeout:g} s{_ending(_text(printed))}") from None
        except OSError as error:
            raise LaunchError(
                f"cannot be started: {error.strerror}", where=self._docker, hint="install docker"
            ) from None
        except BaseException:  # such as Ctrl-C: the container must not live on
            self._remove()
            raise
        self._take_back()
        if code != 0:
            raise DockerContainerError(f"{self.image}: exit code {code}{_ending(_text(printed))}")
        return _text(printed)

    def _take_back(self) -> None:
        """Make everything in the shared directory the caller's, whoever wrote it."""
        foreign = [path for path, owner in _owners(self.host_dir) if owner != os.getuid()]
        if foreign and os.getuid() == 0:
            for path in foreign:
                os.chown(path, 0, os.getgid(), follow_symlinks=False)
        elif foreign:  # of a user of the image who cannot give it away: its root can
            flags = ["--rm", "--user", "0:0", "--network", "none", "--volume", f"{self.host_dir}:{self.container_dir}"]
            words = [self._docker, "run", *flags, "--entrypoint", "/bin/sh", self.image, "-c", _GIVE_BACK]
            subprocess.run(words, capture_output=True, check=False)

    def _remove(self) -> None:
        subprocess.run([self._docker, "rm", "--force", self._name], capture_output=True, check=False)


def _run(words: Sequence[str], printed: bytearray, timeout: float | None) -> int:
    """Run a command and return its exit code; `printed` gets the end of what it prints, while it runs."""

    def read(stream: IO[bytes]) -> None:
        while block := os.read(stream.fileno(), 1 << 16):
            printed.extend(block)
            del printed[:-_MOST_PRINTED]

    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None  # it is a pipe
        reader = threading.Thread(target=read, args=[process.stdout], daemon=True)
        reader.start()
        try:
            return process.wait(timeout)
        except BaseException:
            process.kill()
            raise
        finally:
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
