"""Keys of records: titles, units, whether higher is better, meanings, and unknown ones. keys.yaml is the only table of them."""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmark_core.text import printable
from dlbs.core.errors import ConfigError, LogError
from dlbs.core.text import text
from dlbs.language.patterns import compiled
from dlbs.results.runs import TIME, Runs

_LONGEST = 80  # characters of a label on an axis
_PREFIXED = {
    "bytes": (1024, ("bytes", "KiB", "MiB", "GiB", "TiB")),
    "FLOP/s": (1000, ("FLOP/s", "kFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s")),
}


class Key(NamedTuple):
    """Properties of a key.

    Attributes:
        title: Its title on axes and pages; empty for none.
        short: Its title in tables; empty for `title`.
        unit: Unit of its values; empty for texts and plain numbers.
        header: Header of its column, of a parameter; empty for its name.
    """

    title: str = ""
    short: str = ""
    unit: str = ""
    header: str = ""


class Entry(NamedTuple):
    """Documented keys that share a meaning; a final `*` matches any name.

    Attributes:
        keys: Their names.
        units: Their units, in order, without repetition.
        meaning: Markdown.
    """

    keys: tuple[str, ...]
    units: tuple[str, ...]
    meaning: str


class _Table(NamedTuple):
    keys: dict[str, Key]
    rows: tuple[Entry, ...]
    higher: tuple[str, ...]


