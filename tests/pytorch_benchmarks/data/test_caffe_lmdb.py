"""LMDB of Datum records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from pytorch_benchmarks.data.caffe_lmdb import CaffeLmdb
from pytorch_benchmarks.data.crops import Crop
from pytorch_benchmarks.data.loader import processes
from pytorch_benchmarks.data.make_dataset import make_lmdb, picture
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.errors import UsageError


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
