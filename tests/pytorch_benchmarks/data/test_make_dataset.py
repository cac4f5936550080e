"""Data sets that are made up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytorch_benchmarks.data.caffe import CaffeLmdb, parse_datum
from pytorch_benchmarks.data.images import find_images
from pytorch_benchmarks.data.make_dataset import main, picture


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize("backend", ["image_folder", "caffe_lmdb"])
def test_the_same_arguments_make_the_same_data_set(tmp_path: Path, backend: str) -> None:
    made = []
    for name in ("one", "two"):
        arguments = [backend, str(tmp_path / name), "--num_images=6", "--num_classes=2", "--height=24", "--width=32"]
        assert main(arguments) == 0
        if backend == "image_folder":
            made.append([Path(path).read_bytes() for path, _ in find_images(tmp_path / name)[1]])
        else:
            dataset = CaffeLmdb(tmp_path / name)
            made.append([bytes(dataset.record(index)) for index in range(len(dataset))])
    assert len(made[0]) == 6
    assert made[0] == made[1]


def test_a_folder_becomes_an_lmdb(tmp_path: Path) -> None:
    main(
        [
            "image_folder",
            str(tmp_path / "f"),
            "--num_images=4",
            "--num_classes=2",
            "--height=24",
            "--width=32",
            "--format=png",
        ]
    )
    assert (
        main(["caffe_lmdb", str(tmp_path / "db"), "--from_folder", str(tmp_path / "f"), "--height=24", "--width=32"])
        == 0
    )
    dataset = CaffeLmdb(tmp_path / "db")
    datum = parse_datum(dataset.record(0))
    assert np.array_equal(datum.pixels, picture(0, 3, 24, 32)[:, :, ::-1].transpose(2, 0, 1))
    assert [parse_datum(dataset.record(index)).label for index in range(4)] == [0, 0, 1, 1]


def test_an_existing_data_set_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path, "x")
    assert main(["image_folder", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