@functools.cache
def _table() -> _Table:
    import yaml

    with (Path(__file__).with_name("keys.yaml")).open(encoding="utf-8") as stream:
        document = yaml.load(stream, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # a sixth of the time of SafeLoader
    keys = {name: Key(**fields) for name, fields in document["parameters"].items()}
    rows = []
    for row in document["keys"]:
        names = row["keys"].split(", ")
        titles, shorts, units = (_for_each(row.get(field), len(names)) for field in ("title", "short", "unit"))
        for name, title, short, unit in zip(names, titles, shorts, units, strict=True):
            known = keys.get(name, Key())
            keys[name] = Key(title or known.title, short, unit or known.unit, known.header)
        rows.append(Entry(tuple(names), tuple(dict.fromkeys(filter(None, units))), row["meaning"]))
    return _Table(keys, tuple(rows), tuple(document["higher"]))


def _for_each(value: str | list[str | None] | None, count: int) -> list[str]:
    """One word for each key of a row."""
    return [word or "" for word in value] if isinstance(value, list) else [value or ""] * count


def unit_of(key: str) -> str:
    """Unit of a key's values; empty for plain numbers and unknown keys."""
    return _table().keys.get(key, Key()).unit


def better_of(key: str) -> int:
    """Return 1 if higher is better, -1 if lower is better, as for times, memory and energy."""
    return 1 if any(fnmatch.fnmatchcase(key, pattern) for pattern in _table().higher) else -1


def key_title(key: str) -> str:
    """Title of a quantity or parameter on axes and pages, or its key if it has none."""
    return _table().keys.get(key, Key()).title or key


def header(name: str) -> str:
    """Header of the column of a parameter."""
    return _table().keys.get(name, Key()).header or name


def column_title(name: str) -> str:
    """Title of the column of a parameter on a page: its header in tables if it has one, otherwise its title or name."""
    known = _table().keys.get(name, Key())
    return known.header or known.title or name


def _titled_unit(key: str, title: str, runs: Runs) -> tuple[str, str]:
    """Title and unit of a key for these runs: instances have names, and commands no batches."""
    unit = unit_of(key)
    if key == "results.throughput":
        unit = " or ".join(f"{text(one)}/s" for one in runs.distinct("results.unit") if one) or "instances/s"
    if key.startswith("results.time") and any(runs.distinct("command.line")):
        title = title.replace("batch time", "time").replace("batch", "run")
    return title, unit


def quantity(key: str, runs: Runs) -> str:
    """Title of a quantity in tables, with its unit: `Throughput, images/s`."""
    known = _table().keys.get(key, Key())
    title, unit = _titled_unit(key, known.short or known.title or key, runs)
    title = titled(title) if title != key else key
    return f"{title}, {unit}" if unit else title


class Quantity(NamedTuple):
    """Label and scale of a quantity or parameter on an axis.

    Attributes:
        name: Its title, or its key if it has none.
        unit: Unit on the axis; empty for texts and counts.
        factor: Factor from the value in the log to the number on the axis.
    """

    name: str
    unit: str = ""
    factor: float = 1.0

    def __str__(self) -> str:
        return label(f"{self.name}, {self.unit}" if self.unit else self.name)


def quantity_of(key: str, runs: Runs) -> Quantity:
    """Title of a quantity with one unit for all runs.

    Args:
        key: Key of a parameter or result.
        runs: The drawn runs; their values select the prefix of the unit, such as MiB or GiB.
    """
    name, unit = _titled_unit(key, key_title(key), runs)
    if key == "results.mfu":
        return Quantity(name, "%", 100)
    if unit not in _PREFIXED:
        return Quantity(name, unit)
    values = (abs(value) for value in runs.numbers(key) if value is not None)
    return Quantity(name, *prefixed(unit, max(values, default=0.0)))


def prefixed(unit: str, greatest: float) -> tuple[str, float]:
    """Multiple of bytes or FLOP/s in which the greatest number has the fewest digits before the decimal point, and the factor to it."""
    step, units = _PREFIXED[unit]
    power = 0
    while power < len(units) - 1 and greatest >= step ** (power + 1):
        power += 1
    return units[power], 1 / step**power


def label(words: str, longest: int | None = _LONGEST) -> str:
    """Clean a text for a figure: one line, without control characters, and truncated unless `longest` is None."""
    words = printable(words).replace("\n", " ")
    return words if longest is None or len(words) <= longest else words[: longest - 3] + "…"


def titled(words: str) -> str:
    """Capitalise a title, unless it begins with a key or an abbreviation."""
    first = words.split(" ")[0].rstrip(",:")
    return words[:1].upper() + words[1:] if first.replace("-", "").isalnum() and first.islower() else words


def check_known(names: Iterable[str], known: Collection[str], where: str) -> None:
    """Reject keys that no experiment has: they would compare, match or ignore nothing.

    Args:
        names: Requested keys.
        known: All keys of the experiments.
        where: Source of the keys, for the error.

    Raises:
        LogError: A key is unknown.
    """
    for name in names:
        if name not in known:
            raise LogError(f"no experiment has {name!r}", where=where, hint=key_hint(name, known))


def key_hint(name: str, known: Iterable[str]) -> str:
    """The hint for a key that no experiment has: a similar one, also by its name in tables or without its namespace."""
    import difflib  # it takes 4 ms

    ordered = sorted(known, key=lambda key: key.startswith("results."))  # they win
    short = {header(key): key for key in ordered} | {key.rpartition(".")[2]: key for key in ordered}
    if close := difflib.get_close_matches(name, [*ordered, *short], 1, 0.75):
        return f"did you mean {short.get(close[0], close[0])!r}?"
    usual = f"they have {TIME}; " if "throughput" in name and TIME in ordered else ""
    return f"{usual}dlbs parse LOG shows the keys of a log"


_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")


def known_keys() -> dict[str, Entry]:
    """Map each key to its row; keys with a final `*` are left out."""
    return {key: row for row in _table().rows for key in row.keys if re.fullmatch(r"[\w.]+", key)}


def markdown_table() -> str:
    """Format the table as Markdown."""
    lines = ["| key | unit | meaning |", "| --- | --- | --- |"]
    for row in _table().rows:
        keys = ", ".join(key if key == "…" else f"`{key}`" for key in row.keys)
        lines.append(f"| {keys} | {', '.join(row.units)} | {row.meaning} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def _matching(pattern: str) -> list[str]:
    """Keys whose name is `pattern`, with or without `results.`, or matches it as a regular expression."""
    known = known_keys()
    for key in (pattern, f"results.{pattern}"):
        if key in known:
            return [key]
    try:
        expression = compiled(pattern)
    except ConfigError:
        return []
    return [key for key in known if expression.fullmatch(key)]


def key_documents(pattern: str) -> list[dict[str, Any]]:
    """Describe the keys whose name is `pattern` or matches it as a regular expression: kind, name, unit, better, description."""
    known, documents = known_keys(), []
    for key in _matching(pattern):
        unit = unit_of(key)
        better = ("higher" if better_of(key) > 0 else "lower") if unit and key.startswith("results.") else ""
        description = _LINK.sub(r"\1", known[key].meaning).replace("`", "")
        documents.append({"kind": "key", "name": key, "unit": unit, "better": better, "description": description})
    return documents
