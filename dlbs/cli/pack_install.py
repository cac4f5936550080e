"""The verbs of `pack` about environments: install, prepare, pin, shell."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import click

from dlbs.cli.complete import complete_pack
from dlbs.cli.options import CONTEXT, common_options
from dlbs.cli.pack_options import chosen, exclude_option, names_argument, select_option, tell
from dlbs.errors import LaunchError
from dlbs.files import dlbs_root
from dlbs.packs.definition import find_pack

__all__ = ["install_command", "pin_command", "prepare_command", "shell_command"]


@click.command("install", context_settings=CONTEXT)
@names_argument
@select_option
@exclude_option
@click.option(
    "--variant",
    metavar="NAME",
    help="Requirements to install: unpinned, cpu, cuda, rocm; by default those that the pack selects.",
)
@click.option("--force", is_flag=True, help="Recreate the environment.")
@common_options
def install_command(
    names: tuple[str, ...], select: list[str], exclude: list[str], variant: str | None, force: bool
) -> None:
    """Create the environments of packs, one per install group, under DLBS_BASE. Unchanged environments are not reinstalled.

    \b
    Examples:
      dlbs pack install ornatebench
      dlbs pack install --select torch --variant cuda --force
    """
    from dlbs.packs.environments import install

    install(chosen(names, select, exclude), variant=variant, force=force, tell=tell)


@click.command("prepare", context_settings=CONTEXT)
@names_argument
@select_option
@exclude_option
@click.option("--force", is_flag=True, help="Prepare again.")
@common_options
def prepare_command(names: tuple[str, ...], select: list[str], exclude: list[str], force: bool) -> None:
    """Run prepare.py of packs in their environments, once: data are stored in DLBS_DATA_DIR, weights in XDG_CACHE_HOME.

    \b
    Examples:
      dlbs pack prepare ornatebench
    """
    from dlbs.packs.environments import prepare

    prepare(chosen(names, select, exclude), force=force, tell=tell)


@click.command("pin", context_settings=CONTEXT)
@names_argument
@select_option
@exclude_option
@click.option("--variant", metavar="NAME", required=True, help="Variant to pin versions for: cpu, cuda or rocm.")
@click.option(
    "--index", metavar="URL", multiple=True, help="Additional package index, for builds of this variant. Repeatable."
)
@common_options
def pin_command(
    names: tuple[str, ...], select: list[str], exclude: list[str], variant: str, index: tuple[str, ...]
) -> None:
    """Write requirements.VARIANT.txt next to requirements.in: every package with its exact version.

    \b
    Examples:
      dlbs pack pin --select torch --variant cuda
    """
    from dlbs.packs.pin import pin

    pin(chosen(names, select, exclude), variant, index=index, tell=tell)


@click.command("shell", context_settings={**CONTEXT, "allow_interspersed_args": False})
@click.argument("name", shell_complete=complete_pack)
@click.argument("command", metavar="[COMMAND]...", nargs=-1)
@common_options
def shell_command(name: str, command: tuple[str, ...]) -> int:
    """Open a shell in the directory and environment of a pack, or run one command there.

    \b
    Examples:
      dlbs pack shell ornatebench
      dlbs pack shell ornatebench voir --dash main.py
    """
    from dlbs.packs.environments import python_of
    from dlbs.packs.places import Places

    pack, places = find_pack(name), Places.of()
    python = Path(python_of(pack))
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, **places.variables(pack), "PATH": path, "VIRTUAL_ENV": str(python.parents[1])}
    if pack.shares_torch:  # so that its __main__ block and its checks can be run
        paths = [str(dlbs_root() / "python"), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    if not command:
        tell(f"{pack.name}: exit leaves its environment")
    words = list(command[1:] if command[:1] == ("--",) else command) or [os.environ.get("SHELL", "/bin/sh")]
    try:
        return subprocess.run(words, cwd=pack.directory, env=environment, check=False).returncode
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where=words[0]) from None
