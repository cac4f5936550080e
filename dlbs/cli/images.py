"""The verb `images`: list, build and pull the images that experiments run in."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LaunchError
from dlbs.files import dlbs_root
from dlbs.text import printable

__all__ = ["build_arguments", "docker_option", "images_command"]

docker_option = click.option(
    "--docker",
    default="docker",
    show_default=True,
    metavar="COMMAND",
    help="The docker command, or one that accepts the same arguments, such as podman.",
)


def build_arguments(given: Iterable[str]) -> dict[str, str]:
    """Parse `--build-arg NAME=VALUE` options.

    Raises:
        LaunchError: One has no name or no value.
    """
    arguments: dict[str, str] = {}
    for argument in given:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise LaunchError(
                f"{argument!r} is not NAME=VALUE", where="--build-arg", hint="write --build-arg BASE=python:3.12"
            )
        arguments[name] = value
    return arguments


def _show(line: str) -> None:
    click.echo(printable(line), err=True)


def _teller(quiet: bool) -> Callable[[str], None] | None:
    return None if quiet else _show


@click.group("images", context_settings=CONTEXT)
def images_command() -> None:
    """List, build and pull the docker images of experiments.

    \b
    Examples:
      dlbs images list
      dlbs images build docker/pytorch/cpu
      dlbs images pull python:3.11-slim
    """


@images_command.command("list", context_settings=CONTEXT)
@click.option("--all", "show_all", is_flag=True, help="Show all local images, not only dlbs/*.")
@json_option
@docker_option
@common_options
def list_command(show_all: bool, as_json: bool, docker: str) -> None:
    """List images: name, size, age, id."""
    from dlbs.launch.images import list_images

    # podman adds a registry to names without one.
    found = [
        image
        for image in list_images(docker=docker)
        if show_all or image.name.removeprefix("localhost/").startswith("dlbs/")
    ]
    if as_json:
        print_json([dataclasses.asdict(image) for image in found])
        return
    for image in found:
        size = f"{image.bytes / 1e6:,.0f} MB"
        click.echo(printable(f"{image.name:40} {size:>10}  {image.created[:10]}  {image.id[7:19]}"))
    if not found:
        click.echo("no images of dlbs; build one: dlbs images build docker/pytorch/cpu", err=True)


@images_command.command("build", context_settings=CONTEXT)
@click.argument("directory", metavar="DIRECTORY")
@click.option("--tag", metavar="NAME", help="Name of the image; docker/pytorch/cpu becomes dlbs/pytorch:cpu.")
@click.option("--build-arg", "arguments", metavar="NAME=VALUE", multiple=True, help="Set an ARG of the Dockerfile.")
@click.option("--network", default="", metavar="MODE", help="Network during the build, such as host.")
@click.option("--quiet", "-q", is_flag=True, help="Show the output of the build only if it fails.")
@docker_option
@common_options
def build_command(
    directory: str, tag: str | None, arguments: tuple[str, ...], network: str, quiet: bool, docker: str
) -> None:
    """Build an image from a directory with a Dockerfile.

    The directory is relative to DLBS if it does not exist here."""
    from dlbs.launch.images import build_image, inspect_image

    place = Path(directory)
    if not (place / "Dockerfile").is_file():
        place = dlbs_root() / directory
    if not (place / "Dockerfile").is_file():
        raise LaunchError("no Dockerfile", where=directory, hint="dlbs ships docker/pytorch/cpu and docker/pytorch/gpu")
    given = build_arguments(arguments)
    name = tag or _name_of(place)
    build_image(place, name, arguments=given, network=network, docker=docker, tell=_teller(quiet))
    click.echo(f"{name} {inspect_image(name, docker=docker).id}")


def _name_of(place: Path) -> str:
    """The image name of a directory: docker/pytorch/cpu → dlbs/pytorch:cpu."""
    return f"dlbs/{place.resolve().parent.name}:{place.resolve().name}".lower()


@images_command.command("pull", context_settings=CONTEXT)
@click.argument("name", metavar="IMAGE")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@docker_option
@common_options
def pull_command(name: str, quiet: bool, docker: str) -> None:
    """Pull an image from its registry."""
    from dlbs.launch.images import pull_image

    pull_image(name, docker=docker, tell=_teller(quiet))
    click.echo(name)
