"""Add columns to records, computed from existing ones: `-Pmy.name='${exp.model} ${exp.dtype}'`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from dlbs.config.flags import parse_value
from dlbs.errors import DlbsError, LogError
from dlbs.jsonio import JsonError, load_json
from dlbs.language.template import escape
from dlbs.plan.resolve import Processor
from dlbs.results.read.onelog import Record

__all__ = ["Additions", "compile_additions"]


@dataclass(frozen=True, slots=True)
class Additions:
    """A function that adds keys to a record.

    Attributes:
        needs: For each added key, the keys that its value refers to.
        add: The function.
    """

    needs: Mapping[str, list[str]]
    add: Callable[[Record], Record]

    def __call__(self, record: Record) -> Record:
        return self.add(record)


def compile_additions(given: Iterable[str]) -> Additions:
    """Compile definitions of keys into a function that adds them to a record.

    Args:
        given: `NAME=VALUE`, or a JSON object with several. `${name}` in a value refers to a key of the record or to an earlier definition;
            `$(...)$` is an expression over them. A record that lacks a referenced name does not get the key.

    Raises:
        LogError: A value is malformed, or its evaluation fails for a record.
    """
    values: dict[str, Any] = {}
    for flag in given:
        values.update(_values(flag))
    processor = Processor(environ={})
    needs: dict[str, list[str]] = {}
    for name, value in values.items():
        try:
            template = processor.tracer.template(value)
        except DlbsError as error:
            raise LogError(error.what, where=f"-P{name}", hint=error.hint) from None
        references = template.references if template is not None else ()
        if any(reference.name is None for reference in references):
            raise LogError("the name must not be computed", where=f"-P{name}", hint="refer to keys by their names")
        needs[name] = [reference.raw for reference in references]
        if name in needs[name]:
            raise LogError("the value refers to the key itself", where=f"-P{name}", hint="rename the new key")

    def add(record: Record) -> Record:
        made = dict(record)
        for name, value in values.items():
            if any(need not in made for need in needs[name]):
                continue
            known = {need: escape(made[need]) for need in needs[name]}
            try:
                made[name] = processor.resolve({**known, name: value})[name]
            except DlbsError as error:
                raise LogError(error.what, where=f"-P{name}", hint=error.hint) from None
        return made

    return Additions(needs, add)


def _values(flag: str) -> dict[str, Any]:
    if flag.lstrip().startswith("{"):
        try:
            found: dict[str, Any] = load_json(flag)
        except JsonError as error:
            raise LogError(f"{flag[:200]!r} is not JSON: {error.what}", where="-P") from None
        return found
    name, equals, value = flag.partition("=")
    if not equals or not name.strip():
        raise LogError(
            f"{flag[:200]!r} is not name=value", where="-P", hint="write -Pmy.name='${exp.model} ${exp.dtype}'"
        )
    return {name.strip(): parse_value(value)}
