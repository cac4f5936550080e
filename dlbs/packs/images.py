"""Images of container packs: build, pull or build, publish."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence

from dlbs.errors import LaunchError
from dlbs.packs.definition import Pack

__all__ = ["build_image", "publish_image", "pull_image"]

Tell = Callable[[str], None]


def build_image(
    pack: Pack,
    *,
    image: str = "",
    build_args: Mapping[str, str] | None = None,
    network: str = "",
    docker: str = "docker",
    tell: Tell,
) -> None:
    """Build the image of a pack from its Dockerfile.

    Args:
        pack: A container pack.
        image: Another name than the pack's own.
        build_args: Further arguments, which win over the pack's.
        network: Network while it is built, such as `host`.
        docker: The docker command.
        tell: Takes a line for the user.

    Raises:
        LaunchError: It is no container pack, or docker fails; its messages are shown.
    """
    _check(pack)
    words = [docker, "build", "--tag", image or pack.image]
    for name, value in {**pack.build_args, **(build_args or {})}.items():
        words += ["--build-arg", f"{name}={value}"]
    words += ["--network", network] if network else []
    _run([*words, str(pack.directory)], f"{pack.name}: docker build")
    tell(f"{pack.name}: built {image or pack.image}")


def pull_image(pack: Pack, *, image: str = "", docker: str = "docker", tell: Tell) -> bool:
    """Pull the image of a pack; return whether that worked. Where it does not, it can still be built.

    Raises:
        LaunchError: It is no container pack, or docker cannot be started.
    """
    _check(pack)
    done = _start([docker, "pull", image or pack.image], capture=True)
    if done.returncode == 0:
        tell(f"{pack.name}: pulled {image or pack.image}")
        return True
    said = done.stderr.strip().splitlines()
    tell(f"{pack.name}: cannot be pulled ({said[-1] if said else done.returncode}); building it")
    return False


def publish_image(pack: Pack, repository: str, *, dry_run: bool, docker: str = "docker", tell: Tell) -> None:
    """Push the image of a pack to a repository; with `dry_run`, only say what would be done.

    Raises:
        LaunchError: It is no container pack, or docker fails.
    """
    _check(pack)
    target = repository if repository else pack.image
    commands = [[docker, "tag", pack.image, target], [docker, "push", target]]
    for words in commands if target != pack.image else commands[1:]:
        tell(" ".join(words))
        if not dry_run:
            _run(words, f"{pack.name}: {' '.join(words[:2])}")


def _check(pack: Pack) -> None:
    if pack.kind != "container":
        raise LaunchError(
            f"{pack.name} is a {pack.kind}, which has no image", where=pack.where, hint="containers have a Dockerfile"
        )


def _run(words: Sequence[str], what: str) -> None:
    code = _start(words, capture=False).returncode
    if code != 0:
        raise LaunchError(f"{what} failed with exit code {code}", hint="its messages are above")


def _start(words: Sequence[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(words, capture_output=capture, text=True, check=False)
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=words[0], hint="install docker") from None
