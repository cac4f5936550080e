"""The verb `pack`: add benchmarks, models and containers, and install what they need."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from benchmark_core.text import printable
from dlbs.cli.machine import build_arguments, docker_option
from dlbs.cli.options import CONTEXT, Group, completed, json_option, names_option, print_json, verb
from dlbs.cli.streams import note
from dlbs.core.errors import ConfigError, LaunchError
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import counted
from dlbs.packs.definition import find_pack, find_packs, pack_path, select
from dlbs.packs.pack import Pack


def chosen(names: Sequence[str], chosen: Sequence[str], excluded: Sequence[str]) -> list[Pack]:
    """Find packs by name or path, and selected ones.

    Raises:
        ConfigError: No pack is selected.
    """
    packs = [find_pack(name) for name in names]
    if chosen or excluded:
        packs += select(find_packs().values(), chosen, excluded)
    if not packs:
        raise ConfigError(
            "no pack given", where="NAME", hint="dlbs pack list lists packs; --select takes a tag or a group"
        )
    return list({pack.name: pack for pack in packs}.values())


select_option = names_option("--select", "Select packs with one of these names, tags or install groups.")

exclude_option = names_option("--exclude", "Exclude packs with one of these names, tags or install groups.")


def packs_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments that name packs; the function gets `packs`, or an empty list if `--model` is given instead."""

    @click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=completed("pack"))
    @select_option
    @exclude_option
    @functools.wraps(function)
    def wrapped(names: tuple[str, ...], select: list[str], exclude: list[str], **options: Any) -> Any:
        packs = [] if options.get("model") is not None else chosen(names, select, exclude)
        return function(packs=packs, **options)

    return wrapped


@click.group(
    "pack",
    cls=Group,
    context_settings=CONTEXT,
)
def pack_command() -> None:
    """Add benchmarks without changing the code of DLBS.

    Packs are searched in DLBS_PACK_PATH (directories, and YAML files that define several, separated by colons), then in ./packs.

    \b
    Examples:
      dlbs pack new ornatebench --template benchmark
      dlbs pack install ornatebench && dlbs pack prepare ornatebench
      dlbs run -Pexp.framework=pack -Pexp.pack=ornatebench -Pexp.docker=false
    """


@verb("new", group=pack_command, short_help="Create a pack from a template.")
@click.argument("name")
@click.option(
    "--template",
    metavar="NAME",
    default="benchmark",
    show_default=True,
    help="Kind of the pack: benchmark, model, architecture, container.",
)
@click.option("--dest", metavar="DIR", default="packs", show_default=True, help="Parent of the pack's directory.")
def new_command(name: str, template: str, dest: str) -> None:
    """Create a working pack that you can adapt. An existing directory is not changed.

    \b
    Examples:
      dlbs pack new ornatebench --template benchmark
    """
    from dlbs.packs.kinds import new_pack

    directory = new_pack(name, template, Path(dest))
    click.echo(
        f"{printable(str(directory))}: read its README.md; dlbs pack install {name if dest == 'packs' else directory}"
    )


@verb("list", group=pack_command, short_help="List the packs that are found.")
@select_option
@exclude_option
@json_option
def list_command(select: list[str], exclude: list[str], as_json: bool) -> int:
    """List the packs that are found, without importing any of their code. The exit code is 1 if a definition is malformed.

    \b
    Examples:
      dlbs pack list
      dlbs pack list --select nlp --exclude slow --json
    """
    from dlbs.packs import definition

    problems: list[ConfigError] = []
    packs = definition.select(find_packs(problems=problems).values(), select, exclude)
    for problem in problems:
        note(f"error: {problem}")
    if as_json:
        print_json([_document(pack) for pack in packs])
        return int(bool(problems))
    if not packs:
        note(f"no packs in {', '.join(map(str, pack_path()))}; dlbs pack new NAME creates one")
    width = max((len(pack.name) for pack in packs), default=0)
    for pack in packs:
        tags = f" [{', '.join(pack.tags)}]" if pack.tags else ""
        click.echo(printable(f"{pack.name:{width}}  {pack.kind:12}  {pack.description}{tags}"))
    return int(bool(problems))


