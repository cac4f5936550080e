"""Data sets of one directory of images per class, with the directory semantics of torchvision's ImageFolder."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform, place
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.jpeg import decode_rows, find_frame, simplejpeg_version
from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["EXTENSIONS", "ImageFolder", "decode_image", "decoder_name", "find_images"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


def find_images(directory: str | os.PathLike[str]) -> tuple[list[str], list[tuple[str, int]]]:
    """Classes and (path, class number) of each image, in order.

    Every directory directly inside `directory` is a class, links and hidden ones included; classes are numbered in the order of
    their sorted names. Images are all files below it, at any depth and through links, whose names end in one of `EXTENSIONS` in
    any case; sorted by directory, then by name.

    Raises:
        UsageError: No such directory, no classes in it, or a class without images.
    """
    root = Path(directory)
    try:
        classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
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
        for place_, _, files in sorted(os.walk(root / name, followlinks=True)):
            images += [
                (os.path.join(place_, file), number) for file in sorted(files) if file.lower().endswith(EXTENSIONS)
            ]
        if len(images) == before:
            raise UsageError(f"class {name!r} in {directory} has no images (they end in {', '.join(EXTENSIONS)})")
    return classes, images


class ImageFolder(Dataset):
    """Images in one directory per class.

    Args:
        directory: Holds the class directories.
    """

    channels_last = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.classes, self.images = find_images(directory)
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
            data = _read(path)
            frame = find_frame(data) if self._partial else None
            if frame is None:
                image = decode_image(data)
                box = crop.box(image.shape[0], image.shape[1], size, uniform)
            else:
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


def _read(path: str) -> bytearray:
    with open(path, "rb", buffering=0) as stream:
        data = bytearray(os.fstat(stream.fileno()).st_size)
        if stream.readinto(data) == len(data):
            return data
    return bytearray(Path(path).read_bytes())  # it changed its size just now, or is no regular file


def decoder_name() -> str:
    """What decodes JPEG files: simplejpeg (libjpeg-turbo) if it is installed, else Pillow."""
    version = simplejpeg_version()
    return "pillow" if version is None else f"simplejpeg {version}".strip()


def decode_image(data: bytes | bytearray) -> np.ndarray:
    """Decode a compressed image into RGB, uint8, shape (height, width, 3).

    Grey is spread over three channels, transparency is dropped, CMYK and palettes are converted, 16 bits are scaled to 8. An EXIF
    rotation is not applied: neither does ImageFolder.

    Raises:
        ValueError: It is no image that can be decoded, or is torn.
    """
    if data[:3] == b"\xff\xd8\xff":
        try:
            import simplejpeg
        except ImportError:
            return _decode_with_pillow(data)
        try:
            return simplejpeg.decode_jpeg(data, colorspace="RGB")
        except ValueError:
            # Four-colour files and a few oddities; what is really torn, Pillow refuses too.
            return _decode_with_pillow(data)
    return _decode_with_pillow(data)


def _decode_with_pillow(data: bytes | bytearray) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.mode.startswith("I"):  # 16 bits of grey: convert() would clip them, not scale them
                grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError("not an image, or of an unknown kind") from None
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
