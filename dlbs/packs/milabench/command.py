"""The commands of a benchfile's plan: wrappers around commands, down to the script."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from dlbs.errors import LaunchError
from dlbs.packs.milabench.paths import XPath

__all__ = [
    "CmdCommand",
    "Command",
    "ListCommand",
    "NJobs",
    "PackCommand",
    "PerGPU",
    "SequenceCommand",
    "SimpleCommand",
    "SingleCmdCommand",
    "VoidCommand",
]


class Command:
    """A plan.

    Args:
        pack_or_exec: The package, or a command that this one wraps.
        kwargs: Run options: `cwd`, `env`, `use_stdout`.
    """

    def __init__(self, pack_or_exec: Any, **kwargs: Any) -> None:
        self.exec: Command | None = pack_or_exec if isinstance(pack_or_exec, Command) else None
        self._pack: Any = None if self.exec is not None else pack_or_exec
        self._kwargs = kwargs

    @property
    def pack(self) -> Any:
        """The package of the innermost command."""
        return self._pack if self.exec is None else self.exec.pack

    def _set_pack(self, pack: Any) -> bool:
        if self.exec is not None:
            return self.exec._set_pack(pack)
        self._pack = pack
        return True

    def packs(self) -> Iterator[Any]:
        """Packages of all commands."""
        yield self.pack

    def copy(self, pack: Any) -> Any:
        """The same plan for another package."""
        made = copy.copy(self)
        made.exec = self.exec.copy(pack) if self.exec is not None else None
        made._pack = pack if self.exec is None else None
        made._kwargs = dict(self._kwargs)
        return made

    def use_stdout(self) -> Any:
        """Read events from standard output, where they are mixed with other lines, instead of from a pipe."""
        return self.set_run_options(use_stdout=True)

    def set_run_options(self, **kwargs: Any) -> Any:
        """Change run options."""
        self._kwargs.update(kwargs)
        return self

    def kwargs(self) -> dict[str, Any]:
        """The run options; those of outer commands win."""
        return {**(self.exec.kwargs() if self.exec is not None else {}), **self._kwargs}

    options = property(kwargs)

    def argv(self, **kwargs: Any) -> list[Any]:
        """The words of the command, those of this one before those of the wrapped one."""
        return [*self._argv(**kwargs), *(self.exec.argv(**kwargs) if self.exec is not None else [])]

    def _argv(self, **kwargs: Any) -> list[Any]:
        return []

    def commands(self) -> Iterator[tuple[Any, list[Any], dict[str, Any]]]:
        """Package, words and run options of each command of the plan."""
        yield self.pack, self.argv(), self.kwargs()

    async def execute(self, phase: str = "run", **kwargs: Any) -> int:
        """Run all commands, one after the other.

        Raises:
            LaunchError: A command failed.
        """
        for pack, words, options in self.commands():
            if words:
                await pack.execute(*words, **{**options, **kwargs})
        return 0


SingleCmdCommand = Command


class ListCommand(Command):
    """Several commands."""

    def __init__(self, *executors: Command, **kwargs: Any) -> None:
        super().__init__(None, **kwargs)
        self.executors = list(executors)

    @property
    def pack(self) -> Any:
        """The package of the first command."""
        return self.executors[0].pack

    def packs(self) -> Iterator[Any]:
        """Packages of all commands."""
        for executor in self.executors:
            yield from executor.packs()

    def commands(self) -> Iterator[tuple[Any, list[Any], dict[str, Any]]]:
        """The commands of all members."""
        for executor in self.executors:
            for pack, words, options in executor.commands():
                yield pack, words, {**options, **self._kwargs}


class SequenceCommand(ListCommand):
    """Commands one after the other."""


class NJobs(ListCommand):
    """A command, repeated; an experiment runs one copy, since `plan` creates as many experiments."""

    def __init__(self, executor: Command, n: int = 1, gpus: Any = None, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)
        self.n = n


class PerGPU(ListCommand):
    """A command on each GPU; an experiment runs one copy, since `plan` creates as many experiments."""

    def __init__(self, executor: Command, gpus: Any = None, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)


class CmdCommand(Command):
    """A command given by its words."""

    def __init__(self, pack: Any, *cmd_argv: Any, **kwargs: Any) -> None:
        super().__init__(pack, **kwargs)
        self.cmd_argv = cmd_argv

    def _argv(self, **kwargs: Any) -> list[Any]:
        return list(self.cmd_argv)


SimpleCommand = CmdCommand


class PackCommand(CmdCommand):
    """A script of the package, by default its main script, with arguments.

    Args:
        pack: The package.
        script_argv: Arguments; the first one may be the path of a script.
        lazy: Read the arguments of the package when it runs.
    """

    def __init__(self, pack: Any, *script_argv: Any, lazy: bool = False, **kwargs: Any) -> None:
        first = XPath(str(script_argv[0])) if script_argv else None
        self.script = first if first is not None and first.is_absolute() and first.exists() else None
        super().__init__(pack, *(script_argv[1:] if self.script is not None else script_argv), **kwargs)
        self.lazy = lazy

    def command_arguments(self, **kwargs: Any) -> list[Any]:
        """Arguments of the script."""
        return list(self.pack.argv) if self.lazy else list(self.cmd_argv)

    def _argv(self, **kwargs: Any) -> list[Any]:
        script = self.script or self.pack.dirs.code / self.pack.main_script
        if not script.exists():
            raise LaunchError(
                f"{script} does not exist", where=self.pack.name, hint=f"run dlbs pack install {self.pack.name}"
            )
        module = ["-m", str(self.pack.main_script)] if script.is_dir() else [str(script)]
        return [*module, *self.command_arguments()]


class VoidCommand(CmdCommand):
    """Nothing."""

    def argv(self, **kwargs: Any) -> list[Any]:
        """The empty list of words."""
        return []
