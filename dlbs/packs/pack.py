"""A pack, the directories of packs, and the environment in which a pack is installed, for all kinds of packs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.core.files import read_source

Tell = Callable[[str], None]


def _key(types: type | tuple[type, ...], expected: str, default: Any, make: Callable[[Any], Any] | None = None) -> Any:
    """A field that definitions may set: the types and the words for what is expected, the default, and what makes the value of the field."""
    types = types if isinstance(types, tuple) else (types,)
    metadata = {"types": types, "expected": expected, "make": make or types[0]}
    return field(default_factory=lambda: copy(default), metadata=metadata)


def _tags(given: list[Any] | str) -> tuple[str, ...]:
    return tuple(map(str, [given] if isinstance(given, str) else given))


def _voir_options(given: Mapping[str, Any]) -> Mapping[str, Any]:
    options = given.get("options", given)
    return options if isinstance(options, dict) else {}


def _texts(given: Mapping[str, Any]) -> Mapping[str, str]:
    return {str(key): str(value) for key, value in given.items()}


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack. Fields with a key of the same name in pack.yaml say what the key may be.

    Attributes:
        name: Its name.
        directory: Absolute path of its code.
        where: `file:line` of its definition, or the directory.
        file: The YAML file that defines it; its directory if there is none.
        kind: The name of its kind, determined by its files.
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
        suite: Keys that only some kinds read, as they are in the definition.
    """

    name: str
    directory: Path
    where: str
    file: Path
    kind: str
    install_group: str = _key(str, "a word", "")
    install_variant: str = _key(str, "a word", "")
    argv: Any = _key((dict, list), "a mapping or a list", {}, _same)  # noqa: RUF009
    plan: Mapping[str, Any] = _key(dict, "a mapping", {})
    weight: float = _key(float, "a number from 0", 1.0)
    tags: tuple[str, ...] = _key((list, str), "a list of words", (), _tags)
    max_duration: float = _key(float, "seconds", 0.0)
    voir: Mapping[str, Any] = _key(dict, "a mapping", {}, _voir_options)
    description: str = _key(str, "a string", "")
    image: str = _key(str, "the name of an image", "")
    build_args: Mapping[str, str] = _key(dict, "a mapping", {}, _texts)
    network: bool = _key(bool, "true or false", False)
    command: str = _key(str, "a command", "python3 run.py")
    num_machines: int = _key(float, "a number of machines", 1, int)
    predictor: str = _key(str, "the name of a model in model.py", "")
    suite: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """Directories under `$DLBS_BASE`, which is `~/.local/share/dlbs` by default.

    Attributes:
        base: The base directory.
    """

    base: Path

    @classmethod
    def of(cls, environ: Mapping[str, str] | None = None) -> Places:
        """The places that environment variables set."""
        environ = os.environ if environ is None else environ
        if environ.get("DLBS_BASE"):
            return cls(Path(environ["DLBS_BASE"]).expanduser().absolute())
        data = environ.get("XDG_DATA_HOME") or os.path.join(
            environ.get("HOME") or os.path.expanduser("~"), ".local", "share"
        )
        return cls(Path(data).absolute() / "dlbs")

    def environment(self, pack: Pack) -> Path:
        """The virtual environment of a pack's install group."""
        return self.base / "venv" / pack.install_group

    def python(self, pack: Pack) -> Path:
        """The interpreter of that environment."""
        return self.environment(pack) / "bin" / "python"

    def data(self, environ: Mapping[str, str] | None = None) -> Path:
        """Data sets: `$DLBS_DATA_DIR`, or `data` in the base directory."""
        environ = os.environ if environ is None else environ
        return (
            Path(environ["DLBS_DATA_DIR"]).expanduser().absolute()
            if environ.get("DLBS_DATA_DIR")
            else self.base / "data"
        )

    @property
    def cache(self) -> Path:
        """The directory for weights and other downloads of frameworks."""
        return self.base / "cache"

    def note(self, pack: Pack, what: str) -> Path:
        """The file that records the state for which step `what` was done: per group for `install`, per pack otherwise."""
        return self.base / "state" / f"{pack.install_group if what == 'install' else pack.name}.{what}.json"


@dataclass(frozen=True, slots=True)
class Environment:
    """The environment of a pack's install group, while it is installed or the pack prepared in it.

    Attributes:
        pack: The pack.
        places: The directories of packs.
        python: The interpreter.
        variables: Environment variables of the pack's scripts.
        paths: Directories of packages that the suites provide to packs that voir measures.
        tell: Called with each line for the user.
    """

    pack: Pack
    places: Places
    python: Path
    variables: Mapping[str, str]
    paths: Sequence[Path]
    tell: Tell

    @property
    def library(self) -> Path:
        """The directory of its packages."""
        (library,) = self.places.environment(self.pack).glob("lib/python*/site-packages")
        return library

    def run(self, what: str, *command: str, **variables: str) -> None:
        """Run a command in the directory of the pack; `what` names it in errors.

        Raises:
            LaunchError: It failed.
        """
        environment = {**os.environ, **self.variables, **variables}
        if "pip" in command:
            environment.pop("XDG_CACHE_HOME")  # pip keeps its own cache
        run_command(command, f"{self.pack.name}: {what}", directory=self.pack.directory, environment=environment)

    def pip_install(self, what: str, *words: str) -> None:
        """Install packages.

        Raises:
            LaunchError: pip failed.
        """
        self.run(what, str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)

    def share_torch(self) -> None:
        """Make the packages of this Python visible: models must be measured with the torch installed here."""
        import site

        self.add_paths("dlbs_shared", site.getsitepackages())

    def add_paths(self, name: str, paths: Iterable[str | Path]) -> None:
        """Add directories at the end of the path, so that installed packages win."""
        (self.library / f"{name}.pth").write_text("".join(f"{path}\n" for path in paths), encoding="utf-8")


def run_command(
    command: Sequence[str], what: str, *, directory: Path | None = None, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command with visible output.

    Raises:
        LaunchError: It failed.
    """
    try:
        done = subprocess.run(command, cwd=directory, env=environment, check=False)
    except OSError as error:
        raise LaunchError(f"{what}: {error.strerror}", where=command[0]) from None
    if done.returncode != 0:
        raise LaunchError(f"{what} failed with exit code {done.returncode}", hint="see its messages above")


def option_name(option: str) -> str:
    """The parameter of an option: `argv.batch_size` for `--batch-size`."""
    return "argv." + re.sub(r"[^A-Za-z0-9]+", "_", option).strip("_")


def word(value: Any) -> str:
    """A value of `argv` as a word of a command line."""
    return value if isinstance(value, str) else json.dumps(value)


def constant_argv(pack: Pack) -> list[str]:
    """The arguments as words: null and true give a flag without a value, false omits it."""
    if isinstance(pack.argv, list):
        return [word(value) for value in pack.argv]
    words: list[str] = []
    for option, value in pack.argv.items():
        if value is None or value is True:
            words.append(str(option))
        elif value is not False:
            words += [str(option), word(value)]
    return words


def imports(file: Path, *packages: str) -> bool:
    """Whether a script imports any of these packages."""
    return matches(file, rf"^\s*(import|from)\s+({'|'.join(packages)})\b")


def matches(file: Path, pattern: str) -> bool:
    """Whether a line of a file matches; False for a file that cannot be read."""
    try:
        return re.search(pattern, read_source(file), re.MULTILINE) is not None
    except OSError:
        return False
