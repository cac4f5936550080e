"""Data sets with one directory of images per class, laid out as for torchvision's ImageFolder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform, place
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.decode import MAX_PIXELS, check_pixels, decode_image, decoder_name, read_image
from pytorch_benchmarks.data.jpeg import decode_rows, find_frame, simplejpeg_version
from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["EXTENSIONS", "ImageFolder", "find_images"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_images(directory: str | os.PathLike[str]) -> tuple[list[str], list[tuple[str, int]]]:
    """List classes, and path and class number of each image, in order.

    Every directory directly inside `directory` is a class, links and hidden ones included; classes are numbered in sorted order of
    their names. Images are all files below it, at any depth and through links, with an extension in `EXTENSIONS`, case ignored;
    sorted by directory, then by name. A directory reached through several links is read once per class.

    Raises:
        UsageError: The directory does not exist, has no classes, has a class without images, or cannot be read.
    """
    root = Path(directory)
    try:
        classes = sorted(entry.name for entry in os.scandir(root) if _is_directory(entry))
    except FileNotFoundError:
        raise UsageError(f"data directory {directory} does not exist") from None
    except NotADirectoryError:
        raise UsageError(f"{directory} is a file, not a directory of classes") from None
    except PermissionError:
        raise UsageError(f"data directory {directory} cannot be read: permission denied") from None
    if not classes:
        hint = ""
        if (root / "data.mdb").exists():
            hint = "; it looks like an LMDB: use --data_backend caffe_lmdb"
        raise UsageError(f"{directory} has no class directories{hint}")
    images: list[tuple[str, int]] = []
    for number, name in enumerate(classes):
        before = len(images)
        for place_, files in sorted(_directories(str(root / name))):
            images += [
                (os.path.join(place_, file), number) for file in sorted(files) if file.lower().endswith(EXTENSIONS)
            ]
        if len(images) == before:
            raise UsageError(f"class {name!r} in {directory} has no images (extensions: {', '.join(EXTENSIONS)})")
    return classes, images


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _directories(top: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each directory below one with the names of its files, following links, each once: links may form cycles."""
    waiting = [top]
    known: set[tuple[int, int]] = set()
    while waiting:
        directory = waiting.pop()
        inside: list[str] = []
        files: list[str] = []
        try:
            status = os.stat(directory)
            if (status.st_dev, status.st_ino) in known:
                continue
            known.add((status.st_dev, status.st_ino))
            with os.scandir(directory) as entries:
                for entry in entries:
                    (inside if _is_directory(entry) else files).append(entry.name)
        except OSError as error:
            raise UsageError(f"data directory {directory} cannot be read: {error.strerror}") from None
        waiting += (os.path.join(directory, name) for name in sorted(inside, reverse=True))
        yield directory, files


class ImageFolder(Dataset):
    """Images in one directory per class.

    Args:
        directory: Contains the class directories.
        max_pixels: Largest height times width of an image.
    """

    channels_last = True

    def __init__(self, directory: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self.classes, self.images = find_images(directory)
        self.max_pixels = max_pixels
        self._partial = simplejpeg_version() is not None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        path, label = self.images[index]
        size = (target.shape[1], target.shape[2])
        try:
            data = read_image(path, self.max_pixels)
            frame = find_frame(data) if self._partial else None
            if frame is None:
                image = decode_image(data, self.max_pixels)
                box = crop.box(image.shape[0], image.shape[1], size, uniform)
            else:
                check_pixels(frame.height, frame.width, self.max_pixels)
                box = crop.box(frame.height, frame.width, size, uniform)
                image = decode_rows(data, frame, box.top + box.height)
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"cannot read the image {path}: {error}") from None
        if target.shape[0] == 1:
            image = image.mean(axis=2, keepdims=True).astype(np.uint8)
        place(image.transpose(2, 0, 1), box, target)
        return label

    def describe(self) -> dict[str, object]:
        return {**super().describe(), "data_decoder": decoder_name()}
