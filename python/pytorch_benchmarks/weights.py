"""Trained weights of models: entries beside the code that users find by name, and safe files of tensors."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from benchmark_core.exits import UsageError
from benchmark_core.files import open_regular, read_regular, replaced
from benchmark_core.program import ADVICE, first_line, reason
from benchmark_core.text import did_you_mean
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.models.model import BUILDERS

_MOST_COPIES = 4  # bytes of tensors per byte of the file: views may overlap a little
_MAX_DEPTH = 50  # levels of dictionaries and lists
_LARGEST_ENTRY = 64 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Weights:
    """One set of weights of one model.

    Attributes:
        model: Name of the model.
        file: File of the tensors by name, as in `state_dict`, written by `torch.save`.
        sha256: Digest of that file; empty if unknown.
        model_opts: Options of the model's builder.
        transforms: Preprocessing from an image to the model's input; None if unknown.
        categories: Names of the classes, by number.
        metrics: Measured quantities: `accuracy_top1` and `accuracy_top5` in %, `instances`.
        training: Provenance: data, command, options, versions.
    """

    model: str
    file: Path
    sha256: str = ""
    model_opts: dict[str, Any] = field(default_factory=dict)
    transforms: Transforms | None = None
    categories: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """Read the tensors by name into host memory.

        Only tensors are read: code in the file is not run.

        Raises:
            UsageError: The file is missing, truncated, or not the file that the entry describes.
        """
        if self.sha256 and self.file.is_file() and _digest(self.file) != self.sha256:
            raise UsageError(f"--weights: {self.file} is not the file that its entry describes (its SHA-256 differs)")
        found = read(self.file, torch.device("cpu"))
        if isinstance(found, Mapping) and isinstance(found.get("model"), Mapping):  # a checkpoint of train.py
            found = found.get("ema") or found["model"]
        if not is_tensors_by_name(found):
            raise UsageError(f"--weights: {self.file} does not contain the tensors of a model by name")
        return dict(found)


class WeightsEnum(Enum):
    """The named weights of one model: `resnet18_weights.flowers`, or `["flowers"]`. `DEFAULT` is the most accurate.

    Members have the attributes of torchvision's: `transforms()`, `meta` and `get_state_dict()`. Their `value` is the entry.
    """

    @property
    def transforms(self) -> Callable[[], Transforms]:
        """Return a function that creates the preprocessing.

        Raises:
            UsageError: When called, if the preprocessing is unknown.
        """

        def make() -> Transforms:
            if self.value.transforms is None:
                raise UsageError(f"the weights {self.name} do not specify their preprocessing")
            made: Transforms = self.value.transforms
            return made

        return make

    @property
    def meta(self) -> dict[str, Any]:
        """`categories`, `_metrics`, `num_params` if known, and `training`."""
        entry: Weights = self.value
        known = {"num_params": int(entry.metrics["parameters"])} if "parameters" in entry.metrics else {}
        return {
            "categories": list(entry.categories),
            "_metrics": dict(entry.metrics),
            "training": entry.training,
            **known,
        }

    @property
    def url(self) -> str:
        """Location of the tensors: a file, since nothing is downloaded."""
        return Path(self.value.file).absolute().as_uri()

    def get_state_dict(self, *arguments: Any, **options: Any) -> dict[str, Tensor]:
        """The tensors by name. Arguments, such as `progress`, are ignored."""
        entry: Weights = self.value
        return entry.tensors()


def find_weights(given: str | Weights | WeightsEnum, model: str) -> Weights:
    """Find the weights for the option `--weights`.

    Args:
        given: An entry (`.json`), a file of tensors (any other), the name of an entry in `weights_directory()`, `DEFAULT` for the most
            accurate one there, or an entry or enum member itself.
        model: The model to load them into.

    Raises:
        UsageError: They do not exist, or belong to another model.
    """
    if isinstance(given, (Weights, WeightsEnum)):
        known_entry: Weights = given if isinstance(given, Weights) else given.value
        if known_entry.model != model:
            raise UsageError(f"these weights are for {known_entry.model}, not {model}")
        return known_entry
    if given == "DEFAULT":
        return default_weights(model)
    path = Path(given).expanduser()
    if not path.exists() and path.parent == Path() and not path.suffix:
        path = weights_directory() / f"{given}.json"
        if not path.exists():
            known = list_weights(model)
            hint = did_you_mean(given, known) or f"entries of {model}: {', '.join(known) or 'none'}"
            raise UsageError(f"--weights {given}: no such entry in {weights_directory()}: {hint}")
    if path.suffix == ".json":
        entry = read_weights(path)
        if model and entry.model != model:
            raise UsageError(f"--weights {given}: these weights are for {entry.model}, not {model}")
        return entry
    return Weights(model, path)


def list_weights(model: str = "") -> dict[str, Weights]:
    """Entries by name, sorted; of one model or of all.

    Raises:
        UsageError: A file in the directory is not an entry.
    """
    found = {path.stem: read_weights(path) for path in sorted(weights_directory().glob("*.json"))}
    return {name: entry for name, entry in found.items() if model in ("", entry.model)}


def get_model_weights(name: str | Callable[..., Any]) -> type[WeightsEnum]:
    """The weights of a model in `weights_directory()`, as an enum.

    Args:
        name: The model, or its builder.

    Raises:
        UsageError: A file in the directory is not an entry.
    """
    model = (
        name if isinstance(name, str) else next((one for one, made in BUILDERS.items() if made is name), name.__name__)
    )
    entries: dict[str, Any] = dict(list_weights(model))
    if entries:
        entries["DEFAULT"] = entries[_best(entries)]
    made: type[WeightsEnum] = cast(Any, WeightsEnum)(f"{model}_weights", entries)
    return made


def get_weight(name: str) -> WeightsEnum:
    """A member of a model's weights by its complete name, `resnet18_weights.DEFAULT`.

    Raises:
        UsageError: The weights do not exist.
    """
    model, dot, entry = name.partition(".")
    known = get_model_weights(model.removesuffix("_weights"))
    if not dot or entry not in known.__members__:
        there = ", ".join(f"{known.__name__}.{one}" for one in known.__members__) or "none"
        raise UsageError(f"unknown weights {name!r}: weights of that model are {there}")
    return known[entry]


def default_weights(model: str) -> Weights:
    """The most accurate weights of a model in `weights_directory()`.

    Raises:
        UsageError: There are no weights of the model.
    """
    known = list_weights(model)
    if not known:
        raise UsageError(
            f"--weights DEFAULT: there are no weights of {model} in {weights_directory()}; train.py writes them"
        )
    return known[_best(known)]


def weights_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The directory of entries by name: `$DLBS_WEIGHTS_DIR`, by default `dlbs/weights` in the user's data directory."""
    environ = os.environ if environ is None else environ
    if environ.get("DLBS_WEIGHTS_DIR"):
        return Path(environ["DLBS_WEIGHTS_DIR"]).expanduser()
    home = environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(home) / "dlbs" / "weights"