def _document(pack: Pack) -> dict[str, object]:
    return {
        "name": pack.name, "kind": pack.kind, "directory": str(pack.directory), "defined": pack.where, "install_group": pack.install_group,
        "install_variant": pack.install_variant, "argv": pack.argv, "plan": dict(pack.plan), "weight": pack.weight, "tags": list(pack.tags),
        "max_duration": pack.max_duration, "voir": dict(pack.voir), "description": pack.description,
    }  # fmt: skip


@verb("show", group=pack_command, short_help="Show a pack and its parameters.")
@click.argument("name", shell_complete=completed("pack"))
@json_option
def show_command(name: str, as_json: bool) -> None:
    """Show a pack and the parameters that it sets, without importing any of its code.

    \b
    Examples:
      dlbs pack show ornatebench
    """
    from dlbs.core.text import text
    from dlbs.packs.configure import parameters_of

    pack = find_pack(name)
    document = {**_document(pack), "parameters": parameters_of(pack)}
    if as_json:
        print_json(document)
        return
    for key, value in document.items():
        if key != "parameters" and value not in ("", [], {}):
            click.echo(printable(f"{key}: {value if isinstance(value, str) else json.dumps(value)}"))
    click.echo("parameters:")
    for key, value in parameters_of(pack).items():
        click.echo(printable(f"  {key} = {text(value)}"))


@verb("check", group=pack_command, short_help="Find problems of packs.")
@packs_arguments
@click.option(
    "--device", default="cpu", show_default=True, metavar="NAME", help="Device on which models are tested: cpu, cuda."
)
@click.option(
    "--model",
    metavar="NAME",
    help="Check a model of pytorch_benchmarks instead, with the checks that a new one has to pass.",
)
@json_option
def check_command(packs: list[Pack], device: str, model: str | None, as_json: bool) -> int:
    """Find problems of packs. The exit code is 1 if there are any.

    Scripts and containers are only inspected; models are run in a separate process, to test that they work.

    \b
    Examples:
      dlbs pack check ornatebench
      dlbs pack check --model resnet18
    """
    from dlbs.packs.kinds import check_pack, check_registered_model

    checked: list[tuple[str, str, Iterable[tuple[bool, str]]]] = []  # name, kind, lazily computed findings
    if model is not None:
        checked.append((model, "model of pytorch_benchmarks", check_registered_model(model, device)))
    for pack in packs:
        checked.append((pack.name, pack.kind, check_pack(pack, device)))
    if as_json:
        seen = [(name, kind, list(findings)) for name, kind, findings in checked]
        print_json(
            [
                {"name": name, "kind": kind, "findings": [{"ok": fine, "what": words} for fine, words in findings]}
                for name, kind, findings in seen
            ]
        )
        return int(any(not fine for _, _, findings in seen for fine, _ in findings))
    failed = 0
    for name, kind, findings in checked:
        click.echo(printable(f"{name}, {'an' if kind[0] == 'a' else 'a'} {kind}"))
        failed += _show_findings(findings)
    return 1 if failed else 0


def _show_findings(findings: Iterable[tuple[bool, str]]) -> int:
    """Print the findings, and return the number of problems."""
    failed = 0
    for fine, words in findings:
        failed += not fine
        click.echo(printable(f"  {'ok  ' if fine else 'FAIL'} {words}"))
    return failed


_STATES = ("ready", "packages", "data", "GPU", "not supported")


@verb("import", group=pack_command, short_help="Determine which TorchBench models run here, and add them.")
@click.argument("places", metavar="DIR...", nargs=-1, required=True)
@click.option(
    "--output", metavar="FILE", default="packs/torchbench.yaml", show_default=True, help="Collection to write."
)
@click.option("--dry-run", is_flag=True, help="Only print the table.")
@json_option
def import_command(places: tuple[str, ...], output: str, dry_run: bool, as_json: bool) -> None:
    """Determine which TorchBench models run here, and write a collection of those that may.

    DIR is the directory of a model, or a directory of several, such as the suite's models/. The requirements of each model are read from
    its source, without running it: `ready`, missing `packages`, `data` to download, a `GPU`, or `not supported`. The last are not in the
    collection.

    \b
    Examples:
      dlbs pack import benchmark/torchbenchmark/models
      dlbs run --select torchbench -Pexp.docker=false
    """
    from dlbs.packs.definition import write_collection
    from dlbs.packs.kinds import survey

    suite, found = survey(list(map(Path, places)))
    found.sort(key=lambda one: (_STATES.index(one.state), one.name))
    if as_json:
        rows = [
            {"name": one.name, "directory": str(one.directory), "state": one.state, "reason": one.reason}
            for one in found
        ]
        print_json(rows)
    else:
        width = max(len(one.name) for one in found)
        for one in found:
            click.echo(printable(f"{one.name:{width}}  {one.state:13}  {one.reason}".rstrip()))
    counts = Counter(one.state for one in found)
    note(
        f"{counted(len(found), 'model')}: {', '.join(f'{counts[state]} {state}' for state in _STATES if counts[state])}"
    )
    if not dry_run:
        packs = write_collection(Path(output), [one.directory for one in found if one.state != "not supported"], suite)
        note(f"{counted(len(packs), 'pack')} → {output}; dlbs pack install NAME, dlbs pack check NAME")


