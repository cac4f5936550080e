"""A command line generated from the fields of a dataclass of options."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pytorch_benchmarks.options.common import CommonOptions
from pytorch_benchmarks.options.option import default_text, options_of

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """A parser with an option for each field of a dataclass; dashes and underscores in names are interchangeable.

    An invalid argument prints one line and exits with code 2.

    Args:
        kind: The dataclass; if it inherits CommonOptions, their options are a separate group in the help.
        prog: Name of the program.
        description: Its purpose, in a sentence.
        example: Arguments of a typical call.
    """

    def __init__(self, kind: type, *, prog: str, description: str, example: str) -> None:
        usage, epilog = f"{prog} --model NAME [--OPTION VALUE ...]", f"Example: {prog} {example}"
        super().__init__(prog=prog, usage=usage, description=description, epilog=epilog, allow_abbrev=False)
        both = issubclass(kind, CommonOptions)
        shared = {one.name for one, _ in options_of(CommonOptions)} if both else set()
        common = self.add_argument_group("options of benchmarks.py and train.py") if both else self
        own = self.add_argument_group(f"options of {prog} alone") if both else self
        for one, known in options_of(kind):
            words = known.help
            if known.choices and known.metavar:
                words += f" One of: {', '.join(filter(None, known.choices))}."
            if default_text(one):
                words += f" Default: {default_text(one)}."
            arguments: dict[str, Any] = {"dest": one.name, "default": one.default, "help": words.replace("%", "%%")}
            if default_text(one) == "":
                arguments["default"] = None if one.default is None else known.convert("")
            if known.alone is not None:
                arguments.update(nargs="?", const=known.alone)
            if known.choices:
                arguments["choices"] = known.choices
            group = common if one.name in shared else own
            group.add_argument(f"--{one.name}", type=known.convert, metavar=known.metavar or None, **arguments)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = sys.argv[1:] if args is None else list(args)
        written = {_underscored(word): word for word in given}
        parsed, unknown = self.parse_known_args(list(map(_underscored, given)), namespace)
        if unknown:
            name = written[unknown[0]].split("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
            close = difflib.get_close_matches(_underscored(name), known, n=1)
            self.error(f"unknown argument {name}" + (f": did you mean {close[0]}?" if close else ""))
        return parsed

    def error(self, message: str) -> NoReturn:
        print(f"error: {message} ({self.prog} --help lists the options)", file=sys.stderr)
        sys.exit(2)


def _underscored(word: str) -> str:
    """`--batch-size=4` as `--batch_size=4`; other words are unchanged."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"
