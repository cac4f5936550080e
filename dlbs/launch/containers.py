"""Containers of experiments: their names, GPUs and images, and how they are stopped.

The command is used instead of docker's library because experiments need it anyway, and it knows the user's contexts, credentials and builders.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark_core.text import one_line, printable
from dlbs.core.errors import LaunchError
from dlbs.core.experiment import Experiment
from dlbs.core.files import load_json
from dlbs.core.text import text

_PATIENCE = 60.0  # seconds to wait for an answer of the docker daemon


def container_name(experiment: Experiment, log: Path) -> str:
    """The container's name, `dlbs-<exp.id>-<digest of the log's path>`; empty for experiments outside containers.

    It contains the path because the same experiment may run in two directories at the same time.
    """
    if not experiment.get("exp.docker"):
        return ""
    place = hashlib.blake2b(str(log.absolute()).encode(), digest_size=4).hexdigest()
    identity = re.sub("[^A-Za-z0-9_.-]", "-", text(experiment.get("exp.id")))[:64]
    return f"dlbs-{identity}-{place}"


def image_of(experiment: Experiment) -> str:
    """The image of an experiment: its own, otherwise that of its framework; empty if neither is set."""
    framework = text(experiment.get("exp.framework"))
    return text(experiment.get("exp.docker_image") or experiment.get(f"{framework}.docker_image"))


def gpu_arguments(command: str, names: Sequence[str]) -> list[str]:
    """Arguments of `docker run` for GPUs.

    Podman takes GPUs by their CDI names; its `--gpus` rejects `device=`, or is ignored.

    Args:
        command: The docker command.
        names: Their numbers or UUIDs; `all` for all.
    """
    if not names:
        return []
    if os.path.basename(command).startswith("podman"):
        return [word for name in names for word in ("--device", f"nvidia.com/gpu={name}")]
    return ["--gpus", "all" if list(names) == ["all"] else f'"device={",".join(names)}"']


def _docker(experiment: Experiment) -> str:
    return text(experiment.get("exp.docker_launcher")) or "docker"


def stop_container(experiment: Experiment, name: str, grace: float) -> None:
    """Ask a container to stop, and kill it after the grace period; returns immediately."""
    try:
        subprocess.Popen(
            [_docker(experiment), "stop", f"--time={max(1, round(grace - 1))}", name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError:
        return  # without a docker command there is no container


def remove_container(experiment: Experiment, name: str) -> None:
    """Remove a container, running or not; no error if it does not exist."""
    try:
        subprocess.run(
            [_docker(experiment), "rm", "--force", name],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return


# What docker and podman say (exit code 125) for what ends all experiments alike → what to do.
_FAULTS = {
    r"no space left": "free some: docker system df",
    r"unable to find image|no such image|pull access denied|manifest unknown": "build or pull it: dlbs images --help",
    r"could not find bridge|failed to (?:create endpoint|set up container networking)|iptables|network \S+ not found": (
        "check docker network ls, and restart the daemon"
    ),
    r"cannot connect to|error during connect|error waiting for container|unexpected eof|connection (?:refused|reset)|containerd": (
        "check that the daemon runs"
    ),
    r"read-only file system|input/output error|too many open files|cannot allocate memory": "check the machine",
}
_SAID = re.compile(rb"(?im)^(?:docker: |error|unable to find|unknown |invalid |time=).*$")


def engine_error(output: bytes) -> str:
    """The last errors that a container engine itself reports at the end of a log: a missing image has two lines; empty if there are none."""
    lines = [line.decode("utf-8", "replace").removeprefix("docker: ") for line in _SAID.findall(output)]
    return one_line(": ".join(lines[-2:]))


def engine_fault(experiment: Experiment, output: bytes) -> str:
    """Why the container engine, not the experiment, failed; empty if it answers and did not report an error itself.

    Args:
        experiment: An experiment in a container that failed.
        output: The end of its log.
    """
    docker = _docker(experiment)
    try:
        silent = _silence(docker)
    except (OSError, subprocess.TimeoutExpired) as error:
        silent = str(error)
    if silent:
        return f"the {docker} daemon does not answer: {silent}"
    said = engine_error(output)
    return next((f"{said} ({do})" for what, do in _FAULTS.items() if re.search(what, said, re.IGNORECASE)), "")


def _silence(docker: str) -> str:
    """The message of the command if its daemon does not answer; empty if it does."""
    asked = subprocess.run(
        [docker, "version"],
        stdin=subprocess.DEVNULL, capture_output=True, errors="replace", timeout=_PATIENCE, check=False,
    )  # fmt: skip
    return printable(" ".join(asked.stderr.split()) or f"exit code {asked.returncode}") if asked.returncode else ""


Tell = Callable[[str], None]

_LAST_LINES = 20


class Image(NamedTuple):
    """One name of an image.

    Attributes:
        name: The name with its tag.
        id: `sha256:...`.
        bytes: Its size in bytes.
        created: Its time of creation, ISO 8601.
    """

    name: str
    id: str
    bytes: int
    created: str


def list_images(*, docker: str = "docker") -> list[Image]:
    """List all images that have a name, sorted by name.

    Raises:
        LaunchError: The command cannot be started, or its daemon does not answer.
    """
    found = _ask([docker, "image", "ls", "--quiet", "--no-trunc"], "listing images failed").split()
    return sorted(_inspected(list(dict.fromkeys(found)), docker), key=lambda image: image.name)


def inspect_image(name: str, *, docker: str = "docker") -> Image:
    """Inspect one image.

    Raises:
        LaunchError: The image does not exist here, or the daemon does not answer.
    """
    images = _inspected([name], docker)
    return next((image for image in images if image.name == name), images[0])


def build_image(
    directory: Path,
    name: str,
    *,
    arguments: Mapping[str, str] | None = None,
    network: str = "",
    docker: str = "docker",
    tell: Tell | None = None,
) -> None:
    """Build an image from a directory with a Dockerfile.

    Args:
        directory: The directory.
        name: Name of the image.
        arguments: Values of the Dockerfile's ARGs.
        network: Network during the build, such as `host`.
        docker: The command.
        tell: Called with each line that the build prints; None keeps them for the error.

    Raises:
        LaunchError: The build fails; the message contains the last lines if they were not shown.
    """
    words = [
        docker,
        "build",
        f"--tag={name}",
        *(f"--build-arg={key}={value}" for key, value in (arguments or {}).items()),
    ]
    words += [f"--network={network}"] if network else []
    _follow([*words, "--", str(directory.resolve())], f"building {name} failed", tell)


def pull_image(name: str, *, docker: str = "docker", tell: Tell | None = None) -> None:
    """Pull an image from its registry.

    Raises:
        LaunchError: The pull fails; as for `build_image`.
    """
    _follow([docker, "pull", "--", name], f"pulling {name} failed", tell)


def push_image(name: str, *, docker: str = "docker", tell: Tell | None = None) -> None:
    """Push an image to the registry in its name.

    Raises:
        LaunchError: The push fails; as for `build_image`.
    """
    _follow([docker, "push", "--", name], f"pushing {name} failed", tell)


def tag_image(name: str, other: str, *, docker: str = "docker") -> None:
    """Give an image another name.

    Raises:
        LaunchError: The image does not exist, or the other name is malformed.
    """
    _ask([docker, "tag", "--", name, other], f"tagging {name} failed")


def _inspected(names: Sequence[str], docker: str) -> list[Image]:
    if not names:
        return []
    answer = _ask([docker, "image", "inspect", "--", *names], f"inspecting {names[0]} failed")
    return [
        Image(
            name, str(one["Id"]) if ":" in one["Id"] else f"sha256:{one['Id']}", int(one["Size"]), str(one["Created"])
        )
        for one in load_json(answer)
        for name in one.get("RepoTags") or ()
    ]


def _ask(words: Sequence[str], failed: str) -> str:
    """Run a command, and return its standard output."""
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, errors="replace", check=False)
    except OSError as error:
        raise _not_started(words[0], error) from None
    if done.returncode != 0:
        raise _failed(words[0], failed, done.stderr.splitlines()[-1:], shown=False)
    return done.stdout


def _follow(words: Sequence[str], failed: str, tell: Tell | None) -> None:
    """Run a command, and report its output line by line."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
        )
    except OSError as error:
        raise _not_started(words[0], error) from None
    with process:
        assert process.stdout is not None  # it is a pipe
        try:
            for line in process.stdout:
                shown = printable(line.rstrip())
                if shown:
                    last.append(shown)
                    if tell is not None:
                        tell(shown)
        except BaseException:  # such as Ctrl-C: stop the command too
            process.terminate()
            raise
    if process.returncode != 0:
        raise _failed(words[0], failed, list(last), shown=tell is not None)


def _not_started(docker: str, error: OSError) -> LaunchError:
    return LaunchError(f"cannot be started: {error.strerror}", where=docker, hint="install it, or name another command")


def _failed(docker: str, failed: str, said: Sequence[str], *, shown: bool) -> LaunchError:
    """The error of a failed command: the daemon does not answer, or its last line of output."""
    if silent := _silence(docker):
        return LaunchError(f"the {docker} daemon does not answer: {silent}", hint="start it")
    if not said:
        return LaunchError(failed)
    if len(said) == 1 or shown:
        return LaunchError(f"{failed}: {printable(said[-1])}")
    return LaunchError("\n  ".join([f"{failed}:", *map(printable, said)]))
