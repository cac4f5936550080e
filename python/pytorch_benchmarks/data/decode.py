"""Decode compressed images with a limit on pixels: a header of a few bytes may claim 65,000 x 65,000."""

from __future__ import annotations

import functools
import io
import os
import threading
import warnings

import numpy as np

from pytorch_benchmarks.data.jpeg import simplejpeg_version
from pytorch_benchmarks.files import read_regular

__all__ = ["MAX_PIXELS", "check_pixels", "decode_image", "decoder_name", "read_image"]

MAX_PIXELS = 100_000_000  # the default of --max_image_pixels
_BYTES_PER_PIXEL = 8  # largest in a file: four channels of 16 bits
_OTHER_BYTES = 16 << 20  # headers, colour profiles, metadata
_MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs as much as a full decode
# Not all formats of Pillow: EPS, for one, would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_SETTING = threading.Lock()


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> bytearray:
    """Read the bytes of an image file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: The file is larger than an image of `max_pixels` can be.
    """
    return read_regular(path, _BYTES_PER_PIXEL * max_pixels + _OTHER_BYTES)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Reject an image with more pixels than the limit.

    Raises:
        ValueError: The image has more.
    """
    if height * width > max_pixels:
        raise ValueError(f"{width:,} x {height:,} pixels {_exceed(max_pixels)}")


def _exceed(max_pixels: int) -> str:
    return f"exceed the limit of {max_pixels:,}; --max_image_pixels raises it"


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


def decoder_name() -> str:
    """Name of the JPEG decoder: simplejpeg (libjpeg-turbo) if installed, else Pillow."""
    version = simplejpeg_version()
    return "pillow" if version is None else f"simplejpeg {version}".strip()


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
