"""The definitions of packs, read from their directories and YAML files without running their code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from benchmark_core.text import truth
from dlbs.core.errors import ConfigError, did_you_mean
from dlbs.core.files import read_source, write_atomically
from dlbs.packs.collection import entries_of
from dlbs.packs.kinds import kinds, recognised
from dlbs.packs.pack import Pack

FILES = ("pack.yaml", "dev.yaml")  # possible names of the YAML file of a pack; the first one that exists
_WRITTEN = "# Written by dlbs pack import; it writes this file anew.\n"
_PLANS = ("per_gpu", "njobs")
_MOST_JOBS = 10_000
_LARGEST = 1e15
_LONGEST_NAME = 255  # bytes of a file's name
_COMPONENT = re.compile(r"\w[\w.-]*")


def pack_path(environ: Mapping[str, str] | None = None) -> list[Path]:
    """The search path of packs: `$DLBS_PACK_PATH` (directories and collections, separated by colons), then `packs` in this directory."""
    environ = os.environ if environ is None else environ
    given = [Path(one).expanduser() for one in environ.get("DLBS_PACK_PATH", "").split(os.pathsep) if one]
    return [*given, Path("packs")]


def find_packs(places: Iterable[Path] | None = None, *, problems: list[ConfigError] | None = None) -> dict[str, Pack]:
    """All packs in directories and collections; of packs with the same name, the first wins.

    A directory is a pack, or contains packs or collections (YAML files with several definitions).

    Args:
        places: Search path; `pack_path()` by default.
        problems: Receives malformed definitions, so that one does not hide the rest.

    Raises:
        ConfigError: A definition is malformed, and `problems` is None.
    """
    found: dict[str, Pack] = {}
    for place in pack_path() if places is None else places:
        for entry in _entries(place):
            try:
                packs = _read(entry)
            except ConfigError as error:
                if problems is None:
                    raise
                problems.append(error)
                continue
            for pack in packs:
                found.setdefault(pack.name, pack)
    return found


def find_pack(name: str, places: Iterable[Path] | None = None) -> Pack:
    """A pack by its name, or by the path of its directory.

    Raises:
        ConfigError: It does not exist; the message contains the closest names.
    """
    if os.sep in name or name in {".", ".."}:
        made = [pack for entry in _entries(Path(name)) for pack in _read(entry)]
        if len(made) == 1:
            return made[0]
        if made:
            names = ", ".join(pack.name for pack in made)
            hint = f"set DLBS_PACK_PATH={name}, and use the name of one"
            raise ConfigError(f"several packs in this directory: {names}", where=name, hint=hint)
        raise ConfigError(
            "no pack in this directory", where=name, hint="`dlbs pack new NAME --template benchmark` creates one"
        )
    problems: list[ConfigError] = []
    packs = find_packs(places, problems=problems)
    if name not in packs:
        for malformed in problems:  # the pack may exist nevertheless
            if name in malformed.where or repr(name) in malformed.what:
                raise malformed
        searched = ", ".join(map(str, pack_path())) if places is None else ", ".join(map(str, places))
        hint = did_you_mean(name, packs) or f"searched {searched}; set DLBS_PACK_PATH to add directories"
        raise ConfigError(f"unknown pack {name!r}", where="exp.pack", hint=hint)
    return packs[name]


def _entries(place: Path) -> list[Path]:
    """The pack directories and the collections in a place, which may be one itself."""
    if place.is_file() or recognised(place) is not None:
        return [place]
    if not place.is_dir():
        return []
    visible = [entry for entry in sorted(place.iterdir()) if not entry.name.startswith((".", "_"))]
    return [
        one for one in visible if (recognised(one) is not None if one.is_dir() else one.suffix in {".yaml", ".yml"})
    ]


def _read(entry: Path) -> list[Pack]:
    return _of_directory(entry) if entry.is_dir() else list(read_definitions(entry))


def _of_directory(directory: Path) -> list[Pack]:
    """The packs that its YAML file defines; without one, the pack that its files define."""
    for name in FILES:
        if (directory / name).is_file() and (packs := list(read_definitions(directory / name))):
            return packs
    return [_made(directory.resolve().name, directory, {}, str(directory), directory)]


def read_definitions(path: Path) -> Iterator[Pack]:
    """The packs that a YAML file defines: one key for each; names that begin with `_` are only inherited from.

    An entry without a directory only changes or describes entries of the same name.

    Raises:
        ConfigError: The file is malformed, a key or a type is wrong, or an inherited definition does not exist.
    """
    for entry in entries_of(path):
        directory = entry.base / str(entry.values.get("definition", "."))
        where = entry.places.get("definition", entry.where)
        if "\0" in str(directory) or any(len(os.fsencode(part)) > _LONGEST_NAME for part in directory.parts):
            raise ConfigError("definition is not a valid path", where=where, hint="set it to a directory")
        if directory.is_file():  # definitions of milabench point at benchfile.py
            directory = directory.parent
        if "definition" not in entry.values and path.name not in FILES and recognised(directory) is None:
            continue
        yield _made(entry.name, directory, entry.values, entry.where, path, entry.places)


def check_component(word: str, what: str, where: str) -> None:
    """Raise a ConfigError unless a word is a valid single path component, since directories and files are named after it."""
    if not _COMPONENT.fullmatch(word):
        hint = "use letters, digits, _, - and .; begin with a letter, a digit or _"
        raise ConfigError(f"{word!r} is not {what}", where=where, hint=hint)


def _made(
    name: str,
    directory: Path,
    given: Mapping[str, Any],
    where: str,
    file: Path,
    places: Mapping[str, str] | None = None,
) -> Pack:
    """The pack of a definition.

    Raises:
        ConfigError: A value is malformed, or the directory is not a pack.
    """
    check_component(name, "the name of a pack", where)
    name_of_kind = recognised(directory)
    if name_of_kind is None:
        *files, last = (kind.files for kind in reversed(list(kinds().values())) if kind.files)
        raise ConfigError(
            f"{name} is defined in {directory}, which has no {', no '.join(files)}, and no {last}",
            where=where,
            hint="check `definition`",
        )
    kind = kinds()[name_of_kind]
    pinned = (directory / "requirements.cpu.txt").is_file()
    defaults = {"install_group": name, "install_variant": "cpu" if pinned else "unpinned", **kind.defaults(name)}
    values = defaults | {
        one.name: _value(one, given[one.name], (places or {}).get(one.name, where))
        for one in fields(Pack)
        if "types" in one.metadata and given.get(one.name) is not None
    }
    check_component(values["install_group"], "an install group", where)
    check_component(values["install_variant"], "an install variant", where)
    _check_plan(values.get("plan", {}), where)
    suite = {key: given[key] for one in kinds().values() for key in one.keys if key in given}
    return Pack(
        name=name,
        directory=directory.resolve(),
        where=where,
        file=file.absolute(),
        kind=name_of_kind,
        suite=suite,
        **values,
    )


def _value(field: Field[Any], value: Any, where: str) -> Any:
    """The value of a field of a pack.

    Raises:
        ConfigError: It has a wrong type, or is no possible number.
    """
    types: tuple[type, ...] = field.metadata["types"]
    meant: Any = truth(value) if bool in types else value
    numbers = (int, float) if float in types else ()
    fits = isinstance(meant, (*types, *numbers)) and (bool in types or not isinstance(meant, bool))
    if not fits or (numbers and not 0 <= meant <= _LARGEST):  # rejects NaN too
        shown = str(value)[:40] if fits else repr(value)
        raise ConfigError(f"{field.name} must be {field.metadata['expected']}, not {shown}", where=where)
    return field.metadata["make"](meant)


def _check_plan(plan: Mapping[str, Any], where: str) -> None:
    if plan and plan.get("method") not in _PLANS:
        raise ConfigError(f"plan.method must be one of {', '.join(_PLANS)}, not {plan.get('method')!r}", where=where)
    count = plan.get("n", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_JOBS:
        raise ConfigError(f"plan.n must be a number from 1 to {_MOST_JOBS}, not {count!r}", where=where)


def select(packs: Iterable[Pack], chosen: Iterable[str] = (), excluded: Iterable[str] = ()) -> list[Pack]:
    """Packs that have one of the chosen words as name, tag or install group, and none of the excluded ones.

    Raises:
        ConfigError: A word fits no pack.
    """
    packs = list(packs)
    chosen, excluded = set(chosen), set(excluded)

    def words(pack: Pack) -> set[str]:
        return {pack.name, pack.install_group, *pack.tags}

    known = set().union(*map(words, packs)) if packs else set()
    for word in chosen | excluded:
        if word not in known:
            raise ConfigError(
                f"no pack has the name, tag or group {word!r}",
                where="--select",
                hint=did_you_mean(word, known) or "run dlbs pack list",
            )
    return [pack for pack in packs if (not chosen or words(pack) & chosen) and not words(pack) & excluded]


def write_collection(path: Path, directories: Iterable[Path], tag: str) -> list[Pack]:
    """Write a file that defines packs for directories, with a tag, so that they are found by name.

    Raises:
        ConfigError: The file exists and was not written by this function, or two directories have the same name.
    """
    if path.is_symlink() or (path.exists() and not read_source(path).startswith(_WRITTEN)):
        raise ConfigError(
            "was not written by dlbs pack import, so it is not replaced",
            where=str(path),
            hint="choose another --output FILE",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    packs: dict[str, Pack] = {}
    lines = [_WRITTEN]
    for directory in directories:
        pack = find_pack(os.path.join(directory.resolve(), ""))
        if pack.name in packs:
            raise ConfigError(
                f"two packs have the name {pack.name!r}", where=str(directory), hint="import only one of them"
            )
        packs[pack.name] = pack
        lines.append(f"{pack.name}:\n  definition: {_quoted(str(directory.resolve()))}\n  tags: [{tag}]\n")
    with write_atomically(path) as stream:
        stream.writelines(lines)
    return list(packs.values())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
