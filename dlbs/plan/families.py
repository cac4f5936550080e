"""Which shipped parameters a plan has no use for: those of frameworks that none of its experiments can have.

They would stand in every log, cost time in every experiment, and a new one among them would change exp.id of experiments that have
nothing to do with it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dlbs.config.config import Config, values_of
from dlbs.files import dlbs_root

__all__ = ["needed_parameters"]

_GENERAL = "base.yaml"  # what stands there belongs to every experiment


def needed_parameters(config: Config) -> dict[str, Any]:
    """Name → raw value of the parameters that experiments start from.

    A family, such as `train.*`, is left out if it is not that of a framework in the plan, no launcher in the plan speaks of it, and no
    value refers to it. Whatever the user sets stays. If it cannot be told which frameworks there are, everything stays.
    """
    everything = config.parameters()
    texts = _launchers(config)
    if texts is None:
        return everything
    shipped = str(dlbs_root() / "config")
    families = {root for name in config.declarations if (root := _family(config, name, shipped))}
    families -= {str(framework) for framework in values_of(config, "exp.framework")}
    own = {name: _family(config, name, shipped) if config.is_shipped(name) else "" for name in everything}
    texts += [_text(value) for name, value in everything.items() if own[name] not in families]
    texts += [_text(values) for values in config.variables.values()]
    for extension in (*config.extensions, *config.exclude):
        texts.append(_text([extension.condition, extension.parameters, extension.cases]))
    if any(re.search(r"[$][{<]\s*[$]", text) for text in texts):
        return everything  # a computed name may be any
    while texts:
        text = texts.pop()
        for family in [family for family in families if re.search(rf"\b{re.escape(family)}\.", text)]:
            families.discard(family)
            texts += [_text(value) for name, value in everything.items() if own[name] == family]
    return {name: value for name, value in everything.items() if own[name] not in families}


def _text(value: Any) -> str:
    return json.dumps(value, default=str)


def _family(config: Config, name: str, shipped: str) -> str:
    """The first part of a parameter's name, if a shipped file for one framework declares it; empty for all others."""
    declaration = config.declarations.get(name)
    root, dot, _ = name.partition(".")
    if declaration is None or not dot or root == "exp":
        return ""
    directory, _, file = declaration.where.rpartition(":")[0].rpartition(os.sep)
    return "" if file == _GENERAL or directory != shipped else root


def _launchers(config: Config) -> list[str] | None:
    """The templates of all launchers that the plan may use; None if they cannot be known, or are programs, which get all parameters."""
    texts: dict[Path, str] = {}
    frameworks = values_of(config, "exp.framework")
    if not frameworks or any("$" in str(framework) for framework in frameworks):
        return None
    for framework in frameworks:
        paths = [Path(one) for one in _constants(config, f"{framework}.launcher")]
        paths = paths or [dlbs_root() / "scripts" / "launchers" / f"{framework}.sh"]
        if any("$" in str(path) or not path.is_file() or os.access(path, os.X_OK) for path in paths):
            return None
        try:
            for path in paths:
                _read(path, texts)
        except OSError:  # the launcher that cannot be read is found by the validator
            return None
    return list(texts.values())


def _constants(config: Config, name: str, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """Values of a parameter, those of others that it is set to included; `${DLBS_ROOT}` is the only variable that is put in."""
    for value in values_of(config, name):
        same = re.fullmatch(r"[$][{]([a-z_.]+)[}]", str(value))
        if same and same[1] not in seen:
            yield from _constants(config, same[1], seen | {name})
        else:
            yield str(value).replace("${DLBS_ROOT}", str(dlbs_root()))


def _read(path: Path, texts: dict[Path, str]) -> None:
    """A template and those that it extends or includes."""
    if path in texts:
        return
    texts[path] = path.read_text(encoding="utf-8", errors="replace")
    for name in re.findall(r"[{]%-?\s*(?:extends|include)\s+[\"']([\w.-]+)[\"']", texts[path]):
        beside, shipped = path.parent / name, dlbs_root() / "scripts" / "launchers" / name
        _read(beside if beside.is_file() else shipped, texts)
