"""The docker images that experiments run in: list, build, pull. Asks the daemon through docker's own library (extra `docker`)."""

from __future__ import annotations

import importlib
import json
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LaunchError
from dlbs.files import dlbs_root
from dlbs.text import printable

__all__ = ["images_command"]

_LAST_LINES = 20


def _library() -> Any:
    """The package docker.

    Raises:
        LaunchError: It is not installed. (In a checkout of DLBS, its directory `docker` is found instead.)
    """
    try:
        library = importlib.import_module("docker")
        library.from_env  # noqa: B018
    except (ImportError, AttributeError):
        raise LaunchError("images need the docker library", hint="pip install 'dlbs[docker]'") from None
    return library


def _client() -> Any:
    """A connection to the docker daemon.

    Raises:
        LaunchError: The library is missing, or no daemon answers.
    """
    docker = _library()
    try:
        client = docker.from_env()
        client.ping()
    except docker.errors.DockerException as error:
        raise LaunchError(
            f"the docker daemon does not answer: {_one_line(error)}",
            hint="start it: systemctl start docker, or dockerd",
        ) from None
    return client


def _one_line(error: object) -> str:
    return " ".join(str(error).split())


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
@click.option("--all", "show_all", is_flag=True, help="All images of the daemon, not only dlbs/*.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def list_command(show_all: bool, as_json: bool) -> None:
    """List images: name, size, age, id."""
    found = [
        {"name": tag, "id": image.id, "bytes": image.attrs["Size"], "created": image.attrs["Created"]}
        for image in _client().images.list()
        for tag in image.tags
        if show_all or tag.startswith("dlbs/")
    ]
    if as_json:
        click.echo(json.dumps(found, indent=1))
        return
    for image in sorted(found, key=lambda one: one["name"]):
        size = f"{image['bytes'] / 1e6:,.0f} MB"
        click.echo(printable(f"{image['name']:40} {size:>10}  {image['created'][:10]}  {image['id'][7:19]}"))
    if not found:
        click.echo("no images of dlbs here: dlbs images build docker/pytorch/cpu", err=True)


@images_command.command("build", context_settings=CONTEXT)
@click.argument("directory", metavar="DIRECTORY")
@click.option("--tag", metavar="NAME", help="Name of the image; docker/pytorch/cpu becomes dlbs/pytorch:cpu.")
@click.option("--build-arg", "arguments", metavar="NAME=VALUE", multiple=True, help="Set an ARG of the Dockerfile.")
@click.option("--network", metavar="MODE", help="Network while building, such as host.")
@click.option("--quiet", "-q", is_flag=True, help="Show the output of the build only if it fails.")
@common_options
def build_command(
    directory: str, tag: str | None, arguments: tuple[str, ...], network: str | None, quiet: bool
) -> None:
    """Build an image from a directory with a Dockerfile; relative to DLBS if it is not here."""
    place = Path(directory)
    if not (place / "Dockerfile").is_file():
        place = dlbs_root() / directory
    if not (place / "Dockerfile").is_file():
        raise LaunchError(
            "there is no Dockerfile", where=directory, hint="dlbs ships docker/pytorch/cpu and docker/pytorch/gpu"
        )
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals or not name:
            raise LaunchError(f"{argument!r} sets nothing", where="--build-arg", hint="write NAME=VALUE")
        given[name] = value
    name = tag or _name_of(place)
    client = _client()
    lines = client.api.build(
        path=str(place), tag=name, buildargs=given, rm=True, decode=True, network_mode=network, pull=False
    )
    _follow(lines, quiet, f"building {name} failed")
    image = client.images.get(name)
    click.echo(f"{name} {image.id}")


def _name_of(place: Path) -> str:
    """docker/pytorch/cpu → dlbs/pytorch:cpu."""
    return f"dlbs/{place.resolve().parent.name}:{place.resolve().name}".lower()


@images_command.command("pull", context_settings=CONTEXT)
@click.argument("name", metavar="IMAGE")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@common_options
def pull_command(name: str, quiet: bool) -> None:
    """Pull an image from its registry."""
    docker = _library()
    repository, tag = docker.utils.parse_repository_tag(name)
    try:
        lines = _client().api.pull(repository, tag=tag or "latest", stream=True, decode=True)
        _follow(lines, quiet, f"pulling {name} failed")
    except docker.errors.APIError as error:
        raise LaunchError(f"pulling {name} failed: {_one_line(error.explanation or error)}") from None
    click.echo(name)


def _follow(lines: Iterable[dict[str, Any]], quiet: bool, failed: str) -> None:
    """Show what the daemon says as it comes.

    Raises:
        LaunchError: It reports an error; the last lines before it are in the message.
    """
    last: deque[str] = deque(maxlen=_LAST_LINES)
    for line in lines:
        text = line.get("stream") or " ".join(filter(None, (line.get("id"), line.get("status"), line.get("progress"))))
        for part in printable(text).splitlines():
            if part.strip():
                last.append(part.rstrip())
                if not quiet:
                    click.echo(part.rstrip(), err=True)
        if "error" in line:
            said = "\n  ".join(["", *last]) if quiet else ""
            raise LaunchError(f"{failed}: {_one_line(line['error'])}{said}")
