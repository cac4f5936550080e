"""The verbs on this machine: check-machine, sysinfo, images."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark_core.text import printable
from dlbs.cli.options import CONTEXT, Group, json_option, print_json, verb
from dlbs.cli.streams import note
from dlbs.core.errors import LaunchError
from dlbs.core.files import dlbs_root
from dlbs.core.text import counted
from dlbs.machine.fitness import system_facts

if TYPE_CHECKING:
    from dlbs.machine.fitness import Finding


_MARKS = {"ok": ("✓", "green"), "warning": ("⚠", "yellow"), "unknown": ("?", None)}
_INDENT = 26


@verb("check-machine")
@click.option(
    "--seconds",
    type=click.FloatRange(0, 600),
    default=5.0,
    show_default=True,
    help="Duration of the A/A run; 0 skips it.",
)
@json_option
@click.option("--strict", is_flag=True, help="Exit with 1 if there is a warning.")
def check_machine_command(seconds: float, as_json: bool, strict: bool) -> int:
    """Check whether this machine is suitable for measurements: find settings and load that make times vary, each with a remedy.

    Then time the same work repeatedly (an A/A run): its noise shows how small a difference repeated runs can detect here.
    Nothing is changed.

    \b
    Examples:
      dlbs check-machine
      dlbs check-machine --seconds 30 --json
      dlbs check-machine --strict && dlbs run --plan plan.yaml
    """
    from dlbs.machine.fitness import check_machine, detectable, measure_noise

    findings = []
    for finding in check_machine():
        findings.append(finding)
        if not as_json:
            _show_finding(finding)
    warnings = sum(finding.state == "warning" for finding in findings)
    noise = measure_noise(seconds, _show_progress if sys.stderr.isatty() else None) if seconds else None
    differences = {runs: detectable(noise.variation, runs) for runs in (3, 5, 10, 20)} if noise else {}
    if as_json:
        document: dict[str, object] = {"findings": [finding._asdict() for finding in findings], "warnings": warnings}
        if noise is not None:
            document["noise"] = {
                "seconds": noise.seconds,
                "coefficient_of_variation": noise.variation,
                "slowest_over_fastest": noise.spread,
                "a_a_difference": noise.difference,
                "detectable_difference": differences,
            }
        click.echo(json.dumps(document, indent=1))
    else:
        if noise is not None:
            click.echo(f"\nA/A run: the same work on all CPUs, {len(noise.seconds)} times")
            click.echo(f"  coefficient of variation {noise.variation:.1%}, slowest over fastest {noise.spread:.2f}")
            click.echo("  smallest difference that is detected (5 % false alarms, 80 % power):")
            for runs, share in differences.items():
                click.echo(f"    {runs:2} runs per side  {share:6.1%}")
            click.echo("")
        click.echo(counted(warnings, "warning") if warnings else "no warnings")
    return 1 if strict and warnings else 0


def _show_finding(finding: Finding) -> None:
    """Print a finding, wrapped to the width of the terminal."""
    mark, colour = _MARKS[finding.state]
    width = shutil.get_terminal_size().columns - _INDENT
    for number, line in enumerate(textwrap.wrap(printable(finding.value), max(20, width))):
        head = f"{click.style(mark, fg=colour)} {finding.name + ':':{_INDENT - 2}}" if number == 0 else " " * _INDENT
        click.echo(f"{head}{line}", file=getattr(sys.stdout, "styled", None))
    for number, line in enumerate(textwrap.wrap(finding.remedy, max(20, width - 2))):
        click.echo(f"{'':{_INDENT}}{'→ ' if number == 0 else '  '}{line}")


def _show_progress(number: int, runs: int) -> None:
    end = "\r" if number < runs else f"\r{' ' * 40}\r"
    click.echo(f"A/A run {number}/{runs}{end}", file=getattr(sys.stderr, "styled", sys.stderr), nl=False)


@verb("sysinfo")
@json_option
def sysinfo_command(as_json: bool) -> None:
    """Show the hardware and software of this machine: CPU, memory, GPUs, docker, Slurm, Python, torch.

    \b
    Examples:
      dlbs sysinfo
      dlbs sysinfo --json
    """
    facts = system_facts()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        shown = f"{value / 2**30:.1f} GiB" if name.endswith("_bytes") else value
        click.echo(f"{name:24} {'-' if shown in (None, []) else shown}")


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


@click.group("images", cls=Group, context_settings=CONTEXT)
def images_command() -> None:
    """List, build and pull the docker images of experiments.

    \b
    Examples:
      dlbs images list
      dlbs images build docker/pytorch/cpu
      dlbs images pull python:3.11-slim
    """


@verb("list", group=images_command)
@click.option("--all", "show_all", is_flag=True, help="Show all local images, not only dlbs/*.")
@json_option
@docker_option
def list_command(show_all: bool, as_json: bool, docker: str) -> None:
    """List images: name, size, age, id."""
    from dlbs.launch.containers import list_images

    # podman adds a registry to names without one.
    found = [
        image
        for image in list_images(docker=docker)
        if show_all or image.name.removeprefix("localhost/").startswith("dlbs/")
    ]
    if as_json:
        print_json([image._asdict() for image in found])
        return
    for image in found:
        size = f"{image.bytes / 1e6:,.0f} MB"
        click.echo(printable(f"{image.name:40} {size:>10}  {image.created[:10]}  {image.id[7:19]}"))
    if not found:
        note("no images of dlbs; build one: dlbs images build docker/pytorch/cpu")


@verb("build", group=images_command)
@click.argument("directory", metavar="DIRECTORY")
@click.option("--tag", metavar="NAME", help="Name of the image; docker/pytorch/cpu becomes dlbs/pytorch:cpu.")
@click.option("--build-arg", "arguments", metavar="NAME=VALUE", multiple=True, help="Set an ARG of the Dockerfile.")
@click.option("--network", default="", metavar="MODE", help="Network during the build, such as host.")
@click.option("--quiet", "-q", is_flag=True, help="Show the output of the build only if it fails.")
@docker_option
def build_command(
    directory: str, tag: str | None, arguments: tuple[str, ...], network: str, quiet: bool, docker: str
) -> None:
    """Build an image from a directory with a Dockerfile.

    The directory is relative to DLBS if it does not exist here."""
    from dlbs.launch.containers import build_image, inspect_image

    place = Path(directory)
    if not (place / "Dockerfile").is_file():
        place = dlbs_root() / directory
    if not (place / "Dockerfile").is_file():
        raise LaunchError("no Dockerfile", where=directory, hint="dlbs ships docker/pytorch/cpu and docker/pytorch/gpu")
    given = build_arguments(arguments)
    name = tag or _name_of(place)
    build_image(place, name, arguments=given, network=network, docker=docker, tell=None if quiet else note)
    click.echo(f"{name} {inspect_image(name, docker=docker).id}")


def _name_of(place: Path) -> str:
    """The image name of a directory: docker/pytorch/cpu → dlbs/pytorch:cpu."""
    return f"dlbs/{place.resolve().parent.name}:{place.resolve().name}".lower()


@verb("pull", group=images_command)
@click.argument("name", metavar="IMAGE")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress.")
@docker_option
def pull_command(name: str, quiet: bool, docker: str) -> None:
    """Pull an image from its registry."""
    from dlbs.launch.containers import pull_image

    pull_image(name, docker=docker, tell=None if quiet else note)
    click.echo(name)
