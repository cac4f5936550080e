"""Caffe's Datum records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytorch_benchmarks.data.datum import DatumParser, parse_datum
from pytorch_benchmarks.data.image_folder import find_images
from pytorch_benchmarks.data.make_dataset import encode_datum, picture


def found(root: Path) -> list[tuple[str, int]]:
    return [(str(Path(path).relative_to(root)), label) for path, label in find_images(root)[1]]


# The directory semantics of torchvision's ImageFolder, as cases: files that are there → images and classes that are found.


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("float_data", [False, True])
def test_datum_of_raw_pixels(channels: int, float_data: bool) -> None:
    pixels = picture(1, channels, 6, 9)
    datum = parse_datum(encode_datum(pixels, 300, float_data=float_data))
    assert datum.label == 300
    assert np.array_equal(datum.pixels, pixels[:, :, ::-1].transpose(2, 0, 1))
    assert datum.pixels.dtype == (np.float32 if float_data else np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_datum_of_an_encoded_image(channels: int) -> None:
    pixels = picture(1, channels, 32, 48)
    datum = parse_datum(encode_datum(pixels, 7, encoded=True))
    assert datum.pixels.shape == (3, 32, 48)
    assert np.abs(datum.pixels.transpose(1, 2, 0).astype(int) - pixels.astype(int)).mean() < 12


def test_datum_is_what_protobuf_makes_of_it() -> None:
    """Fields in another order, floats that are not packed, unknown fields, a negative label."""
    record = b"\x28" + b"\xff" * 9 + b"\x01"  # label -1
    record += b"\x50\x05"  # field 10, unknown
    record += b"".join(b"\x35" + np.float32(value).tobytes() for value in (1, 2))
    record += b"\x18\x02\x10\x01\x08\x01"
    datum = parse_datum(record)
    assert datum.label == -1
    assert datum.pixels.tolist() == [[[1.0, 2.0]]]


def test_a_parser_that_remembers_agrees_with_one_that_does_not() -> None:
    small, large = picture(1, 3, 4, 4), picture(2, 3, 5, 6)
    in_front = b"\x28\x09" + encode_datum(small, 0)[:-2]  # the label before the pixels, none behind
    other = b"\x28\x08" + encode_datum(small, 0)[:-2]
    late = encode_datum(small, 3)[6:] + encode_datum(small, 3)[:6]  # the shape behind the pixels
    records = [
        *(encode_datum(small, label) for label in (1, 2, 1, 300, 2)),
        encode_datum(large, 1),
        *(in_front, other, in_front, late, late),
        encode_datum(small, 4, float_data=True),
        encode_datum(small, 5, encoded=True),
        *(encode_datum(small, label) for label in (5, 1, 5)),
        encode_datum(small, 5) + b"\x38\x00",
    ]
    parse = DatumParser()
    for record in records * 2:
        found, expected = parse(memoryview(record)), parse_datum(record)
        assert found.label == expected.label
        assert found.pixels.dtype == expected.pixels.dtype
        assert np.array_equal(found.pixels, expected.pixels)
    with pytest.raises(ValueError):
        parse(memoryview(encode_datum(small, 5)[:-10]))


GOOD = encode_datum(picture(1, 3, 4, 4), 1)


@pytest.mark.parametrize(
    "record", [b"", b"\x08", GOOD[:-10], GOOD[:5], b"\xff" * 20, b"\x08\x03\x10\x04\x18\x05" + GOOD[6:]]
)
def test_torn_records_are_errors(record: bytes) -> None:
    with pytest.raises(ValueError):
        parse_datum(record)


def test_raw_pixels_are_not_copied() -> None:
    record = bytearray(encode_datum(picture(1, 3, 4, 4), 1))
    datum = parse_datum(record)
    position = bytes(record).index(datum.pixels.tobytes())
    record[position] ^= 0xFF
    assert datum.pixels[0, 0, 0] == record[position]
