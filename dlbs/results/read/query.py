"""Select records (`{"exp.model": "alexnet.*"}` as in conditions, or `${results.time} < 10`) and add computed keys to them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dlbs.config.config import parse_value
from dlbs.core.errors import DlbsError, ExpressionError, LogError
from dlbs.core.files import JsonError, load_json
from dlbs.core.text import counted, finite, text
from dlbs.language.patterns import condition_test
from dlbs.language.template import escape
from dlbs.plan.compile import Processor
from dlbs.results.columns import ABSENT
from dlbs.results.runs import Record, Runs

FLAG = "--filter-query"
_RESULT = "query.result"
_TAGS = "db.tags"
# Keys whose numbers may be searched without a name; others, such as threads, need `name=value`.
_SPOKEN_NUMBERS = frozenset({"exp.replica_batch", "exp.repeat", "exp.num_gpus", "exp.effective_batch"})
# As long as the values of all other keys together; to be searched, they need `name=value`, too.
_LONG = frozenset({"exp.start_time", "exp.end_time"})
_NAMED = {"batch": "exp.replica_batch", "repeat": "exp.repeat"}


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

    def of(self, runs: Runs) -> Runs:
        """The runs that match."""
        return runs.where(runs.each(self.names, self.fits))


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
    from dlbs.results.keys import check_known, known_keys

    check_known(missing, {*known, *load_config().declarations, *known_keys()}, where)


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


@dataclass(frozen=True)
class Word:
    """A test whether some parameter of a run has a value: a whole value, or a part of it between blanks and commas.

    Attributes:
        name: The only parameter, also without its namespace; empty for any.
        value: The value in small letters.
    """

    name: str
    value: str

    @cached_property
    def _in_json(self) -> bytes:
        return json.dumps(self.value)[1:-1].encode()

    def concerns(self, key: str) -> bool:
        """Whether the values of a key count."""
        if key.startswith("results."):
            return False
        return self.name in {key, key.rpartition(".")[2]} if self.name else key not in _LONG

    def may_be_in(self, content: bytes) -> bool:
        """Whether one of several values can be the word, or have it as a part, by their JSON texts in small letters without escaped ones."""
        return self._in_json in content

    def fits(self, key: str, found: Any) -> bool:
        """Whether a value is the word, or a text has it as a part: `float16` is no part of `bfloat16`."""
        if isinstance(found, str):
            if self.value not in (shown := found.lower()):
                return False
            return shown == self.value or (not self.name and self.value in re.split(r"[\s,]+", shown))
        if not isinstance(found, (bool, int, float, list)) or text(found).lower() != self.value:
            return False
        return bool(self.name) or finite(found) is None or key in _SPOKEN_NUMBERS


def words_of(words: str) -> list[Word]:
    """Tests of which all must hold: `resnet18 training 16`, or `batch 16`, `name=value`, which are no other number, such as that of the devices."""
    named = re.sub(r"(?<![^\s,])(batch|repeat)\s+(?=\d)", lambda found: f"{_NAMED[found[1]]}=", words.lower())
    made = []
    for word in re.split(r"[\s,]+", named):
        if word not in {"", "batch", "repeat"}:
            name, equals, value = word.partition("=")
            made.append(Word(name, value) if equals else Word("", word))
    return made


@dataclass(frozen=True, slots=True)
class Additions:
    """Keys to add to runs.

    Attributes:
        needs: For each added key, the keys that its value refers to.
        value: The value of an added key for a record that has these keys.
    """

    needs: Mapping[str, list[str]]
    value: Callable[[str, Record], Any]

    def of(self, runs: Runs) -> Runs:
        """The runs with these keys."""
        for name, needs in self.needs.items():

            def made(record: Record, name: str = name, needs: list[str] = needs) -> Any:
                return self.value(name, record) if all(need in record for need in needs) else record.get(name, ABSENT)

            runs = runs.derived(name, runs.each([name, *needs], made))
        return runs


def compile_additions(given: Iterable[str]) -> Additions:
    """Compile definitions of keys that are added to runs.

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

    def value_of(name: str, record: Record) -> Any:
        known = {need: escape(record[need]) for need in needs[name]}
        try:
            return processor.resolve({**known, name: values[name]})[name]
        except DlbsError as error:
            raise LogError(error.what, where=f"-P{name}", hint=error.hint) from None

    return Additions(needs, value_of)


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


class Selection:
    """Selection of experiments and keys, with counts.

    Attributes:
        apart: Unsuccessful experiments, if they are kept separately.
    """

    def __init__(
        self,
        additions: tuple[str, ...],
        output_params: list[str],
        filter_params: list[str],
        filter_query: str | None,
        failed_benchmarks: str,
    ) -> None:
        self._add = compile_additions(additions)
        self._fits = compile_query(filter_query) if filter_query else None
        self._columns, self._needed, self._failed = output_params, filter_params, failed_benchmarks
        self._statuses: Counter[str] = Counter()
        self._left_out = 0
        self._known: dict[str, None] = {}
        self._made: dict[str, None] = {}
        self.apart: list[Runs] | None = [] if failed_benchmarks == "keep_separately" else None

    def kept(self, blocks: Iterable[Runs]) -> Iterator[Runs]:
        """The runs to write."""
        for block in blocks:
            self._known.update(dict.fromkeys(block.names))
            fit = block
            for name in self._needed:
                fit = fit.where(value is not None for value in fit.values(name))
            if self._fits is not None:
                fit = self._fits.of(fit)
            self._left_out += len(block) - len(fit)
            statuses = fit.statuses
            self._statuses.update(statuses)
            if self._failed == "keep":
                yield self._short(fit)
                continue
            yield self._short(fit.ok)
            if self.apart is not None:
                self.apart.append(self._short(fit.where(status != "ok" for status in statuses)))
        self._check_keys()

    def _check_keys(self) -> None:
        """Raise a LogError for a key that no experiment has."""
        check_keys(self._needed, self._known, "--filter-params")
        check_keys(self._fits.names if self._fits is not None else (), self._known)
        for name, keys in self._add.needs.items():
            check_keys(keys, {**self._known, **self._made} if self._statuses else (), f"-P{name}")
        check_keys(self._columns, {**self._known, **self._made} if self._statuses else (), "--output-params")

    def _short(self, runs: Runs) -> Runs:
        whole = self._add.of(runs)
        self._made.update(dict.fromkeys(whole.names))
        return whole.only(self._columns) if self._columns else whole

    def summary(self) -> str:
        """The number of experiments, and their outcomes."""
        words = ", ".join(f"{count} {status}" for status, count in sorted(self._statuses.items()))
        bad = self._statuses.total() - self._statuses["ok"]
        said = f"{counted(self._statuses.total(), 'experiment')}: {words or 'none'}"
        said += f"; {self._left_out} filtered out" if self._left_out else ""
        return said + (
            f"; {bad} unsuccessful {'one was' if bad == 1 else 'ones were'} discarded"
            if bad and self._failed == "discard"
            else ""
        )
