"""Models in containers: a registry by name, and the default model of container packs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbs.errors import ConfigError, LaunchError, LogError, did_you_mean
from dlbs.packs.definition import Pack
from dlbs.packs.docker import DockerContainer
from dlbs.packs.extend import option_name
from dlbs.packs.jsonlines import read_output_file, write_jsonl_file
from dlbs.packs.provided import provide
from dlbs.packs.registry import Registrable
from dlbs.packs.repro import MODULES

__all__ = ["ContainerModel", "Model", "devices_to_test", "load_model"]

_FILES = ("model.py", "models.py")  # possible names of the file that registers models


class Model(Registrable, ABC):
    """A model that returns an output for each input, both plain data.

    @Model.register("tutorial-model")
    class TutorialModel(Model): ...
    """

    @abstractmethod
    def predict_batch(self, inputs: Sequence[Any], *arguments: Any, **options: Any) -> Any:
        """The outputs for several inputs, in their order; or one result for all of them, such as metrics."""

    def predict(self, *arguments: Any, **instance: Any) -> Any:
        """The output for one input, given by its fields or as one mapping.

        Raises:
            TypeError: Values are passed without the names of their fields.
        """
        if arguments and (instance or len(arguments) > 1 or not isinstance(arguments[0], Mapping)):
            given = ", ".join(repr(value)[:40] for value in arguments)
            raise TypeError(
                f"predict takes the fields of an input as keywords, predict(text=...), or one mapping; not {given}"
            )
        return self.predict_batch([dict(arguments[0]) if arguments else instance])[0]


class ContainerModel(Model):
    """The default model of container packs: its `run.py` reads JSON lines from a file and writes as many to another.

    Args:
        image: The image's name.
        device: Number of the GPU; -1 is the CPU.
        command: Command that starts the program in the image's working directory.
        network: Whether it may use the network.
        timeout: Time limit of a batch in seconds.
        docker: The docker command.
    """

    def __init__(
        self, image: str, *, device: int = -1, command: str = "python3 run.py", network: bool = False, timeout: float | None = None,
        docker: str = "docker",
    ) -> None:  # fmt: skip
        self.image, self.device, self.command, self.network, self.timeout = image, device, command, network, timeout
        self._docker = docker

    def predict_batch(self, inputs: Sequence[Any], *arguments: Any, **options: Any) -> list[Any]:
        """The `output` of each line that the program writes, or the line itself if it has none.

        Raises:
            LaunchError: The container failed, or did not write one line per input.
        """
        if not inputs:
            return []
        with DockerContainer(self.image, docker=self._docker) as backend:
            write_jsonl_file(Path(backend.host_dir) / "input.jsonl", inputs)
            files = (
                f"--input-file {backend.container_dir}/input.jsonl --output-file {backend.container_dir}/output.jsonl"
            )
            # Inside, the chosen GPU always has number 0; without a GPU, none is visible.
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
                raise LaunchError(f"{self.image} wrote no valid output: output.jsonl: {error.what}") from None
        if len(outputs) != len(inputs):
            wrote = "more" if len(outputs) > len(inputs) else str(len(outputs))
            raise LaunchError(
                f"{self.image} read {len(inputs)} lines and wrote {wrote}",
                hint="its program must write one line per input line",
            )
        return [line["output"] if isinstance(line, dict) and "output" in line else line for line in outputs]


def load_model(
    pack: Pack,
    *,
    name: str = "",
    image: str = "",
    device: int = -1,
    docker: str = "docker",
    arguments: Mapping[str, Any] | None = None,
) -> Model:
    """The model of a container pack: a class that its `model.py` (or `models.py`) registers, or the default one. This executes that file.

    A class of the pack receives those of `image`, `device` and `docker` that its constructor accepts.

    Args:
        pack: A container pack.
        name: Its registered name, if there are several; by default that of the pack.
        image: An image to use instead of the pack's.
        device: Number of the GPU; -1 is the CPU.
        docker: The docker command.
        arguments: Further arguments of the class, which win over the pack's `argv`.

    Raises:
        LaunchError: model.py fails, or registers nothing.
        ConfigError: The name is unknown, several models exist and none is chosen, or the model does not accept the arguments.
    """
    name = name or pack.predictor
    path = next((pack.directory / one for one in _FILES if (pack.directory / one).is_file()), None)
    if path is None:
        if name:
            raise ConfigError(f"{pack.name} has no model.py, so model {name!r} does not exist", where=pack.where)
        return ContainerModel(
            image or pack.image, device=device, command=pack.command, network=pack.network, docker=docker
        )
    before = Model.classes()
    module_name = _run_file(path, pack)
    known_now = Model.classes()
    found = {one: model for one, model in known_now.items() if f"{model.__module__}.".startswith(f"{module_name}.")}
    # If the file defines no classes, use those that it imports.
    found = found or {one: model for one, model in known_now.items() if before.get(one) is not model}
    if not found:
        raise LaunchError(
            "registers no model", where=str(path), hint='use @Model.register("NAME") on a subclass of Model'
        )
    if name and name not in found:
        hint = did_you_mean(name, found) or f"known: {', '.join(found)}"
        raise ConfigError(f"registers no model {name!r}", where=str(path), hint=hint)
    if not name and len(found) > 1:
        hint = "choose one: --model NAME, -Ppack.predictor=NAME, or `predictor` in pack.yaml"
        raise ConfigError(f"registers several models: {', '.join(found)}", where=str(path), hint=hint)
    name = name or next(iter(found))
    known = inspect.signature(found[name]).parameters
    own = {"image": image or pack.image, "device": device, "docker": docker}
    given = {**_arguments(pack), **(arguments or {})}
    try:
        made: Model = found[name](**{**{option: value for option, value in own.items() if option in known}, **given})
    except TypeError as error:
        there = ", ".join(known) or "none"
        hint = (
            f"arguments of its constructor: {there}; set them with `argv` in pack.yaml, -Pargv.NAME, or --model-kwargs"
        )
        raise ConfigError(f"{name}: {error}", where=str(path), hint=hint) from None
    return made


def _arguments(pack: Pack) -> dict[str, Any]:
    """The constructor arguments in a pack's `argv`, as Python names: `batch_size` for `--batch-size`.

    Raises:
        ConfigError: `argv` is a list instead of a mapping.
    """
    if not isinstance(pack.argv, dict):
        raise ConfigError("argv of a container pack must be a mapping of its model's arguments", where=pack.where)
    return {option_name(str(option)).removeprefix("argv."): value for option, value in pack.argv.items()}


def _run_file(path: Path, pack: Pack) -> str:
    """Execute a pack's file that registers models, and return the name of its module.

    Files written for Repro import its modules and constants of their own package; both imports are provided.

    Raises:
        LaunchError: The file fails.
    """
    package = f"repro.models.{pack.directory.name}"
    if (pack.directory / "__init__.py").is_file():
        # Some import modules in the same directory.
        beside = [one for one in pack.directory.parent.iterdir() if (one / "__init__.py").is_file()]
        provide(MODULES, packages={f"repro.models.{one.name}": one for one in beside})
    else:
        repository, _, version = pack.image.rpartition(":")
        constants = {
            "MODEL_NAME": pack.directory.name,
            "DEFAULT_IMAGE": pack.image,
            "DOCKERHUB_REPO": repository or pack.image,
        }
        provide(MODULES, constants={package: {**constants, "VERSION": version, "AUTOMATICALLY_PUBLISH": False}})
    try:
        if (pack.directory / "__init__.py").is_file():
            importlib.import_module(f"{package}.{path.stem}")
            return package
        module_name = f"dlbs_pack_{pack.name}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        spec.loader.exec_module(module)
        return module_name
    except Exception as error:
        raise LaunchError(f"{type(error).__name__}: {error}", where=str(path)) from None


def devices_to_test(environ: Mapping[str, str] = os.environ) -> list[int]:
    """Devices to test on: the numbers in `TEST_DEVICES`, separated by commas; the CPU (-1) if it is unset."""
    given = environ.get("TEST_DEVICES", "-1")
    return [int(one) for one in given.split(",") if one.strip()]
