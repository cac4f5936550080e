"""Options and configurations in the conventions of benchfiles."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dlbs.core.errors import LaunchError
from dlbs.packs.collection import merge as merge


def assemble_options(options: Mapping[str, Any] | Sequence[Any]) -> list[str]:
    """Options of a mapping as words: a flag for null and true, nothing for false; words after `--` are not options."""
    if not isinstance(options, Mapping):
        return [str(word) for word in options]
    words: list[str] = []
    last: list[str] = []
    for option, value in options.items():
        if option == "--":
            last = [str(word) for word in value]
        elif value is None or value is True:
            words.append(str(option))
        elif isinstance(value, (list, tuple)):
            words += [str(option), ",".join(map(str, value))]
        elif value is not False:
            words += [str(option), str(value)]
    return words + last


def select_nodes(nodes: Iterable[Mapping[str, Any]], n: int) -> list[Mapping[str, Any]]:
    """The first nodes, the main one first."""
    return sorted(nodes, key=lambda node: not node.get("main"))[: max(1, n)]


class XPath(pathlib.PosixPath):
    """A path of a benchfile."""

    def clone_subtree(self, remote: str, commit: str, subtree: str | None = None) -> None:
        """Check out a commit of a Git repository, or a directory of it, at this path.

        Args:
            remote: URL of the repository.
            commit: Commit, branch or tag.
            subtree: Directory in it; the entire repository by default.

        Raises:
            LaunchError: git fails, or the repository has no such directory.
        """
        self.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="dlbs-clone-", dir=self.parent) as directory:
            clone = pathlib.Path(directory, "clone")
            _git("clone", "--no-checkout", "--", remote, str(clone))
            _git("-C", str(clone), "checkout", "--quiet", commit, "--")
            source = clone / subtree if subtree else clone
            if not source.is_dir():
                raise LaunchError(f"has no directory {subtree}", where=f"{remote} at {commit}")
            if self.exists():
                shutil.copytree(source, self, dirs_exist_ok=True)
            else:
                os.replace(source, self)

    def sub(self, pattern: str, replacement: str) -> None:
        """Substitute all matches of a regular expression in this text file."""
        import re

        text = self.read_text(encoding="utf-8")
        self.write_text(re.sub(pattern, replacement, text), encoding="utf-8")

    def rm(self) -> None:
        """Remove this file, or this directory with its content."""
        if self.is_dir() and not self.is_symlink():
            shutil.rmtree(self)
        else:
            self.unlink()

    def copy_from(self, other: str | os.PathLike[str]) -> None:
        """Copy a file to this path."""
        shutil.copy(other, self)


def _git(*words: str) -> None:
    environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(["git", *words], capture_output=True, errors="replace", env=environment, check=False)
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where="git", hint="install git") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise LaunchError(f"git {words[0] if words[0] != '-C' else words[2]} failed: {last[0]}")


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
    """A command, repeated, or on each GPU; an experiment runs one copy, since `plan` creates as many experiments."""

    def __init__(self, executor: Command, n: int = 1, gpus: Any = None, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)


PerGPU = NJobs


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


class WrapperCommand(Command):
    """A command that wraps another one."""

    def __init__(self, executor: Any, *wrapper_argv: Any, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)
        self.wrapper_argv = wrapper_argv

    def _argv(self, **kwargs: Any) -> list[Any]:
        return list(self.wrapper_argv)


class VoirCommand(WrapperCommand):
    """Run under voir, with the options of the package."""

    def _argv(self, **kwargs: Any) -> list[Any]:
        options = self.pack.config.get("voir") or {}
        words = ["voir"]
        if options.get("options"):
            file = self.pack.dirs.extra / "voir.json"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(options), encoding="utf-8")
            words += ["--config", str(file)]
        return [*words, *self.wrapper_argv]


class WorkingDir(WrapperCommand):
    """Run in the working directory of the package."""

    def __init__(self, executor: Any, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)
        self._kwargs.setdefault("cwd", self.pack.working_directory)

    def _argv(self, **kwargs: Any) -> list[Any]:
        return []


class TorchRunCommand(WrapperCommand):
    """Run a process for each GPU of the experiment with torchrun; run the bare command with one GPU or none."""

    executable = "torchrun"

    def __init__(self, executor: Any, *torchrun_argv: Any, module: bool = False, **kwargs: Any) -> None:
        super().__init__(executor, *torchrun_argv, **kwargs)
        self.module = module

    def should_wrap(self) -> bool:
        """Whether there are several GPUs."""
        return len(self.pack.config["devices"]) > 1

    def _argv(self, **kwargs: Any) -> list[Any]:
        if not self.should_wrap():
            return []
        words = [self.executable, *self.wrapper_argv, f"--nproc_per_node={max(1, len(self.pack.config['devices']))}"]
        inner = self.exec.argv(**kwargs) if self.exec is not None else []
        if inner and str(inner[0]) in {"voir", "python"}:
            words.append("--no-python")
        return [*words, "--"]


TorchrunAllGPU = TorchRunCommand


class ForeachNode(Command):
    """Run on every machine; only one is supported."""

    def __init__(self, executor: Command, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)
        if executor.pack.config["num_machines"] > 1:
            raise LaunchError("requires several machines; packs run on one machine only", where=executor.pack.name)


class TorchrunAllNodes(ForeachNode):
    """Run torchrun on every machine."""

    def __init__(self, executor: Command, *arguments: Any, **kwargs: Any) -> None:
        super().__init__(self.make_base_executor(TorchRunCommand, executor, *arguments, **kwargs))

    @staticmethod
    def make_base_executor(cls: type[Any], executor: Any, *arguments: Any, **kwargs: Any) -> Any:
        """The command for one machine."""
        return cls(executor, *arguments, **kwargs)


class AccelerateLaunchCommand(WrapperCommand):
    """Run with `accelerate launch`."""

    def __init__(self, executor: Any, rank: int = 0, *accelerate_argv: Any, **kwargs: Any) -> None:
        super().__init__(executor, *accelerate_argv, **kwargs)
        self.rank = rank

    def _argv(self, **kwargs: Any) -> list[Any]:
        config = self.pack.config
        count = max(1, len(config["devices"]))
        several = ["--multi_gpu"] if count > 1 else []
        several = ["--use_deepspeed", "--zero_stage=2"] if config.get("use_deepspeed") else several
        words = ["accelerate", "launch", "--mixed_precision=bf16", "--dynamo_backend=no", f"--machine_rank={self.rank}"]
        words += ["--num_machines=1", *several, f"--num_processes={count}"]
        words += [f"--num_cpu_threads_per_process={config['cpus_per_gpu']}", *map(str, self.wrapper_argv)]
        own = [] if self.exec is not None else [str(self.pack.dirs.code / self.pack.main_script), *self.pack.argv]
        return [*words, *own]


class AccelerateAllNodes(ForeachNode):
    """Run `accelerate launch` on every machine."""

    def __init__(self, executor: Command, *arguments: Any, **kwargs: Any) -> None:
        super().__init__(AccelerateLaunchCommand(executor, 0, *arguments, **kwargs))


class ActivatorCommand(WrapperCommand):
    """Run in the environment of the package, as all commands do."""


class SSHCommand(WrapperCommand):
    """Run on a machine, this one, or in a container, where the experiment is already (`exp.docker_image`)."""

    def __init__(
        self, executor: Any, place: Any = None, *words: Any, user: Any = None, key: Any = None, port: int = 22, **kwargs: Any
    ) -> None:  # fmt: skip
        super().__init__(executor, **kwargs)


DockerRunCommand = SSHCommand
