"""Weights and checkpoints that are damaged, lie about their sizes, or bring code. Each case is a line: what is written, and part of the error.

Each runs in a child process that is killed after a minute of CPU time or when it asks for 700 MiB more. No answer has torch's advice in it to load
with `weights_only=False`.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pack_runner.run import Events

from tests.adversarial.bounded import Ask, ask_and_expect, children, sparse
from tests.forked import ForkServer
from tests.suites.torchbench.made_models import LOADER, MEASURED
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", autouse=True)
def _tiny_is_known_here_only() -> Iterator[None]:
    """Take the model of these tests out of the registry again: others list the models there."""
    yield
    from pytorch_benchmarks.models.model import BUILDERS

    BUILDERS.pop("tiny", None)
    sys.modules.pop("tests.adversarial.tiny", None)


PROGRAM = """
import warnings
import torch
from pathlib import Path
from benchmark_core.exits import BenchmarkError
from tests.adversarial.tiny import Tiny
from pytorch_benchmarks.weights import find_weights
from pytorch_benchmarks.training.options import TrainingOptions
from pytorch_benchmarks.training.trainer import build_optimizer
from pytorch_benchmarks.training.state import TrainingState, average_of, check_same_training, read_checkpoint, read_weights
from tests.adversarial.bounded import serve

MODEL = Tiny()

def weights(path):
    entry = find_weights(path, "tiny")
    misfits = MODEL.load_weights(entry.tensors())
    if misfits:
        raise BenchmarkError(misfits)
    return "taken"

OPTIONS = TrainingOptions(model="tiny", optimizer="sgd", ema_decay=0.5)
STATE = TrainingState(MODEL, average_of(MODEL, OPTIONS), build_optimizer(MODEL, OPTIONS), None)

def step():
    for parameter in MODEL.parameters():
        parameter.grad = torch.ones_like(parameter)
    STATE.optimizer.step()

def checkpoint(path):
    content = read_checkpoint(Path(path))
    check_same_training(content, OPTIONS, Path(path))
    STATE.restore(content, Path(path))
    step()
    STATE.take_weights(read_weights(Path(path)), Path(path))
    return STATE.epoch

warnings.simplefilter("error")  # what torch says of strange files does not reach our users either
step()  # torch imports much when it is first used, which each child would do again
STATE.optimizer.load_state_dict(STATE.optimizer.state_dict())
serve(lambda given: weights(given["weights"]) if "weights" in given else checkpoint(given["checkpoint"]))
"""

WIDTH = 64  # of the weights that are changed here; they are no model's
MISFIT = "are missing"
DAMAGED = "cannot be read as tensors"


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with children(PROGRAM) as asked:
        yield asked


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def rewritten(
    data: bytes, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED
) -> bytes:
    """The same archive with other content: `change` gets each name and content, and gives the new one, or None to leave it out."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", compression) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return stream.getvalue()


def pickled(data: bytes) -> Callable[[], bytes]:
    """A file of tensors with another pickle in it."""
    return lambda: rewritten(STATE, lambda name, old: data if name.endswith("data.pkl") else old)


def replaced(old: bytes, new: bytes) -> Callable[[], bytes]:
    """A file of tensors in whose pickle something is replaced."""

    def make() -> bytes:
        def change(name: str, content: bytes) -> bytes:
            if not name.endswith("data.pkl"):
                return content
            assert old in content
            return content.replace(old, new)

        return rewritten(STATE, change)

    return make


def larger(offset: int) -> Callable[[], bytes]:
    """A file of tensors whose list of entries claims more bytes than there are."""

    def make() -> bytes:
        data = bytearray(STATE)
        at = -1
        while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
            struct.pack_into("<I", data, at + offset, 0x7FFFFFFF)
        return bytes(data)

    return make


STATE = saved({"weight": torch.arange(WIDTH, dtype=torch.float32)})
COUNT = b"K" + bytes([WIDTH])  # BININT1: how many values a tensor and its storage have


