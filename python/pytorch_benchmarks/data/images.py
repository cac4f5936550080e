"""Images: folders of files, and decoders that check sizes first and skip rows of JPEGs that a crop does not need.

A baseline JPEG is a sequence of rows of blocks, from top to bottom. A decoder that is given a smaller height stops there and returns the
same pixels, so the rows below a random crop need not be decoded. For crops of 8 to 100 % of an image that saves a fifth of the time.
libjpeg-turbo takes the height from the header of the file, which can be overwritten.
"""

from __future__ import annotations

import functools
import io
import os
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.files import read_regular
from pytorch_benchmarks.data.dataset import Crop, Dataset, Uniform, place

_BLOCK_ROWS = 16  # most rows of pixels in a row of blocks
_BELOW = 4
_BASELINE = (0xC0, 0xC1)
_TRAILER = 1024  # last bytes searched for the end of the image: some cameras write data after it
MAX_PIXELS = 100_000_000  # the default of --max_image_pixels
_BYTES_PER_PIXEL = 8  # largest in a file: four channels of 16 bits
_OTHER_BYTES = 16 << 20  # headers, colour profiles, metadata
_MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs as much as a full decode
# Not all formats of Pillow: EPS, for one, would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_SETTING = threading.Lock()
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


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


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> bytearray:
    """Read the bytes of an image file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: The file is larger than an image of `max_pixels` can be.
    """
    return read_regular(path, _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES)


def decode_image(data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a compressed image into RGB, uint8, shape (height, width, 3).

    Grey is replicated to three channels, transparency is dropped, CMYK and palettes are converted, 16 bits are scaled to 8. EXIF
    rotation is not applied, as in ImageFolder.

    Args:
        data: Contents of the file.
        max_pixels: Largest height times width.

    Raises:
        ValueError: The data cannot be decoded as an image, are truncated, or have too many pixels.
    """
    if data[:3] != b"\xff\xd8\xff":
        return _decode_with_pillow(data, max_pixels)
    scans = data.count(b"\xff\xda")
    if scans > _MAX_SCANS:
        raise ValueError(f"{scans:,} scans exceed the limit of {_MAX_SCANS}")
    try:
        import simplejpeg
    except ImportError:
        return _decode_with_pillow(data, max_pixels)
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: truncated header
        return _decode_with_pillow(data, max_pixels)
    check_pixels(height, width, max_pixels)
    try:
        decoded: np.ndarray = simplejpeg.decode_jpeg(data, colorspace="RGB")
        return decoded
    except (ValueError, KeyError):
        # Images with four colours and rare variants; Pillow rejects truly truncated files too.
        return _decode_with_pillow(data, max_pixels)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Reject an image with more pixels than the limit.

    Raises:
        ValueError: The image has more.
    """
    if height * width > max_pixels:
        raise ValueError(f"{width:,} x {height:,} pixels {_exceed(max_pixels)}")


def decoder_name() -> str:
    """Name of the JPEG decoder: simplejpeg (libjpeg-turbo) if installed, else Pillow."""
    version = simplejpeg_version()
    return "pillow" if version is None else f"simplejpeg {version}".strip()


@dataclass(frozen=True, slots=True)
class Frame:
    """Header of a baseline JPEG: size in pixels, and the position of the height in the file."""

    height: int
    width: int
    offset: int


def simplejpeg_version() -> str | None:
    """Version of the package simplejpeg (libjpeg-turbo); None if it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None
    return str(getattr(simplejpeg, "__version__", ""))


def find_frame(data: bytes | bytearray) -> Frame | None:
    """Find the frame of a complete baseline JPEG with all colours in one scan; None for others: progressive, truncated, another format."""
    if data[:2] != b"\xff\xd8" or data.rfind(b"\xff\xd9", -_TRAILER) < 0:
        return None
    frame, components = None, 0
    position, end = 2, len(data)
    while position + 4 <= end and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _BASELINE and position + 10 <= end:
            height = data[position + 5] << 8 | data[position + 6]
            width = data[position + 7] << 8 | data[position + 8]
            frame, components = Frame(height, width, position + 5), data[position + 9]
        elif 0xC2 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return None
        elif marker == 0xDA:  # start of scan
            known = frame is not None and frame.height > 0 and components in (1, 3)
            return frame if known and position + 5 <= end and data[position + 4] == components else None
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    return None


def decode_rows(data: bytearray, frame: Frame, rows: int) -> np.ndarray:
    """Decode at least the first `rows` rows; pixels equal those of a full decode.

    Args:
        data: The file; the height in its header is overwritten.
        frame: Frame of the file.
        rows: Number of rows needed.

    Returns:
        RGB, uint8, shape (at least rows, width, 3).

    Raises:
        ValueError: It cannot be decoded.
    """
    import simplejpeg

    # Chroma has half the rows and is interpolated: the last row needs a few rows below it.
    enough = min(frame.height, (rows + _BELOW + _BLOCK_ROWS - 1) // _BLOCK_ROWS * _BLOCK_ROWS)
    data[frame.offset] = enough >> 8
    data[frame.offset + 1] = enough & 0xFF
    # Not strict: to the decoder, the rest of the file looks like trailing garbage.
    try:
        decoded: np.ndarray = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=False)
    except KeyError:  # truncated header
        raise ValueError("its header cannot be read") from None
    return decoded


def _exceed(max_pixels: int) -> str:
    return f"exceed the limit of {max_pixels:,}; --max_image_pixels raises it"


@functools.cache
def _limit_pillow(max_pixels: int) -> None:
    """Make Pillow reject large images too, also where a frame inside a file is larger than the header claims."""
    from PIL import Image

    with _SETTING:
        Image.MAX_IMAGE_PIXELS = max(max_pixels, Image.MAX_IMAGE_PIXELS or 0)
        # Pillow warns above its limit and raises an error above twice the limit; the limit here is strict.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _decode_with_pillow(data: bytes | bytearray, max_pixels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    _limit_pillow(max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.height, image.width, max_pixels)
            image.load()
            if image.mode.startswith("I"):  # 16-bit grey: convert() would clip instead of scale
                grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except Image.DecompressionBombError:
        raise ValueError(f"its pixels {_exceed(max_pixels)}") from None
    except UnidentifiedImageError:
        raise ValueError("not an image, or of an unsupported format") from None
    except MemoryError:
        raise ValueError("not enough memory to decode it") from None
    except Exception as error:  # decoders of twenty formats raise all kinds
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


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
