"""The option `--json`, and the printing of JSON documents."""

from __future__ import annotations

from typing import Any

import click

from dlbs.jsonio import dump_json

__all__ = ["json_option", "print_json"]

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(document: Any) -> None:
    """Print a document on standard output. JSON escapes control characters, so that values from logs cannot control a terminal."""
    click.echo(dump_json(document))
