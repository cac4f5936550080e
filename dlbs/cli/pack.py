"""The verb `pack`: add benchmarks, models and containers. Verbs for environments and containers are in separate modules."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.complete import complete_pack
from dlbs.cli.options import CONTEXT, LazyGroup, common_options
from dlbs.cli.pack_options import chosen, exclude_option, names_argument, select_option, tell
from dlbs.errors import ConfigError
from dlbs.packs.definition import Pack, find_pack, find_packs, pack_path
from dlbs.text import printable

__all__ = ["pack_command"]

_HERE = "dlbs.cli.pack"


@click.group(
    "pack",
    cls=LazyGroup,
    verbs={
        "new": (f"{_HERE}:new_command", "Create a pack from a template."),
        "list": (f"{_HERE}:list_command", "List the packs that are found."),
        "show": (f"{_HERE}:show_command", "Show a pack and its parameters."),
        "check": (f"{_HERE}:check_command", "Find problems of packs."),
        "import": ("dlbs.cli.pack_import:import_command", "Determine which TorchBench models run here, and add them."),
        "install": ("dlbs.cli.pack_install:install_command", "Create the environments of packs."),
        "prepare": ("dlbs.cli.pack_install:prepare_command", "Download and prepare the data of packs."),
        "pin": ("dlbs.cli.pack_install:pin_command", "Write the exact versions of packs' requirements."),
        "build": ("dlbs.cli.pack_containers:build_command", "Build the images of containers."),
        "publish": ("dlbs.cli.pack_containers:publish_command", "Push the image of a container."),
        "predict": ("dlbs.cli.pack_containers:predict_command", "Run a container on inputs."),
        "shell": ("dlbs.cli.pack_install:shell_command", "Open a shell in the environment of a pack."),
    },
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


@click.command("new", context_settings=CONTEXT)
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(["benchmark", "model", "architecture", "container"]),
    default="benchmark",
    show_default=True,
    help="Type of the pack.",
)
@click.option("--dest", metavar="DIR", default="packs", show_default=True, help="Parent of the pack's directory.")
@common_options
def new_command(name: str, template: str, dest: str) -> None:
    """Create a working pack that you can adapt. An existing directory is not changed.

    \b
    Examples:
      dlbs pack new ornatebench --template benchmark
    """
    from dlbs.packs.scaffold import new_pack

    directory = new_pack(name, template, Path(dest))
    click.echo(
        f"{printable(str(directory))}: read its README.md; dlbs pack install {name if dest == 'packs' else directory}"
    )


@click.command("list", context_settings=CONTEXT)
@select_option
@exclude_option
@json_option
@common_options
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
        tell(f"error: {problem}")
    if as_json:
        print_json([_document(pack) for pack in packs])
        return int(bool(problems))
    if not packs:
        click.echo(f"no packs in {', '.join(map(str, pack_path()))}; dlbs pack new NAME creates one", err=True)
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


@click.command("show", context_settings=CONTEXT)
@click.argument("name", shell_complete=complete_pack)
@json_option
@common_options
def show_command(name: str, as_json: bool) -> None:
    """Show a pack and the parameters that it sets, without importing any of its code.

    \b
    Examples:
      dlbs pack show ornatebench
    """
    from dlbs.packs.extend import parameters_of
    from dlbs.text import text

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


@click.command("check", context_settings=CONTEXT)
@names_argument
@select_option
@exclude_option
@click.option(
    "--device", default="cpu", show_default=True, metavar="NAME", help="Device on which models are tested: cpu, cuda."
)
@click.option(
    "--model",
    metavar="NAME",
    help="Check a model of pytorch_benchmarks instead, with the checks that a new one has to pass.",
)
@json_option
@common_options
def check_command(
    names: tuple[str, ...], select: list[str], exclude: list[str], device: str, model: str | None, as_json: bool
) -> int:
    """Find problems of packs. The exit code is 1 if there are any.

    Scripts and containers are only inspected; models are run in a separate process, to test that they work.

    \b
    Examples:
      dlbs pack check ornatebench
      dlbs pack check --model resnet18
    """
    from dlbs.packs.check import check_architecture_pack, check_model_pack, check_pack, check_registered_model

    checked: list[tuple[str, str, Iterable[tuple[bool, str]]]] = []  # name, kind, lazily computed findings
    if model is not None:
        checked.append((model, "model of pytorch_benchmarks", check_registered_model(model, device)))
    for pack in chosen(names, select, exclude) if model is None else ():
        proved: Iterable[tuple[bool, str]] = ()
        if pack.kind == "model":
            proved = check_model_pack(pack, device)
        elif pack.kind == "architecture":
            proved = check_architecture_pack(pack, device)
        checked.append((pack.name, pack.kind, itertools.chain(check_pack(pack), proved)))
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
