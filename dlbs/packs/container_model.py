"""Models in containers: a registry by name, and what every container pack is without further code."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dlbs.errors import ConfigError, LaunchError, LogError, did_you_mean
from dlbs.packs.definition import Pack
from dlbs.packs.docker import DockerContainer
from dlbs.packs.jsonlines import read_output_file, write_jsonl_file

__all__ = ["ContainerModel", "Model", "devices_to_test", "load_model"]

ModelType = TypeVar("ModelType", bound="type[Model]")


class Model(ABC):
    """A model that gives an output for each input, both as plain data.

    @Model.register("tutorial-model")
    class TutorialModel(Model): ...
    """

    _registered: dict[str, type[Model]] = {}  # noqa: RUF012

    @classmethod
    def register(cls, name: str) -> Callable[[ModelType], ModelType]:
        """Register a class under a name."""

        def remember(model: ModelType) -> ModelType:
            if name in Model._registered and Model._registered[name].__qualname__ != model.__qualname__:
                raise ConfigError(f"two models are called {name!r}")
            Model._registered[name] = model
            return model

        return remember

    @classmethod
    def by_name(cls, name: str) -> type[Model]:
        """A registered class.

        Raises:
            ConfigError: There is none; the message names the closest ones.
        """
        if name not in Model._registered:
            raise ConfigError(f"there is no model {name!r}", hint=did_you_mean(name, Model._registered))
        return Model._registered[name]

    @classmethod
    def list_available(cls) -> list[str]:
        """Names of all registered models, sorted."""
        return sorted(Model._registered)

    @abstractmethod
    def predict_batch(self, inputs: Sequence[dict[str, Any]], **options: Any) -> list[Any]:
        """The outputs for several inputs, in their order."""

    def predict(self, *arguments: Any, **instance: Any) -> Any:
        """The output for one input, given by its fields or as one mapping.

        Raises:
            TypeError: Values are given without the names of their fields, which only the model knows.
        """
        if arguments and (instance or len(arguments) > 1 or not isinstance(arguments[0], Mapping)):
            given = ", ".join(repr(value)[:40] for value in arguments)
            raise TypeError(
                f"predict takes the fields of an input by name, predict(text=...), or one mapping; not {given}"
            )
        return self.predict_batch([dict(arguments[0]) if arguments else instance])[0]


class ContainerModel(Model):
    """What a container pack does: its `run.py` reads JSON lines from one file and writes as many to another.

    Args:
        image: The image's name.
        device: Number of the GPU; -1 is the CPU.
        command: How the program starts, in the image's working directory.
        network: Whether it may use the network.
        timeout: Seconds for a batch.
        docker: The docker command.
    """

    def __init__(
        self, image: str, *, device: int = -1, command: str = "python3 run.py", network: bool = False, timeout: float | None = None,
        docker: str = "docker",
    ) -> None:  # fmt: skip
        self.image, self.device, self.command, self.network, self.timeout = image, device, command, network, timeout
        self._docker = docker

    def predict_batch(self, inputs: Sequence[dict[str, Any]], **options: Any) -> list[Any]:
        """The `output` of each line that the program writes, or the whole line if it has none.

        Raises:
            LaunchError: The container failed, or did not write as many lines as it got.
        """
        if not inputs:
            return []
        with DockerContainer(self.image, docker=self._docker) as backend:
            write_jsonl_file(Path(backend.host_dir) / "input.jsonl", inputs)
            files = (
                f"--input-file {backend.container_dir}/input.jsonl --output-file {backend.container_dir}/output.jsonl"
            )
            # Inside, the chosen GPU is number 0 whatever it is outside; without one, none can be seen.
            device = "" if self.device < 0 else str(self.device)
            backend.run_command(
                f"export CUDA_VISIBLE_DEVICES={device} && {self.command} {files}",
                cuda=self.device >= 0,
                network_disabled=not self.network,
                timeout=self.timeout,
            )
            try:
                outputs = read_output_file(Path(backend.host_dir) / "output.jsonl", len(inputs))
            except LogError as error:
                raise LaunchError(
                    f"{self.image} wrote no output that can be used: output.jsonl: {error.what}"
                ) from None
        if len(outputs) != len(inputs):
            wrote = "more" if len(outputs) > len(inputs) else str(len(outputs))
            raise LaunchError(
                f"{self.image} got {len(inputs)} lines and wrote {wrote}",
                hint="its program must write one for each",
            )
        return [line["output"] if isinstance(line, dict) and "output" in line else line for line in outputs]


def load_model(pack: Pack, *, name: str = "", image: str = "", device: int = -1, docker: str = "docker") -> Model:
    """The model of a container pack: a class that its `model.py` registers, or the plain one. This runs model.py.

    A class of the pack's own gets those of `image`, `device` and `docker` that its constructor has.

    Args:
        pack: A container pack.
        name: Under which it is registered, if there are several; by default what the pack says.
        image: Another image than the pack's own.
        device: Number of the GPU; -1 is the CPU.
        docker: The docker command.

    Raises:
        LaunchError: model.py fails, or registers nothing.
        ConfigError: There is no model of that name, or there are several and none is chosen.
    """
    name = name or pack.predictor
    path = pack.directory / "model.py"
    if not path.is_file():
        if name:
            raise ConfigError(f"{pack.name} has no model.py, so there is no model {name!r}", where=pack.where)
        return ContainerModel(
            image or pack.image, device=device, command=pack.command, network=pack.network, docker=docker
        )
    before = set(Model._registered)
    module_name = f"dlbs_pack_{pack.name}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LaunchError(f"{type(error).__name__}: {error}", where=str(path)) from None
    found = {
        registered: model
        for registered, model in Model._registered.items()
        if registered not in before or model.__module__ == module_name
    }
    if not found:
        raise LaunchError("registers no model", where=str(path), hint='@Model.register("NAME") on a subclass of Model')
    if name and name not in found:
        hint = did_you_mean(name, found) or f"there are {', '.join(found)}"
        raise ConfigError(f"registers no model {name!r}", where=str(path), hint=hint)
    if not name and len(found) > 1:
        hint = "choose one: --model NAME, -Ppack.predictor=NAME, or `predictor` in pack.yaml"
        raise ConfigError(f"registers several models: {', '.join(found)}", where=str(path), hint=hint)
    made = found[name] if name else next(iter(found.values()))
    options = {"image": image or pack.image, "device": device, "docker": docker}
    known = inspect.signature(made).parameters
    return made(**{option: value for option, value in options.items() if option in known})


def devices_to_test(environ: Mapping[str, str] = os.environ) -> list[int]:
    """Devices to test on: the numbers in `TEST_DEVICES`, separated by commas; the CPU (-1) without it."""
    given = environ.get("TEST_DEVICES", "-1")
    return [int(one) for one in given.split(",") if one.strip()]
