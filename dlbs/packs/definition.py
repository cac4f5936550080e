"""The definition of a pack, read from its directory and its YAML file without running its code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError, did_you_mean
from dlbs.files import read_source
from dlbs.packs.collection import SUITE_KEYS, entries_of
from dlbs.text import truth

__all__ = [
    "FILES",
    "KINDS",
    "Pack",
    "check_component",
    "find_pack",
    "find_packs",
    "pack_path",
    "read_definitions",
    "select",
]

FILES = ("pack.yaml", "dev.yaml")  # possible names of the YAML file of a pack; the first one that exists
KINDS = ("benchmark", "model", "architecture", "container")
_PLANS = ("per_gpu", "njobs")
_MOST_JOBS = 10_000
_LARGEST = 1e15
_LONGEST_NAME = 255  # bytes of a file's name
_COMPONENT = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack.

    Attributes:
        name: Its name.
        directory: Absolute path of its code.
        where: `file:line` of its definition, or the directory.
        file: The YAML file that defines it; its directory if there is none.
        kind: A key of `KINDS`, determined by its files.
        install_group: Packs of a group share an environment; the name of the pack by default.
        install_variant: `unpinned`, or the variant whose pinned requirements are installed (`cpu`, `cuda`, `rocm`).
        argv: Arguments of the main script: a mapping of options, or a list.
        plan: `{"method": "per_gpu"}` or `{"method": "njobs", "n": 2}`; empty for one experiment.
        weight: Weight in the total score.
        tags: Words that select it.
        max_duration: Seconds after which a run is ended; 0 for no limit.
        voir: Options of the pack's voirfile, such as `stop` and `interval`.
        description: One line.
        image: Containers: name of the image.
        build_args: Containers: arguments of `docker build`.
        network: Containers: whether the program may use the network.
        command: Containers: command that starts the program.
        predictor: Containers: name of the model in model.py, if it registers several.
        num_machines: Number of machines; only packs with 1 can run.
        suite: Keys that only benchfiles of milabench read.
    """

    name: str
    directory: Path
    where: str
    file: Path
    kind: str
    install_group: str
    install_variant: str = "unpinned"
    argv: Any = field(default_factory=dict)
    plan: Mapping[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    max_duration: float = 0.0
    voir: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    image: str = ""
    build_args: Mapping[str, str] = field(default_factory=dict)
    network: bool = False
    command: str = "python3 run.py"
    predictor: str = ""
    num_machines: int = 1
    suite: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shares_torch(self) -> bool:
        """Whether pytorch_benchmarks measures it, with the installed torch; its environment only adds packages."""
        return self.kind in {"model", "architecture"}


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
    if place.is_file() or _kind(place) is not None:
        return [place]
    if not place.is_dir():
        return []
    visible = [entry for entry in sorted(place.iterdir()) if not entry.name.startswith((".", "_"))]
    return [one for one in visible if (_kind(one) is not None if one.is_dir() else one.suffix in {".yaml", ".yml"})]


def _read(entry: Path) -> list[Pack]:
    return _of_directory(entry) if entry.is_dir() else list(read_definitions(entry))


def _kind(directory: Path) -> str | None:
    """The kind of pack that a directory's files define; None if it is not a pack."""
    if _has(directory / "__init__.py", r"^class Model\b"):
        return "model"  # also with a Dockerfile, which some models contain
    if _has(directory / "architecture.py", r"^@register_model\(|^ +implements *="):
        return "architecture"
    if (directory / "Dockerfile").is_file():
        return "container"
    if (directory / "main.py").is_file() or (directory / "benchfile.py").is_file():
        return "benchmark"
    return None


def _has(path: Path, pattern: str) -> bool:
    """Whether a line of a file matches."""
    try:
        return re.search(pattern, read_source(path), re.MULTILINE) is not None
    except OSError:
        return False


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
        if "definition" not in entry.values and path.name not in FILES and _kind(directory) is None:
            continue
        yield _made(entry.name, directory, entry.values, entry.where, path, entry.places)


def _boolean(given: Mapping[str, Any], key: str, default: bool, where: str) -> bool:
    value = given.get(key)
    meant = default if value is None else truth(value)
    if meant is None:
        raise ConfigError(f"{key} must be true or false, not {value!r}", where=where)
    return meant


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
    def checked(key: str, kinds: tuple[type, ...], default: Any, expected: str) -> Any:
        value = given.get(key, default)
        if value is None:
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            place = (places or {}).get(key, where)
            raise ConfigError(f"{key} must be {expected}, not {value!r}", where=place)
        return value

    def number(key: str, default: float, expected: str) -> float:
        value = checked(key, (int, float), default, expected)
        if not 0 <= value <= _LARGEST:  # rejects NaN too
            place = (places or {}).get(key, where)
            raise ConfigError(f"{key} must be {expected}, not {str(value)[:40]}", where=place)
        return float(value)

    check_component(name, "the name of a pack", where)
    group = str(checked("install_group", (str,), name, "a word"))
    check_component(group, "an install group", where)
    pinned = (directory / "requirements.cpu.txt").is_file()
    variant = str(checked("install_variant", (str,), "cpu" if pinned else "unpinned", "a word"))
    check_component(variant, "an install variant", where)
    kind = _kind(directory)
    if kind is None:
        raise ConfigError(
            f"{name} is defined in {directory}, which has no main.py, no __init__.py with a class Model, no architecture.py with @register_model, and no Dockerfile",
            where=where,
            hint="check `definition`",
        )
    plan = checked("plan", (dict,), {}, "a mapping")
    if plan and plan.get("method") not in _PLANS:
        raise ConfigError(f"plan.method must be one of {', '.join(_PLANS)}, not {plan.get('method')!r}", where=where)
    count = plan.get("n", 1)
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= _MOST_JOBS:
        raise ConfigError(f"plan.n must be a number from 1 to {_MOST_JOBS}, not {count!r}", where=where)
    tags = checked("tags", (list, str), [], "a list of words")
    return Pack(
        name=name,
        directory=directory.resolve(),
        where=where,
        file=file.absolute(),
        kind=kind,
        install_group=group,
        install_variant=variant,
        argv=checked("argv", (dict, list), {}, "a mapping or a list"),
        plan=plan,
        weight=number("weight", 1.0, "a number from 0"),
        tags=tuple(map(str, [tags] if isinstance(tags, str) else tags)),
        max_duration=number("max_duration", 0.0, "seconds"),
        voir=_voir_options(checked("voir", (dict,), {}, "a mapping")),
        description=str(checked("description", (str,), "", "a string")),
        image=str(
            checked(
                "image", (str,), f"dlbs/{name.lower()}:latest" if kind == "container" else "", "the name of an image"
            )
        ),
        build_args={str(key): str(value) for key, value in checked("build_args", (dict,), {}, "a mapping").items()},
        network=_boolean(given, "network", False, (places or {}).get("network", where)),
        command=str(checked("command", (str,), "python3 run.py", "a command")),
        num_machines=int(number("num_machines", 1, "a number of machines")),
        predictor=str(checked("predictor", (str,), "", "the name of a model in model.py")),
        suite={key: given[key] for key in SUITE_KEYS if key in given},
    )


def _voir_options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    options = given.get("options", given)
    return options if isinstance(options, dict) else {}


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
