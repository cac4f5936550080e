"""Install and prepare environments of packs. Both do nothing if nothing has changed since the last time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError, LaunchError
from dlbs.files import dlbs_root, write_atomically
from dlbs.jsonio import load_json
from dlbs.packs.definition import Pack
from dlbs.packs.extend import constant_argv, imports, needs_environment, uses_voir
from dlbs.packs.places import Places

__all__ = [
    "UNPINNED",
    "Tell",
    "install",
    "is_installed",
    "prepare",
    "python_of",
    "requirements",
    "run_command",
]

Tell = Callable[[str], None]

UNPINNED = "unpinned"
_INCLUDES = re.compile(r"\s*(?:-[rc]\s*|--(?:requirement|constraint)[\s=]+)[\"']?([^\s\"']+)")
_MARKER = "made-by-dlbs"  # the file that marks environments of dlbs


def requirements(pack: Pack, variant: str) -> Path | None:
    """The requirements file of a pack: its pinned one, or `requirements.in` if unpinned; None if it needs nothing.

    Raises:
        ConfigError: It has requirements, but no pinned file of this variant.
    """
    if pack.shares_torch:  # the name in all TorchBench models, which share an environment if possible
        plain = pack.directory / "requirements.txt"
        return plain if plain.is_file() else None
    unpinned = pack.directory / "requirements.in"
    if variant == UNPINNED:
        return unpinned if unpinned.is_file() else None
    pinned = pack.directory / f"requirements.{variant}.txt"
    if pinned.is_file():
        return pinned
    if unpinned.is_file():
        raise ConfigError(
            f"{pack.name} has no {pinned.name}",
            where=pack.where,
            hint=f"write it with `dlbs pack pin {pack.name} --variant {variant}`, or use --variant unpinned",
        )
    return None


def install(packs: Iterable[Pack], *, variant: str | None = None, force: bool = False, tell: Tell) -> None:
    """Create the environments of packs, one for each install group.

    Args:
        packs: Packs of the same group share its environment.
        variant: Variant of the requirements; by default that of each pack.
        force: Recreate existing environments.
        tell: Called with each line for the user.

    Raises:
        ConfigError: A pack has no pinned requirements of the variant.
        LaunchError: An installation failed: the next call continues with this pack. (After an interruption it starts over.)
            Or a directory that dlbs did not create is in the way: it is not changed.
    """
    places = Places.of()
    grouped: dict[str, list[Pack]] = {}
    for pack in packs:
        if pack.kind == "container":
            tell(f"{pack.name}: a container; build it with dlbs pack build")
        elif not needs_environment(pack):
            tell(f"{pack.name}: nothing to install")
        else:
            grouped.setdefault(pack.install_group, []).append(pack)
    for group, members in grouped.items():
        files = {pack.name: requirements(pack, variant or pack.install_variant) for pack in members}
        digests = {pack.name: _digest(pack, files[pack.name]) for pack in members}
        first = members[0]
        environment, note = places.environment(first), places.note(first, "install")
        known = _read(note)
        new = force or known.get("python") != sys.version or not places.python(first).exists()
        installed = {} if new else known.get("packs", {})
        missing = [pack for pack in members if installed.get(pack.name) != digests[pack.name]]
        if not missing:
            tell(f"{group}: up to date")
            continue
        _check_marker(environment)
        note.unlink(missing_ok=True)  # without it, an environment is incomplete
        if new:
            _remove(environment)
            tell(f"{group}: new environment {environment}")
            _mark(environment)
            run_command([sys.executable, "-m", "venv", str(environment)], f"{group}: the environment", tell=tell)
        if any(pack.shares_torch for pack in members):
            _share_torch(environment)
        for pack in missing:
            installed.pop(pack.name, None)
            try:
                _install_one(pack, files[pack.name], places, tell)
            except LaunchError:
                if not (pack.shares_torch and _second_torch(environment)):
                    _write(note, {"packs": installed, "python": sys.version})
                raise
            installed[pack.name] = digests[pack.name]
        _write(note, {"packs": installed, "python": sys.version})
        tell(f"{group}: installed {', '.join(pack.name for pack in missing)}")


def is_installed(pack: Pack) -> bool:
    """Whether the environment that a pack needs exists and is complete."""
    if not needs_environment(pack):
        return True
    places = Places.of()
    return pack.name in _read(places.note(pack, "install")).get("packs", {}) and places.python(pack).exists()


def python_of(pack: Pack) -> str:
    """The interpreter of a pack: that of its environment, or the current one if it needs none.

    Raises:
        LaunchError: The pack is not installed.
    """
    if not is_installed(pack):
        raise LaunchError(f"{pack.name} is not installed", hint=f"run dlbs pack install {pack.name}")
    return str(Places.of().python(pack)) if needs_environment(pack) else sys.executable


def _check_marker(environment: Path) -> None:
    """Raise a LaunchError if a directory that dlbs did not create is in its place."""
    if not os.path.lexists(environment):
        return
    if environment.is_symlink() or not (environment / _MARKER).is_file():
        raise LaunchError(
            "was not created by dlbs and is not changed",
            where=str(environment),
            hint="move it away, or change install_group",
        )


def _remove(environment: Path) -> None:
    """Remove an environment; only directories with the marker file are ever removed."""
    _check_marker(environment)
    if environment.is_dir():
        try:
            shutil.rmtree(environment)
        except OSError as error:
            raise LaunchError(f"cannot be removed: {error.strerror}", where=str(environment)) from None


def _mark(environment: Path) -> None:
    """Create the directory of an environment, with the marker file before anything else."""
    try:
        environment.mkdir(parents=True, exist_ok=True)
        (environment / _MARKER).write_text("Created by dlbs, which may remove this directory.\n", encoding="utf-8")
    except OSError as error:
        raise LaunchError(f"cannot be created: {error.strerror}", where=str(environment)) from None


def _share_torch(environment: Path) -> None:
    """Make the packages of this environment visible in another one: models must be measured with the torch installed here."""
    import site

    (library,) = environment.glob("lib/python*/site-packages")
    (library / "dlbs_shared.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")


def _second_torch(environment: Path) -> str | None:
    """The package of PyTorch in an environment that has to use the one of this environment."""
    names = ("torch", "torchvision", "torchtext")
    return next((name for name in names if any(environment.glob(f"lib/python*/site-packages/{name}"))), None)


def _install_one(pack: Pack, file: Path | None, places: Places, tell: Tell) -> None:
    from dlbs.packs.benchfile_loading import benchfile_of
    from dlbs.packs.milabench.adapter import AdaptedPack

    own = benchfile_of(pack)
    if own is not None and own.overrides("install"):
        tell(f"{pack.name}: install by benchfile.py")
        own.install()
        if uses_voir(pack.directory) or isinstance(own, AdaptedPack):
            _install_voir(pack, places, tell)
        return
    pip = [str(places.python(pack)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if pack.shares_torch:
        script = pack.directory / "install.py"
        installer = dlbs_root() / "python" / "pytorch_benchmarks" / "torchbench" / "install.py"
        if script.is_file():
            run_command(
                [str(places.python(pack)), str(installer), str(pack.directory)],
                f"{pack.name}: install.py",
                directory=pack.directory,
                pack=pack,
                tell=tell,
            )
        elif file is not None:
            run_command(
                [*pip, "-r", str(file)], f"{pack.name}: {file.name}", directory=pack.directory, pack=pack, tell=tell
            )
        if name := _second_torch(places.environment(pack)):
            raise LaunchError(
                f"{pack.name} installs {name}, but must use the one that is already installed",
                where=str(pack.directory),
                hint="remove it from requirements.txt and install.py",
            )
        return
    if file is not None:
        run_command(
            [*pip, "-r", str(file)], f"{pack.name}: {file.name}", directory=pack.directory, pack=pack, tell=tell
        )
    if uses_voir(pack.directory):  # also for packs that do not require it
        _install_voir(pack, places, tell)


def _install_voir(pack: Pack, places: Places, tell: Tell) -> None:
    """Add voir to an environment, and benchmate at the end of its path, so that an installed benchmate wins."""
    pip = [str(places.python(pack)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    (library,) = places.environment(pack).glob("lib/python*/site-packages")
    if not (library / "voir").is_dir():  # most packs require it, and pip takes a second to find that out
        run_command([*pip, "voir"], f"{pack.name}: voir", directory=pack.directory, pack=pack, tell=tell)
    provided = dlbs_root() / "python" / "pack_runner" / "provided"
    (library / "dlbs_provided.pth").write_text(f"{provided}\n", encoding="utf-8")
    if imports(pack.directory / "main.py", "torchcompat"):  # depends on torch, which must not be installed twice
        _share_torch(places.environment(pack))
        run_command(
            [*pip, "--no-deps", "torchcompat"],
            f"{pack.name}: torchcompat",
            directory=pack.directory,
            pack=pack,
            tell=tell,
        )


def prepare(packs: Iterable[Pack], *, force: bool = False, tell: Tell) -> None:
    """Run `prepare.py` of packs in their environments, once.

    Raises:
        LaunchError: A pack is not installed, or its script failed.
    """
    from dlbs.packs.benchfile_loading import benchfile_of

    places = Places.of()
    for pack in packs:
        script = pack.directory / "prepare.py"
        own = benchfile_of(pack)
        by_benchfile = own is not None and own.overrides("prepare")
        if not script.is_file() and not by_benchfile:
            tell(f"{pack.name}: nothing to prepare")
            continue
        note = places.note(pack, "prepare")
        state = {
            "script": _digest(pack, script if script.is_file() else pack.directory / "benchfile.py"),
            "data": str(places.data()),
            "arguments": _prepare_argv(pack),
        }
        if not force and _read(note) == state:
            tell(f"{pack.name}: already prepared")
            continue
        places.data().mkdir(parents=True, exist_ok=True)
        places.cache.mkdir(parents=True, exist_ok=True)
        if by_benchfile:
            assert own is not None
            own.prepare()
        else:
            run_command(
                [python_of(pack), "prepare.py", *_prepare_argv(pack)],
                f"{pack.name}: prepare.py",
                directory=pack.directory,
                pack=pack,
                tell=tell,
            )
        _write(note, state)
        tell(f"{pack.name}: prepared")


def _prepare_argv(pack: Pack) -> list[str]:
    """The arguments of the main script, if they are constant; prepare.py receives the same ones."""
    words = constant_argv(pack)
    return words if not any("${" in word or "$(" in word for word in words) else []


def _digest(pack: Pack, file: Path | None) -> str:
    """A digest of a file, of those that it includes if it has requirements, and of the scripts of a pack."""
    content = file.read_bytes() if file is not None else b""
    if file is not None and file.suffix != ".py":
        for included in _included(file, {file.resolve()}):
            content += b"\0" + included.read_bytes()
    for name in ("benchfile.py", "install.py"):
        script = pack.directory / name
        content += b"\0" + (script.read_bytes() if script.is_file() else b"")
    return hashlib.sha256(content).hexdigest()


def _included(file: Path, known: set[Path]) -> Iterator[Path]:
    """Requirements and constraints that a file of requirements includes with `-r` or `-c`, each once; URLs are not read."""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _INCLUDES.match(line)
        included = (file.parent / found[1]).resolve() if found else None
        if included is not None and included not in known and included.is_file():
            known.add(included)
            yield included
            yield from _included(included, known)


def _read(note: Path) -> dict[str, Any]:
    try:
        content = load_json(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(note: Path, content: dict[str, Any]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(note, follow=False) as stream:
        json.dump(content, stream, indent=1)


def run_command(
    command: Sequence[str], what: str, *, directory: Path | None = None, pack: Pack | None = None, tell: Tell
) -> None:
    """Run a command with visible output; raise an error if it fails."""
    environment = {**os.environ, **(Places.of().variables(pack) if pack is not None else {})}
    if pack is not None and "pip" in command:
        environment.pop("XDG_CACHE_HOME")  # pip keeps its own cache
    try:
        done = subprocess.run(command, cwd=directory, env=environment, check=False)
    except OSError as error:
        raise LaunchError(f"{what}: {error.strerror}", where=command[0]) from None
    if done.returncode != 0:
        raise LaunchError(f"{what} failed with exit code {done.returncode}", hint="see its messages above")
