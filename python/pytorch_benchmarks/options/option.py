"""Options as fields of a dataclass, the only definition of their defaults, types and help texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any

from pytorch_benchmarks.options.kinds import boolean

__all__ = ["Option", "changed", "default_text", "option", "options_of"]

_KEY = "option"


@dataclass(frozen=True, slots=True)
class Option:
    """Syntax and meaning of an option.

    Attributes:
        help: Sentences, for `--help`, the parameter of the same name and the manual.
        convert: Converts the text of the argument to the value; raises `argparse.ArgumentTypeError`.
        choices: Allowed values; empty if `convert` decides.
        metavar: Placeholder of the value in the help.
        alone: Value of the option without an argument; None if it requires one.
    """

    help: str
    convert: Callable[[str], Any]
    choices: tuple[str, ...] = ()
    metavar: str = ""
    alone: Any = None


def option(
    default: Any,
    help: str,
    convert: Callable[[str], Any] = str,
    *,
    choices: Sequence[str] = (),
    metavar: str = "",
    alone: Any = None,
) -> Any:
    """A field of a dataclass that is an option of a program. A default of true or false makes it a boolean, whose value may be omitted."""
    if isinstance(default, bool):
        convert, metavar, alone = boolean, "true|false", True
    elif isinstance(default, int) and not metavar:
        metavar = "N"
    metadata = {_KEY: Option(help, convert, tuple(choices), metavar, alone)}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def changed(kind: type, name: str, default: Any = MISSING, help: str = "") -> Any:
    """The field `name` of a base class with another default or help text, for a class that inherits it."""
    inherited = next(one for one in fields(kind) if one.name == name)
    made = inherited.metadata[_KEY]
    metadata = {_KEY: replace(made, help=help) if help else made}
    if default is MISSING and inherited.default_factory is not MISSING:
        return field(default_factory=inherited.default_factory, metadata=metadata)
    return field(default=inherited.default if default is MISSING else default, metadata=metadata)


def options_of(kind: type) -> list[tuple[Field[Any], Option]]:
    """The fields of a dataclass with their options, in order."""
    return [(one, one.metadata[_KEY]) for one in fields(kind)]


def default_text(one: Field[Any]) -> str:
    """A default as written on the command line; empty for none."""
    value = None if one.default is MISSING else one.default
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
