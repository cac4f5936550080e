"""JPEG: decoding only the rows that are needed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pytorch_benchmarks.data.decode import decode_image
from pytorch_benchmarks.data.jpeg import decode_rows, find_frame


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


RED = Image.new("RGB", (20, 10), (200, 30, 10))


def jpeg(height: int, width: int, **options: Any) -> bytes:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=90, **options)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(75, 50), (64, 33)])
def test_the_upper_rows_of_a_jpeg_are_those_of_the_whole(subsampling: int, height: int, width: int) -> None:
    data = jpeg(height, width, subsampling=subsampling)
    whole = decode_image(data)
    for rows in range(1, height + 1):
        part = bytearray(data)
        frame = find_frame(part)
        assert frame is not None
        assert (frame.height, frame.width) == (height, width)
        assert np.array_equal(decode_rows(part, frame, rows)[:rows], whole[:rows])


@pytest.mark.parametrize(
    "data",
    [
        jpeg(40, 40, progressive=True),
        jpeg(40, 40)[:-60],  # torn
        encoded(RED.convert("CMYK"), "JPEG"),
        encoded(RED, "PNG"),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff\xc0\x00\x00\xff\xd9",
        b"",
    ],
    ids=["progressive", "torn", "cmyk", "png", "empty", "endless", "nothing"],
)
def test_what_is_no_whole_baseline_jpeg_is_decoded_the_ordinary_way(data: bytes) -> None:
    assert find_frame(data) is None
