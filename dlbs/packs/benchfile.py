"""Benchmark scripts: packs whose main.py is run in its own environment, and what their benchfile.py may define instead."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from benchmark_core.crash import guarded
from benchmark_core.text import printable
from dlbs.core.errors import ConfigError, DlbsError, LaunchError
from dlbs.core.files import dlbs_root, read_source
from dlbs.packs.definition import find_pack
from dlbs.packs.environments import is_installed
from dlbs.packs.kinds import INSTALLED_CHECK, Finding, Kind, kinds, needs_environment, provide_for, variables_of
from dlbs.packs.pack import Environment, Pack, Places, imports, option_name, word

UNPINNED = "unpinned"


class BenchmarkPack:
    """Base class of the class in a benchfile. It runs in the environment of dlbs, and starts processes in the environment of the pack.

    Override the methods that you need; the defaults are those of packs without a benchfile.

    Args:
        pack: The definition.

    Attributes:
        python: The interpreter of the pack's environment; that of dlbs if the pack needs none.
        working_directory: The directory in which its command runs.
        needs_voir: Whether voir is installed even if main.py does not import it.
    """

    needs_voir = False

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.places = Places.of()
        own = self.places.python(pack) if needs_environment(pack) else Path(sys.executable)
        given = os.environ.get("DLBS_PACK_PYTHON")  # the launcher sets it to pack.python
        self.python = Path(shutil.which(given) or given) if given else own
        self.working_directory: str | os.PathLike[str] = pack.directory

    @property
    def directory(self) -> Path:
        """The directory of the pack's code."""
        return self.pack.directory

    @property
    def data(self) -> Path:
        """The directory for its data."""
        return self.places.data()

    def install(self) -> None:
        """Install the requirements of the pack. An override replaces the default installation."""

    def prepare(self) -> None:
        """Download and create the data of the pack. An override replaces prepare.py."""

    def command(self, script: Sequence[str]) -> list[str]:
        """The command to run in the pack's directory, instead of `main.py ARGUMENTS`.

        Args:
            script: `main.py` and its arguments.
        """
        return [str(self.python), *script]

    def run_in_environment(self, *command: str) -> None:
        """Run a program of the pack's environment in the pack's directory.

        Raises:
            LaunchError: The program failed.
        """
        environment = {**os.environ, **variables_of(self.pack, self.places)}
        environment["PATH"] = f"{self.python.parent}{os.pathsep}{environment.get('PATH', '')}"
        try:
            code = subprocess.run(command, cwd=self.directory, env=environment, check=False).returncode
        except OSError as error:
            raise LaunchError(f"{command[0]}: {error.strerror}", where=self.pack.name) from None
        if code != 0:
            raise LaunchError(f"{' '.join(command)} failed with exit code {code}", where=self.pack.name)

    def overrides(self, method: str) -> bool:
        """Whether the benchfile overrides a method."""
        return getattr(type(self), method) is not getattr(BenchmarkPack, method)


