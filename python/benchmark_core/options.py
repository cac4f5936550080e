"""Options as fields of dataclasses, the only definition of their defaults, types and help texts, and their command line."""

from __future__ import annotations

import argparse
import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, NoReturn, TypeVar

from benchmark_core.text import did_you_mean, truth

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


class Parser(argparse.ArgumentParser):
    """A parser with an option for each field of a dataclass; dashes and underscores in names are interchangeable.

    An invalid argument prints one line and exits with code 2.

    Args:
        kind: The dataclass.
        prog: Name of the program.
        description: Its purpose, in a sentence.
        example: Arguments of a typical call.
        common: A base class whose options are a separate group in the help, and the names of the programs that have them.
    """

    def __init__(
        self, kind: type, *, prog: str, description: str, example: str, common: tuple[type, str] | None = None
    ) -> None:
        usage, epilog = f"{prog} --model NAME [--OPTION VALUE ...]", f"Example: {prog} {example}"
        super().__init__(prog=prog, usage=usage, description=description, epilog=epilog, allow_abbrev=False)
        shared = {one.name for one, _ in options_of(common[0])} if common else set()
        first = self.add_argument_group(f"options of {common[1]}") if common else self
        own = self.add_argument_group(f"options of {prog} alone") if common else self
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
            group = first if one.name in shared else own
            group.add_argument(f"--{one.name}", type=known.convert, metavar=known.metavar or None, **arguments)

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = sys.argv[1:] if args is None else list(args)
        written = {_underscored(word): word for word in given}
        parsed, unknown = self.parse_known_args(list(map(_underscored, given)), namespace)
        if unknown:
            name = written[unknown[0]].split("=")[0]
            known = [flag for action in self._actions for flag in action.option_strings]
            self.error(f"unknown argument {name}: {did_you_mean(_underscored(name), known)}".removesuffix(": "))
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


Value = TypeVar("Value")


def boolean(value: str) -> bool:
    """`true` or `false`, in all spellings accepted in configurations."""
    found = truth(value)
    if found is None:
        raise ArgumentTypeError(f"{value!r} is neither true nor false")
    return found


def whole(minimum: int) -> Callable[[str], int]:
    """Converter of integers of at least `minimum`."""

    def convert(value: str) -> int:
        try:
            number = int(value)
        except ValueError:
            raise ArgumentTypeError(f"{value!r} is not an integer") from None
        if number < minimum:
            raise ArgumentTypeError(f"must be at least {minimum}, not {number}")
        return number

    return convert


def positive(value: str) -> float:
    """A finite number of at least 0."""
    try:
        number = float(value)
    except ValueError:
        raise ArgumentTypeError(f"{value!r} is not a number") from None
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"must be at least 0, not {value}")
    return number


def share(value: str) -> float:
    """A number from 0 to 1."""
    number = positive(value)
    if number > 1:
        raise ArgumentTypeError(f"must be at most 1, not {value}")
    return number


def percent(value: str) -> float:
    """A number from 0 to less than 100."""
    number = positive(value)
    if number >= 100:
        raise ArgumentTypeError(f"must be less than 100, not {value}")
    return number


def optional(convert: Callable[[str], Value], word: str = "") -> Callable[[str], Value | None]:
    """Converter of `word` to None, and of everything else with `convert`."""
    return lambda value: None if value == word else convert(value)


def names_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Converter of comma-separated names; `none` is the empty list."""

    def convert(value: str) -> tuple[str, ...]:
        names = tuple(name for name in value.split(",") if name and name != "none")
        for name in names:
            if name not in known:
                raise ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}, none")
        return names

    return convert


def json_list(value: str) -> tuple[str, ...]:
    """A JSON list of strings."""
    found = _json(value, "[]")
    if not isinstance(found, list):
        raise ArgumentTypeError(f"{value!r} is not a JSON list")
    return tuple(map(str, found))


def json_object(value: str) -> dict[str, Any]:
    """A JSON object."""
    found = _json(value, "{}")
    if not isinstance(found, dict):
        raise ArgumentTypeError(f"{value!r} is not a JSON object")
    return found


def _json(value: str, empty: str) -> Any:
    try:
        return json.loads(value or empty)
    except json.JSONDecodeError as error:
        raise ArgumentTypeError(f"{value!r} is not JSON: {error}") from None


def check_whole(name: str, value: Any, *, least: int = 1, most: int | None = None) -> None:
    """Check that an option is a whole number between two others.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if most is not None and not least <= value <= most:
        raise TypeError(f"{name} must be {least} to {most}, not {value}")
    if value < least:
        raise TypeError(f"{name} must be at least {least}, not {value}")


def check_probability(name: str, value: Any) -> None:
    """Check that an option is a number from 0 to below 1, as a probability to drop something that must not always be dropped.

    Raises:
        TypeError: It is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise TypeError(f"{name} must be a number from 0 to below 1, not {value!r}")


@dataclass(frozen=True)  # without slots, which classes with several bases cannot have
class ModelOptions:
    """Options of every program: the model, and where its results go."""

    model: str = option(
        "", "Model to run, such as alexnet; for an unknown name, the closest ones are suggested.", metavar="NAME"
    )
    model_opts: dict[str, Any] = option(  # noqa: RUF009
        {}, "Options of the model's builder, as a JSON object.", json_object, metavar="JSON"
    )
    batch_size: int = option(16, "Instances in one batch.", whole(1))
    dtype: str = option("float32", "Type of weights, inputs and arithmetic.")
    seed: int = option(1, "Random seed for weights and inputs.", int)
    json: str = option("", "File for all results as one JSON object, in addition to the log lines.", metavar="FILE")
    debug: bool = option(False, "Print the traceback of an error.")

    def flags(self) -> dict[str, Any]:
        """Every option with its value, for the log."""
        return {name: "auto" if value is None else value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class TimedOptions:
    """Number and kind of timed batches. `num_warmup_batches` is None for `auto`."""

    forward_only: bool = option(False, "Benchmark inference (true) or training (false).")
    num_batches: int = option(10, "Number of timed batches.", whole(1))
    num_warmup_batches: int | None = option(
        10,  # as exp.num_warmup_batches
        "Warm-up batches before the timed ones; auto runs them until their times are steady.",
        optional(whole(0), "auto"),
        metavar="N|auto",
    )
    min_time: float = option(
        0.0,
        "Minimum total seconds of the timed batches; 0 runs a fixed number of batches.",
        positive,
        metavar="SECONDS",
    )


@dataclass(frozen=True)
class SingleOptions(TimedOptions, ModelOptions):
    """Options of a benchmark in one process on one device with synthetic inputs."""

    data_loader_only: bool = option(False, "Skipped: inputs are synthetic, and nothing loads them.")
    num_replicas: int = option(1, "Model replicas; only one is supported.", whole(0))
