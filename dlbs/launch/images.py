"""Build, pull, push, list and inspect images with the docker command, or with podman and others that accept the same arguments.

The command is used instead of docker's library because experiments need it anyway, it knows the user's contexts, credentials and builders,
and another program can replace it.
"""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dlbs.errors import LaunchError
from dlbs.jsonio import load_json
from dlbs.text import printable

__all__ = ["Image", "build_image", "inspect_image", "list_images", "pull_image", "push_image", "tag_image"]

Tell = Callable[[str], None]

_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Image:
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
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
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
            text=True,
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
    asked = subprocess.run([docker, "version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        reason = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
        return LaunchError(f"the {docker} daemon does not answer: {printable(reason)}", hint="start it")
    if not said:
        return LaunchError(failed)
    if len(said) == 1 or shown:
        return LaunchError(f"{failed}: {printable(said[-1])}")
    return LaunchError("\n  ".join([f"{failed}:", *map(printable, said)]))
