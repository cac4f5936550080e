"""Models in containers: a registry by name, the default model of container packs, and the files of their inputs and outputs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, ClassVar, TypeVar

from benchmark_core.provided import provide
from dlbs.core.errors import ConfigError, LaunchError, LogError, did_you_mean
from dlbs.core.files import JsonError, load_json, open_regular, write_atomically
from dlbs.packs.docker import DockerContainer
from dlbs.packs.kinds import provide_for
from dlbs.packs.pack import Pack, option_name

Registered = TypeVar("Registered", bound="type[Any]")


class Registrable:
    """A base class whose subclasses are registered by name.

    class Reader(Registrable): ...

    @Reader.register("jsonl")
    class JsonLines(Reader): ...
    """

    registered: ClassVar[dict[type, dict[str, tuple[type[Any], str | None]]]] = {}

    @classmethod
    def register(
        cls, name: str, constructor: str | None = None, exist_ok: bool = False
    ) -> Callable[[Registered], Registered]:
        """Register a class under a name.

        Args:
            name: The name.
            constructor: Class method that constructs an object; by default the class itself.
            exist_ok: Replace another class of that name.

        Raises:
            ConfigError: Another class has that name.
        """
        known = Registrable.registered.setdefault(cls, {})

        def remember(made: Registered) -> Registered:
            # Loading a file again defines the same class again.
            if name in known and not exist_ok and known[name][0].__qualname__ != made.__qualname__:
                raise ConfigError(
                    f"{cls.__name__} {name!r} is registered twice",
                    hint="use register(..., exist_ok=True) to replace the first",
                )
            known[name] = (made, constructor)
            return made

        return remember

    @classmethod
    def classes(cls) -> dict[str, type[Any]]:
        """All classes registered for this base class, by name."""
        return {name: made for name, (made, _) in Registrable.registered.get(cls, {}).items()}

    @classmethod
    def by_name(cls, name: str) -> Any:
        """The class with a name, or the constructor that it was registered with.

        Raises:
            ConfigError: The name is unknown; the message contains the closest ones.
        """
        known = Registrable.registered.get(cls, {})
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(sorted(known)) or 'none'}"
            raise ConfigError(f"unknown {cls.__name__} {name!r}", hint=hint)
        made, constructor = known[name]
        return getattr(made, constructor) if constructor else made

    @classmethod
    def list_available(cls) -> list[str]:
        """All registered names, sorted."""
        return sorted(Registrable.registered.get(cls, {}))


_LONGEST_LINE = 64 << 20  # bytes
_LARGEST_OUTPUT = 512 << 20  # bytes that a container may write for a batch


def iterate_jsonl_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Any]:
    """The values in files that the user names, line by line; empty lines are skipped.

    Raises:
        LogError: A file cannot be read, or a line is not JSON or longer than 64 MiB.
    """
    for path in paths:
        try:
            with Path(path).open("rb") as stream:
                yield from _values(stream, path)
        except OSError as error:
            raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None


def read_jsonl_file(path: str | os.PathLike[str], single_line: bool = False) -> list[Any]:
    """All values in a file that the user names.

    Args:
        path: The file.
        single_line: The values are concatenated without newlines, as some programs write them.

    Raises:
        LogError: As `iterate_jsonl_files`.
    """
    return _concatenated_values(path) if single_line else list(iterate_jsonl_files([path]))


def _concatenated_values(path: str | os.PathLike[str]) -> list[Any]:
    try:
        with Path(path).open(encoding="utf-8") as stream:
            text = stream.read(_LONGEST_LINE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise LogError(f"cannot be read: {reason}", where=str(path)) from None
    if len(text) > _LONGEST_LINE:
        raise LogError(f"is longer than {_LONGEST_LINE:,} characters", where=str(path))
    values = []
    decoder, begin = json.JSONDecoder(), 0
    while begin < len(text):
        if text[begin].isspace():
            begin += 1
            continue
        try:
            _, end = decoder.raw_decode(text, begin)
            values.append(load_json(text[begin:end]))
        except (ValueError, RecursionError) as error:
            raise LogError(f"not JSON ({error}): {text[begin : begin + 80]!r}", where=str(path)) from None
        begin = end
    return values


def read_output_file(path: str | os.PathLike[str], expected: int) -> list[Any]:
    """The values in a file that a container wrote: a regular file, not a link, read only as far as expected.

    Args:
        path: The file.
        expected: Expected number of values.

    Returns:
        The values, at most `expected` + 1.

    Raises:
        LogError: It is missing, not a regular file, larger than 512 MiB, or a line is not JSON or longer than 64 MiB.
    """
    values: list[Any] = []
    try:
        with open_regular(path) as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST_OUTPUT:
                raise LogError(f"is larger than {_LARGEST_OUTPUT:,} bytes", where=str(path))
            for value in _values(stream, path):
                values.append(value)
                if len(values) > expected:
                    break
    except OSError as error:
        raise LogError(f"cannot be read: {error.strerror}", where=str(path)) from None
    return values


def _values(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[Any]:
    number = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            raise LogError(f"a line is longer than {_LONGEST_LINE:,} bytes", where=f"{path}:{number}")
        if line.strip():
            try:
                yield load_json(line)
            except JsonError as error:
                start = line[:80].decode("utf-8", "replace").strip()
                raise LogError(f"not JSON ({error.what}): {start!r}", where=f"{path}:{number}") from None


def write_jsonl_file(path: str | os.PathLike[str], values: Iterable[Any]) -> int:
    """Write values, one per line, and return their number. The file is written atomically.

    Raises:
        ConfigError: It cannot be written, or a value cannot be represented in JSON.
    """
    count = 0
    with write_atomically(path) as stream:
        for value in values:
            count += 1
            try:
                line = json.dumps(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise ConfigError(f"value {count} cannot be written as JSON: {error}", where=str(path)) from None
            stream.write(line + "\n")
    return count


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
    """Execute a pack's file that registers models, and return the name of its module or package.

    Raises:
        LaunchError: The file fails.
    """
    name = f"dlbs_pack_{pack.name}"
    packages = provide_for(pack)
    try:
        if (pack.directory / "__init__.py").is_file():
            # Files of a suite import each other under the name that packs have there.
            package = next((one for one, directory in packages.items() if directory == pack.directory), name)
            if package == name:
                provide({}, packages={name: pack.directory})
            importlib.import_module(f"{package}.{path.stem}")
            return package
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return name
    except Exception as error:
        raise LaunchError(f"{type(error).__name__}: {error}", where=str(path)) from None


def devices_to_test(environ: Mapping[str, str] = os.environ) -> list[int]:
    """Devices to test on: the numbers in `TEST_DEVICES`, separated by commas; the CPU (-1) if it is unset."""
    given = environ.get("TEST_DEVICES", "-1")
    return [int(one) for one in given.split(",") if one.strip()]


def one_for_each(found: object, inputs: Sequence[Any]) -> list[Any] | None:
    """The outputs as a list, if there is one per input; None for a single result, such as a mapping of metrics.

    Raises:
        LaunchError: The list has a different length.
    """
    if isinstance(found, Iterator):
        found = list(found)
    if not isinstance(found, list):
        return None
    if len(found) != len(inputs):
        raise LaunchError(
            f"the model returned {len(found)} outputs for {len(inputs)} inputs",
            hint="predict_batch must return a list with one output per input, or one mapping or tuple for all",
        )
    return found


def predict_lines(model: Model, inputs: Sequence[Any], size: int | None = None) -> Iterator[Any]:
    """Predict, and yield the values of output lines.

    Args:
        model: The model.
        inputs: Its inputs, in order.
        size: Inputs per call; all by default.

    Yields:
        For each input its output, as `{"output": ...}` unless it is a mapping itself. For a model that returns one result for all inputs
        (a mapping or a tuple of metrics) that result, as one line.

    Raises:
        LaunchError: There are more or fewer outputs than inputs, or a single result covers only a part of the inputs.
    """
    step = size or max(1, len(inputs))
    for start in range(0, len(inputs), step):
        batch = inputs[start : start + step]
        found = model.predict_batch(batch)
        outputs = one_for_each(found, batch)
        if outputs is None and len(batch) < len(inputs):
            raise LaunchError(
                f"the model returns one result for all inputs ({type(found).__name__}), but received {len(batch)} of {len(inputs)}",
                hint="remove --batch-size",
            )
        for value in [found] if outputs is None else outputs:
            yield value if isinstance(value, dict) else {"output": value}


class DatasetReader(Registrable):
    """Base class of readers: override `_read`, and register the class under a name."""

    def read(self, *input_files: str) -> list[dict[str, Any]]:
        """The inputs in files.

        Raises:
            LogError: An input has no `instance_id`, or one that is not a string.
        """
        instances = self._read(*input_files)
        for number, instance in enumerate(instances, 1):
            if not isinstance(instance.get("instance_id"), str):
                given = repr(instance.get("instance_id")) if "instance_id" in instance else "none"
                raise LogError(
                    f"input {number}: instance_id must be a string, not {given}", where=", ".join(input_files)
                )
        return instances

    def _read(self, *input_files: str) -> list[dict[str, Any]]:
        raise NotImplementedError


@DatasetReader.register("jsonl")
class JSONLinesDatasetReader(DatasetReader):
    """A reader of JSON lines, one input per line."""

    def _read(self, *input_files: str) -> list[dict[str, Any]]:
        return [instance for file in input_files for instance in read_jsonl_file(file)]


class OutputWriter(Registrable):
    """Base class of writers: override `_write`, and register the class under a name.

    Args:
        prediction_per_instance: Whether there must be one prediction for each input.
    """

    def __init__(self, prediction_per_instance: bool) -> None:
        self.prediction_per_instance = prediction_per_instance

    def write(
        self, instances: Sequence[Mapping[str, Any]], predictions: Any, output_file_or_dir: str, model_name: str = ""
    ) -> None:
        """Write the predictions of a model.

        Raises:
            LaunchError: A prediction per input is required, and the numbers differ.
        """
        if self.prediction_per_instance and (not isinstance(predictions, list) or len(predictions) != len(instances)):
            given = len(predictions) if isinstance(predictions, list) else f"a {type(predictions).__name__}"
            raise LaunchError(
                f"the writer needs one prediction for each of {len(instances)} inputs, not {given}",
                hint="use the writer metrics for one result of all inputs",
            )
        directory = os.path.dirname(output_file_or_dir)
        if directory:
            os.makedirs(directory, exist_ok=True)
        self._write(instances, predictions, output_file_or_dir, model_name=model_name)

    def _write(
        self, instances: Sequence[Mapping[str, Any]], predictions: Any, output_file_or_dir: str, model_name: str = ""
    ) -> None:
        raise NotImplementedError


@OutputWriter.register("default")
class DefaultOutputWriter(OutputWriter):
    """A writer of one line per input: `instance_id`, `model_id` and `prediction`.

    Args:
        include_input: Also write the input.
    """

    def __init__(self, include_input: bool = False) -> None:
        super().__init__(True)
        self.include_input = include_input

    def _write(
        self, instances: Sequence[Mapping[str, Any]], predictions: Any, output_file_or_dir: str, model_name: str = ""
    ) -> None:
        lines = []
        for instance, prediction in zip(instances, predictions, strict=True):
            line = {"instance_id": instance["instance_id"], "model_id": model_name}
            lines.append({**line, **({"input": instance} if self.include_input else {}), "prediction": prediction})
        write_jsonl_file(output_file_or_dir, lines)


@OutputWriter.register("metrics")
class MetricsOutputWriter(OutputWriter):
    """A writer of one JSON document: the result of the model for all inputs."""

    def __init__(self) -> None:
        super().__init__(False)

    def _write(
        self, instances: Sequence[Mapping[str, Any]], predictions: Any, output_file_or_dir: str, model_name: str = ""
    ) -> None:
        with write_atomically(Path(output_file_or_dir)) as stream:
            json.dump(predictions, stream, indent=2)