class Evil:
    """Would write a file if it were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {os.path.abspath('evil')}",)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def in_itself() -> bytes:
    value: list[Any] = []
    value.append(value)
    return saved(value)


def laughing() -> bytes:
    value: Any = ["ha"]
    for _ in range(40):
        value = [value] * 10
    return saved(value)


def script() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), stream)
    return stream.getvalue()


def quantized() -> bytes:
    return saved({"weight": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8)})


def archive_of(compression: int, size: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        archive.writestr("archive/data.pkl", bytes(size))
        archive.writestr("archive/version", b"3\n")
    return stream.getvalue()


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in ("../../evil", "storages", "tensors", "pickle"):
            archive.addfile(tarfile.TarInfo(name))
    return stream.getvalue()


def many_views() -> bytes:
    base = torch.zeros(100_000)
    return saved({f"weight{number}": base[number:] for number in range(200)})


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a sound file of another model": (lambda: STATE, MISFIT),
    "a sound file, in the old format": (lambda: saved({"weight": torch.ones(4)}, _use_new_zipfile_serialization=False), MISFIT),
    "nothing": (lambda: b"", DAMAGED),
    "one byte": (lambda: b"P", DAMAGED),
    "text": (lambda: b"weights\n" * 100, DAMAGED),
    "a megabyte of zeros": (lambda: bytes(1 << 20), DAMAGED),
    "JSON": (lambda: json.dumps({"weight": [1, 2]}).encode(), DAMAGED),
    "a web page": (lambda: b"<!doctype html><title>404</title>", DAMAGED),
    "a reference of git-lfs": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", DAMAGED),
    "torn after its beginning": (lambda: STATE[:4], DAMAGED),
    "torn in the middle": (lambda: STATE[: len(STATE) // 2], DAMAGED),
    "torn before its end": (lambda: STATE[:-1], DAMAGED),
    "without its beginning": (lambda: STATE[10:], DAMAGED),
    "an archive of nothing": (lambda: b"PK\x05\x06" + bytes(18), DAMAGED),
    "an archive without a pickle": (lambda: rewritten(STATE, lambda name, old: None if name.endswith("data.pkl") else old), DAMAGED),
    "an archive without tensors": (lambda: rewritten(STATE, lambda name, old: None if "/data/" in name else old), DAMAGED),
    "an archive without a version": (lambda: rewritten(STATE, lambda name, old: None if name.endswith("version") else old), DAMAGED),
    "an archive with a version that is no number": (lambda: rewritten(STATE, lambda name, old: b"x" if name.endswith("version") else old), DAMAGED),
    "an archive of another byte order": (lambda: rewritten(STATE, lambda name, old: b"middle" if name.endswith("byteorder") else old), DAMAGED),
    "compressed": (lambda: rewritten(STATE, lambda name, old: old, zipfile.ZIP_DEFLATED), "it is compressed"),
    "compressed by another method": (lambda: rewritten(STATE, lambda name, old: old, zipfile.ZIP_LZMA), "it is compressed"),
    "a bomb of 32 MiB": (lambda: archive_of(zipfile.ZIP_DEFLATED, 32 << 20), "it is compressed"),
    "a pickle of zeros": (lambda: archive_of(zipfile.ZIP_STORED, 1 << 20), DAMAGED),
    "entries of 2 GB, unpacked": (larger(24), "larger than the file"),
    "entries of 2 GB, packed": (larger(20), DAMAGED),
    "a tensor of 255 values where 64 are": (replaced(COUNT, b"K\xff"), DAMAGED),
    "a tensor of two billion values": (replaced(COUNT, b"J\xff\xff\xff\x7f"), DAMAGED),
    "a tensor of -1 values": (replaced(COUNT, b"J\xff\xff\xff\xff"), DAMAGED),
    "a tensor of 2^62 values": (replaced(COUNT, b"\x8a\x08\0\0\0\0\0\0\0\x40"), DAMAGED),
    "a tensor of 2^80 values": (replaced(COUNT, b"\x8a\x0b" + bytes(10) + b"\1"), DAMAGED),
    "a step of 255": (replaced(b"K\x01\x85", b"K\xff\x85"), DAMAGED),
    "a step of -1": (replaced(b"K\x01\x85", b"J\xff\xff\xff\xff\x85"), DAMAGED),
    "another type of values": (replaced(b"FloatStorage", b"DoubleStorage"), MISFIT),
    "a type of values that does not exist": (replaced(b"FloatStorage", b"NoughtStorage"), "NoughtStorage"),
    "tensors on another device": (replaced(b"cpu", b"gpu"), MISFIT),
    "a billion values that are one": (lambda: saved({"weight": torch.zeros(1).expand(1_000_000_000)}), "larger than the file"),
    "10^15 values that are one": (lambda: saved({"weight": torch.zeros(1).expand(10**15)}), "larger than the file"),
    "200 views of one storage": (many_views, "larger than the file"),
    "one tensor under 200 names": (lambda: saved(dict.fromkeys(map(str, range(200)), torch.zeros(10_000))), MISFIT),
    "sparse, of 10^18 values": (lambda: saved({"weight": torch.sparse_coo_tensor([[0]], [1.0], (10**18,))}), "only dense tensors"),
    "sparse rows": (lambda: saved({"weight": torch.eye(3).to_sparse_csr()}), "only dense tensors"),
    "quantized": (quantized, "quantized"),
    "without values": (lambda: saved({"weight": torch.empty(10**12, device="meta")}), "only dense tensors"),
    "a command": (lambda: saved({"weight": Evil()}), "posix.system, which is not loaded"),
    "a command in the old format": (lambda: saved(Evil(), _use_new_zipfile_serialization=False), "posix.system, which is not loaded"),
    "a command, pickled": (pickled(pickle.dumps(Evil(), 2)), "posix.system, which is not loaded"),
    "a command in a pickle alone": (lambda: pickle.dumps(Evil(), 2), "cannot be read as tensors"),
    "eval": (pickled(b"c__builtin__\neval\n(X\x01\0\0\x001tR."), "eval, which is not loaded"),
    "getattr": (pickled(b"cbuiltins\ngetattr\n."), "getattr, which is not loaded"),
    "a whole model": (lambda: saved(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear, which is not loaded"),
    "an array of numpy": (lambda: saved({"weight": np.ones(3)}), "numpy"),
    "a path": (lambda: saved(Path("x")), "which is not loaded"),
    "a TorchScript program": (script, "TorchScript program"),
    "a tar archive": (tar, DAMAGED),
    "a pickle that does not end": (pickled(b"\x80\x02]"), DAMAGED),
    "a pickle of nothing": (pickled(b""), DAMAGED),
    "a pickle that takes from an empty stack": (pickled(b"\x80\x02R."), DAMAGED),
    "a pickle of a later protocol": (pickled(b"\x80\x09."), DAMAGED),
    "a pickle with a text of 4 GB": (pickled(b"\x80\x02X\xff\xff\xff\xff."), DAMAGED),
    "a pickle of 100,000 lists": (pickled(b"\x80\x02" + b"]" * 100_000 + b"."), "does not contain the tensors"),
    "a list in itself": (in_itself, "nested more than 50"),
    "a list of 10^40 words": (laughing, "does not contain the tensors"),
    "40 lists inside each other": (lambda: saved(nested(40)), "does not contain the tensors"),
    "200 lists inside each other": (lambda: saved(nested(200)), "nested more than 50"),
    "a list": (lambda: saved([torch.ones(2)]), "does not contain the tensors"),
    "a number": (lambda: saved(5), "does not contain the tensors"),
    "a tensor": (lambda: saved(torch.ones(2)), "does not contain the tensors"),
    "numbers by name": (lambda: saved({"weight": 5}), "does not contain the tensors"),
    "no tensors": (lambda: saved({}), MISFIT),
    "names that are numbers": (lambda: saved({1: torch.ones(2)}), "does not contain the tensors"),
    "a name with an escape sequence": (lambda: saved({"\x1b[2J": torch.ones(2)}), MISFIT),
    "a name of a megabyte": (lambda: saved({"x" * 1_000_000: torch.ones(2)}), MISFIT),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")  # of PyTorch, about the unusual tensors in these files
@pytest.mark.parametrize(("make", "expected"), FILES.values(), ids=FILES)
def test_weights(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pt").write_bytes(make())
    ask_and_expect(ask, {"weights": str(tmp_path / "weights.pt")}, expected)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]


PLACES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a named pipe": (os.mkfifo, "is not a regular file"),
    "a directory": (Path.mkdir, "is not a regular file"),
    "an endless device": (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    "a link to nowhere": (lambda path: path.symlink_to("nowhere"), "does not exist"),
    "a link to itself": (lambda path: path.symlink_to(path.name), "cannot be read"),
    "8 GB of nothing": (sparse, "cannot be read"),
}


@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
@pytest.mark.parametrize(("put", "expected"), PLACES.values(), ids=PLACES)
def test_place(ask: Ask, tmp_path: Path, put: Callable[[Path], Any], expected: str, kind: str) -> None:
    put(tmp_path / "x.pt")
    ask_and_expect(ask, {kind: str(tmp_path / "x.pt")}, expected)


# Weights of the model itself, changed.

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tensors() -> Tensors:
    from tests.adversarial.tiny import Tiny

    return dict(Tiny().state_dict())


CHANGES: dict[str, tuple[Callable[[torch.Tensor], Any], str]] = {
    "nothing is changed": (lambda tensor: tensor, "taken"),
    "values that are no numbers": (lambda tensor: tensor * float("nan"), "taken"),
    "parameters": (torch.nn.Parameter, "taken"),
    "more precise": (lambda tensor: tensor.double(), "taken"),
    "less precise": (lambda tensor: tensor.half(), "taken"),
    "values in another order in memory": (lambda tensor: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor, "taken"),
    "one value more": (lambda tensor: torch.zeros(tensor.numel() + 1), "has shape"),
    "no values": (lambda tensor: torch.zeros(0), "has shape"),
    "a dimension more": (lambda tensor: tensor[None], "has shape"),
    "one value": (lambda tensor: torch.zeros(()), "has shape"),
    "transposed": (lambda tensor: tensor.t(), "has shape"),
    "whole numbers": (lambda tensor: tensor.int(), "has type torch.int32 instead of torch.float32"),
    "truth values": (lambda tensor: tensor.bool(), "has type torch.bool"),
    "complex numbers": (lambda tensor: tensor.to(torch.complex64), "has type torch.complex64"),
    "sparse": (lambda tensor: tensor.to_sparse(), "only dense tensors"),
    "one value that stands for all": (lambda tensor: torch.zeros(1).expand(tensor.shape), "taken"),
    "a name": (lambda tensor: "weight", "does not contain the tensors"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES)
def test_tensors(ask: Ask, tmp_path: Path, tensors: Tensors, change: Callable[[Any], Any], expected: str) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(saved({name: change(tensor) for name, tensor in tensors.items()}))
    given = {"weights": str(path)}
    if expected == "taken":
        answer = ask(given)
        assert answer["kind"] == "ok", answer
    else:
        ask_and_expect(ask, given, expected)


# Entries

ENTRY = {
    "model": "tiny", "file": "weights.pt", "sha256": "", "model_opts": {}, "transforms": None, "categories": [], "metrics": {},
    "training": {},
}  # fmt: skip
TRANSFORMS = {
    "shape": [1, 28, 28],
    "flat": True,
    "crop_pct": 0.875,
    "mean": [0.5, 0.5, 0.5],
    "deviation": [0.2, 0.2, 0.2],
}

ENTRIES: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "cannot be read"),
    "nothing": ("", "cannot be read"),
    "not UTF-8": (b'{"model": "\xff"}', "cannot be read"),
    "100,000 lists": ("[" * 100_000, "cannot be read"),
    "a number of 5,000 digits": ('{"model": ' + "9" * 5_000 + "}", "cannot be read"),
    "a list": ([], "is not an entry of weights"),
    "a text": ("text", "cannot be read"),
    "null": (None, "is not an entry of weights"),
    "an empty object": ({}, "it lacks"),
    **{f"without {name}": ({key: ENTRY[key] for key in ENTRY if key != name}, f"it lacks '{name}'") for name in ENTRY},
    "of another model": ({**ENTRY, "model": "alexnet"}, "these weights are for alexnet"),
    "a file elsewhere": ({**ENTRY, "file": "../weights.pt"}, "the name of a file in the same directory"),
    "an absolute file": ({**ENTRY, "file": "/etc/passwd"}, "the name of a file in the same directory"),
    "a file that is missing": ({**ENTRY, "file": "none.pt"}, "does not exist"),
    "a file with an escape sequence": ({**ENTRY, "file": "\x1b[2J.pt"}, "the name of a file in the same directory"),
    "a file with a zero": ({**ENTRY, "file": "a\0b"}, "the name of a file in the same directory"),
    "a file that is the directory": ({**ENTRY, "file": ".."}, "is not a regular file"),
    "another digest": ({**ENTRY, "sha256": "0" * 64}, "its SHA-256 differs"),
    "options that are a number": ({**ENTRY, "model_opts": 5}, "is not an entry of weights"),
    "metrics that are a list": ({**ENTRY, "metrics": [1]}, "is not an entry of weights"),
    "metrics that are text": ({**ENTRY, "metrics": {"accuracy_top1": "high"}}, "metrics must be numbers"),
    "categories that are a number": ({**ENTRY, "categories": 5}, "is not an entry of weights"),
    "transforms of an unknown kind": ({**ENTRY, "transforms": {**TRANSFORMS, "blur": 1}}, "is not an entry of weights"),
    "transforms that are a text": ({**ENTRY, "transforms": "none"}, "is not an entry of weights"),
    "a picture of no size": ({**ENTRY, "transforms": {**TRANSFORMS, "shape": [1, 0, 0]}}, "must be positive"),
    "a picture of two numbers": (
        {**ENTRY, "transforms": {**TRANSFORMS, "shape": [1, 2]}},
        "is not an entry of weights",
    ),
    "a picture of texts": (
        {**ENTRY, "transforms": {**TRANSFORMS, "shape": ["a", "b", "c"]}},
        "is not an entry of weights",
    ),
    "a deviation of zero": ({**ENTRY, "transforms": {**TRANSFORMS, "deviation": [0, 0, 0]}}, "must be positive"),
    "a mean that is no list": ({**ENTRY, "transforms": {**TRANSFORMS, "mean": 5}}, "is not an entry of weights"),
}


@pytest.mark.parametrize(("entry", "expected"), ENTRIES.values(), ids=ENTRIES)
def test_entry(ask: Ask, tmp_path: Path, entry: Any, expected: str) -> None:
    path = tmp_path / "entry.json"
    written = entry if isinstance(entry, (str, bytes)) else json.dumps(entry)
    path.write_bytes(written if isinstance(written, bytes) else written.encode())
    (tmp_path / "weights.pt").write_bytes(STATE)
    ask_and_expect(ask, {"weights": str(path)}, expected)


# Checkpoints


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What `State.save` writes after two epochs."""
    from pytorch_benchmarks.training.options import TrainingOptions
    from pytorch_benchmarks.training.state import TrainingState, average_of
    from pytorch_benchmarks.training.trainer import build_optimizer
    from tests.adversarial.tiny import Tiny

    model = Tiny()
    options = TrainingOptions(model="tiny", optimizer="sgd", ema_decay=0.5)
    state = TrainingState(model, average_of(model, options), build_optimizer(model, options), None, 2)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.best, state.history = {"epoch": 1, "accuracy_top1": 5.0}, {"loss": [2.0, 1.0]}
    path = tmp_path_factory.mktemp("checkpoint") / "last.pt"
    state.save(path, options, 1)
    return path.read_bytes()


