"""Speed of image loading, compared with the hardware's limit and with common implementations.

    python benchmarks/data_pipeline.py [--seconds 3] [--rounds 3] [--workers 2]

JPEG: a folder of 500×375 images, batches of 32, random resized crop to 224×224, flip, float32, normalised. Compared with: only decoding the same
bytes in as many threads, and the usual loader (torch's DataLoader with processes; Pillow: open,
crop, resize, flip; to tensor, normalise). LMDB: raw records of 3×256×256, random crop and mirror, as batches of bytes in host memory, by
threads and by processes, and as normalised float32 batches. Compared with: copying the same records out of the database in as many threads, as
bytes objects (lmdb's default) and into preallocated batches (the limit), and the implementation of the original suite
(protobuf's parser, Pillow, random resized crop).

All variants alternate in this process for several rounds; the best of each is printed, because other load only adds time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

import numpy as np
import simplejpeg
import torch
from PIL import Image

from pytorch_benchmarks.data.caffe import CaffeLmdb
from pytorch_benchmarks.data.dataset import Crop, Order
from pytorch_benchmarks.data.images import ImageFolder
from pytorch_benchmarks.data.loader import processes, threads
from pytorch_benchmarks.data.make_dataset import make_folder, make_lmdb, picture
from pytorch_benchmarks.data.transforms import DEVIATION, MEAN, Normalise

# The allocator settings that dlbs sets for every benchmark; they must be set before a process starts.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
BATCH, SIZE = 32, 224
SHAPE = (3, SIZE, SIZE)


def photograph(index: int) -> np.ndarray:
    """An image with as much detail as a photograph: 110 kB at 500×375, the average of ImageNet."""
    noise = np.random.default_rng(index).normal(0, 15, (375, 500, 3))
    return (picture(index, 3, 375, 500) + noise).clip(0, 255).astype(np.uint8)


def rate(count: Callable[[float], int], seconds: float) -> float:
    """Images per second of a function that works for some seconds and returns its number of images."""
    start = time.perf_counter()
    return count(seconds) / (time.perf_counter() - start)


def in_threads(work: Callable[[int], Any], workers: int, seconds: float) -> int:
    """Call `work(number)` in threads until the time is over; return the number of calls."""
    done = [0] * workers
    deadline = time.perf_counter() + seconds

    def loop(worker: int) -> None:
        while time.perf_counter() < deadline:
            for _ in range(16):
                work(done[worker] * workers + worker)
                done[worker] += 1

    running = [threading.Thread(target=loop, args=(worker,)) for worker in range(workers)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(done)


def from_batches(batches: Iterator[Any], seconds: float) -> int:
    deadline = time.perf_counter() + seconds
    count = 0
    while time.perf_counter() < deadline:
        next(batches)
        count += BATCH
    return count


def ours(dataset: Any, kind: str, workers: int, *, normalised: bool, loader: Any = threads) -> Callable[[float], float]:
    """Make a function that loads for some seconds and returns the rate, excluding the start of workers."""
    finish = {"finish": Normalise(torch.float32, False, 1000, 3, torch.device("cpu"))} if normalised else {}

    def run(seconds: float) -> float:
        order = Order(len(dataset), BATCH, shuffle=True, seed=1)
        batches = loader(dataset, order, Crop(kind), SHAPE, workers=workers, **finish)
        for _ in range(10):
            next(batches)
        return rate(lambda s: from_batches(batches, s), seconds)

    return run


class UsualFolder(torch.utils.data.Dataset[Any]):
    """The usual loader: Pillow, separate steps, float tensors passed between processes."""

    def __init__(self, images: list[tuple[str, int]]) -> None:
        self.images = images
        self.mean = torch.tensor(MEAN).view(3, 1, 1)
        self.deviation = torch.tensor(DEVIATION).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.images[index]
        with Image.open(path) as image:
            return self.transformed(image.convert("RGB")), label

    def transformed(self, image: Image.Image) -> torch.Tensor:
        box = Crop("random_resized").box(image.height, image.width, (SIZE, SIZE), Random().random)
        place = (box.left, box.top, box.left + box.width, box.top + box.height)
        image = image.crop(place).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if box.mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(self.mean).div_(self.deviation)


class OriginalLmdb(UsualFolder):
    """The original suite's loader: protobuf's parser and Pillow for every record."""

    def __init__(self, records: CaffeLmdb) -> None:
        super().__init__([])
        self.records = records
        self.message = datum_message()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        datum = self.message()
        datum.ParseFromString(bytes(self.records.record(index)))
        planes = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)
        return self.transformed(Image.fromarray(planes.transpose(1, 2, 0)[:, :, ::-1].copy())), datum.label


def datum_message() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="datum.proto", package="caffe", syntax="proto2")
    message = file.message_type.add(name="Datum")
    kinds = {"channels": (1, 5), "height": (2, 5), "width": (3, 5), "data": (4, 12), "label": (5, 5), "encoded": (7, 8)}
    for name, (number, kind) in kinds.items():
        message.field.add(name=name, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.Datum"))


def usual(dataset: UsualFolder, workers: int) -> Callable[[float], int]:
    def run(seconds: float) -> int:
        count = 0
        loader = torch.utils.data.DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, persistent_workers=True)
        deadline = 0.0
        while True:
            for batch in loader:
                if not deadline:  # the workers have started
                    deadline = time.perf_counter() + seconds
                    run.start = time.perf_counter()  # type: ignore[attr-defined]
                elif time.perf_counter() > deadline:
                    run.seconds = time.perf_counter() - run.start  # type: ignore[attr-defined]
                    return count
                else:
                    count += len(batch[1])

    return run


def usual_rate(run: Any, seconds: float) -> float:
    return run(seconds) / run.seconds


def copying_into_batches(records: CaffeLmdb, workers: int) -> Callable[[int], Any]:
    """Copy whole records into memory for five batches, as many as a loader has."""
    batches = np.empty((5 * BATCH * workers, 3 * 256 * 256 + 64), np.uint8)

    def copy(number: int) -> None:
        record = records.record(number % len(records))
        batches[number % len(batches), : len(record)] = np.frombuffer(record, np.uint8)

    return copy


def copying_out(directory: Path) -> Callable[[int], Any]:
    """Copy records as bytes objects, a batch of which is kept."""
    import lmdb

    environment = lmdb.open(str(directory), readonly=True, lock=False, readahead=False)
    with environment.begin() as transaction:
        keys = list(transaction.cursor().iternext(keys=True, values=False))
    local = threading.local()

    def copy(number: int) -> None:
        if not hasattr(local, "transaction"):
            local.transaction, local.batch = environment.begin(), [b""] * BATCH
        local.batch[number % BATCH] = local.transaction.get(keys[number % len(keys)])

    return copy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    workers, seconds = options.workers, options.seconds
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        make_folder(directory / "folder", ((photograph(index), index % 8) for index in range(320)))
        make_lmdb(directory / "lmdb", ((picture(index, 3, 256, 256), index % 8) for index in range(640)))
        for copy in (
            "original",
            "processes",
            "bytes",
        ):  # a database can be opened only once in a process and its children
            shutil.copytree(directory / "lmdb", directory / copy)
        folder, records = ImageFolder(directory / "folder"), CaffeLmdb(directory / "lmdb")
        data = [Path(path).read_bytes() for path, _ in folder.images]
        print(f"{workers} workers; JPEG files of {sum(map(len, data)) / len(data) / 1000:.0f} kB on average")

        def decoding(number: int) -> None:
            simplejpeg.decode_jpeg(data[number % len(data)])

        into_batches, as_bytes = copying_into_batches(records, workers), copying_out(directory / "bytes")
        usual_folder = usual(UsualFolder(folder.images), workers)
        original = usual(OriginalLmdb(CaffeLmdb(directory / "original")), workers)
        mirror = "random_crop_mirror"
        shared = CaffeLmdb(directory / "processes")
        ways: dict[str, Callable[[float], float]] = {
            "decode": lambda seconds: rate(lambda s: in_threads(decoding, workers, s), seconds),
            "jpeg": ours(folder, "random_resized", workers, normalised=True),
            "jpeg bytes": ours(folder, "random_resized", workers, normalised=False),
            "usual": lambda seconds: usual_rate(usual_folder, seconds),
            "into": lambda seconds: rate(lambda s: in_threads(into_batches, workers, s), seconds),
            "bytes": lambda seconds: rate(lambda s: in_threads(as_bytes, workers, s), seconds),
            "threads": ours(records, mirror, workers, normalised=False),
            "processes": ours(shared, mirror, workers, normalised=False, loader=processes),
            "float32": ours(records, mirror, workers, normalised=True),
            "original": lambda seconds: usual_rate(original, seconds),
        }
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            for label, measure in ways.items():
                best[label] = max(best.get(label, 0.0), measure(seconds))

    def line(text: str, label: str, *beside: str) -> None:
        ratios = "".join(f"   {best[label] / best[other]:.2f} of {other!r}" for other in beside)
        print(f"{text:42} {label:>11} {best[label]:>9,.0f} images/s{ratios}")

    line("JPEG folder, float32", "jpeg", "decode", "usual")
    line("JPEG folder, bytes", "jpeg bytes", "decode")
    line("  decoding only", "decode")
    line("  the usual loader", "usual")
    line("LMDB, bytes, threads", "threads", "bytes", "into", "original")
    line("LMDB, bytes, processes", "processes", "bytes", "into", "original")
    line("LMDB, float32, threads", "float32", "original")
    line("  copying records out of the database", "bytes")
    line("  copying records into batches", "into")
    line("  the original suite's loader", "original")


if __name__ == "__main__":
    main()
