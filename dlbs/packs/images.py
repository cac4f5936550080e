"""Images of container packs: build, pull or build, publish."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dlbs.errors import LaunchError
from dlbs.launch import images
from dlbs.packs.definition import Pack

__all__ = ["build_pack", "publish_pack", "pull_pack"]

Tell = Callable[[str], None]


def build_pack(
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
        image: A name to use instead of the pack's.
        build_args: Further arguments, which win over the pack's.
        network: Network during the build, such as `host`.
        docker: The docker command.
        tell: Called with each line for the user.

    Raises:
        LaunchError: The pack is not a container pack, or the build fails.
    """
    name = _image(pack, image)
    arguments = {**pack.build_args, **(build_args or {})}
    images.build_image(pack.directory, name, arguments=arguments, network=network, docker=docker, tell=tell)
    tell(f"{pack.name}: built {name}")


def pull_pack(pack: Pack, *, image: str = "", docker: str = "docker", tell: Tell) -> bool:
    """Pull the image of a pack; return False if it has to be built instead.

    Raises:
        LaunchError: The pack is not a container pack.
    """
    name = _image(pack, image)
    try:
        images.pull_image(name, docker=docker)
    except LaunchError as error:
        tell(f"{pack.name}: cannot be pulled ({error.what.splitlines()[-1].strip()}); building it")
        return False
    tell(f"{pack.name}: pulled {name}")
    return True


def publish_pack(pack: Pack, repository: str, *, dry_run: bool, docker: str = "docker", tell: Tell) -> None:
    """Push the image of a pack to a repository; with `dry_run`, only print the commands.

    Raises:
        LaunchError: The pack is not a container pack, or the registry rejects it.
    """
    name = _image(pack, "")
    target = repository or name
    if target != name:
        tell(f"{docker} tag {name} {target}")
        if not dry_run:
            images.tag_image(name, target, docker=docker)
    tell(f"{docker} push {target}")
    if not dry_run:
        images.push_image(target, docker=docker, tell=tell)


def _image(pack: Pack, other: str) -> str:
    """The name of a pack's image, or `other` if given."""
    if pack.kind != "container":
        raise LaunchError(
            f"{pack.name} is a {pack.kind} pack, which has no image",
            where=pack.where,
            hint="container packs have a Dockerfile",
        )
    return other or pack.image
