"""Choose records: `{"exp.model": "alexnet.*"}` as in a configuration's conditions, or `${results.time} < 10`."""

from __future__ import annotations

from collections.abc import Callable

from dlbs.errors import DlbsError, ExpressionError, LogError
from dlbs.jsonio import JsonError, load_json
from dlbs.language.conditions import condition_test
from dlbs.language.template import escape
from dlbs.plan.resolve import Processor
from dlbs.results.read.onelog import Record

__all__ = ["compile_query"]

_RESULT = "query.result"


def compile_query(query: str) -> Callable[[Record], bool]:
    """Return a function that tells whether a record fits.

    Args:
        query: A JSON object of conditions, all of which must hold: a number or boolean (equal), a list (any of), a text
            (a regular expression that matches the whole value). Or an expression in which `${name}` is a value of the record.
            A record that lacks a name does not fit.

    Raises:
        LogError: The query is malformed.
    """
    if query.lstrip().startswith("{"):
        return _conditions(query)
    return _expression(query)


def _conditions(query: str) -> Callable[[Record], bool]:
    try:
        given = load_json(query)
        tests = {name: condition_test(name, expected, "--filter_query") for name, expected in given.items()}
    except JsonError as error:
        raise LogError(f"{query!r} is not JSON: {error}", where="--filter_query") from None
    except DlbsError as error:
        raise LogError(error.what, where="--filter_query", hint=error.hint) from None

    def fits(record: Record) -> bool:
        return all(name in record and test(record[name]) is not None for name, test in tests.items())

    return fits


def _expression(query: str) -> Callable[[Record], bool]:
    processor = Processor(environ={})
    try:
        template = processor.tracer.template(f"$({query})$")
    except ExpressionError as error:
        raise LogError(error.what, where="--filter_query", hint=error.hint) from None
    if template is None or not template.references:
        raise LogError(
            f"{query!r} refers to no parameter", where="--filter_query", hint="write ${exp.model} == 'alexnet'"
        )
    names = [reference.raw for reference in template.references]

    def fits(record: Record) -> bool:
        if any(name not in record for name in names):
            return False
        experiment = {name: escape(record[name]) for name in names}
        try:
            return bool(processor.resolve({**experiment, _RESULT: f"$({query})$"})[_RESULT])
        except DlbsError as error:
            raise LogError(error.what, where="--filter_query", hint=error.hint) from None

    return fits
