"""Workers that fill batches: threads and processes; page-locked memory."""

from __future__ import annotations

import gc
import itertools
import pickle
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from benchmark_core.exits import BenchmarkError
from pytorch_benchmarks.data import loader
from pytorch_benchmarks.data.caffe import CaffeLmdb
from pytorch_benchmarks.data.dataset import Crop, Order, Uniform
from pytorch_benchmarks.data.images import ImageFolder
from pytorch_benchmarks.data.loader import Batches, Place, page_locked, processes, threads
from pytorch_benchmarks.data.make_dataset import make_folder, make_lmdb, picture
from pytorch_benchmarks.data.source import loader_kind
from pytorch_benchmarks.options import parse_benchmark_options
from tests.waiting import wait_until


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    make_folder(tmp_path / "f", ((picture(i, 3, 40, 50), i % 3) for i in range(21)))
    return ImageFolder(tmp_path / "f")


def load(dataset: ImageFolder, how: str, workers: int, batches: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = Order(len(dataset), 5, shuffle=True, seed=3)
    make: Callable[..., Batches] = threads if how == "threads" else processes
    source = make(dataset, order, Crop("random_resized"), (3, 16, 16), workers=workers)
    return [(images.clone(), labels.clone()) for images, labels in itertools.islice(source, batches)]


@pytest.mark.parametrize(
    ("asked", "device", "kind"),
    [
        ("auto", "cpu", "threads"),
        ("auto", "cuda", "processes"),
        ("threads", "cuda", "threads"),
        ("processes", "cpu", "processes"),
    ],
)
def test_workers_are_processes_where_a_device_waits_for_the_interpreter(asked: str, device: str, kind: str) -> None:
    options = parse_benchmark_options(["--model=m", f"--data_loader={asked}"])
    assert loader_kind(options, torch.device(device)) == kind


@pytest.mark.parametrize(("how", "workers"), [("threads", 1), ("threads", 3), ("processes", 2), ("processes", 0)])
def test_all_loaders_give_the_same_batches(folder: ImageFolder, how: str, workers: int) -> None:
    expected = load(folder, "threads", 0)
    for (images, labels), (same_images, same_labels) in zip(load(folder, how, workers), expected, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


@pytest.mark.integration
@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_processes_share_images_and_labels_however_they_start(
    folder: ImageFolder, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(folder, "threads", 0, batches=3)
    monkeypatch.setattr(loader, "_START", start)
    for (images, labels), (same_images, same_labels) in zip(load(folder, "processes", 1, 3), expected, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_pickling_a_place_keeps_its_labels_and_their_array_in_one_memory() -> None:
    place = Place(torch.zeros((2, 1, 4, 4), dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
    copy = pickle.loads(pickle.dumps(place))
    copy.labels[1] = 7
    assert copy.result()[1].tolist() == [0, 7]


def test_little_shared_memory_is_said(folder: ImageFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_0>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    source = processes(folder, Order(len(folder), 5), Crop("center"), (3, 512, 512), workers=2)
    with pytest.raises(BenchmarkError, match=r"--shm-size.*--data_loader threads; its batches need 30 MiB") as raised:
        next(source)
    assert "No space left on device" in str(raised.value)


@pytest.mark.parametrize(("number", "advice"), [(signal.SIGBUS, True), (signal.SIGKILL, False)])
def test_a_worker_without_memory_for_its_batch_is_said(
    folder: ImageFolder, number: signal.Signals, advice: bool
) -> None:
    """SIGBUS follows the first write to memory that /dev/shm does not have."""
    others = set(psutil.Process().children())
    source = processes(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=1)
    next(source)
    (worker,) = set(psutil.Process().children()) - others
    worker.send_signal(number)
    with pytest.raises(BenchmarkError, match="a data loader process died") as raised:
        list(itertools.islice(source, 20))
    assert ("/dev/shm is too small" in str(raised.value)) == advice


def test_threads_end_with_their_loader(folder: ImageFolder) -> None:
    before = threading.active_count()
    source = threads(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=3)
    next(source)
    assert threading.active_count() == before + 3
    source.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_workers_live_through_all_epochs_and_end_with_their_loader(folder: ImageFolder) -> None:
    """An epoch has four batches here; the original started its workers again inside a measured batch."""
    others = set(psutil.Process().children())
    source = processes(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=2)
    seen = set()
    for _ in range(12):
        next(source)
        seen.add(tuple(sorted(child.pid for child in set(psutil.Process().children()) - others)))
    assert len(seen) == 1
    (workers,) = seen
    assert len(workers) == 2
    source.close()  # type: ignore[attr-defined]
    assert not [pid for pid in workers if psutil.pid_exists(pid)]


def test_data_directories_stay_as_they_are(tmp_path: Path) -> None:
    make_folder(tmp_path / "f", ((picture(i, 3, 20, 20), i % 2) for i in range(6)))
    make_lmdb(tmp_path / "db", ((picture(i, 3, 20, 20), i % 2) for i in range(6)))

    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))

    before = state()
    for dataset in (ImageFolder(tmp_path / "f"), CaffeLmdb(tmp_path / "db")):
        for make in (processes, threads):
            source = make(dataset, Order(6, 2), Crop("center"), (3, 16, 16), workers=1)
            next(source)
            source.close()  # type: ignore[attr-defined]
    assert state() == before


def test_loading_leaves_the_number_of_threads_of_torch_alone(folder: ImageFolder) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # readers set it to one
    try:
        for workers in (0, 2):
            source = threads(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=workers)
            next(source)
            source.close()  # type: ignore[attr-defined]
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_an_error_in_a_worker_reaches_the_caller_as_one_line(folder: ImageFolder, how: str) -> None:
    path = Path(folder.images[12][0])
    path.write_bytes(b"torn")
    with pytest.raises(BenchmarkError, match=f"^cannot read the image {path}: [^\n]*$"):
        load(folder, how, 2)


class Broken(ImageFolder):
    """Images with a defect in the code that reads them."""

    def read_into(self, index: int, target: torch.Tensor, crop: Crop, uniform: Uniform) -> int:
        raise OSError(5, "a disk failed")


@pytest.mark.parametrize("kind", [BenchmarkError, OSError])
def test_workers_end_with_an_error_and_not_when_garbage_is_collected(
    folder: ImageFolder, tmp_path: Path, kind: type[Exception]
) -> None:
    """The garbage collector closed their queues first; then it waited five seconds for each of them."""
    others = set(psutil.Process().children())
    if kind is OSError:
        folder = Broken(tmp_path / "f")
    else:
        Path(folder.images[12][0]).write_bytes(b"torn")
    gc.disable()
    try:
        with pytest.raises(kind) as caught:
            load(folder, "processes", 2)
        assert caught.value.__context__ is None
        assert set(psutil.Process().children()) == others
    finally:
        gc.enable()


class Counted(ImageFolder):
    """Images that remember which of them were read."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.read: list[int] = []

    def read_into(self, index: int, target: torch.Tensor, crop: Crop, uniform: Uniform) -> int:
        label = super().read_into(index, target, crop, uniform)
        self.read.append(index)
        return label


class Ending(Order):
    """An order that fails in its second epoch."""

    def epoch(self, number: int) -> np.ndarray:
        if number:
            raise ValueError("no more orders")
        return super().epoch(number)


def test_the_first_error_of_several_threads_is_the_one_that_is_told(folder: ImageFolder) -> None:
    """The others find that the order has ended, which says nothing."""
    for _ in range(10):
        batches = threads(folder, Ending(21, 5), Crop("center"), (3, 16, 16), workers=8)
        with pytest.raises(ValueError, match="no more orders"):
            list(batches)


def test_a_slow_caller_is_not_overtaken(folder: ImageFolder, tmp_path: Path) -> None:
    """The batch in use and the one before it stay as they are, however far ahead the threads could be."""
    dataset = Counted(str(tmp_path / "f"))
    source = threads(dataset, Order(len(dataset), 5), Crop("center"), (3, 16, 16), workers=2)
    first, _ = next(source)
    second, _ = next(source)
    copies = first.clone(), second.clone()

    def rests() -> bool:
        before = len(dataset.read)
        time.sleep(0.1)
        return len(dataset.read) == before

    wait_until(lambda: len(dataset.read) >= 4 * 5 and rests(), "the threads have no more room")
    assert torch.equal(first, copies[0])
    assert torch.equal(second, copies[1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_nothing_is_page_locked() -> None:
    shared = torch.arange(8).share_memory_()
    with page_locked(shared) as locked:
        assert not locked
        assert shared.tolist() == list(range(8))
