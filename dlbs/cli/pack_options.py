"""Select packs by name, path, tag or install group."""

from __future__ import annotations

from collections.abc import Sequence

import click

from dlbs.cli.complete import complete_pack
from dlbs.cli.options import names_option
from dlbs.errors import ConfigError
from dlbs.packs.definition import Pack, find_pack, find_packs, select
from dlbs.text import printable

__all__ = ["chosen", "exclude_option", "names_argument", "select_option", "tell"]


def tell(line: str) -> None:
    """Print a message on standard error."""
    click.echo(printable(line), err=True)


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


names_argument = click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_pack)

select_option = names_option("--select", "Select packs with one of these names, tags or install groups.")

exclude_option = names_option("--exclude", "Exclude packs with one of these names, tags or install groups.")
