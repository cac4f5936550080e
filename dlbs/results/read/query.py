"""Select records: `{"exp.model": "alexnet.*"}` as in conditions of a configuration, or `${results.time} < 10`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from dlbs.errors import DlbsError, ExpressionError, LogError, did_you_mean
from dlbs.jsonio import JsonError, load_json
from dlbs.language.conditions import condition_test
from dlbs.language.template import escape
from dlbs.results.read.onelog import Record

__all__ = ["FLAG", "Query", "check_keys", "compile_query"]

FLAG = "--filter_query"
_RESULT = "query.result"
_TAGS = "db.tags"


@dataclass(frozen=True, slots=True)
class Query:
    """A predicate on records.

    Attributes:
        names: The keys that it reads.
        fits: The predicate.
    """

    names: tuple[str, ...]
    fits: Callable[[Record], bool]

    def __call__(self, record: Record) -> bool:
        return self.fits(record)


def check_keys(names: Iterable[str], known: Collection[str], where: str = FLAG) -> None:
    """Reject keys that no experiment can have: a misspelt key would silently select nothing.

    Args:
        names: Requested keys.
        known: All keys of the experiments; if empty, nothing is rejected.
        where: Source of the keys, for the error.

    Raises:
        LogError: A key is neither in an experiment, nor a parameter, nor a result that DLBS programs log.
    """
    missing = [name for name in names if name not in known] if known else []
    if not missing:
        return
    from dlbs.config.load import load_config
    from dlbs.results.keys import UNITS

    ours = {*load_config().declarations, *UNITS}
    for name in missing:
        if name not in ours:
            hint = did_you_mean(name, {*known, *ours}) or "dlbs parse LOG shows the keys of a log"
            raise LogError(f"no experiment has {name!r}", where=where, hint=hint)


def compile_query(query: str) -> Query:
    """Compile a query.

    Args:
        query: A JSON object of conditions, all of which must be met: a number or boolean (equal), a list (any of), a text
            (a regular expression that matches the whole value). Or an expression in which `${name}` is a value of the record.
            A record that lacks a name does not match. Of `db.tags`, any tag may match; a run without tags has the tag "".

    Raises:
        LogError: The query is malformed.
    """
    if query.lstrip().startswith("{"):
        return _conditions(query)
    return _expression(query)


def _conditions(query: str) -> Query:
    try:
        given = load_json(query)
        tests = {name: condition_test(name, expected, FLAG) for name, expected in given.items()}
    except JsonError as error:
        raise LogError(f"{query[:200]!r} is not JSON: {error}", where=FLAG) from None
    except DlbsError as error:
        raise LogError(error.what, where=FLAG, hint=error.hint) from None

    def fits(record: Record) -> bool:
        return all(name in record and _meets(name, record[name], test) for name, test in tests.items())

    return Query(tuple(tests), fits)


def _meets(name: str, value: Any, test: Callable[[Any], object]) -> bool:
    """Whether a value meets a condition. A run has several tags, each of which is a value."""
    if name == _TAGS and isinstance(value, list):
        return any(test(tag) is not None for tag in value or [""])
    return test(value) is not None


def _expression(query: str) -> Query:
    from dlbs.plan.resolve import Processor

    processor = Processor(environ={})
    try:
        template = processor.tracer.template(f"$({query})$")
    except ExpressionError as error:
        raise LogError(error.what, where=FLAG, hint=error.hint) from None
    if template is None or not template.references:
        raise LogError(f"{query!r} refers to no parameter", where=FLAG, hint="write ${exp.model} == 'alexnet'")
    names = [reference.raw for reference in template.references]

    def fits(record: Record) -> bool:
        if any(name not in record for name in names):
            return False
        experiment = {name: escape(record[name]) for name in names}
        try:
            return bool(processor.resolve({**experiment, _RESULT: f"$({query})$"})[_RESULT])
        except DlbsError as error:
            raise LogError(error.what, where=FLAG, hint=error.hint) from None

    return Query(tuple(names), fits)
