"""All plans of benchfiles: under voir, by torchrun or accelerate, on this machine. Experiments run plans that result in one command."""

from __future__ import annotations

import json
from typing import Any

from dlbs.errors import LaunchError
from dlbs.packs.milabench.command import (
    CmdCommand,
    Command,
    ListCommand,
    NJobs,
    PackCommand,
    PerGPU,
    SequenceCommand,
    SimpleCommand,
    SingleCmdCommand,
    VoidCommand,
)
from dlbs.packs.milabench.options import select_nodes

__all__ = [
    "AccelerateAllNodes",
    "AccelerateLaunchCommand",
    "ActivatorCommand",
    "CmdCommand",
    "Command",
    "DockerRunCommand",
    "ForeachNode",
    "ListCommand",
    "NJobs",
    "PackCommand",
    "PerGPU",
    "SSHCommand",
    "SequenceCommand",
    "SimpleCommand",
    "SingleCmdCommand",
    "TorchRunCommand",
    "TorchrunAllGPU",
    "TorchrunAllNodes",
    "VoidCommand",
    "VoirCommand",
    "WorkingDir",
    "WrapperCommand",
    "select_nodes",
]


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


class DockerRunCommand(WrapperCommand):
    """Run in a container; the experiment is in its container already (`exp.docker_image`)."""

    def __init__(self, executor: Any, image: Any = None, *docker_argv: Any, **kwargs: Any) -> None:
        super().__init__(executor, **kwargs)
        self.image = image


class SSHCommand(WrapperCommand):
    """Run on a machine: this one."""

    def __init__(
        self,
        executor: Any,
        host: str = "",
        *ssh_argv: Any,
        user: Any = None,
        key: Any = None,
        port: int = 22,
        **kwargs: Any,
    ) -> None:
        super().__init__(executor, **kwargs)
        self.host = host