Content = dict[str, Any]


def put(*keys: Any) -> Callable[[Content], Any]:
    """Put the last of `keys` where the others lead to."""
    *way, last, value = keys

    def change(content: Content) -> None:
        place: Any = content
        for key in way:
            place = place[key]
        place[last] = value

    return change


def drop(*keys: Any) -> Callable[[Content], Any]:
    *way, last = keys

    def change(content: Content) -> None:
        place: Any = content
        for key in way:
            place = place[key]
        del place[last]

    return change


def every(kind: str, change: Callable[[Any], Any]) -> Callable[[Content], Any]:
    def changed(content: Content) -> None:
        content[kind] = {name: change(value) for name, value in content[kind].items()}

    return changed


def momentum(value: Any) -> Callable[[Content], Any]:
    return lambda content: content["optimizer"]["state"][0].update(momentum_buffer=value)


NOT_OURS, BROKEN, OPTIMIZER = "is not a checkpoint of train.py", "is damaged", "the state of the optimizer does not fit"

CHECKPOINTS: dict[str, tuple[Callable[[Content], Any], Any]] = {
    "nothing is changed": (lambda content: None, 2),
    **{f"without {name}": (drop(name), NOT_OURS) for name in (
        "model", "ema", "ema_updates", "optimizer", "scaler", "epoch", "best", "history", "options", "replicas")},
    **{f"{name} is text": (put(name, "x"), BROKEN) for name in (
        "model", "ema", "ema_updates", "optimizer", "scaler", "epoch", "best", "history", "options", "replicas")},
    **{f"{name} is a list": (put(name, []), BROKEN) for name in (
        "model", "ema", "ema_updates", "optimizer", "scaler", "epoch", "best", "history", "options", "replicas")},
    **{f"{name} is a tensor": (put(name, torch.ones(3)), BROKEN) for name in ("epoch", "best", "options", "replicas", "ema_updates")},
    "epoch -1": (put("epoch", -1), BROKEN),
    "epoch 3 of two": (put("epoch", 3), BROKEN),
    "epoch 10^30": (put("epoch", 10**30), BROKEN),
    "epoch 2.5": (put("epoch", 2.5), BROKEN),
    "no replicas": (put("replicas", 0), BROKEN),
    "updates -1": (put("ema_updates", -1), BROKEN),
    "10^30 updates": (put("ema_updates", 10**30), BROKEN),
    "a best of text": (put("best", {"epoch": "first"}), BROKEN),
    "a history of text": (put("history", {"loss": "falling"}), BROKEN),
    "a history of texts": (put("history", {"loss": ["high", "low"]}), BROKEN),
    "a history that is too short": (put("history", {"loss": [1.0]}), BROKEN),
    "an option that is a tensor": (put("options", "lr", torch.ones(3)), BROKEN),
    "no average": (put("ema", None), BROKEN),
    "options of another training": (put("options", "lr", 77.0), "belongs to another training: lr was 77.0"),
    "no options": (put("options", {}), "belongs to another training"),
    "an option with an escape sequence": (put("options", "crop", "\x1b[2J"), "belongs to another training"),
    "weights of another model": (put("model", {"weight": torch.ones(3)}), "does not fit the model"),
    "no weights": (put("model", {}), "does not fit the model"),
    "weights of other shapes": (every("model", lambda tensor: tensor[None]), "has shape"),
    "weights of whole numbers": (every("model", lambda tensor: tensor.int()), "has type"),
    "weights that are sparse": (every("model", lambda tensor: tensor.to_sparse()), "only dense tensors"),
    "weights that are text": (every("model", lambda tensor: "weight"), "not tensors by name"),
    "an average of other shapes": (every("ema", lambda tensor: tensor[None]), "has shape"),
    "an average of texts": (every("ema", lambda tensor: "weight"), "not tensors by name"),
    "a whole optimizer": (lambda content: content.update(optimizer=torch.optim.SGD([torch.ones(2)], 0.1)), "SGD, which is not loaded"),
    "an optimizer of nothing": (put("optimizer", {}), OPTIMIZER),
    "an optimizer without groups": (put("optimizer", "param_groups", []), OPTIMIZER),
    "groups that are a number": (put("optimizer", "param_groups", 5), OPTIMIZER),
    "groups that are numbers": (put("optimizer", "param_groups", [5]), OPTIMIZER),
    "groups without parameters": (put("optimizer", "param_groups", 0, "params", []), OPTIMIZER),
    "parameters that are text": (put("optimizer", "param_groups", 0, "params", "all"), OPTIMIZER),
    "parameters that do not exist": (put("optimizer", "state", 99, {"momentum_buffer": torch.ones(3)}), OPTIMIZER),
    "a rate that is text": (put("optimizer", "param_groups", 0, "lr", "fast"), OPTIMIZER),
    "a rate that is nothing": (put("optimizer", "param_groups", 0, "lr", None), OPTIMIZER),
    "no rate": (drop("optimizer", "param_groups", 0, "lr"), OPTIMIZER),
    "a momentum that is text": (put("optimizer", "param_groups", 0, "momentum", "x"), OPTIMIZER),
    "a state that is a list": (put("optimizer", "state", []), OPTIMIZER),
    "a state of texts": (put("optimizer", "state", 0, "x"), OPTIMIZER),
    "a momentum of another shape": (momentum(torch.ones(3)), OPTIMIZER),
    "a momentum of text": (momentum("x"), OPTIMIZER),
    "a momentum of whole numbers": (momentum(torch.ones(3, dtype=torch.int32)), OPTIMIZER),
    "a momentum that is sparse": (momentum(torch.eye(3).to_sparse()), "only dense tensors"),
    "a momentum of 10^15 values": (momentum(torch.zeros(1).expand(10**15)), "larger than the file"),
    "code": (put("history", Evil()), "posix.system, which is not loaded"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_checkpoint(
    ask: Ask, tmp_path: Path, checkpoint: bytes, change: Callable[[Content], Any], expected: Any
) -> None:
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    change(content)
    (tmp_path / "last.pt").write_bytes(saved(content))
    ask_and_expect(ask, {"checkpoint": str(tmp_path / "last.pt")}, expected)


@pytest.mark.parametrize("part", range(1, 8))
def test_checkpoint_that_is_torn(ask: Ask, tmp_path: Path, checkpoint: bytes, part: int) -> None:
    (tmp_path / "last.pt").write_bytes(checkpoint[: len(checkpoint) * part // 8])
    ask_and_expect(ask, {"checkpoint": str(tmp_path / "last.pt")}, DAMAGED)


# Models from outside that load a file by themselves, and the programs that run them. The file brings code, or is damaged.
LOADS = "torch.load(Path(__file__).with_name('file.pt'))"
WRAPPED = (
    "try:\n            "
    + LOADS
    + "\n        except Exception as error:\n            raise RuntimeError(f'no weights: {error}') from error"
)
PACK = """import torch
from pathlib import Path
from torchbenchmark.util.model import BenchmarkModel
class Model(BenchmarkModel):
    def __init__(self, test, device, batch_size=None, extra_args=[]):
        LOADS
"""
ARCHITECTURE = """import torch
from pathlib import Path
from pytorch_benchmarks.models.model import register_model
@register_model("theirs")
def theirs(**options):
    if True:
        LOADS
"""
BROKEN_PACK = "import torch\nfrom pathlib import Path\nLOADS\n"
THEIRS: dict[str, tuple[str, str, list[str]]] = {
    "a pack": (PACK, LOADS, ["-m", "pytorch_benchmarks.benchmarks", "--pack=theirs", LOADER, "--device=cpu"]),
    "a pack that says it in its own words": (PACK, WRAPPED, ["-m", "pytorch_benchmarks.benchmarks", "--pack=theirs", LOADER, "--device=cpu"]),
    "a pack that loads when it is imported": (BROKEN_PACK, LOADS, ["-m", "pytorch_benchmarks.benchmarks", "--pack=theirs", LOADER, "--device=cpu"]),
    "a pack that is checked": (PACK, LOADS, [str(MEASURED / "__main__.py"), "check", "theirs"]),
    "a network": (ARCHITECTURE, LOADS, ["-m", "pytorch_benchmarks.benchmarks", "--model=theirs", "--architecture=theirs/__init__.py", "--device=cpu"]),
    "a network that is checked": (ARCHITECTURE, WRAPPED, ["-m", "pytorch_benchmarks.checks", "theirs", "--architecture=theirs/__init__.py"]),
}  # fmt: skip


@pytest.mark.parametrize(("source", "loads", "command"), THEIRS.values(), ids=THEIRS)
@pytest.mark.parametrize("content", [saved(os.system), b"damaged"], ids=["code", "damaged"])
def test_the_advice_of_torch_is_not_passed_on(
    forked_torch: ForkServer, tmp_path: Path, content: bytes, source: str, loads: str, command: list[str]
) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text(source.replace("LOADS", loads))
    (tmp_path / "theirs" / "file.pt").write_bytes(content)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = forked_torch.run(*command, directory=tmp_path, environment=environment, timeout=PATIENCE)
    assert done.returncode in {1, 2}, done.stderr
    said = done.stdout + done.stderr
    assert "could run code" in said or "is damaged" in said
    for words in ("weights_only", "Weights only load failed", "trust"):
        assert words not in said


def test_the_advice_of_torch_is_not_the_reason_of_a_script() -> None:
    events = Events()
    events.take(
        {
            "$event": "error",
            "$data": {"type": "UnpicklingError", "message": "Weights only load failed. (1) In PyTorch 2.6, ..."},
        }
    )
    assert events.errors == ["UnpicklingError: a file cannot be read as tensors"]
