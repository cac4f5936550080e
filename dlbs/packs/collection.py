"""Definitions of packs in YAML files: what they inherit, what files they include, and the entries that a matrix makes of one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlbs.config.documents import Document, load
from dlbs.errors import ConfigError, suggestion
from dlbs.text import truth

__all__ = ["KEYS", "SUITE_KEYS", "Entry", "entries_of"]

# Keys that only milabench's reports, checks and benchfiles read. Benchfiles find them in their configuration.
SUITE_KEYS = (
    "group", "validation", "requires_capabilities", "weights", "use_deepspeed", "runs", "dirs", "venv", "client", "server",
    "deepspeed", "gpu_load_threshold",
)  # fmt: skip
KEYS = (
    "inherits", "definition", "install_group", "install_variant", "argv", "plan", "weight", "tags", "max_duration", "voir", "url",
    "description", "enabled", "image", "build_args", "network", "command", "predictor", "num_machines", "matrix", "job",
    *SUITE_KEYS,
)  # fmt: skip
_DEEP = ("argv", "voir", "plan", "client", "server")  # mappings of which an heir may change some keys
_ALL = "*"  # the entry whose keys override those of all others
_MOST_ANCESTORS = 20
_MOST_INCLUDED = 100  # files
_MOST_JOBS = 10_000  # that a matrix makes


@dataclass(frozen=True, slots=True)
class Entry:
    """One definition with all that it inherits.

    Attributes:
        name: What it is called.
        values: Its keys; `enabled`, `inherits`, `matrix` and `job` are dealt with here.
        where: `file:line` of it.
        places: Of each key that the entry itself has.
        base: Directory that its `definition` is relative to.
    """

    name: str
    values: Mapping[str, Any]
    where: str
    places: Mapping[str, str]
    base: Path


class _Given:
    """All that files say of one name, the first of them last."""

    def __init__(self) -> None:
        self.layers: list[tuple[Document, Path]] = []

    @property
    def document(self) -> Document:
        return self.layers[-1][0]


def entries_of(path: Path) -> Iterator[Entry]:
    """The packs that a file defines: one key for each; those that begin with `_` are there to inherit from.

    A file that includes others changes their entries by its own of the same name.

    Raises:
        ConfigError: A file is malformed, a key or a type is wrong, or what is inherited from or included does not exist.
    """
    given: dict[str, _Given] = {}
    _read(path, given, [])
    for name, found in given.items():
        if not name.startswith("_") and name != _ALL:
            yield from _expanded(_merged(name, given), found.document)


def _read(path: Path, given: dict[str, _Given], chain: list[Path]) -> None:
    document = load(path)
    if not isinstance(document.data, dict):
        raise ConfigError("must hold a mapping of packs", where=document.path)
    if _is_early(document.data):
        what = "is in the early form of milabench, with `benchmarks:` and `<<<`, which milabench itself has dropped"
        raise ConfigError(
            what, where=document.where("benchmarks"), hint="make the entries keys of the file, with inherits"
        )
    included = document.data.get("include") or []
    included = [included] if isinstance(included, str) else included
    if not isinstance(included, list) or not all(isinstance(name, str) for name in included):
        raise ConfigError("include must be a file or a list of files", where=document.where("include"))
    for name in included:
        if path.resolve() in chain or len(chain) > _MOST_INCLUDED:
            raise ConfigError(f"{path.name} includes itself", where=document.where("include"))
        _read(path.parent / name, given, [*chain, path.resolve()])
    for name in document.data:
        if name != "include":
            given.setdefault(str(name), _Given()).layers.append((document, path.parent))


def _is_early(data: Mapping[str, Any]) -> bool:
    """Whether a file has its entries under one key, and merges mappings by `<<<`."""
    under = data.get("benchmarks")
    return isinstance(under, dict) and any(isinstance(one, dict) and "<<<" in one for one in under.values())


def _merged(name: str, given: Mapping[str, _Given]) -> Entry:
    """An entry with everything that it inherits: its own keys win, and those of a file win over the files that it includes."""
    merged: dict[str, Any] = {}
    for layer, _ in reversed(given[_ALL].layers if _ALL in given else []):
        if not isinstance(layer.data[_ALL], dict):
            raise ConfigError("must be a mapping", where=layer.where(_ALL))
        _take(merged, layer.data[_ALL], layer, _ALL)
    document = given[name].document
    base: Path | None = None
    chain = [name]
    current: str | None = name
    while current is not None:
        if current == "_defaults" and current not in given:
            break  # what every pack has anyway
        if current not in given:
            what = f"{chain[-2]!r} inherits from {current!r}, which is not there"
            raise ConfigError(what, where=given[chain[-2]].document.where(chain[-2]))
        parent = None
        own: dict[str, Any] = {}
        for layer, directory in reversed(given[current].layers):
            values = layer.data[current]
            if values is None and len(given[current].layers) > 1:
                continue
            if not isinstance(values, dict):
                raise ConfigError("must be a mapping", where=layer.where(current))
            if base is None and "definition" in values:
                base = directory
            _take(own, values, layer, current)
            parent = parent or values.get("inherits")
            if parent is not None and not isinstance(parent, str):
                where = layer.where(current, "inherits")
                raise ConfigError(f"inherits must be the name of one definition, not {parent!r}", where=where)
        _inherit(merged, own)
        current = parent
        if current is not None:
            chain.append(current)
        if len(chain) > _MOST_ANCESTORS:
            raise ConfigError(f"inherits from itself: {' → '.join(chain[:4])} …", where=document.where(name))
    places = {str(key).replace("-", "_"): document.where(name, str(key)) for key in document.data[name] or ()}
    return Entry(name, merged, document.where(name), places, base or Path(document.path).parent)


def _inherit(merged: dict[str, Any], parent: Mapping[str, Any]) -> None:
    """Add the keys of a parent. Tags are those of both, as in milabench."""
    for key, value in parent.items():
        if key == "tags" and isinstance(value, (list, str)) and isinstance(merged.get(key), (list, str)):
            merged[key] = sorted({*_words(merged[key]), *_words(value)})
        elif key in _DEEP and isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _deep(value, merged[key])
        else:
            merged.setdefault(key, value)


def _words(tags: list[Any] | str) -> list[str]:
    return [tags] if isinstance(tags, str) else [str(tag) for tag in tags]


def _take(merged: dict[str, Any], values: Mapping[str, Any], layer: Document, name: str) -> None:
    """Add the keys of a layer of an entry under those of later files.

    Raises:
        ConfigError: A key is unknown.
    """
    for given, value in values.items():
        # Templates of milabench have install-variant.
        key = str(given) if given in KEYS else str(given).replace("-", "_")
        if key not in KEYS:
            raise ConfigError(
                f"unknown key {given!r} of a pack", where=layer.where(name, given), hint=suggestion(str(given), KEYS)
            )
        if key in _DEEP and isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _deep(value, merged[key])
        else:
            merged.setdefault(key, value)


def _deep(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two mappings as one; what is over wins."""
    made = {**under, **over}
    for key, value in under.items():
        if isinstance(value, dict) and isinstance(over.get(key), dict):
            made[key] = _deep(value, over[key])
    return made


