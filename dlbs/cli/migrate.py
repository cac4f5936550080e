"""The verb `migrate`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from dlbs.cli.as_json import json_option, print_json
from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import ConfigError, DlbsError
from dlbs.text import printable

__all__ = ["migrate_command"]

_LARGEST = 256 << 20  # bytes of a configuration or a plan


@click.command("migrate", context_settings=CONTEXT)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Print what would be changed, and write nothing.")
@click.option(
    "--output-file",
    "--output",
    "-o",
    metavar="FILE",
    help="Write to this file instead of replacing FILE; for one FILE only.",
)
@json_option
@common_options
def migrate_command(files: tuple[str, ...], dry_run: bool, output_file: str | None, as_json: bool) -> int:
    """Rewrite configurations and plans of the original DLBS.

    Each FILE is replaced by its equivalent; the original is kept as FILE.orig. Settings with an exact equivalent are rewritten. Settings
    without one are kept and reported, and the exit code is 1. Nothing is guessed.

    \b
    Examples:
      dlbs migrate --dry-run configs/*.json
      dlbs migrate config.json --output config.new.json
      dlbs migrate --dry-run --json configs/*.json
    """
    from dlbs.config.load import load_config
    from dlbs.files import read_regular, write_atomically, write_bytes
    from dlbs.plan.migrate import migrate, summary

    if output_file is not None and len(files) > 1:
        raise ConfigError(
            "--output requires exactly one FILE", where=output_file, hint="without it, each FILE is replaced"
        )
    is_left = False
    documents = []
    for file in files:
        try:
            original = read_regular(file, _LARGEST, follow_links=True)
            migration = migrate(original.decode("utf-8-sig"), file)
        except FileNotFoundError:
            raise ConfigError("no such file", where=file, hint="check the path") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"cannot be read: {error}", where=file) from None
        is_changed = bool(migration.notes) or output_file is not None
        if is_changed and not dry_run:
            if output_file is None:
                kept = Path(f"{file}.orig")
                if kept.exists():
                    raise ConfigError("already exists", where=str(kept), hint="remove it, or give --output")
                write_bytes(kept, original)
            with write_atomically(output_file or file) as stream:
                json.dump(migration.document, stream, indent=2, ensure_ascii=False)
                stream.write("\n")
            if isinstance(migration.document, dict):
                try:
                    load_config([output_file or file])
                except DlbsError as error:
                    migration.left("", f"it cannot be loaded yet: {error}")
        if as_json:
            notes = [{"where": note.where, "what": note.what, "experiments": note.times} for note in migration.notes]
            left = [note.left for note in migration.notes]
            changed = [note for note, is_open in zip(notes, left, strict=True) if not is_open]
            documents.append(
                {
                    "file": file,
                    "changed": changed,
                    "left": [note for note, is_open in zip(notes, left, strict=True) if is_open],
                }
            )
        else:
            for line in summary(migration, file):
                click.echo(printable(line))
        is_left |= any(note.left for note in migration.notes)
    if as_json:
        print_json(documents)
    return 1 if is_left else 0
