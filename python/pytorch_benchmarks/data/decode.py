"""Compressed images become pixels, none of them more than the limit: a header of a few bytes may claim 65,000 x 65,000."""

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
_BYTES_A_PIXEL = 8  # at most, in a file: four channels of 16 bits
_OTHER_BYTES = 16 << 20  # headers, colour profiles, metadata
_MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs as much as decoding the whole image
# Not all that Pillow knows: EPS, for one, would start Ghostscript.
_FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
_SETTING = threading.Lock()


def read_image(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> bytearray:
    """The bytes of an image file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
        ValueError: It is larger than an image of `max_pixels` can be.
    """
    return read_regular(path, _BYTES_A_PIXEL * max_pixels + _OTHER_BYTES)


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Refuse an image that has more pixels than the limit.

    Raises:
        ValueError: It has.
    """
    if height * width > max_pixels:
        raise ValueError(f"{width:,} x {height:,} pixels {_exceed(max_pixels)}")


def _exceed(max_pixels: int) -> str:
    return f"exceed the limit of {max_pixels:,}; --max_image_pixels raises it"


def decode_image(data: bytes | bytearray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a compressed image into RGB, uint8, shape (height, width, 3).

    Grey is spread over three channels, transparency is dropped, CMYK and palettes are converted, 16 bits are scaled to 8. An EXIF
    rotation is not applied: neither does ImageFolder.

    Args:
        data: The file.
        max_pixels: Height times width that it may have at most.

    Raises:
        ValueError: It is no image that can be decoded, is torn, or has too many pixels.
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
    except (ValueError, KeyError):  # the latter where the header is torn
        return _decode_with_pillow(data, max_pixels)
    check_pixels(height, width, max_pixels)
    try:
        decoded: np.ndarray = simplejpeg.decode_jpeg(data, colorspace="RGB")
        return decoded
    except (ValueError, KeyError):
        # Four-colour files and a few oddities; what is really torn, Pillow refuses too.
        return _decode_with_pillow(data, max_pixels)


def decoder_name() -> str:
    """What decodes JPEG files: simplejpeg (libjpeg-turbo) if it is installed, else Pillow."""
    version = simplejpeg_version()
    return "pillow" if version is None else f"simplejpeg {version}".strip()


@functools.cache
def _limit_pillow(max_pixels: int) -> None:
    """Let Pillow refuse large images by itself too, also where a frame inside a file is larger than its header says."""
    from PIL import Image

    with _SETTING:
        Image.MAX_IMAGE_PIXELS = max(max_pixels, Image.MAX_IMAGE_PIXELS or 0)
        # Pillow warns from its limit on and refuses from twice the limit on; we refuse from the limit on.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def _decode_with_pillow(data: bytes | bytearray, max_pixels: int) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    _limit_pillow(max_pixels)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            check_pixels(image.height, image.width, max_pixels)
            image.load()
            if image.mode.startswith("I"):  # 16 bits of grey: convert() would clip them, not scale them
                grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
                return np.repeat(grey[:, :, None], 3, axis=2)
            return np.array(image.convert("RGB"))
    except Image.DecompressionBombError:
        raise ValueError(f"its pixels {_exceed(max_pixels)}") from None
    except UnidentifiedImageError:
        raise ValueError("not an image, or of an unknown kind") from None
    except MemoryError:
        raise ValueError("memory is not enough to decode it") from None
    except Exception as error:  # decoders of twenty formats: whatever comes to their minds
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