def _expanded(entry: Entry, document: Document) -> Iterator[Entry]:
    """The entry, or those that its matrix makes; none if it is not enabled."""
    said = entry.values.get("enabled")
    enabled = True if said is None else truth(said)
    if enabled is None:
        where = entry.places.get("enabled", entry.where)
        raise ConfigError(f"enabled must be true or false, not {said!r}", where=where)
    if not enabled:
        return
    if "matrix" not in entry.values:
        yield entry
        return
    matrix, job = entry.values["matrix"], entry.values.get("job")
    if not isinstance(matrix, dict) or not all(isinstance(values, list) and values for values in matrix.values()):
        raise ConfigError("matrix must be a mapping of lists", where=entry.places.get("matrix", entry.where))
    if not isinstance(job, dict) or not isinstance(job.get("name"), str):
        raise ConfigError("a matrix needs a job with a name", where=entry.places.get("job", entry.where))
    given: dict[str, _Given] = {}
    _read(Path(document.path), given, [])
    for count, values in enumerate(itertools.product(*matrix.values())):
        if count >= _MOST_JOBS:
            raise ConfigError(
                f"a matrix makes at most {_MOST_JOBS} jobs", where=entry.places.get("matrix", entry.where)
            )
        words = {f"{{{key}}}": str(value) for key, value in zip(matrix, values, strict=True)}
        made = _filled({key: value for key, value in job.items() if key != "name"}, words)
        parent = made.get("inherits")
        under: Mapping[str, Any] = {}
        base = entry.base
        if isinstance(parent, str):
            if parent not in given:
                raise ConfigError(f"the job inherits from {parent!r}, which is not there", where=entry.where)
            inherited = _merged(parent, given)
            under, base = inherited.values, inherited.base
        merged: dict[str, Any] = {}
        _take(merged, made, document, entry.name)
        _inherit(merged, under)
        made_entry = Entry(_filled(job["name"], words), merged, entry.where, {}, base)
        yield from _expanded(made_entry, document)


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """A value whose texts have the words of a matrix in place of their names in braces."""
    if isinstance(value, dict):
        return {_filled(key, words): _filled(inner, words) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, words) for inner in value]
    if isinstance(value, str):
        for name, word in words.items():
            value = value.replace(name, word)
    return value