def read_weights(path: Path) -> Weights:
    """Read an entry.

    Raises:
        UsageError: It is missing, or not an entry.
    """
    try:
        data = json.loads(read_regular(path, _LARGEST_ENTRY))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"--weights: {path} cannot be read: {error}") from None
    try:
        metrics = dict(data["metrics"])
        if not all(type(value) in (int, float) for value in metrics.values()):
            raise ValueError(f"metrics must be numbers, not {metrics}"[:200])
        transforms = data["transforms"]
        return Weights(
            str(data["model"]),
            path.parent / _beside(str(data["file"])),
            str(data["sha256"]),
            dict(data["model_opts"]),
            Transforms.of(transforms) if transforms else None,
            tuple(map(str, data["categories"])),
            metrics,
            dict(data["training"]),
        )
    except KeyError as error:
        raise UsageError(f"--weights: {path} is not an entry of weights: it lacks {error}") from None
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"--weights: {path} is not an entry of weights: {error}") from None


def write_weights(path: Path, tensors: Mapping[str, Tensor], entry: Weights) -> Weights:
    """Write tensors and their entry atomically.

    Args:
        path: Path of the entry; the tensors are written next to it, as `entry.file`.
        tensors: By name.
        entry: Description; its digest is computed here.
    """
    file = path.parent / entry.file.name
    save(dict(tensors), file)
    digest = _digest(file)
    document = {
        "model": entry.model,
        "file": file.name,
        "sha256": digest,
        "model_opts": entry.model_opts,
        "transforms": entry.transforms.document() if entry.transforms else None,
        "categories": list(entry.categories),
        "metrics": entry.metrics,
        "training": entry.training,
    }
    with replaced(path) as stream:
        stream.write(json.dumps(document, indent=1) + "\n")
    return replace(entry, file=file, sha256=digest)


