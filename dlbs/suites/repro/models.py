"""Names of Repro's `models`, `common.docker`, `commands.subcommand` and `overrides`: models by task, images and containers, commands that set up."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from dlbs.core.errors import ConfigError, LaunchError
from dlbs.launch import containers
from dlbs.packs.container_model import Model, Registrable
from dlbs.packs.docker import DockerContainer, DockerContainerError, make_volume_map, run_command  # noqa: F401
from dlbs.suites.repro.values import DocumentType, SummaryType  # noqa: F401

Method = TypeVar("Method", bound=Callable[..., Any])

MODELS_ROOT = "packs"  # the directory of all packs, to which paths in `setup.py` files are relative


class Subcommand(Registrable):
    """A command of Repro's command line, which DLBS can load but does not run."""

    def add_subparser(self, model: str, parser: Any) -> None:
        """Add the options of the command."""
        raise NotImplementedError

    def run(self, args: Any) -> None:
        """Run the command."""
        raise NotImplementedError


class RootSubcommand(Subcommand):
    """A top-level command."""


class SetupSubcommand(Subcommand):
    """The command `setup` of one model."""


def overrides(method: Method) -> Method:
    """Mark a method that overrides one of a base class."""
    return method


override = overrides


class QuestionAnsweringModel(Model):
    """A model that answers questions about a text."""

    def predict(self, context: str, question: str, *arguments: Any, **options: Any) -> Any:
        """The answer to one question."""
        return self.predict_batch([{"context": context, "question": question}], *arguments, **options)[0]


class QuestionGenerationModel(Model):
    """A model that generates a question whose answer is a part of a text."""

    def predict(self, context: str, start: int, end: int, **options: Any) -> Any:
        """The question that `context[start:end]` answers."""
        return self.predict_batch([{"context": context, "start": start, "end": end}], **options)[0]


class RecipeGenerationModel(Model):
    """A model that writes recipes."""

    def predict(self, name: str, ingredients: Sequence[str], *arguments: Any, **options: Any) -> Any:
        """The recipe of a dish."""
        return self.predict_batch([{"name": name, "ingredients": ingredients}], *arguments, **options)[0]


class SingleDocumentSummarizationModel(Model):
    """A model that summarizes a document."""

    def predict(self, document: DocumentType, *arguments: Any, **options: Any) -> Any:
        """The summary of one document."""
        return self.predict_batch([{"document": document}], *arguments, **options)[0]


class TruecasingModel(Model):
    """A model that restores capital letters."""

    def predict(self, text: str, *arguments: Any, **options: Any) -> Any:
        """The text with capital letters."""
        return self.predict_batch([{"text": text}], *arguments, **options)[0]


class ParallelModel(Model):
    """Several models of a class in parallel, each with a part of the inputs and its own containers.

    `aggregate_parallel_metrics` combines the results of metrics.

    Args:
        model_cls: The class.
        model_kwargs_list: Arguments of each model's constructor, such as `[{"device": 0}, {"device": 1}]`.
        num_models: Number of models, if none has arguments.

    Raises:
        ConfigError: Neither or both of the last two are given.
    """

    def __init__(
        self,
        model_cls: type[Model],
        model_kwargs_list: Sequence[Mapping[str, Any]] | None = None,
        num_models: int | None = None,
    ) -> None:
        if bool(model_kwargs_list) == (num_models is not None) or (num_models is not None and num_models < 1):
            raise ConfigError("ParallelModel needs either model_kwargs_list or a positive num_models")
        self.model_cls = model_cls
        self.model_kwargs_list = list(model_kwargs_list or [{} for _ in range(num_models or 0)])

    def predict_batch(self, inputs: Sequence[Any], *arguments: Any, **options: Any) -> list[Any]:
        """The results of the models for their parts of the inputs, in order: one per model, not per input."""
        if not inputs:
            return []
        size = math.ceil(len(inputs) / len(self.model_kwargs_list))
        parts = [inputs[start : start + size] for start in range(0, len(inputs), size)]

        def predict(given: Mapping[str, Any], part: Sequence[Any]) -> Any:
            return self.model_cls(**given).predict_batch(part, *arguments, **options)

        with ThreadPoolExecutor(len(parts)) as pool:
            return list(pool.map(predict, self.model_kwargs_list, parts))


def image_exists(image: str) -> bool:
    """Whether an image exists on this machine.

    Raises:
        LaunchError: docker cannot be started.
    """
    return _docker("image", "inspect", image).returncode == 0


def pull_image(image: str) -> None:
    """Pull an image from its registry.

    Raises:
        LaunchError: It cannot be pulled.
    """
    containers.pull_image(image, docker="docker")


def remove_image(image: str, force: bool = False) -> None:
    """Remove an image.

    Raises:
        LaunchError: It cannot be removed.
    """
    done = _docker("image", "rm", *(["--force"] if force else []), image)
    if done.returncode != 0:
        raise LaunchError(done.stderr.strip(), where=image)


def build_image(root: str, image: str, build_args: Mapping[str, str] | None = None, silent: bool = False) -> None:
    """Build an image from the Dockerfile in a directory.

    Args:
        root: The directory.
        image: Name of the image.
        build_args: Arguments of the Dockerfile.
        silent: Suppress output.

    Raises:
        LaunchError: The build fails.
    """

    def tell(line: str) -> None:
        if not silent:
            print(line, file=sys.stderr)

    containers.build_image(Path(root), image, arguments=build_args, tell=tell)


class BuildDockerImageSubcommand(SetupSubcommand):
    """Build the image of one model.

    Args:
        root: Directory of its Dockerfile.
        default_image: Name of the image.
    """

    def __init__(self, root: str, default_image: str) -> None:
        self.root, self.default_image = root, default_image

    def add_subparser(self, model: str, parser: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
        """Add the model with its options."""
        self.parser = parser.add_parser(model, description=f"Build the image of {model}")
        self.parser.add_argument("--image-name", default=self.default_image, help="name of the image")
        self.parser.add_argument("--silent", action="store_true", help="suppress output")
        self.parser.set_defaults(subfunc=self.run)

    def run(self, args: argparse.Namespace) -> None:
        """Build the image."""
        build_image(self.root, args.image_name, silent=args.silent)


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(["docker", *words], capture_output=True, errors="replace", check=False)
    except OSError as error:
        raise LaunchError(f"cannot be started: {error.strerror}", where="docker", hint="install docker") from None
