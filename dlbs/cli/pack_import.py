"""The verb `pack import`: whole folders of TorchBench models."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.options import CONTEXT, common_options
from dlbs.cli.pack_options import tell
from dlbs.text import counted, printable

__all__ = ["import_command"]

_STATES = ("ready", "packages", "data", "GPU", "not supported")


@click.command("import", context_settings=CONTEXT)
@click.argument("places", metavar="DIR...", nargs=-1, required=True)
@click.option(
    "--output", metavar="FILE", default="packs/torchbench.yaml", show_default=True, help="Collection to write."
)
@click.option("--dry-run", is_flag=True, help="Only print the table.")
@json_option
@common_options
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
    from dlbs.packs.torchbench import model_directories, needs_of, write_collection

    found = sorted(
        map(needs_of, model_directories(map(Path, places))), key=lambda needs: (_STATES.index(needs.state), needs.name)
    )
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
    tell(
        f"{counted(len(found), 'model')}: {', '.join(f'{counts[state]} {state}' for state in _STATES if counts[state])}"
    )
    if not dry_run:
        packs = write_collection(Path(output), [one.directory for one in found if one.state != "not supported"])
        tell(f"{counted(len(packs), 'pack')} → {output}; dlbs pack install NAME, dlbs pack check NAME")