class BenchmarkKind(Kind):
    """A script: main.py, or a benchfile.py that says how it runs."""

    name = "benchmark"
    precedence = 90  # other kinds have such files, too
    files = "main.py"
    template: Path | None = Path(__file__).parent / "templates" / "benchmark"
    template_files = (dlbs_root() / "python" / "pack_runner" / "voirfile.py",)  # to be edited
    checks = (INSTALLED_CHECK,)
    takes_paths = True

    def recognises(self, directory: Path) -> bool:
        return (directory / "main.py").is_file() or (directory / "benchfile.py").is_file()

    def parameters(self, pack: Pack, places: Places, given: Set[str]) -> dict[str, Any]:
        starts, has_voirfile = self.starts_itself(pack.directory), (pack.directory / "voirfile.py").is_file()
        parameters = super().parameters(pack, places, given) | {
            "pack.uses_voir": uses_voir(pack.directory),
            "pack.has_voirfile": has_voirfile,
            "pack.start": starts,
            "exp.docker": "exp.docker_image" in given,  # it has an environment; an image must be set
        }
        if starts:
            parameters["pack.launcher"] = "${DLBS_ROOT}/scripts/launchers/pack_benchfile.sh"
        parameters |= {f"voir.{name}": value for name, value in pack.voir.items()}
        if has_voirfile or starts:
            chosen = {name.removeprefix("voir.") for name in given if name.startswith("voir.")}
            parameters["pack.voir_options"] = sorted(chosen | set(pack.voir))
        parameters |= argv_parameters(pack)
        _join_batch(parameters, given)
        return parameters

    def starts_itself(self, directory: Path) -> bool:
        """Whether benchfile.py defines how the pack runs; determined from its text, since planning runs no code."""
        return "command" in benchfile_names(directory)

    def needs_environment(self, pack: Pack) -> bool:
        """Whether a pack has requirements or an install group, installs something, or uses voir, which dlbs does not include."""
        directory = pack.directory
        return (
            pack.install_group != pack.name
            or any(directory.glob("requirements*.in"))
            or any(directory.glob("requirements*.txt"))
            or "install" in benchfile_names(directory)
            or uses_voir(directory)
        )

    def requirements(self, pack: Pack, variant: str) -> Path | None:
        """The pinned requirements of a variant, or `requirements.in` if unpinned."""
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

    def install(self, environment: Environment, requirements: Path | None) -> None:
        pack = environment.pack
        own = benchfile_of(pack)
        if own is not None and own.overrides("install"):
            environment.tell(f"{pack.name}: install by benchfile.py")
            own.install()
        elif requirements is not None:
            environment.pip_install(requirements.name, "-r", str(requirements))
        if uses_voir(pack.directory) or (own is not None and own.needs_voir):  # also for packs that do not require it
            _install_voir(environment)

    def preparation(self, pack: Pack) -> tuple[Path, Callable[[], None] | None] | None:
        own = benchfile_of(pack)
        script = super().preparation(pack)
        if own is None or not own.overrides("prepare"):
            return script
        return (script[0] if script is not None else pack.directory / "benchfile.py"), own.prepare

    def check(self, pack: Pack, device: str) -> Iterator[Finding]:
        """Findings about its files; none of its code is run."""
        for name in ("main.py", "prepare.py", "voirfile.py", "benchfile.py"):
            path = pack.directory / name
            if not path.is_file():
                continue
            try:
                ast.parse(path.read_bytes(), str(path))
            except (SyntaxError, ValueError) as error:
                yield False, f"{name}: line {getattr(error, 'lineno', '?')}: {getattr(error, 'msg', error)}"
            else:
                yield True, f"{name} is valid Python"
        unpinned = pack.directory / "requirements.in"
        if pack.install_variant == UNPINNED:
            yield True, "requirements: unpinned" if unpinned.is_file() else "requirements: none"
        elif unpinned.is_file():
            pinned = pack.directory / f"requirements.{pack.install_variant}.txt"
            missing = f" is missing; run dlbs pack pin {pack.name} --variant {pack.install_variant}"
            yield pinned.is_file(), f"requirements: {pinned.name}" + ("" if pinned.is_file() else missing)
        if uses_voir(pack.directory):
            yield True, "measured with voir"
        else:
            main = pack.directory / "main.py"
            source = main.read_text(encoding="utf-8", errors="replace") if main.is_file() else ""
            prints = "results." in source or self.starts_itself(pack.directory)
            yield prints, "prints results" if prints else "main.py neither uses voir nor prints __results.throughput__="
        if not self.needs_environment(pack):
            yield True, "it needs no separate environment"
            return
        how = "installed" if is_installed(pack) else f"not installed (run dlbs pack install {pack.name})"
        yield True, f"environment {Places.of().environment(pack)}: {how}"

    def benchfile(self, names: Mapping[str, Any], pack: Pack, path: Path) -> BenchmarkPack | None:
        found = [value for value in names.values() if isinstance(value, type) and issubclass(value, BenchmarkPack)]
        found = [value for value in found if value is not BenchmarkPack]
        return found[-1](pack) if found else None


