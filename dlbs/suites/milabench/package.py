"""The base classes of benchfiles written for milabench: installation, preparation, run and environment."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.core.files import load_json
from dlbs.packs.kinds import filled
from dlbs.packs.pack import Pack, Places
from dlbs.suites.milabench.plans import Command, PackCommand, VoidCommand, VoirCommand, XPath, assemble_options, merge


def config_of(pack: Pack, places: Places, python: Path) -> dict[str, Any]:
    """The configuration that a package of milabench expects: a pack and this machine, as benchfiles read them.

    Args:
        pack: The pack.
        places: The directories of packs.
        python: The interpreter of its environment.
    """
    directories = {
        "base": places.base,
        "cache": places.cache,
        "code": pack.directory,
        "data": places.data(),
        "extra": places.base / "extra" / pack.name,
        "runs": places.base / "runs",
        "venv": places.environment(pack),
    }
    given = load_json(os.environ.get("DLBS_VOIR_OPTIONS") or "{}")
    devices = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one]
    return {
        "gradient_accumulation_steps": 1,
        "use_deepspeed": False,
        **filled(dict(pack.suite), pack, places),
        "name": pack.name,
        "definition": str(pack.directory),
        "dirs": {name: str(path) for name, path in directories.items()},
        "python": str(python),
        "argv": filled(pack.argv, pack, places),
        "voir": {"options": {**pack.voir, **given}},
        "plan": dict(pack.plan),
        "group": pack.suite.get("group", pack.install_group),
        "install_group": pack.install_group,
        "install_variant": pack.install_variant,
        "max_duration": pack.max_duration,
        "weight": pack.weight,
        "tag": [pack.name],
        "run_name": pack.name,
        "devices": devices,
        "num_machines": pack.num_machines,
        "cpus_per_gpu": min(8, os.cpu_count() or 1),
        "env": {},
        "system": {
            "arch": "cuda" if devices else "cpu",
            "nodes": [{"name": "local", "ip": "127.0.0.1", "port": 22, "user": getpass.getuser(), "main": True}],
            "self": None,
        },
    }


class BasePackage:
    """A package without steps to install, prepare or run it.

    Args:
        config: `name`, `definition`, `dirs`, `argv`, `voir`, `devices` and the rest of its definition.
        core: Ignored.

    Attributes:
        dirs: Paths by name: `code`, `data`, `cache`, `venv`, `extra`, `runs`, `base`.
        phase: `install`, `prepare` or `run`.
    """

    def __init__(self, config: Mapping[str, Any], core: Any = None) -> None:
        self.config = dict(config)
        self.dirs = Namespace(**{name: XPath(path) for name, path in config["dirs"].items()})
        self.pack_path = self.dirs.code = XPath(config["definition"])
        self.phase: str | None = None
        self.processes: list[Any] = []

    @property
    def name(self) -> str:
        """The name of the pack."""
        return str(self.config["name"])

    def copy(self, config: Mapping[str, Any]) -> Any:
        """The same package with another configuration."""
        return type(self)(merge(self.config, config))

    @property
    def argv(self) -> list[Any]:
        """Arguments of the script."""
        return assemble_options(self.config.get("argv", []))

    @property
    def tag(self) -> str:
        """The name of this run."""
        return ".".join(self.config["tag"])

    @property
    def logdir(self) -> XPath:
        """Directory for files of this run."""
        return XPath(self.dirs.runs / self.config["run_name"])

    def logfile(self, extension: str) -> XPath:
        """A file of this run."""
        return XPath(self.logdir / f"{self.tag}.{extension}")

    @property
    def working_directory(self) -> Any:
        """The directory in which the script runs."""
        return self.dirs.code

    def resolve_argument(self, name: str, default: Any = None) -> Any:
        """The value of an option of the script."""
        argv = self.config.get("argv")
        return argv.get(name, default) if isinstance(argv, Mapping) else default

    def make_env(self) -> dict[str, str]:
        """Additional environment variables of the package's processes."""
        return {}

    def full_env(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """All environment variables of the package's processes: those of this process, the virtual environment, `make_env` and `env`."""
        binaries = os.path.dirname(self.config["python"])
        own = {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}", "VIRTUAL_ENV": str(self.dirs.venv)}
        more = {**self.make_env(), **self.config.get("env", {}), **(env or {})}
        return {**os.environ, **own, **{name: str(value) for name, value in more.items()}}

    async def message(self, *message_parts: Any) -> None:
        """Print a message."""
        print(*message_parts, file=sys.stderr)

    async def message_error(self, exc: BaseException) -> None:
        """Print an error."""
        await self.message(f"{type(exc).__name__}: {exc}")

    async def send(self, **kwargs: Any) -> None:
        """Ignore an event of milabench's reports."""

    async def pip_install(self, *args: Any) -> None:
        """Run `pip install` in the package's environment.

        Raises:
            LaunchError: pip failed.
        """
        await self.execute(
            self.config["python"], "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *args
        )

    def conda_install(self, *args: Any, **kwargs: Any) -> None:
        """Reject conda packages: environments are virtual environments of Python.

        Raises:
            LaunchError: Always.
        """
        raise LaunchError(
            f"conda packages cannot be installed into virtual environments: {' '.join(map(str, args))}", where=self.name
        )

    async def execute(
        self, *args: Any, cwd: Any = None, env: Mapping[str, str] | None = None, external: bool = False, **options: Any
    ) -> int:
        """Run a command in the environment of the package, by default in the directory of its code.

        Raises:
            LaunchError: The command failed.
        """
        words = [str(word) for word in args]
        environment = {**os.environ, **(env or {})} if external else self.full_env(env)
        try:
            done = subprocess.run(words, cwd=cwd or self.dirs.code, env=environment, check=False)
        except OSError as error:
            raise LaunchError(f"{words[0]}: {error.strerror}", where=self.name) from None
        if done.returncode != 0:
            raise LaunchError(
                f"{' '.join(words)} failed with exit code {done.returncode}",
                where=self.name,
                hint="see its messages above",
            )
        return 0

    async def python(self, *args: Any, **kwargs: Any) -> int:
        """Run a Python script in the environment."""
        return await self.execute("python", *args, **kwargs)

    async def voir(self, script: Any, args: Any = (), wrapper: Any = (), cwd: Any = None, **kwargs: Any) -> Any:
        """Create a plan that runs a script under voir."""
        inner = PackCommand(self, str(self.dirs.code / script), *args)
        return VoirCommand(inner, cwd=cwd, **kwargs)


class Package(BasePackage):
    """A package with the usual steps to install, prepare and run it, which benchfiles override."""

    main_script = "main.py"
    prepare_script: str | None = "prepare.py"
    base_requirements: str | list[str] = "requirements.in"

    def requirements_map(self, variant: str | None = None) -> dict[XPath, XPath]:
        """Files of requirements → their pinned form for a variant."""
        variant = self.config.get("install_variant") if variant is None else variant
        names = [self.base_requirements] if isinstance(self.base_requirements, str) else self.base_requirements
        files = [XPath(self.dirs.code / name) for name in names]
        if variant == "unpinned":
            return {file: file for file in files}
        return {file: XPath(file.with_suffix(f".{variant}.txt" if variant else ".txt")) for file in files}

    def requirements_files(self, variant: str | None = None) -> list[XPath]:
        """Files of requirements that are installed."""
        return list(self.requirements_map(variant).values())

    def make_env(self) -> dict[str, str]:
        """Directories as `MILABENCH_DIR_NAME`, the configuration as `MILABENCH_CONFIG`, and the cache except during installation."""
        env = {f"MILABENCH_DIR_{name.upper()}": str(path) for name, path in self.config["dirs"].items()}
        env["MILABENCH_CONFIG"] = json.dumps(self.config)
        if self.phase in {"prepare", "run"}:
            env["XDG_CACHE_HOME"] = str(self.dirs.cache)
        return env

    async def install(self) -> None:
        """Install the requirements; benchmate is omitted, since dlbs provides it.

        Raises:
            LaunchError: pip failed.
        """
        for file in self.requirements_files():
            if file.exists():
                await self.pip_install("-r", _without_provided(file, self.dirs.extra))

    def build_prepare_plan(self) -> Any:
        """The plan that prepares it: `prepare.py` with the arguments of the main script."""
        script = self.dirs.code / self.prepare_script if self.prepare_script is not None else None
        if script is None or not script.exists():
            return VoidCommand(self)
        words = [script] if os.access(script, os.X_OK) and script.suffix != ".py" else [self.config["python"], script]
        return _Words(self, *words, *self.argv, cwd=script.parent)

    async def prepare(self) -> Any:
        """Execute the plan of `build_prepare_plan`."""
        return await self.build_prepare_plan().execute("prepare")

    def build_run_plan(self) -> Any:
        """The plan that runs it: the main script with its arguments, under voir."""
        return VoirCommand(PackCommand(self, *self.argv, lazy=True), cwd=self.working_directory)

    async def run(self) -> Any:
        """The plan, which the launcher of the experiment executes."""
        return self.build_run_plan()


class _Words(Command):
    """A command without changes."""

    def __init__(self, pack: Any, *words: Any, **kwargs: Any) -> None:
        super().__init__(pack, **kwargs)
        self.words = words

    def _argv(self, **kwargs: Any) -> list[Any]:
        return list(self.words)


def _without_provided(file: XPath, directory: XPath) -> XPath:
    """A requirements file without provided packages, or the file itself if it has none."""
    lines = file.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not is_provided(line)]
    if kept == lines:
        return file
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / file.name
    made.write_text("\n".join(kept) + "\n", encoding="utf-8")
    return XPath(made)


def is_provided(requirement: str) -> bool:
    """Whether a line of requirements names a provided package: benchmate, which is on no index."""
    line = requirement.strip().lower()
    return line.startswith("benchmate") or "subdirectory=benchmate" in line or "egg=benchmate" in line
