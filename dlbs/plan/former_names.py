"""Rewrite one parameter of the original DLBS, name and value, by the table in dlbs/config/migration.py."""

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
    """One thing about a document.

    Attributes:
        where: The keys that lead to it, `parameters.exp.proj`.
        what: What was changed, or what is left to do.
        left: Whether it is left to the user.
        times: In how many experiments of a plan.
    """

    where: str
    what: str
    left: bool = False
    times: int = 1


@dataclass(slots=True)
class Migration:
    """A document that is being rewritten.

    Attributes:
        document: What it becomes.
        notes: What was changed, and what is left to do.
    """

    document: Any = None
    notes: list[Note] = field(default_factory=list)

    def changed(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what))

    def left(self, where: str, what: str) -> None:
        self.notes.append(Note(where, what, left=True))


def path_of(*keys: str) -> str:
    """Keys as one text, those that are empty left out."""
    return ".".join(filter(None, keys))


class Names:
    """Rewrites parameters by the table of names.

    Args:
        frameworks: Those that the document runs; empty if it does not say.
    """

    def __init__(self, frameworks: set[str], migration: Migration) -> None:
        self.frameworks, self.migration = frameworks, migration

    def row(self, name: str) -> Former | None:
        """What the table has for a name, if it applies to this document."""
        row = former(name)
        if row is None or self.frameworks <= {"pytorch", "train"}:
            return row
        if row.new.startswith("pytorch."):
            return Former(row.name, why=row.why)
        return replace(
            row, values={value: None if _is_for_pytorch(meant) else meant for value, meant in row.values.items()}
        )

    def parameter(self, name: str, value: Any, where: str) -> dict[str, Any]:
        """The parameters that one becomes."""
        row, place = self.row(name), path_of(where, name)
        if row is None or row.own:
            return {name: self.value(value, place)}
        if row.has(value):
            meant = row.meaning(value)
            if meant is None:
                self.migration.left(place, f"{text(value)} has no equivalent: {row.why}")
                return {name: value}
            settings = ", ".join(f"{new}={text(becomes)!r}" for new, becomes in meant.items())
            self.migration.changed(place, f"{text(value)!r} is {settings or 'left out'}" + _reason(row, bool(settings)))
            return dict(meant)
        if row.words and isinstance(value, str) and not is_template(value):
            return {name: self._words(row, value, place)}
        if row.omit:
            self.migration.changed(place, f"left out: {row.why}")
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
                self.migration.left(place, f"{word} was left out: {row.why}")
        if ",".join(new) == ",".join(words):
            return value
        self.migration.changed(place, f"{value!r} is {','.join(new)!r}")
        return ",".join(new)

    def value(self, value: Any, place: str) -> Any:
        """A value with its references and expressions rewritten."""
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
        self.migration.changed(place, f"{item!r} left out: {row.why}")
        return True

    def _reference(self, found: re.Match[str], place: str) -> str:
        name, group = found["name"], ""
        if found["condition"]:  # ${__condition.NAME_1} is a group of what the condition on NAME found
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
    """Whether it sets a parameter that experiments of other frameworks do not have."""
    return any(name.startswith("pytorch.") for name in settings or ())


_REFERENCE = re.compile(r"\$\{(?P<condition>__condition\.)?(?P<name>[^${}()]+)\}")
_EXPRESSION = re.compile(
    r"\$\(.*?(?:\)\$|\Z)", re.DOTALL
)  # to the end where none closes, so that a thousand openings are one


def _reason(row: Former, is_set: bool) -> str:
    return f": {row.why}" if row.why and not is_set else ""


@lru_cache(maxsize=1)
def known_names() -> frozenset[str]:
    """The declared parameters."""
    return frozenset(load_config().declarations)


def is_known(name: str) -> bool:
    """Whether a parameter exists here."""
    return name in known_names() or name.startswith(("runtime.env.", "slurm."))