@verb("install", group=pack_command, short_help="Create the environments of packs.")
@packs_arguments
@click.option(
    "--variant",
    metavar="NAME",
    help="Requirements to install: unpinned, cpu, cuda, rocm; by default those that the pack selects.",
)
@click.option("--force", is_flag=True, help="Recreate the environment.")
def install_command(packs: list[Pack], variant: str | None, force: bool) -> None:
    """Create the environments of packs, one per install group, under DLBS_BASE. Unchanged environments are not reinstalled.

    \b
    Examples:
      dlbs pack install ornatebench
      dlbs pack install --select torch --variant cuda --force
    """
    from dlbs.packs.environments import install

    install(packs, variant=variant, force=force, tell=note)


@verb("prepare", group=pack_command, short_help="Download and prepare the data of packs.")
@packs_arguments
@click.option("--force", is_flag=True, help="Prepare again.")
def prepare_command(packs: list[Pack], force: bool) -> None:
    """Run prepare.py of packs in their environments, once: data are stored in DLBS_DATA_DIR, weights in XDG_CACHE_HOME.

    \b
    Examples:
      dlbs pack prepare ornatebench
    """
    from dlbs.packs.environments import prepare

    prepare(packs, force=force, tell=note)


@verb("pin", group=pack_command, short_help="Write the exact versions of packs' requirements.")
@packs_arguments
@click.option("--variant", metavar="NAME", required=True, help="Variant to pin versions for: cpu, cuda or rocm.")
@click.option(
    "--index", metavar="URL", multiple=True, help="Additional package index, for builds of this variant. Repeatable."
)
def pin_command(packs: list[Pack], variant: str, index: tuple[str, ...]) -> None:
    """Write requirements.VARIANT.txt next to requirements.in: every package with its exact version.

    \b
    Examples:
      dlbs pack pin --select torch --variant cuda
    """
    from dlbs.packs.environments import pin

    pin(packs, variant, index=index, tell=note)


@verb("build", group=pack_command, short_help="Build the images of containers.")
@packs_arguments
@click.option("--image", default="", metavar="IMAGE", help="Different name for the image; for one pack only.")
@click.option(
    "--build-arg", "build_args", multiple=True, metavar="NAME=VALUE", help="Argument of docker build. Repeatable."
)
@click.option("--network", default="", metavar="NAME", help="Network during the build, such as host.")
@click.option("--pull", is_flag=True, help="Pull the image, and build it only if it cannot be pulled.")
@docker_option
def build_command(
    packs: list[Pack], image: str, build_args: tuple[str, ...], network: str, pull: bool, docker: str
) -> None:
    """Build the images of container packs.

    \b
    Examples:
      dlbs pack build tutorial
      dlbs pack build tutorial --build-arg BASE=python:3.12-slim \\
        --image tutorial:mine
      dlbs pack build tutorial --pull
    """
    from dlbs.packs.containers import build_pack, pull_pack

    if image and len(packs) > 1:
        raise ConfigError("several packs cannot share one image", where=f"--image {image}", hint="name one pack")
    arguments = build_arguments(build_args)
    for pack in packs:
        if not (pull and pull_pack(pack, image=image, docker=docker, tell=note)):
            build_pack(pack, image=image, build_args=arguments, network=network, docker=docker, tell=note)


