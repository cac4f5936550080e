"""How fast images are loaded, beside what the hardware allows and what most people write.

    python benchmarks/data_pipeline.py [--seconds 3] [--rounds 3] [--workers 2]

JPEG: a folder of 500×375 pictures, batches of 32, random resized crop to 224×224, flip, float32, normalised. Beside it: decoding the same
bytes in as many threads and nothing else (the limit), and the usual loader (torch's DataLoader with processes; Pillow: open,
crop, resize, flip; to tensor, normalise). LMDB: raw records of 3×256×256, random crop and mirror; beside it: copying the same records out of
the database, and the way of the original suite (protobuf's parser, Pillow, random resized crop).

Everything runs in this process in turn, several rounds; the best of each is shown, because neighbours on the machine only add.
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

from pytorch_benchmarks.data.caffe_lmdb import CaffeLmdb
from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.image_folder import ImageFolder
from pytorch_benchmarks.data.loader import Order, threads
from pytorch_benchmarks.data.make_dataset import make_folder, make_lmdb, picture
from pytorch_benchmarks.data.prefetch import DEVIATION, MEAN, Normalise

# The allocator settings that dlbs gives every benchmark; they must be there before a process starts.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
BATCH, SIZE = 32, 224
SHAPE = (3, SIZE, SIZE)


def photograph(index: int) -> np.ndarray:
    """A picture with as much detail as a photograph: 110 kB at 500×375, as ImageNet's have on average."""
    noise = np.random.default_rng(index).normal(0, 15, (375, 500, 3))
    return (picture(index, 3, 375, 500) + noise).clip(0, 255).astype(np.uint8)


def rate(count: Callable[[float], int], seconds: float) -> float:
    """Images a second of a function that works for some seconds and returns how many images it did."""
    start = time.perf_counter()
    return count(seconds) / (time.perf_counter() - start)


def in_threads(work: Callable[[int], Any], workers: int, seconds: float) -> int:
    """Call `work(number)` in threads until time is up; return how often."""
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


def ours(dataset: Any, kind: str, workers: int) -> Callable[[float], int]:
    normalise = Normalise(torch.float32, False, 1000, 3, torch.device("cpu"))

    def run(seconds: float) -> int:
        order = Order(len(dataset), BATCH, shuffle=True, seed=1)
        batches = threads(dataset, order, Crop(kind), SHAPE, workers=workers, finish=normalise)
        next(batches)
        return from_batches(batches, seconds)

    return run


class UsualFolder(torch.utils.data.Dataset[Any]):
    """What most people write: Pillow, one step after the other, float tensors across process borders."""

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
        box = Crop("random_resized").box(image.height, image.width, (SIZE, SIZE), Random())
        place = (box.left, box.top, box.left + box.width, box.top + box.height)
        image = image.crop(place).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        if box.mirror:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255)
        return tensor.sub_(self.mean).div_(self.deviation)


class OriginalLmdb(UsualFolder):
    """The original suite's way: every record through protobuf's parser and Pillow."""

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


def copying(records: CaffeLmdb) -> Callable[[int], Any]:
    """Copy whole records out of the database, in each thread into memory of its own."""
    local = threading.local()

    def copy(number: int) -> None:
        if not hasattr(local, "target"):
            local.target = np.empty(3 * 256 * 256 + 64, np.uint8)
        record = records.record(number % len(records))
        local.target[: len(record)] = np.frombuffer(record, np.uint8)

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
        shutil.copytree(
            directory / "lmdb", directory / "copy"
        )  # a database is opened once in a process and its children
        folder, records = ImageFolder(directory / "folder"), CaffeLmdb(directory / "lmdb")
        data = [Path(path).read_bytes() for path, _ in folder.images]
        print(f"{workers} workers; JPEG files of {sum(map(len, data)) / len(data) / 1000:.0f} kB on average")

        def decoding(number: int) -> None:
            simplejpeg.decode_jpeg(data[number % len(data)])

        copy = copying(records)
        usual_folder = usual(UsualFolder(folder.images), workers)
        original = usual(OriginalLmdb(CaffeLmdb(directory / "copy")), workers)
        our_folder, our_lmdb = ours(folder, "random_resized", workers), ours(records, "random_crop_mirror", workers)
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            for label, measured in {
                "decode": lambda: rate(lambda s: in_threads(decoding, workers, s), seconds),
                "jpeg": lambda: rate(our_folder, seconds),
                "usual": lambda: usual_rate(usual_folder, seconds),
                "copy": lambda: rate(lambda s: in_threads(copy, workers, s), seconds),
                "lmdb": lambda: rate(our_lmdb, seconds),
                "original": lambda: usual_rate(original, seconds),
            }.items():
                best[label] = max(best.get(label, 0.0), measured())
    print(f"JPEG folder            {best['jpeg']:>9,.0f} images/s")
    print(f"  decoding alone       {best['decode']:>9,.0f}          ratio {best['jpeg'] / best['decode']:.2f}")
    print(f"  the usual loader     {best['usual']:>9,.0f}          ratio {best['jpeg'] / best['usual']:.2f}")
    print(f"LMDB                   {best['lmdb']:>9,.0f} images/s")
    print(f"  copying the records  {best['copy']:>9,.0f}          ratio {best['lmdb'] / best['copy']:.2f}")
    print(f"  the original's way   {best['original']:>9,.0f}          ratio {best['lmdb'] / best['original']:.2f}")


if __name__ == "__main__":
    main()
