"""LMDB of Datum records, and their parser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from benchmark_core.exits import UsageError
from pytorch_benchmarks.data.caffe import CaffeLmdb, parse_datum
from pytorch_benchmarks.data.dataset import Crop, Order
from pytorch_benchmarks.data.images import find_images
from pytorch_benchmarks.data.loader import processes
from pytorch_benchmarks.data.make_dataset import encode_datum, make_lmdb, picture


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("options", [{}, {"encoded": True}, {"float_data": True}])
def test_lmdb(tmp_path: Path, options: dict[str, bool]) -> None:
    make_lmdb(tmp_path / "db", ((picture(i, 3, 16, 16), i) for i in range(5)), **options)
    dataset = CaffeLmdb(tmp_path / "db")
    target = torch.empty(3, 16, 16, dtype=torch.uint8)
    labels = [
        dataset.read_into(index, target, Crop("random_crop_mirror"), Random(1).random) for index in range(len(dataset))
    ]
    assert labels == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "--data_backend image_folder"),
        (lambda path: make_lmdb(path, iter(())), "is empty"),
        (lambda path: touch(path, "data.mdb"), "cannot be opened"),
    ],
)
def test_what_is_no_lmdb(tmp_path: Path, make: Callable[[Path], Any], said: str) -> None:
    make(tmp_path / "db")
    with pytest.raises(UsageError, match=said):
        CaffeLmdb(tmp_path / "db")


def test_keys_are_read_without_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_lmdb(tmp_path / "db", ((picture(i, 1, 8, 8), i) for i in range(3)))
    asked: list[int] = []
    monkeypatch.setattr(CaffeLmdb, "record", lambda self, index: asked.append(index))
    assert len(CaffeLmdb(tmp_path / "db")) == 3
    assert asked == []


# Order
def test_a_database_is_opened_by_the_process_that_reads_it(tmp_path: Path) -> None:
    make_lmdb(tmp_path / "db", ((picture(i, 3, 20, 20), i) for i in range(6)))
    dataset = CaffeLmdb(tmp_path / "db")
    assert not hasattr(dataset, "_environment")
    source = processes(dataset, Order(6, 2), Crop("center"), (3, 16, 16), workers=2)
    assert [next(source)[1].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert not hasattr(dataset, "_environment")


def found(root: Path) -> list[tuple[str, int]]:
    return [(str(Path(path).relative_to(root)), label) for path, label in find_images(root)[1]]


# The directory semantics of torchvision's ImageFolder, as cases: files that are there → images and classes that are found.
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("float_data", [False, True])
def test_datum_of_raw_pixels(channels: int, float_data: bool) -> None:
    pixels = picture(1, channels, 6, 9)
    datum = parse_datum(memoryview(encode_datum(pixels, 300, float_data=float_data)))
    assert datum.label == 300
    assert np.array_equal(datum.pixels, pixels[:, :, ::-1].transpose(2, 0, 1))
    assert datum.pixels.dtype == (np.float32 if float_data else np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_datum_of_an_encoded_image(channels: int) -> None:
    pixels = picture(1, channels, 32, 48)
    datum = parse_datum(memoryview(encode_datum(pixels, 7, encoded=True)))
    assert datum.pixels.shape == (3, 32, 48)
    assert np.abs(datum.pixels.transpose(1, 2, 0).astype(int) - pixels.astype(int)).mean() < 12


def test_datum_is_what_protobuf_makes_of_it() -> None:
    """Fields in another order, floats that are not packed, unknown fields, a negative label."""
    record = b"\x28" + b"\xff" * 9 + b"\x01"  # label -1
    record += b"\x50\x05"  # field 10, unknown
    record += b"".join(b"\x35" + np.float32(value).tobytes() for value in (1, 2))
    record += b"\x18\x02\x10\x01\x08\x01"
    datum = parse_datum(memoryview(record))
    assert datum.label == -1
    assert datum.pixels.tolist() == [[[1.0, 2.0]]]


GOOD = encode_datum(picture(1, 3, 4, 4), 1)


@pytest.mark.parametrize(
    "record", [b"", b"\x08", GOOD[:-10], GOOD[:5], b"\xff" * 20, b"\x08\x03\x10\x04\x18\x05" + GOOD[6:]]
)
def test_torn_records_are_errors(record: bytes) -> None:
    with pytest.raises(ValueError):
        parse_datum(memoryview(record))


def test_raw_pixels_are_not_copied() -> None:
    record = bytearray(encode_datum(picture(1, 3, 4, 4), 1))
    datum = parse_datum(memoryview(record))
    position = bytes(record).index(datum.pixels.tobytes())
    record[position] ^= 0xFF
    assert datum.pixels[0, 0, 0] == record[position]
