"""Adapter for benchfiles written for milabench: they are installed, prepared and run like other packs."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.core.files import dlbs_root
from dlbs.packs.benchfile import BenchmarkPack
from dlbs.packs.pack import Pack
from dlbs.suites.milabench.package import BasePackage, config_of
from dlbs.suites.milabench.plans import Command

_ENOUGH = 60  # rates, as in milabench


class AdaptedPack(BenchmarkPack):
    """A benchmark pack that wraps the `__pack__` class of a benchfile.

    Args:
        pack: The definition.
        made: The class `__pack__`.
        where: Path of the benchfile.

    Raises:
        LaunchError: The class is not a subclass of `milabench.pack.Package`, or its constructor fails.
    """

    needs_voir = True

    def __init__(self, pack: Pack, made: Any, where: str) -> None:
        super().__init__(pack)
        self.where = where
        if not (isinstance(made, type) and issubclass(made, BasePackage)):
            raise LaunchError("__pack__ is not a subclass of milabench.pack.Package", where=where)
        try:
            self.package: Any = made(config_of(pack, self.places, self.python))
        except Exception as error:
            raise LaunchError(f"{type(error).__name__}: {error}", where=where) from None

    def install(self) -> None:
        """Run the installation of the package."""
        self._step("install")

    def prepare(self) -> None:
        """Run the preparation of the package."""
        self._step("prepare")

    def command(self, script: Sequence[str]) -> list[str]:
        """The command of the package's plan, wrapped by the program that receives its events.

        Raises:
            LaunchError: The plan fails, or does not result in exactly one command.
        """
        self.package.config["argv"] = _options(script[1:], self.pack.argv)
        plan = self._step("run")
        if not isinstance(plan, Command):
            raise LaunchError(
                "run() returns no plan; return await super().run(), or override build_run_plan", where=self.where
            )
        try:
            commands = [one for one in plan.commands() if one[1]]
        except LaunchError:
            raise
        except Exception as error:
            raise LaunchError(f"{type(error).__name__}: {error}", where=self.where) from None
        if len(commands) != 1:
            raise LaunchError(
                f"the plan has {len(commands)} commands, but an experiment runs exactly one", where=self.where
            )
        package, words, options = commands[0]
        words = self._interpreted([str(word) for word in words])
        environment = {**package.full_env(options.get("env")), **self._voir_variables(bool(options.get("use_stdout")))}
        stop: list[str] = []
        if not (self.directory / "voirfile.py").is_file():  # otherwise nothing stops an endless script
            stop = ["--stop", str(self.package.config["voir"]["options"].get("stop", _ENOUGH))]
            environment["VOIRFILE"] = str(_runner() / "voirfile.py")
        os.environ.update({name: str(value) for name, value in environment.items()})
        self.working_directory = options.get("cwd") or package.working_directory
        stdout = ["--stdout"] if options.get("use_stdout") else []
        return [sys.executable, str(_runner() / "run.py"), "--events", *stdout, *stop, *_batch(script), "--", *words]

    def _interpreted(self, words: list[str]) -> list[str]:
        """The words, with an interpreter inserted before a Python script."""
        python = str(self.python)
        if words[0] == "voir":
            return [python, "-m", *words]
        return [python, *words] if words[0] == "-m" or words[0].endswith(".py") else words

    def _voir_variables(self, stdout: bool) -> dict[str, str]:
        options = self.package.config["voir"]["options"]
        found = {"MILABENCH_MANAGED": "1", "MILABENCH_USE_STDOUT": str(int(stdout))}
        for name, option in (("VOIR_EARLYSTOP_COUNT", "stop"), ("VOIR_EARLYSTOP_SKIP", "skip")):
            if option in options:
                found[name] = str(options[option])
        return found

    def _step(self, phase: str) -> Any:
        self.package.phase = phase
        method = getattr(self.package, phase)
        if needed := _required(method):
            what = f"{phase}() takes {', '.join(needed)}, as in the early interface of milabench, which milabench itself has dropped"
            raise LaunchError(what, where=self.where, hint="it takes nothing now, and run() returns a plan")
        try:
            made = method()
            return asyncio.run(_awaited(made)) if inspect.isawaitable(made) else made
        except LaunchError:
            raise
        except Exception as error:
            raise LaunchError(f"{phase}: {type(error).__name__}: {error}", where=self.where) from None


def _runner() -> Path:
    return dlbs_root() / "python" / "pack_runner"


def _required(method: Any) -> list[str]:
    """The arguments that a method cannot be called without."""
    parameters = inspect.signature(method).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in kinds]


async def _awaited(made: Any) -> Any:
    return await made


def _options(words: Sequence[str], known: Any) -> Any:
    """Words as the mapping of options that the pack defines; unchanged if it defines a list."""
    if not isinstance(known, Mapping):
        return list(words)
    options: dict[str, Any] = {}
    last = ""
    for word in words:
        if word in known:
            options[word] = None
            last = word
        elif last and options[last] is None:
            options[last] = word
        else:
            options[word] = None
            last = ""
    return options


def _batch(words: Sequence[str]) -> list[str]:
    """`--batch N`, if an option named batch size has a number."""
    for option, value in itertools.pairwise(words):
        if option.lstrip("-").replace("-", "_") in {"batch_size", "batchsize", "bs"} and value.isdecimal():
            return ["--batch", value]
    return []
