"""Install and prepare environments of packs, which does nothing if nothing has changed since the last time; pin their requirements."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.core.files import load_json, write_atomically
from dlbs.packs.definition import check_component
from dlbs.packs.kinds import kind_of, kinds, needs_environment, variables_of
from dlbs.packs.pack import Environment, Pack, Places, Tell, constant_argv, run_command

_INCLUDES = re.compile(r"\s*(?:-[rc]\s*|--(?:requirement|constraint)[\s=]+)[\"']?([^\s\"']+)")
_PIN_HEAD = "# Written by `dlbs pack pin"
_MARKER = "made-by-dlbs"  # the file that marks environments of dlbs


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
        if needs_environment(pack):
            grouped.setdefault(pack.install_group, []).append(pack)
        else:
            tell(f"{pack.name}: {kind_of(pack).uninstallable}")
    for group, members in grouped.items():
        files = {pack.name: kind_of(pack).requirements(pack, variant or pack.install_variant) for pack in members}
        digests = {pack.name: _digest(pack, files[pack.name], *_paths(pack)) for pack in members}
        first = members[0]
        directory, note = places.environment(first), places.note(first, "install")
        known = _read(note)
        new = force or known.get("python") != sys.version or not places.python(first).exists()
        installed = {} if new else known.get("packs", {})
        missing = [pack for pack in members if installed.get(pack.name) != digests[pack.name]]
        if not missing:
            tell(f"{group}: up to date")
            continue
        _check_marker(directory)
        note.unlink(missing_ok=True)  # without it, an environment is incomplete
        if new:
            _remove(directory)
            tell(f"{group}: new environment {directory}")
            _mark(directory)
            run_command([sys.executable, "-m", "venv", str(directory)], f"{group}: the environment")
        for pack in missing:
            installed.pop(pack.name, None)
            environment = Environment(pack, places, places.python(pack), variables_of(pack, places), _paths(pack), tell)
            try:
                kind_of(pack).install(environment, files[pack.name])
            except LaunchError:
                if kind_of(pack).recovers(environment):
                    _write(note, {"packs": installed, "python": sys.version})
                raise
            installed[pack.name] = digests[pack.name]
        _write(note, {"packs": installed, "python": sys.version})
        tell(f"{group}: installed {', '.join(pack.name for pack in missing)}")


def _paths(pack: Pack) -> list[Path]:
    """Directories of packages that suites provide to a pack."""
    return [path for kind in kinds().values() for path in kind.paths()] if kind_of(pack).takes_paths else []


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


def prepare(packs: Iterable[Pack], *, force: bool = False, tell: Tell) -> None:
    """Run `prepare.py` of packs in their environments, once.

    Raises:
        LaunchError: A pack is not installed, or its script failed.
    """
    places = Places.of()
    for pack in packs:
        preparation = kind_of(pack).preparation(pack)
        if preparation is None:
            tell(f"{pack.name}: nothing to prepare")
            continue
        file, run = preparation
        note, words = places.note(pack, "prepare"), _prepare_argv(pack)
        state = {"script": _digest(pack, file), "data": str(places.data()), "arguments": words}
        if not force and _read(note) == state:
            tell(f"{pack.name}: already prepared")
            continue
        places.data().mkdir(parents=True, exist_ok=True)
        places.cache.mkdir(parents=True, exist_ok=True)
        if run is None:
            python = Path(python_of(pack))
            environment = Environment(pack, places, python, variables_of(pack, places), (), tell)
            environment.run(file.name, str(python), file.name, *words)
        else:
            run()
        _write(note, state)
        tell(f"{pack.name}: prepared")


def _prepare_argv(pack: Pack) -> list[str]:
    """The arguments of the main script, if they are constant; prepare.py receives the same ones."""
    words = constant_argv(pack)
    return words if not any("${" in word or "$(" in word for word in words) else []


def _digest(pack: Pack, file: Path | None, *paths: Path) -> str:
    """A digest of a file, of those that it includes if it has requirements, of the scripts of a pack, and of paths in its environment."""
    content = file.read_bytes() if file is not None else b""
    if file is not None and file.suffix != ".py":
        for included in _included(file, {file.resolve()}):
            content += b"\0" + included.read_bytes()
    for name in ("benchfile.py", "install.py"):
        script = pack.directory / name
        content += b"\0" + (script.read_bytes() if script.is_file() else b"")
    content += b"".join(b"\0" + os.fsencode(path) for path in paths)
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


def pin(packs: Iterable[Pack], variant: str, *, index: Sequence[str] = (), tell: Tell) -> None:
    """Write `requirements.<variant>.txt`: every package that `requirements.in` needs, with its exact version.

    pip resolves them in an empty environment, as for an installation. Packs of one install group get the same versions.

    Args:
        packs: Packs to pin.
        variant: `cpu`, `cuda` or `rocm`; or another name.
        index: Further package indices, such as one with builds for a kind of GPU.
        tell: Called with each line for the user.

    Raises:
        ConfigError: The variant cannot be part of a file name.
        LaunchError: The requirements conflict, or a file of this name exists that dlbs did not write.
    """
    check_component(variant, "a variant", "--variant")
    grouped: dict[str, list[Pack]] = {}
    for pack in packs:
        if (pack.directory / "requirements.in").is_file():
            _check_pin(pack.directory / f"requirements.{variant}.txt")
            grouped.setdefault(pack.install_group, []).append(pack)
        else:
            tell(f"{pack.name}: no requirements.in, nothing to pin")
    for group, members in grouped.items():
        with tempfile.TemporaryDirectory() as temporary:
            python, report = Path(temporary) / "venv" / "bin" / "python", Path(temporary) / "report.json"
            run_command([sys.executable, "-m", "venv", str(Path(temporary) / "venv")], f"{group}: an empty environment")
            command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            command += ["--dry-run", "--report", str(report)]
            for url in index:
                command += ["--extra-index-url", url]
            for pack in members:
                command += ["-r", str(pack.directory / "requirements.in")]
            run_command(command, f"{group}: requirements.in")
            found = load_json(report.read_text())["install"]
        lines = sorted(f"{one['metadata']['name'].lower()}=={one['metadata']['version']}" for one in found)
        options = "".join(f"--extra-index-url {url}\n" for url in index)
        head = f"{_PIN_HEAD} --variant {variant}` from requirements.in; install group {group}.\n"
        for pack in members:
            target = pack.directory / f"requirements.{variant}.txt"
            with write_atomically(target, follow=False) as stream:
                stream.write(head + options + "\n".join(lines) + "\n")
            tell(f"{pack.name}: {len(lines)} packages → {target}")


def _check_pin(target: Path) -> None:
    """Raise a LaunchError if a file exists that was not written by pinning."""
    if not os.path.lexists(target):
        return
    try:
        written = target.is_file() and target.read_text(encoding="utf-8", errors="replace").startswith(_PIN_HEAD)
    except OSError:
        written = False
    if not written:
        raise LaunchError("was not written by dlbs, so it is not replaced", where=str(target), hint="remove it first")
