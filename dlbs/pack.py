"""The verb `pack`: benchmarks that are added from outside."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dlbs.cli import CONTEXT, LazyGroup, common_options, names_option
from dlbs.errors import ConfigError, LaunchError
from dlbs.formatting import printable
from dlbs.packs.definition import find_pack, find_packs, pack_path, select

if TYPE_CHECKING:
    from dlbs.packs.definition import Pack

__all__ = ["pack_command"]

_HERE = "dlbs.pack"


@click.group(
    "pack",
    cls=LazyGroup,
    verbs={
        "new": (f"{_HERE}:new_command", "Make a new pack from a template."),
        "list": (f"{_HERE}:list_command", "List the packs that are found."),
        "show": (f"{_HERE}:show_command", "Show what a pack is."),
        "check": (f"{_HERE}:check_command", "Find what would fail about packs."),
        "install": (f"{_HERE}:install_command", "Make the environments of packs."),
        "prepare": (f"{_HERE}:prepare_command", "Download and make what packs need."),
        "pin": (f"{_HERE}:pin_command", "Write exact versions of what packs need."),
        "build": (f"{_HERE}:build_command", "Build the images of containers."),
        "publish": (f"{_HERE}:publish_command", "Push the image of a container."),
        "predict": (f"{_HERE}:predict_command", "Let a container predict."),
        "shell": (f"{_HERE}:shell_command", "Open a shell in the environment of a pack."),
    },
    context_settings=CONTEXT,
)
def pack_command() -> None:
    """Add benchmarks without touching the code of DLBS.

    Packs are looked for in DLBS_PACK_PATH (directories and YAML files that define several, joined by colons), then in ./packs.

    \b
    Examples:
      dlbs pack new ornatebench --template benchmark
      dlbs pack install ornatebench && dlbs pack prepare ornatebench
      dlbs run -Pexp.framework=pack -Pexp.pack=ornatebench -Pexp.docker=false
    """


def _tell(line: str) -> None:
    click.echo(printable(line), err=True)


def _chosen(names: Sequence[str], chosen: Sequence[str], excluded: Sequence[str]) -> list[Pack]:
    """Packs by name or path, and selected ones.

    Raises:
        ConfigError: There is none.
    """
    packs = [find_pack(name) for name in names]
    if chosen or excluded:
        packs += select(find_packs().values(), chosen, excluded)
    if not packs:
        raise ConfigError(
            "which pack?", where="NAME", hint="dlbs pack list shows them; --select takes a tag or a group"
        )
    return list({pack.name: pack for pack in packs}.values())


_names = click.argument("names", metavar="[NAME]...", nargs=-1)
_select = names_option("--select", "Packs with one of these words as name, tag or install group.")
_exclude = names_option("--exclude", "Of them, leave out those with one of these words.")


@click.command("new", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(["benchmark", "model", "container"]),
    default="benchmark",
    show_default=True,
    help="What it is to be.",
)
@click.option("--dest", metavar="DIR", default="packs", show_default=True, help="Directory for the pack's own.")
@common_options
def new_command(name: str, template: str, dest: str) -> None:
    """Make a new pack that works, to be changed into yours. A directory that is there already is left alone.

    \b
    Examples:
      dlbs pack new ornatebench --template benchmark
    """
    from dlbs.packs.scaffold import new_pack

    directory = new_pack(name, template, Path(dest))
    click.echo(f"{directory}: read its README.md; dlbs pack install {name if dest == 'packs' else directory}")


@click.command("list", context_settings=CONTEXT)
@_select
@_exclude
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def list_command(select: list[str], exclude: list[str], as_json: bool) -> None:
    """List the packs that are found, without importing anything of them.

    \b
    Examples:
      dlbs pack list
      dlbs pack list --select nlp --exclude slow --json
    """
    from dlbs.packs import definition

    packs = definition.select(find_packs().values(), select, exclude)
    if as_json:
        click.echo(json.dumps([_document(pack) for pack in packs], indent=1))
        return
    if not packs:
        click.echo(f"no packs in {', '.join(map(str, pack_path()))}; dlbs pack new NAME makes one", err=True)
    width = max((len(pack.name) for pack in packs), default=0)
    for pack in packs:
        tags = f" [{', '.join(pack.tags)}]" if pack.tags else ""
        click.echo(printable(f"{pack.name:{width}}  {pack.kind:9}  {pack.description}{tags}"))


def _document(pack: Pack) -> dict[str, object]:
    return {
        "name": pack.name, "kind": pack.kind, "directory": str(pack.directory), "defined": pack.where, "install_group": pack.install_group,
        "install_variant": pack.install_variant, "argv": pack.argv, "plan": dict(pack.plan), "weight": pack.weight, "tags": list(pack.tags),
        "max_duration": pack.max_duration, "voir": dict(pack.voir), "description": pack.description,
    }  # fmt: skip


@click.command("show", context_settings=CONTEXT)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@common_options
def show_command(name: str, as_json: bool) -> None:
    """Show what a pack is, and the parameters that it sets; nothing of it is imported.

    \b
    Examples:
      dlbs pack show ornatebench
    """
    from dlbs.packs.extend import parameters_of
    from dlbs.parameters import text

    pack = find_pack(name)
    document = {**_document(pack), "parameters": parameters_of(pack)}
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    for key, value in document.items():
        if key != "parameters" and value not in ("", [], {}):
            click.echo(printable(f"{key}: {value if isinstance(value, str) else json.dumps(value)}"))
    click.echo("parameters:")
    for key, value in parameters_of(pack).items():
        click.echo(printable(f"  {key} = {text(value)}"))


@click.command("check", context_settings=CONTEXT)
@_names
@_select
@_exclude
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="Where models are proved: cpu, cuda.")
@click.option(
    "--model", metavar="NAME", help="Check a model of pytorch_benchmarks instead: the list that a new one has to pass."
)
@common_options
def check_command(names: tuple[str, ...], select: list[str], exclude: list[str], device: str, model: str | None) -> int:
    """Find what would fail about packs. The exit code is 1 if something would.

    Scripts and containers are only looked at; models are run, in a process of their own, to prove that they behave.

    \b
    Examples:
      dlbs pack check ornatebench
      dlbs pack check --model resnet18
    """
    from dlbs.packs.check import check_pack, run_model_checks, run_network_checks

    failed = 0
    if model is not None:
        click.echo(printable(f"{model}, a model of pytorch_benchmarks"))
        return int(_show_findings(run_network_checks(model)) > 0)
    for pack in _chosen(names, select, exclude):
        click.echo(printable(f"{pack.name}, a {pack.kind}"))
        proved = run_model_checks(pack, device) if pack.kind == "model" else ()
        failed += _show_findings(itertools.chain(check_pack(pack), proved))
    return 1 if failed else 0


def _show_findings(findings: Iterable[tuple[bool, str]]) -> int:
    """Print what was looked at, and return how much of it is not as it should be."""
    failed = 0
    for fine, words in findings:
        failed += not fine
        click.echo(printable(f"  {'ok  ' if fine else 'FAIL'} {words}"))
    return failed


@click.command("install", context_settings=CONTEXT)
@_names
@_select
@_exclude
@click.option(
    "--variant",
    metavar="NAME",
    help="Requirements to install: unpinned, cpu, cuda, rocm; by default what the pack says.",
)
@click.option("--force", is_flag=True, help="Make the environment anew.")
@common_options
def install_command(
    names: tuple[str, ...], select: list[str], exclude: list[str], variant: str | None, force: bool
) -> None:
    """Make the environments of packs, one for each install group, under DLBS_BASE. Nothing happens if nothing has changed.

    \b
    Examples:
      dlbs pack install ornatebench
      dlbs pack install --select torch --variant cuda --force
    """
    from dlbs.packs.environments import install

    install(_chosen(names, select, exclude), variant=variant, force=force, tell=_tell)


@click.command("prepare", context_settings=CONTEXT)
@_names
@_select
@_exclude
@click.option("--force", is_flag=True, help="Prepare again.")
@common_options
def prepare_command(names: tuple[str, ...], select: list[str], exclude: list[str], force: bool) -> None:
    """Run prepare.py of packs in their environments, once: data go to DLBS_DATA_DIR, weights to XDG_CACHE_HOME.

    \b
    Examples:
      dlbs pack prepare ornatebench
    """
    from dlbs.packs.environments import prepare

    prepare(_chosen(names, select, exclude), force=force, tell=_tell)


@click.command("pin", context_settings=CONTEXT)
@_names
@_select
@_exclude
@click.option("--variant", metavar="NAME", required=True, help="cpu, cuda or rocm: what the versions are for.")
@click.option(
    "--index", metavar="URL", multiple=True, help="A further package index, for builds of this variant. Repeatable."
)
@common_options
def pin_command(
    names: tuple[str, ...], select: list[str], exclude: list[str], variant: str, index: tuple[str, ...]
) -> None:
    """Write requirements.VARIANT.txt beside requirements.in: every package with its exact version.

    \b
    Examples:
      dlbs pack pin --select torch --variant cuda
    """
    from dlbs.packs.environments import pin

    pin(_chosen(names, select, exclude), variant, index=index, tell=_tell)


@click.command("build", context_settings=CONTEXT)
@_names
@_select
@_exclude
@click.option("--image", default="", metavar="IMAGE", help="Another name for the image, of one pack.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME=VALUE", help="Argument of docker build. Repeatable."
)
@click.option("--network", default="", metavar="NAME", help="Network while it is built, such as host.")
@click.option("--pull", is_flag=True, help="Pull it instead, and build it only if it cannot be pulled.")
@common_options
def build_command(
    names: tuple[str, ...],
    select: list[str],
    exclude: list[str],
    image: str,
    build_args: tuple[str, ...],
    network: str,
    pull: bool,
) -> None:
    """Build the images of container packs.

    \b
    Examples:
      dlbs pack build tutorial
      dlbs pack build tutorial --build-arg BASE=python:3.12-slim --image tutorial:mine
      dlbs pack build tutorial --pull
    """
    from dlbs.packs.images import build_image, pull_image

    packs = _chosen(names, select, exclude)
    if image and len(packs) > 1:
        raise ConfigError("several packs cannot have one image", where=f"--image {image}", hint="name one pack")
    for given in build_args:
        if "=" not in given:
            raise ConfigError(
                f"{given!r} is not NAME=VALUE", where="--build-arg", hint="write --build-arg BASE=python:3.12"
            )
    arguments = dict(given.split("=", 1) for given in build_args)
    for pack in packs:
        if not (pull and pull_image(pack, image=image, tell=_tell)):
            build_image(pack, image=image, build_args=arguments, network=network, tell=_tell)


@click.command("publish", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--repository",
    default="",
    metavar="IMAGE",
    help="Where to, registry.example.org/me/model:1.0; the image's own name by default.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@common_options
def publish_command(name: str, repository: str, dry_run: bool) -> None:
    """Push the image of a container pack to a registry, where docker is logged in.

    \b
    Examples:
      dlbs pack publish tutorial --repository registry.example.org/me/tutorial:1.0 --dry-run
    """
    from dlbs.packs.images import publish_image

    publish_image(find_pack(name), repository, dry_run=dry_run, tell=_tell)


@click.command("predict", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--input-files", required=True, multiple=True, metavar="FILE", help="JSON lines to predict for. Repeatable."
)
@click.option("--output", required=True, metavar="FILE", help="Where the outputs go, one a line.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Instances that a container gets at once; all by default."
)
@click.option("--device", type=int, default=-1, show_default=True, help="Number of the GPU; -1 is the CPU.")
@click.option("--image", default="", metavar="IMAGE", help="Another image than the pack's own.")
@common_options
def predict_command(
    name: str, input_files: tuple[str, ...], output: str, batch_size: int | None, device: int, image: str
) -> None:
    """Let a container pack predict for JSON lines; the outputs are in the order of the inputs.

    \b
    Examples:
      dlbs pack predict tutorial --input-files in.jsonl --output out.jsonl
    """
    from dlbs.packs.container_model import load_model
    from dlbs.packs.jsonlines import iterate_jsonl_files, write_jsonl_file

    pack = find_pack(name)
    if pack.kind != "container":
        raise LaunchError(
            f"{pack.name} is a {pack.kind}", where=pack.where, hint="containers predict; see dlbs pack list"
        )
    model = load_model(pack, image=image, device=device)
    inputs = list(iterate_jsonl_files(input_files))
    size = batch_size or max(1, len(inputs))

    def outputs() -> Iterator[object]:
        for start in range(0, len(inputs), size):
            for value in model.predict_batch(inputs[start : start + size]):
                yield value if isinstance(value, dict) else {"output": value}

    count = write_jsonl_file(output, outputs())
    _tell(f"{count} outputs → {output}")


@click.command("shell", context_settings=CONTEXT)
@click.argument("name")
@click.argument("command", metavar="[COMMAND]...", nargs=-1)
@common_options
def shell_command(name: str, command: tuple[str, ...]) -> int:
    """Open a shell in the directory and the environment of a pack, or run one command there.

    \b
    Examples:
      dlbs pack shell ornatebench
      dlbs pack shell ornatebench -- voir --dash main.py
    """
    from dlbs.packs.places import Places

    pack, places = find_pack(name), Places.of()
    if not places.python(pack).exists():
        raise LaunchError(f"{pack.name} is not installed", hint=f"dlbs pack install {name}")
    path = f"{places.python(pack).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **places.variables(pack), "PATH": path, "VIRTUAL_ENV": str(places.environment(pack))}
    if not command:
        _tell(f"{pack.name}: exit leaves its environment")
    words = list(command) or [os.environ.get("SHELL", "/bin/sh")]
    try:
        return subprocess.run(words, cwd=pack.directory, env=environment, check=False).returncode
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=words[0]) from None
