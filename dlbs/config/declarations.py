"""Declarations of parameters: type, domain, pattern and description; casting and checking values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dlbs.errors import ResolveError
from dlbs.jsonio import load_json
from dlbs.language.patterns import compiled
from dlbs.text import text, truth

__all__ = ["TYPES", "Parameter"]

TYPES = ("str", "int", "float", "bool", "list", "dict", "any")


@dataclass(frozen=True, slots=True)
class Parameter:
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
            from dlbs.errors import did_you_mean

            allowed_text = ", ".join(json.dumps(allowed) for allowed in self.domain)
            raise ResolveError(
                f"{self.name} is {json.dumps(value, default=str)}, which is not one of {allowed_text}",
                hint=did_you_mean(text(cast), map(text, self.domain)),
            )
        if self.regexp and not compiled(self.regexp).fullmatch(text(cast)):
            what = f"{self.name} is {json.dumps(value, default=str)}, which does not match {self.regexp!r}"
            raise ResolveError(what, hint=self._meaning())
        return cast

    def with_domain_cast(self) -> Parameter:
        """The declaration with the allowed values cast to its type, as the values that are compared with them.

        Raises:
            ResolveError: One of them cannot be cast.
        """
        if self.domain is None:
            return self
        return replace(self, domain=tuple(one if one is None else self._cast(one) for one in self.domain))

    def _cast(self, value: Any) -> Any:
        if self.type == "any":
            return value
        try:
            return _CASTS[self.type](value)
        except (TypeError, ValueError, OverflowError):
            shown = json.dumps(value, default=str)
            what = f"{self.name} must be of type {self.type}, not {shown[:200]}"
            raise ResolveError(what, hint=self._meaning()) from None

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
    "bool": _to_bool,
    "list": _to_list,
    "dict": _to_dict,
}
