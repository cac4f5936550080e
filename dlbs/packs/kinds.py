"""The kinds of packs: how packs of a kind are recognised; rules for planning, installing, preparing and checking a pack, and which kinds there are.

A kind is a subclass of `Kind`. The kinds of DLBS are `KINDS`; each folder of `dlbs.suites` adds one as its `KIND`, other packages by
entry points of the group `dlbs.packs`, whose values are such classes.
"""

from __future__ import annotations

import importlib
import keyword
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from benchmark_core.provided import provide
from dlbs.core.errors import ConfigError, did_you_mean
from dlbs.core.experiment import Check, Experiment, Problem, Site
from dlbs.core.files import dlbs_root, load_json
from dlbs.core.text import text
from dlbs.packs.pack import Environment, Pack, Places

ENTRY_POINTS = "dlbs.packs"
KINDS = (
    "dlbs.packs.architecture:ArchitectureKind",
    "dlbs.packs.containers:ContainerKind",
    "dlbs.packs.benchfile:BenchmarkKind",
)

Finding = tuple[bool, str]  # whether it passed, and a message


@dataclass(frozen=True, slots=True)
class Provided:
    """Modules of a suite that a pack's own files may import while dlbs runs them.

    Attributes:
        modules: Module of the suite → module of DLBS with its names; "" for an empty one.
        packages: Module of the suite → directory of the package to import under that name.
        constants: Module of the suite → its names, for modules without a file.
    """

    modules: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, Path] = field(default_factory=dict)
    constants: Mapping[str, Mapping[str, object]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A directory of a suite that `dlbs pack import` inspected.

    Attributes:
        name: Its name.
        directory: Its path.
        state: ready, or the first obstacle in this order: not supported, GPU, data, packages.
        reason: The reason in words; empty if ready.
    """

    name: str
    directory: Path
    state: str
    reason: str = ""


class Kind:
    """A kind of packs: override what differs from a pack whose program neither needs nor provides anything.

    Attributes:
        name: Its name, the value of `pack.kind`.
        precedence: The kind with the lowest number wins if several recognise a directory.
        files: The files by which it is recognised, in words.
        builds_on: Frameworks whose parameters its experiments have too.
        runs_as: The framework whose launcher runs its packs, and whose checks they have to pass; empty for none.
        keys: Keys of definitions that only it reads, in `Pack.suite` → whether mappings are merged with the inherited ones.
        template: The directory that `dlbs pack new --template NAME` copies; None for no template.
        template_files: Files that it copies into the new directory.
        checks: Checks of its experiments before a plan runs.
        takes_paths: Whether the environments of its packs get the packages that suites provide (`paths`).
        uninstallable: Message of `dlbs pack install` for a pack that needs no environment.
    """

    name: str
    precedence: int = 50
    files: str
    builds_on: tuple[str, ...] = ()
    runs_as: str = ""
    keys: Mapping[str, bool] = MappingProxyType({})
    template: Path | None = None
    template_files: Sequence[Path] = ()
    checks: Sequence[Check] = ()
    takes_paths: bool = False
    uninstallable: str = "nothing to install"

    def recognises(self, directory: Path) -> bool:
        """Whether a directory is a pack of this kind."""
        raise NotImplementedError

    def defaults(self, name: str) -> dict[str, Any]:
        """Defaults of fields of `Pack`, for a pack of this name."""
        return {}

    def fill(self, given: Any, pack: Pack, places: Places) -> Any:
        """The arguments of a pack, of any kind, with values in place of names that the suite defines."""
        return given

    def variables(self, pack: Pack, places: Places) -> dict[str, str]:
        """Environment variables that the suite sets for scripts of packs of any kind."""
        return {}

    def provides(self, pack: Pack) -> Provided:
        """Modules of the suite for the files of a pack of any kind that dlbs runs."""
        return Provided()

    def paths(self) -> Sequence[Path]:
        """Directories of packages that the suite provides to the scripts of any pack that voir measures."""
        return ()

    def benchfile(self, names: Mapping[str, Any], pack: Pack, path: Path) -> Any | None:
        """The `BenchmarkPack` that a benchfile with these names defines; None if it is not one of this kind."""
        return None

    def survey(self, places: Sequence[Path]) -> list[Surveyed]:
        """The directories of the suite in these places, for `dlbs pack import`; none if it recognises none of them.

        Raises:
            ConfigError: It recognises only some places.
        """
        return []

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        """The parameters of an experiment of a pack; users may override them.

        Args:
            pack: The pack, with its arguments filled.
            places: The directories of packs.
            given: Names that the user sets.
        """
        alone = not self.needs_environment(pack)
        return {
            "pack.name": pack.name,
            "pack.dir": str(pack.directory),
            "pack.definition": str(pack.file),
            "pack.kind": pack.kind,
            "pack.group": pack.install_group,
            "pack.tags": list(pack.tags),
            "pack.python": "${runtime.python}" if alone else str(places.python(pack)),
            "pack.install_note": "" if alone or "pack.python" in given else str(places.note(pack, "install")),
            "pack.variables": variables_of(pack, places),
            "pack.uses_voir": False,
            "pack.has_voirfile": False,
            "pack.start": False,
            "exp.model": pack.name,
            "exp.weight": pack.weight,
            "exp.timeout": pack.max_duration,
        }

    def needs_environment(self, pack: Pack) -> bool:
        """Whether a pack needs its own environment."""
        return False

    def requirements(self, pack: Pack, variant: str) -> Path | None:
        """The requirements file of a pack; None if it needs nothing.

        Raises:
            ConfigError: It has requirements, but not of this variant.
        """
        return None

    def install(self, environment: Environment, requirements: Path | None) -> None:
        """Install what a pack needs in its environment.

        Raises:
            LaunchError: The installation failed.
        """

    def recovers(self, environment: Environment) -> bool:
        """Whether the packs that are installed in an environment may be used after the installation of another one failed."""
        return True

    def preparation(self, pack: Pack) -> tuple[Path, Callable[[], None] | None] | None:
        """The file that prepares a pack, and what runs it, None for a script; None if there is nothing to prepare."""
        script = pack.directory / "prepare.py"
        return (script, None) if script.is_file() else None

    def check(self, pack: Pack, device: str) -> Iterator[Finding]:
        """The findings of `dlbs pack check`.

        Args:
            pack: The pack.
            device: Device that models run on.

        Raises:
            LaunchError: The pack is not installed.
        """
        yield from ()

    def shell(self, pack: Pack) -> dict[str, str]:
        """Further environment variables of `dlbs pack shell`."""
        return {}


@cache
def kinds() -> Mapping[str, Kind]:
    """All kinds by name, in the order in which they are asked whether they recognise a directory.

    Raises:
        ConfigError: An entry point cannot be imported, or two kinds have one name.
    """
    from importlib.metadata import entry_points

    folders = sorted(Path(__file__).parents[1].glob("suites/*/__init__.py"))
    suites = [f"dlbs.suites.{one.parent.name}:KIND" for one in folders]
    found: dict[str, Kind] = {}
    for place in (*KINDS, *suites, *(one.value for one in entry_points(group=ENTRY_POINTS))):
        module, _, attribute = place.partition(":")
        try:
            kind = getattr(importlib.import_module(module), attribute)()
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"the kind of packs {place} cannot be imported: {error}",
                where=f"entry points {ENTRY_POINTS}",
                hint="install or remove its package",
            ) from None
        if kind.name in found:
            raise ConfigError(f"two kinds of packs have the name {kind.name!r}", where=place, hint="remove one")
        found[kind.name] = kind
    return dict(sorted(found.items(), key=lambda item: item[1].precedence))


def recognised(directory: Path) -> str | None:
    """The name of the kind that a directory's files define; None if it is not a pack."""
    return next((name for name, kind in kinds().items() if kind.recognises(directory)), None)


def kind_of(pack: Pack) -> Kind:
    """The kind of a pack."""
    return kinds()[pack.kind]


def filled(given: Any, pack: Pack, places: Places) -> Any:
    """The arguments of a pack with values in place of the names that suites define."""
    for kind in kinds().values():
        given = kind.fill(given, pack, places)
    return given


def variables_of(pack: Pack, places: Places) -> dict[str, str]:
    """The environment variables of a pack's scripts, including the names that suites use."""
    own = {
        "DLBS_BASE": str(places.base),
        "DLBS_DATA_DIR": str(places.data()),
        "DLBS_PACK": pack.name,
        "DLBS_PACK_DIR": str(pack.directory),
    }
    for kind in kinds().values():
        own |= kind.variables(pack, places)
    return {**own, "XDG_CACHE_HOME": str(places.cache)}


def provide_for(pack: Pack) -> dict[str, Path]:
    """Let the files of a pack import the modules of suites that are not installed; return the packages among them with their directories."""
    packages: dict[str, Path] = {}
    for kind in kinds().values():
        found = kind.provides(pack)
        provide(found.modules, packages=found.packages, constants=found.constants)
        packages |= found.packages
    return packages


def needs_environment(pack: Pack) -> bool:
    """Whether a pack needs its own environment."""
    return kind_of(pack).needs_environment(pack)


def programs_environment(pack: Pack) -> dict[str, str]:
    """The environment variables of a program of DLBS that runs with the Python of a pack."""
    return {**os.environ, **variables_of(pack, Places.of()), "PYTHONPATH": str(dlbs_root() / "python")}


def check_pack(pack: Pack, device: str) -> Iterator[Finding]:
    """The findings about a pack. Of scripts and containers, no code is run.

    Raises:
        LaunchError: The pack is not installed.
    """
    yield True, f"definition: {pack.where}"
    yield from kind_of(pack).check(pack, device)


def check_registered_model(name: str, device: str) -> Iterator[Finding]:
    """Run the checks that models of pytorch_benchmarks have to pass, in a separate process.

    Args:
        name: Name of a registered model.
        device: Device that it runs on.
    """
    command = [sys.executable, "-m", "pytorch_benchmarks.checks", name, "--device", device]
    yield from findings_of(command, {**os.environ, "PYTHONPATH": str(dlbs_root() / "python")})


def findings_of(command: list[str], environment: dict[str, str]) -> Iterator[Finding]:
    """The findings of a check program, which prints a JSON line for each check, as soon as they are printed."""
    looked = 0
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            try:
                finding = load_json(line)
                status, words = finding["status"], f"{finding['check']}: {finding['message']}"
            except (ValueError, KeyError, TypeError):
                continue  # output of the model itself
            looked += 1
            yield status != "failed", words if status != "skipped" else f"{words} (skipped)"
    if not looked:
        yield False, f"the checks ended with exit code {process.returncode} without output"


def pack_directory(experiment: Experiment, site: Site) -> Problem | None:
    """Check that the directory of the pack exists."""
    directory = text(experiment.get("pack.dir"))
    if Path(directory).is_dir():
        return None
    what = f"the directory of pack {text(experiment.get('exp.pack'))} does not exist: {directory}"
    return Problem(what, "`dlbs pack list` shows the packs that were found")


def _installed(experiment: Experiment, site: Site) -> Problem | None:
    """Check that its environment exists and has what it needs, unless it runs with the Python of an image."""
    if experiment.get("exp.docker") or pack_directory(experiment, site) is not None:
        return None
    name, python = text(experiment.get("exp.pack")), text(experiment.get("pack.python"))
    note = text(experiment.get("pack.install_note"))
    if experiment.get("pack.start") or (
        shutil.which(python) and (not note or text(experiment.get("pack.name")) in _packs_of(note))
    ):
        return None
    return Problem(f"{name} is not installed", f"run dlbs pack install {name}")


def _packs_of(note: str) -> frozenset[str]:
    """The packs whose requirements are in an environment."""
    try:
        return frozenset(load_json(Path(note).read_text(encoding="utf-8"))["packs"])
    except (OSError, ValueError, TypeError, KeyError):  # as `dlbs pack install`, which writes it, reads it
        return frozenset()


PACK_READS = ("exp.pack", "pack.dir")
DIRECTORY_CHECK = Check(PACK_READS, pack_directory)
INSTALLED_CHECK = Check(
    (*PACK_READS, "exp.docker", "pack.name", "pack.start", "pack.python", "pack.install_note"), _installed
)


def survey(places: Sequence[Path]) -> tuple[str, list[Surveyed]]:
    """The suite that recognises directories, and what it finds in them.

    Raises:
        ConfigError: None does.
    """
    for kind in kinds().values():
        if found := kind.survey(places):
            return type(kind).__module__.rpartition(".")[2], found
    raise ConfigError(
        "contains no directories of models",
        where=", ".join(map(str, places)),
        hint="pass the directory models/ of the suite",
    )


def new_pack(name: str, template: str, destination: Path) -> Path:
    """Copy a template under a new name, completely or not at all.

    Args:
        name: An identifier, because packs may be imported.
        template: The name of a kind.
        destination: Directory in which the pack's directory is created.

    Returns:
        The pack's directory.

    Raises:
        ConfigError: The name is not an identifier, the directory exists, or there is no such template.
    """
    kind = kinds().get(template)
    if kind is None or kind.template is None:
        templates = sorted(known for known, one in kinds().items() if one.template is not None)
        hint = did_you_mean(template, templates) or f"known: {', '.join(templates)}"
        raise ConfigError(f"unknown template {template!r}", where="--template", hint=hint)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} is not a valid name of a pack",
            where="NAME",
            hint="use letters, digits and _; do not begin with a digit",
        )
    target = destination / name
    if target.exists():
        raise ConfigError("already exists", where=str(target), hint="choose another name or --dest")
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=destination) as temporary:
            made = Path(temporary) / name
            shutil.copytree(kind.template, made, ignore=shutil.ignore_patterns("__pycache__"))
            for file in kind.template_files:
                shutil.copy(file, made / file.name)
            for path in made.rglob("*"):
                if path.is_file():
                    path.write_text(path.read_text(encoding="utf-8").replace("NAME", name), encoding="utf-8")
            os.rename(made, target)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target
