"""The command reference, generated from click's commands: Markdown for the site, roff for man."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator

import click

from dlbs.cli.main import cli
from dlbs.core.version import __version__


@dataclasses.dataclass(frozen=True)
class Command:
    """A verb with the content of its help.

    Args:
        name: `dlbs pack install`.
        usage: `[OPTIONS] NAME...`.
        paragraphs: Text of the help; preformatted paragraphs begin with a line `\\b`.
        options: Names with metavar → description.
        verbs: Verbs of a group, each with one line of help.
    """

    name: str
    usage: str
    paragraphs: list[str]
    options: list[tuple[str, str]]
    verbs: list[tuple[str, str]]


def commands(
    command: click.Command = cli, parent: click.Context | None = None, name: str = "dlbs"
) -> Iterator[Command]:
    """A command and all its subcommands, in the order of the help."""
    context = click.Context(command, parent=parent, info_name=name)
    usage = " ".join(command.collect_usage_pieces(context))
    # Without --help, which click adds to `get_params` of a command that was used in this process.
    records = [one.get_help_record(context) for one in command.params if isinstance(one, click.Option)]
    children = []
    if isinstance(command, click.Group):
        for verb in command.list_commands(context):
            child = command.get_command(context, verb)
            assert child is not None  # it is in the list
            children.append((verb, child))
    yield Command(
        context.command_path,
        usage,
        inspect.cleandoc(command.help or "").split("\n\n"),
        [record for record in records if record],
        [(verb, child.get_short_help_str(100)) for verb, child in children],
    )
    for verb, child in children:
        yield from commands(child, context, verb)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("\n", " ")


def command_reference() -> str:
    """The page of all commands."""
    lines = [
        "# Command reference",
        "",
        f"All commands of DLBS {__version__}, as `--help` shows them. [Command line](../command-line.md) explains them.",
        "",
    ]
    for one in commands():
        lines += [f"{'#' * (1 + len(one.name.split()))} {one.name}", "", f"    {one.name} {one.usage}", ""]
        for paragraph in one.paragraphs:
            if paragraph.startswith("\b"):
                lines += [f"    {line}" for line in paragraph.splitlines()[1:]] + [""]
            else:
                lines += [_cell(paragraph), ""]
        if one.verbs:
            lines += ["| verb | |", "| --- | --- |", *(f"| `{name}` | {_cell(text)} |" for name, text in one.verbs), ""]
        if one.options:
            rows = (f"| {_code(names)} | {_cell(text)} |" for names, text in one.options)
            lines += ["| option | |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def _code(text: str) -> str:
    """Names and metavar of an option as code, each alternative by itself, so that narrow columns wrap between them."""
    names, bracket, alternatives = text.partition(" [")
    found = [names, *alternatives.removesuffix("]").split("|")] if bracket else [text]
    return " ".join(f"`{one}`" for one in found).replace("|", "\\|")


def _roff(text: str) -> str:
    """Escape text for roff."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in {".", "'"} else line for line in text.split("\n"))


def man_page(one: Command) -> str:
    """A man page of section 1."""
    title = one.name.replace(" ", "-").upper()
    about = one.paragraphs[0].replace("\n", " ")
    lines = [
        f'.TH "{_roff(title)}" "1" "" "DLBS {__version__}" "DLBS"',
        ".SH NAME",
        f"{_roff(one.name.replace(' ', '-'))} \\- {_roff(about)}",
    ]
    lines += [".SH SYNOPSIS", f".B {_roff(one.name)}", _roff(one.usage), ".SH DESCRIPTION"]
    for paragraph in one.paragraphs:
        if paragraph.startswith("\b"):
            lines += [".PP", ".nf", _roff("\n".join(paragraph.splitlines()[1:])), ".fi"]
        else:
            lines += [".PP", _roff(paragraph)]
    for title, rows in (("VERBS", one.verbs), ("OPTIONS", one.options)):
        if rows:
            lines.append(f".SH {title}")
            for names, text in rows:
                lines += [".TP", f".B {_roff(names)}", _roff(text)]
    others = [f"{one.name.replace(' ', '-')}-{verb}" for verb, _ in one.verbs] or ["dlbs"]
    lines += [".SH SEE ALSO", ",\n".join(f".BR {_roff(name)} (1)" for name in others).replace(",\n", "\n")]
    return "\n".join(lines) + "\n"
