"""Rewrite parameters of the original DLBS, names and values, by the table in dlbs/config/migration.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from dlbs.config.load import load_config
from dlbs.config.migration import EXPRESSIONS, Former, expression_hint, former
from dlbs.errors import DlbsError
from dlbs.language.parser import parse
from dlbs.language.template import is_template
from dlbs.text import text

__all__ = ["Migration", "Names", "Note", "is_known", "known_names", "path_of"]


@dataclass(frozen=True, slots=True)
class Note:
    """A note about a document.

    Attributes:
        where: The path of keys, `parameters.exp.proj`.
        what: The change, or the remaining task.
        left: Whether it is left to the user.
        times: The number of experiments of a plan that it applies to.
    """

    where: str
    what: str
    left: bool = False
    times: int = 1


@dataclass(slots=True)
class Migration:
    """A document during its rewriting.

    Attributes:
        document: The rewritten document.
        notes: Changes, and remaining tasks.
    """

    document: Any = None
    notes: list[Note] = field(default_factory=list)

    def changed(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what))

    def left(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what, left=True))


def path_of(*keys: str) -> str:
    """Join keys, ignoring empty ones."""
    return ".".join(filter(None, keys))


class Names:
    """Rewriter of parameters by the table of names.

    Args:
        frameworks: The frameworks that the document runs; empty if unknown.
    """

    def __init__(self, frameworks: set[str], migration: Migration) -> None:
        self.frameworks, self.migration = frameworks, migration

    def row(self, name: str) -> Former | None:
        """The table's row of a name, if it applies to this document."""
        row = former(name)
        if row is None or self.frameworks <= {"pytorch", "train"}:
            return row
        if row.new.startswith("pytorch."):
            return Former(row.name, why=row.why)
        return replace(
            row, values={value: None if _is_for_pytorch(meant) else meant for value, meant in row.values.items()}
        )

    def parameter(self, name: str, value: Any, where: str) -> dict[str, Any]:
        """The replacements of a parameter."""
        row, place = self.row(name), path_of(where, name)
        if row is None or row.own:
            return {name: self.value(value, place)}
        if row.has(value):
            meant = row.meaning(value)
            if meant is None:
                self.migration.left(place, f"{text(value)} has no equivalent: {row.why}")
                return {name: value}
            settings = ", ".join(f"{new}={text(becomes)!r}" for new, becomes in meant.items())
            self.migration.changed(place, f"{text(value)!r} is {settings or 'removed'}" + _reason(row, bool(settings)))
            return dict(meant)
        if row.words and isinstance(value, str) and not is_template(value):
            return {name: self._words(row, value, place)}
        if row.omit:
            self.migration.changed(place, f"removed: {row.why}")
            return {}
        if row.new:
            self.migration.changed(place, f"is {row.new}")
            return {row.new: self.value(value, place)}
        if is_known(name):
            return {name: self.value(value, place)}
        self.migration.left(place, row.hint)
        return {name: value}

    def _words(self, row: Former, value: str, place: str) -> str:
        words = [word for word in re.split(r"[,\s]+", value) if word]
        new = list(dict.fromkeys(becomes for word in words if (becomes := row.words.get(word, word))))
        for word in words:
            if row.words.get(word, word) is None:
                self.migration.left(place, f"{word} was removed: {row.why}")
        if ",".join(new) == ",".join(words):
            return value
        self.migration.changed(place, f"{value!r} is {','.join(new)!r}")
        return ",".join(new)

    def value(self, value: Any, place: str) -> Any:
        """Rewrite the references and expressions of a value."""
        if isinstance(value, list):
            kept = [item for item in value if not self._is_omitted_reference(item, place)]
            return [self.value(item, place) for item in kept]
        if isinstance(value, dict):
            return {key: self.value(item, place) for key, item in value.items()}
        if not isinstance(value, str) or "$" not in value:
            return value
        new = _REFERENCE.sub(lambda found: self._reference(found, place), value)
        if "$(" in new:
            new = _EXPRESSION.sub(lambda found: self._expression(found[0]), new)
        if new != value:
            self.migration.changed(place, f"{value!r} is {new!r}")
        self._check(new, place)
        return new

    def _is_omitted_reference(self, item: Any, place: str) -> bool:
        found = _REFERENCE.fullmatch(item) if isinstance(item, str) else None
        row = self.row(found["name"]) if found else None
        if found is None or row is None or not row.omit:
            return False
        self.migration.changed(place, f"{item!r} removed: {row.why}")
        return True

    def _reference(self, found: re.Match[str], place: str) -> str:
        name, group = found["name"], ""
        if found["condition"]:  # ${__condition.NAME_1} is a group of the match of the condition on NAME
            name, _, group = name.rpartition("_")
        row = self.row(name)
        new = "" if row is None else row.reference or ("" if row.values else row.new)
        if row is not None and not new and not row.own and not is_known(row.name):
            self.migration.left(place, f"refers to {name}: {row.hint}")
        return f"${{{found['condition'] or ''}{new or name}{group and '_'}{group}}}"

    def _expression(self, expression: str) -> str:
        if not expression.endswith(")$"):
            return expression
        for row in EXPRESSIONS:
            if row.becomes is not None:
                expression = re.sub(row.pattern, row.becomes, expression)
        return expression

    def _check(self, value: str, place: str) -> None:
        try:
            parse(value)
        except DlbsError as error:
            hint = expression_hint(value) or error.hint
            self.migration.left(place, error.what + (f": {hint}" if hint else ""))
            return
        for row in EXPRESSIONS:
            if row.differs and re.search(row.pattern, value):
                self.migration.left(place, row.say)


def _is_for_pytorch(settings: Mapping[str, Any] | None) -> bool:
    """Whether a row's replacement is a parameter that experiments of other frameworks lack."""
    return any(name.startswith("pytorch.") for name in settings or ())


_REFERENCE = re.compile(r"\$\{(?P<condition>__condition\.)?(?P<name>[^${}()]+)\}")
_EXPRESSION = re.compile(
    r"\$\(.*?(?:\)\$|\Z)", re.DOTALL
)  # unclosed references match to the end, so that a thousand openings cost one search


def _reason(row: Former, is_set: bool) -> str:
    return f": {row.why}" if row.why and not is_set else ""


@lru_cache(maxsize=1)
def known_names() -> frozenset[str]:
    """The declared parameters."""
    return frozenset(load_config().declarations)


def is_known(name: str) -> bool:
    """Whether a parameter is declared."""
    return name in known_names() or name.startswith(("runtime.env.", "slurm."))