def save(content: Mapping[str, Any], path: Path) -> None:
    """Write a file atomically: it is always either the complete old or the complete new one.

    Raises:
        UsageError: The file cannot be written.
    """
    beside = path.with_name(f"{path.name}.part{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(beside, "wb") as stream:
                torch.save(dict(content), stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # torch's writer reports a full disk as a RuntimeError
        raise UsageError(f"cannot write {path}: {first_line(error)}") from None


def read(path: Path, device: torch.device) -> Any:
    """Read a file of `torch.save`: tensors, in dictionaries and lists, and plain data. Code in the file is not run.

    Nothing larger than the file is allocated: sizes declared in the file are compared with its contents first.

    Raises:
        UsageError: The file does not exist, is truncated, or contains something else.
    """
    try:
        with open_regular(path) as stream:
            size = os.fstat(stream.fileno()).st_size
            mapped = stream.read(4) == b"PK\x03\x04"
        if mapped:
            _check_archive(path, size)
        # Mapped, every tensor is a view of the file, so that tensors declared larger than the file cannot be created.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's opinion of an unusual file; real problems raise errors below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        return _Copy(device, _MOST_COPIES * size).of(content)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist") from None
    except Exception as error:  # readers of arbitrary bytes raise all kinds
        raise UsageError(f"{path} cannot be read as tensors: {reason(error)}") from None


def _check_archive(path: Path, size: int) -> None:
    """Reject files that torch.save does not write: compressed entries, which may be much larger than the file, and programs.

    Raises:
        ValueError, zipfile.BadZipFile: The file is rejected.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise ValueError(f"it is a TorchScript program, not a file of tensors; {ADVICE}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("it is compressed, which torch.save does not do")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are larger than the file")


def is_tensors_by_name(content: Any) -> bool:
    """Whether `content` is a state dict: a dictionary of tensors."""
    return isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )


class _Copy:
    """Copies content to a device, if all tensors are ordinary and their total size is within the limit.

    Args:
        device: Target of the tensors.
        limit: Maximum bytes of all tensors.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self.device, self.limit = device, limit
        self._known: dict[Any, Any] = {}  # copied before: a small file can refer to one list a billion times

    def of(self, value: Any, depth: int = 0) -> Any:
        """Copy a value with its containers and tensors.

        Raises:
            ValueError: The value contains something that does not belong in a file of tensors.
        """
        if depth > _MAX_DEPTH:
            raise ValueError(f"it is nested more than {_MAX_DEPTH} levels deep")
        if isinstance(value, Tensor):
            return self._tensor(value)
        if not isinstance(value, (dict, list, tuple)):
            return value
        if id(value) not in self._known:
            if isinstance(value, dict):
                copied: Any = {self.of(key, depth + 1): self.of(item, depth + 1) for key, item in value.items()}
            else:
                copied = [self.of(item, depth + 1) for item in value]
                copied = tuple(copied) if isinstance(value, tuple) else copied
            self._known[id(value)] = copied
        return self._known[id(value)]

    def _tensor(self, tensor: Tensor) -> Tensor:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu" or tensor.is_nested:
            kind = "quantized" if tensor.is_quantized else f"of the layout {tensor.layout} on {tensor.device}"
            raise ValueError(f"it contains a tensor that is {kind}; only dense tensors are supported")
        view = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
            tensor.dtype,
        )
        if view not in self._known:
            self.limit -= tensor.numel() * tensor.itemsize
            if self.limit < 0:
                raise ValueError("its tensors are larger than the file")
            self._known[view] = tensor.detach().to(self.device, copy=True)
        found: Tensor = self._known[view]
        return found


def _best(entries: Mapping[str, Weights]) -> str:
    """Name of the most accurate entry; the last one of equals."""
    return max(entries, key=lambda name: (entries[name].metrics.get("accuracy_top1", -1.0), name))


def _beside(name: str) -> str:
    if Path(name).name != name or not name.isprintable():
        raise ValueError(f"file must be the name of a file in the same directory, not {name!r}")
    return name


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