def argv_parameters(pack: Pack) -> dict[str, Any]:
    """The parameters of the arguments: one for each option of a mapping, and `pack.argv`, the words that refer to them."""
    if isinstance(pack.argv, list):
        return {"pack.argv": [word(value) for value in pack.argv]}
    parameters: dict[str, Any] = {}
    words = []
    for option, value in pack.argv.items():
        name = option_name(str(option))
        parameters[name] = value
        # A flag without a value: null and true add it, false omits it.
        if value is None or isinstance(value, bool):
            parameters[name] = value is not False
            words.append(f"$({str(option)!r} if boolean(${{{name}}}) else None)$")
        else:
            words += [str(option), f"${{{name}}}"]
    return {**parameters, "pack.argv": words}


def _join_batch(parameters: dict[str, Any], given: Set[str]) -> None:
    """Link an option named batch size with exp.replica_batch, so that grids and tables use it; either may be set."""
    batch = next((f"argv.{name}" for name in ("batch_size", "batchsize", "bs") if f"argv.{name}" in parameters), None)
    if batch is None:
        return
    if "exp.replica_batch" in given:
        parameters[batch] = "${exp.replica_batch}"
    else:
        parameters["exp.replica_batch"] = f"${{{batch}}}" if batch in given else parameters[batch]
    parameters["pack.batch"] = "${exp.replica_batch}"


def uses_voir(directory: Path) -> bool:
    """Whether the main script runs under voir: if the pack has a voirfile, or its code imports voir, or benchmate, which requires it."""
    return (directory / "voirfile.py").is_file() or imports(directory / "main.py", "voir", "benchmate")


def benchfile_names(directory: Path) -> set[str]:
    """The methods of the classes in benchfile.py, and the variables that it assigns; none if it cannot be parsed."""
    try:
        tree = ast.parse(read_source(directory / "benchfile.py"))
    except (OSError, SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            names |= {one.name for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def benchfile_of(pack: Pack) -> BenchmarkPack | None:
    """The object of the class that a pack's benchfile.py defines; None if there is no such file. This executes the file.

    Raises:
        LaunchError: The file fails, or defines no subclass of `BenchmarkPack`.
    """
    path = pack.directory / "benchfile.py"
    if not path.is_file():
        return None
    provide_for(pack)
    try:
        names = runpy.run_path(str(path), run_name="benchfile")
    except DlbsError as error:  # an import of what is not provided
        raise LaunchError(error.what, where=str(path), hint=error.hint) from None
    except Exception as error:
        raise LaunchError(f"{type(error).__name__}: {error}", where=str(path)) from None
    for kind in kinds().values():
        own: BenchmarkPack | None = kind.benchfile(names, pack, path)
        if own is not None:
            return own
    raise LaunchError(
        "defines no subclass of BenchmarkPack",
        where=str(path),
        hint="use `from dlbs.packs.benchfile import BenchmarkPack`, or set __pack__ to a subclass of milabench.pack.Package",
    )


def _install_voir(environment: Environment) -> None:
    """Add voir, and what suites provide at the end of the path, so that an installed package wins."""
    if not (environment.library / "voir").is_dir():  # most packs require it, and pip takes a second to find that out
        environment.pip_install("voir", "voir")
    environment.add_paths("dlbs_provided", environment.paths)
    # It depends on torch, which must not be installed twice.
    if imports(environment.pack.directory / "main.py", "torchcompat"):
        environment.share_torch()
        environment.pip_install("torchcompat", "--no-deps", "torchcompat")


def main(arguments: Sequence[str]) -> int:
    """Replace this process by the command of a benchfile, from the launcher of its pack: `python -m dlbs.packs.benchfile DEFINITION NAME -- main.py ARGUMENTS`.

    Returns:
        An exit code if that fails.
    """
    definition, name, _, *script = arguments
    try:
        own = benchfile_of(find_pack(name, [Path(definition)]))
        assert own is not None
        command = own.command(script)
    except DlbsError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 2
    try:
        os.chdir(own.working_directory)
        os.execvp(command[0], command)
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    from dlbs.packs import benchfile  # benchfiles subclass the class of that module, not of this program

    sys.exit(guarded(lambda: benchfile.main(sys.argv[1:])))