@verb("publish", group=pack_command, short_help="Push the image of a container.")
@click.argument("name", shell_complete=completed("pack"))
@click.option(
    "--repository",
    default="",
    metavar="IMAGE",
    help="Destination, such as registry.example.org/me/model:1.0; by default the name of the image.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@docker_option
def publish_command(name: str, repository: str, dry_run: bool, docker: str) -> None:
    """Push the image of a container pack to a registry that docker is logged in to.

    \b
    Examples:
      dlbs pack publish tutorial \\
        --repository registry.example.org/me/tutorial:1.0 --dry-run
    """
    from dlbs.packs.containers import publish_pack

    publish_pack(find_pack(name), repository, dry_run=dry_run, docker=docker, tell=note)


def _mapping(context: click.Context, parameter: click.Parameter, given: str) -> dict[str, Any]:
    try:
        found = load_json(given)
    except JsonError as error:
        raise ConfigError(f"not JSON: {error.what}", where="--model-kwargs") from None
    if not isinstance(found, dict):
        raise ConfigError(
            "must be a JSON object", where="--model-kwargs", hint="""--model-kwargs '{"model": "large"}'"""
        )
    return found


@verb("predict", group=pack_command, short_help="Run a container on inputs.")
@click.argument("name", shell_complete=completed("pack"))
@click.option(
    "--input-files",
    required=True,
    multiple=True,
    metavar="FILE",
    help="File with the inputs, as JSON lines. Repeatable.",
)
@click.option("--output", required=True, metavar="FILE", help="File for the outputs, one per line.")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N", help="Instances per call of the container; all by default."
)
@click.option("--device", type=int, default=-1, show_default=True, help="Number of the GPU; -1 is the CPU.")
@click.option("--image", default="", metavar="IMAGE", help="Image to use instead of the pack's own.")
@click.option("--model", default="", metavar="NAME", help="Model to use, if the pack's model.py registers several.")
@click.option(
    "--model-kwargs",
    "arguments",
    default="{}",
    callback=_mapping,
    metavar="JSON",
    help="Arguments of the model's constructor; they override the pack's argv.",
)
@click.option(
    "--dataset-reader",
    "reader",
    default="",
    metavar="NAME",
    help="Reader of the files: jsonl, sacrerouge, or one that the pack defines.",
)
@click.option(
    "--output-writer",
    "writer",
    default="",
    metavar="NAME",
    help="Writer of the outputs: default, metrics, sacrerouge, or one that the pack defines.",
)
def predict_command(name: str, input_files: tuple[str, ...], output: str, **options: Any) -> None:
    """Run a container pack on inputs in JSON lines; the outputs are in the order of the inputs.

    A model that gives one result for all inputs, such as metrics, writes one line.

    \b
    Examples:
      dlbs pack predict tutorial --input-files in.jsonl --output out.jsonl
      dlbs pack predict rouge --dataset-reader sacrerouge \\
        --input-files in.jsonl --output-writer metrics --output out.json
    """
    from dlbs.packs.containers import predict

    predict(find_pack(name), input_files, output, **options, tell=note)


@verb(
    "shell",
    group=pack_command,
    short_help="Open a shell in the environment of a pack.",
    context_settings={**CONTEXT, "allow_interspersed_args": False},
)
@click.argument("name", shell_complete=completed("pack"))
@click.argument("command", metavar="[COMMAND]...", nargs=-1)
def shell_command(name: str, command: tuple[str, ...]) -> int:
    """Open a shell in the directory and environment of a pack, or run one command there.

    \b
    Examples:
      dlbs pack shell ornatebench
      dlbs pack shell ornatebench voir --dash main.py
    """
    from dlbs.packs.environments import python_of
    from dlbs.packs.kinds import kind_of, variables_of
    from dlbs.packs.pack import Places

    pack = find_pack(name)
    python = Path(python_of(pack))
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **variables_of(pack, Places.of()), **kind_of(pack).shell(pack)}
    environment |= {"PATH": path, "VIRTUAL_ENV": str(python.parents[1])}
    if not command:
        note(f"{pack.name}: exit leaves its environment")
    words = list(command[1:] if command[:1] == ("--",) else command) or [os.environ.get("SHELL", "/bin/sh")]
    try:
        return subprocess.run(words, cwd=pack.directory, env=environment, check=False).returncode
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=words[0]) from None
