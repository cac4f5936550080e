"""Images: which files of a folder are images of which class, how they are decoded, and which rows of a JPEG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark_core.exits import BenchmarkError, UsageError
from pytorch_benchmarks.data.dataset import Crop
from pytorch_benchmarks.data.images import ImageFolder, decode_image, decode_rows, find_frame, find_images
from pytorch_benchmarks.data.make_dataset import make_folder, picture


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


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def found(root: Path) -> list[tuple[str, int]]:
    return [(str(Path(path).relative_to(root)), label) for path, label in find_images(root)[1]]


# The directory semantics of torchvision's ImageFolder, as cases: files that are there → images and classes that are found.
FOLDERS = {
    "classes are sorted by name": (["b/1.jpg", "a/1.jpg", "B/1.jpg"], [("B/1.jpg", 0), ("a/1.jpg", 1), ("b/1.jpg", 2)]),
    "names sort as text, not as numbers": (["10/x.jpg", "9/x.jpg"], [("10/x.jpg", 0), ("9/x.jpg", 1)]),
    "files are sorted by name": (["a/2.jpg", "a/10.jpg", "a/1.png"], [("a/1.png", 0), ("a/10.jpg", 0), ("a/2.jpg", 0)]),
    "nested directories belong to their class": (["a/x/y/1.jpg", "a/2.jpg"], [("a/2.jpg", 0), ("a/x/y/1.jpg", 0)]),
    "endings in any case": (["a/1.JPG", "a/2.JpEg", "a/3.WEBP"], [("a/1.JPG", 0), ("a/2.JpEg", 0), ("a/3.WEBP", 0)]),
    "other files are no images": (["a/1.jpg", "a/notes.txt", "a/2.gif", "a/jpg"], [("a/1.jpg", 0)]),
    "files beside the classes are ignored": (["1.jpg", "a/1.jpg"], [("a/1.jpg", 0)]),
    "hidden directories are classes": ([".h/1.jpg", "a/1.jpg"], [(".h/1.jpg", 0), ("a/1.jpg", 1)]),
    "hidden files are images": (["a/.1.jpg"], [("a/.1.jpg", 0)]),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_image_folder(tmp_path: Path, case: str) -> None:
    files, expected = FOLDERS[case]
    touch(tmp_path, *files)
    assert found(tmp_path) == expected


def test_links_are_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "elsewhere/1.jpg", "file.jpg")
    touch(root, "b/2.jpg")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    (root / "b" / "3.jpg").symlink_to(tmp_path / "file.jpg")
    (root / "b" / "more").symlink_to(tmp_path / "elsewhere")
    assert found(root) == [("a/1.jpg", 0), ("b/2.jpg", 1), ("b/3.jpg", 1), ("b/more/1.jpg", 1)]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: None, "does not exist"),
        (lambda root: root.mkdir(), "has no class directories"),
        (lambda root: touch(root, "data.mdb"), "--data_backend caffe_lmdb"),
        (lambda root: touch(root, "a/1.jpg", "b/readme.txt"), "class 'b'"),
        (lambda root: root.write_text(""), "is a file"),
    ],
)
def test_what_is_no_image_folder(tmp_path: Path, make: Callable[[Path], None], said: str) -> None:
    make(tmp_path / "root")
    with pytest.raises(UsageError, match=said):
        find_images(tmp_path / "root")


# Decoding
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (encoded(RED, "PNG"), (200, 30, 10)),
        (encoded(RED, "JPEG", quality=95), (200, 30, 10)),
        (encoded(RED, "WEBP", lossless=True), (200, 30, 10)),
        (encoded(RED, "BMP"), (200, 30, 10)),
        (encoded(RED.convert("L"), "JPEG"), (78, 78, 78)),
        (encoded(RED.convert("L"), "PNG"), (78, 78, 78)),
        (encoded(RED.convert("CMYK"), "JPEG", quality=95), (200, 30, 10)),
        (encoded(RED.convert("RGBA"), "PNG"), (200, 30, 10)),
        (encoded(RED.convert("P"), "PNG"), (204, 51, 0)),
        (encoded(Image.fromarray(np.full((10, 20), 40_000, np.uint16)), "PNG"), (156, 156, 156)),
        (encoded(Image.new("1", (20, 10), 1), "PNG"), (255, 255, 255)),
    ],
    ids=["png", "jpeg", "webp", "bmp", "grey-jpeg", "grey-png", "cmyk-jpeg", "rgba", "palette", "16-bit", "bilevel"],
)
def test_decoding_gives_rgb_bytes(data: bytes, expected: tuple[int, ...]) -> None:
    image = decode_image(data)
    assert image.shape == (10, 20, 3)
    assert image.dtype == np.uint8
    assert np.abs(image[5, 10].astype(int) - expected).max() <= 4


def test_exif_rotation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert decode_image(encoded(RED, "JPEG", exif=exif)).shape == (10, 20, 3)


@pytest.mark.parametrize("data", [b"", b"not an image", encoded(RED, "PNG")[:45], encoded(RED, "JPEG")[:200]])
def test_a_corrupt_file_is_named(tmp_path: Path, data: bytes) -> None:
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "1.jpg").write_bytes(data)
    target = torch.empty(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(BenchmarkError, match=r"a/1\.jpg"):
        ImageFolder(tmp_path).read_into(0, target, Crop("center"), Random(0).random)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_crop_is_cut_out_of_the_right_place(tmp_path: Path, options: dict[str, bool]) -> None:
    data = jpeg(90, 120, **options)
    touch(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "1.jpg").write_bytes(data)
    folder = ImageFolder(tmp_path)
    crop = Crop("random_crop_mirror")
    for seed in range(20):
        target = torch.empty(3, 30, 40, dtype=torch.uint8)
        folder.read_into(0, target, crop, Random(seed).random)
        box = crop.box(90, 120, (30, 40), Random(seed).random)
        part = decode_image(data)[box.top : box.top + 30, box.left : box.left + 40]
        assert np.array_equal(target.permute(1, 2, 0).numpy(), part[:, ::-1] if box.mirror else part)


# Crops
@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    make_folder(tmp_path / "f", ((picture(i, 3, 40, 50), i % 3) for i in range(21)))
    return ImageFolder(tmp_path / "f")
