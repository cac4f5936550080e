"""A declared parameter: type, domain, pattern and description; casting and checking values; its keys in files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from benchmark_core.text import truth
from dlbs.core.errors import ResolveError
from dlbs.core.files import load_json
from dlbs.core.text import seconds_of, text
from dlbs.language.patterns import compiled

TYPES = ("str", "int", "float", "seconds", "bool", "list", "dict", "any")
SCALARS = frozenset({"str", "int", "float", "seconds", "bool"})
_MEANINGS = {
    "[1-9][0-9]*": "must be at least 1",
    "[0-9]+": "must be at least 0",
    "[0-9].*": "must be at least 0",
    "any:[1-9][0-9]*|[0-9:, ]*": "must be numbers (0,1 or 0:1,2:3), any:2, or empty for the CPU",
}  # of patterns


class Parameter(NamedTuple):
    """The declaration of a parameter.

    Attributes:
        name: Full name, `exp.model`.
        type: One of `TYPES`. A parameter whose default is null may also be null.
        desc: Its description, for `dlbs help`.
        domain: The allowed values, of the type `type`; None for any.
        regexp: A regular expression that the whole text of the value must match; empty for any.
        identity: Whether the value is part of the experiment's identity (`exp.id`), unlike paths and log settings.
        option_in: The dictionary parameter of which this one is an entry, as an option of a program; empty if there is none.
        default: The shipped value, unresolved.
        where: `file:line` of the declaration.
        frameworks: The frameworks whose experiments have it; empty for all.
        phases: The values of exp.phase of experiments that have it; empty for all.
        follows: A parameter whose experiments also have this one, in any framework; empty if there is none.
        alternatives: Default values for experiments that lack a parameter to which `default` refers; the first that can be resolved is used.
    """

    name: str
    type: str = "any"
    desc: str = ""
    domain: tuple[Any, ...] | None = None
    regexp: str = ""
    identity: bool = True
    option_in: str = ""
    default: Any = None
    where: str = ""
    frameworks: tuple[str, ...] = ()
    phases: tuple[str, ...] = ()
    follows: str = ""
    alternatives: tuple[Any, ...] = ()

    def check(self, value: Any) -> Any:
        """Return `value` cast to the declared type, checked against domain and pattern.

        Raises:
            ResolveError: The value cannot be cast without loss, or is not allowed.
        """
        if value is None and self.default is None:
            return value
        cast = self._cast(value)
        if self.domain is not None and not any(
            cast == allowed and type(cast) is type(allowed) for allowed in self.domain
        ):
            from dlbs.core.errors import did_you_mean

            allowed_text = ", ".join(json.dumps(allowed) for allowed in self.domain)
            raise ResolveError(
                f"{self.name} is {json.dumps(value, default=str)}, which is not one of {allowed_text}",
                hint=did_you_mean(text(cast), map(text, self.domain)),
            )
        if self.regexp and not compiled(self.regexp).fullmatch(text(cast)):
            meaning = _MEANINGS.get(self.regexp, f"does not match {self.regexp!r}")
            what = f"{self.name} is {json.dumps(value, default=str)}, which {meaning}"
            raise ResolveError(what, hint=self._meaning())
        return cast

    def with_domain_cast(self) -> Parameter:
        """The declaration with the allowed values cast to its type, as the values that are compared with them.

        Raises:
            ResolveError: One of them cannot be cast.
        """
        if self.domain is None:
            return self
        return self._replace(domain=tuple(one if one is None else self._cast(one) for one in self.domain))

    def document(self) -> dict[str, Any]:
        """The keys with which a file declares it, except its value."""
        made = {}
        for key, one in FIELDS.items():
            value = getattr(self, one.attribute)
            if key in _ALWAYS or value != self._field_defaults[one.attribute]:
                made[key] = list(value) if isinstance(value, tuple) else value
        return made

    def _cast(self, value: Any) -> Any:
        if self.type == "any":
            return value
        try:
            return _CASTS[self.type](value)
        except (TypeError, ValueError, OverflowError):
            shown = json.dumps(value, default=str)
            what = f"{self.name} must be of type {self.type}, not {shown[:200]}"
            hint = "write 90, 90s, 5m or 1h30m" if self.type == "seconds" else self._meaning()
            raise ResolveError(what, hint=hint) from None

    def _meaning(self) -> str:
        """The first sentence of the description."""
        return self.desc.partition(". ")[0].removesuffix(".")


def _to_int(value: Any) -> int:
    if isinstance(value, float):
        if not value.is_integer():
            raise ValueError(value)
        return int(value)
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        return int(value)
    raise TypeError(value)


def _to_float(value: Any) -> float:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        return float(value)
    raise TypeError(value)


def _to_seconds(value: Any) -> float:
    seconds = seconds_of(value) if isinstance(value, str) else None
    return _to_float(value) if seconds is None else seconds


def _to_bool(value: Any) -> bool:
    meant = truth(value)
    if meant is None:
        raise ValueError(value)
    return meant


def _to_list(value: Any) -> list[Any]:
    """Cast to a list; strings are split into words like in a shell, so that `-Pexp.docker_args='-e A=1'` is two arguments."""
    if isinstance(value, str):
        return shlex.split(value)
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]


def _to_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        value = load_json(value) if value else {}
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(value)


_CASTS = {
    "str": text,
    "int": _to_int,
    "float": _to_float,
    "seconds": _to_seconds,
    "bool": _to_bool,
    "list": _to_list,
    "dict": _to_dict,
}


class Field(NamedTuple):
    """A key of a declaration in a file.

    Attributes:
        attribute: The attribute of `Parameter` that has its value.
        read: Makes the attribute's value from the file's, or raises a ValueError.
        expected: Description of a valid value, for the error.
    """

    attribute: str
    read: Callable[[Any], Any]
    expected: str


def _is(test: Callable[[Any], bool], made: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], Any]:
    """A reader that accepts the values that pass a test."""

    def read(value: Any) -> Any:
        if not test(value):
            raise ValueError(value)
        return made(value)

    return read


def are_names(value: Any) -> bool:
    """Whether a value is a list of strings that are not empty."""
    return isinstance(value, list) and all(isinstance(name, str) and name for name in value)


_read_text = _is(lambda value: isinstance(value, str))
_read_list = _is(lambda value: isinstance(value, list), tuple)
_read_names = _is(are_names, tuple)

# The keys of a declaration, besides its value `val`.
FIELDS = {
    "frameworks": Field("frameworks", _read_names, "a list of frameworks"),
    "type": Field("type", _is(TYPES.__contains__), f"one of {', '.join(TYPES)}"),
    "desc": Field("desc", lambda value: " ".join(str(value).split()), "a text"),
    "identity": Field("identity", _to_bool, "true or false"),
    "val_domain": Field("domain", lambda value: None if value is None else _read_list(value), "a list"),
    "val_regexp": Field("regexp", _read_text, "a string"),
    "option_in": Field("option_in", str, "the name of a dictionary"),
    "phases": Field("phases", _read_names, "a list of values of exp.phase"),
    "follows": Field("follows", _read_text, "the name of a parameter"),
    "val_else": Field("alternatives", _read_list, "a list of values"),
}
_ALWAYS = {"frameworks", "type", "desc", "identity"}  # keys that a document has even if they are empty
