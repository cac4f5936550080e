"""Data sets: which images there are, how they are decoded, in which order and by whom they are loaded."""

from __future__ import annotations

import io
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from pytorch_benchmarks.data.caffe_lmdb import CaffeLmdb
from pytorch_benchmarks.data.crops import Box, Crop, Uniform, place
from pytorch_benchmarks.data.datum import DatumParser, parse_datum
from pytorch_benchmarks.data.image_folder import ImageFolder, decode_image, find_images
from pytorch_benchmarks.data.jpeg import decode_rows, find_frame
from pytorch_benchmarks.data.loader import Batches, processes, threads
from pytorch_benchmarks.data.make_dataset import encode_datum, main, make_folder, make_lmdb, picture
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import DEVIATION, MEAN, Normalise
from pytorch_benchmarks.errors import BenchmarkError, UsageError
from tests.waiting import wait_until


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


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


RED = Image.new("RGB", (20, 10), (200, 30, 10))


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


@pytest.mark.parametrize("kind", ["random_resized", "random_crop_mirror", "center"])
@pytest.mark.parametrize(("height", "width"), [(375, 500), (500, 375), (256, 256), (20, 2000), (1, 1), (100, 90)])
def test_boxes_lie_inside(kind: str, height: int, width: int) -> None:
    for seed in range(50):
        box = Crop(kind).box(height, width, (224, 224), Random(seed).random)
        assert 0 <= box.top <= box.top + box.height <= height
        assert 0 <= box.left <= box.left + box.width <= width
        assert box.height >= 1
        assert box.width >= 1


def test_random_resized_crops_cover_the_areas_and_ratios_of_the_paper() -> None:
    boxes = [Crop("random_resized").box(1000, 1000, (224, 224), Random(seed).random) for seed in range(2000)]
    areas = [box.height * box.width / 1e6 for box in boxes]
    ratios = [box.width / box.height for box in boxes]
    assert 0.07 < min(areas) < 0.12
    assert 0.9 < max(areas) <= 1.0
    assert 0.74 < min(ratios) < 0.78
    assert 1.28 < max(ratios) < 1.35
    assert 0.45 < sum(box.mirror for box in boxes) / 2000 < 0.55


def test_the_centre_is_the_centre() -> None:
    assert Crop("center").box(256, 256, (224, 224), Random().random) == Box(16, 16, 224, 224, False)
    assert Crop("center").box(512, 1024, (224, 224), Random().random) == Box(32, 288, 448, 448, False)


@pytest.mark.parametrize("mirror", [False, True])
def test_placing_without_resizing_copies_pixels(mirror: bool) -> None:
    image = torch.arange(3 * 6 * 8, dtype=torch.uint8).reshape(3, 6, 8)
    target = torch.zeros(3, 4, 5, dtype=torch.uint8)
    place(image.numpy(), Box(1, 2, 4, 5, mirror), target)
    part = image[:, 1:5, 2:7]
    assert torch.equal(target, part.flip(-1) if mirror else part)


def test_resizing_agrees_with_pillow() -> None:
    pixels = picture(3, 3, 375, 500)
    target = torch.empty(3, 224, 224, dtype=torch.uint8)
    place(pixels.transpose(2, 0, 1), Box(10, 20, 300, 400, False), target)
    expected = Image.fromarray(pixels).crop((20, 10, 420, 310)).resize((224, 224), Image.Resampling.BILINEAR)
    difference = np.abs(target.permute(1, 2, 0).numpy().astype(int) - np.asarray(expected).astype(int))
    assert difference.max() <= 2


# Datum records


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


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_image_is_read_once_in_an_epoch_by_one_process(shuffle: bool, world: int) -> None:
    orders = [Order(72, 4, shuffle, 7, rank, world) for rank in range(world)]
    for epoch in (0, 1, 5):
        seen = np.concatenate([order.epoch(epoch).ravel() for order in orders])
        assert len(set(seen.tolist())) == len(seen) == 72


def test_shuffling_is_seeded_and_new_in_each_epoch() -> None:
    one, same, other = Order(50, 5, True, 1), Order(50, 5, True, 1), Order(50, 5, True, 2)
    assert np.array_equal(one.epoch(3), same.epoch(3))
    assert not np.array_equal(one.epoch(3), one.epoch(4))
    assert not np.array_equal(one.epoch(3), other.epoch(3))


def test_what_does_not_fill_a_batch_is_left_out() -> None:
    assert Order(10, 4).epoch(0).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(("length", "batch", "world"), [(3, 4, 1), (7, 4, 2)])
def test_fewer_images_than_a_batch(length: int, batch: int, world: int) -> None:
    with pytest.raises(UsageError, match="fewer than a batch"):
        Order(length, batch, world=world)


# Loaders


@pytest.fixture
def folder(tmp_path: Path) -> ImageFolder:
    make_folder(tmp_path / "f", ((picture(i, 3, 40, 50), i % 3) for i in range(21)))
    return ImageFolder(tmp_path / "f")


def load(dataset: ImageFolder, how: str, workers: int, batches: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    order = Order(len(dataset), 5, shuffle=True, seed=3)
    loader: Callable[..., Batches] = threads if how == "threads" else processes
    source = loader(dataset, order, Crop("random_resized"), (3, 16, 16), workers=workers)
    return [(images.clone(), labels.clone()) for images, labels in itertools.islice(source, batches)]


@pytest.mark.parametrize(("how", "workers"), [("threads", 1), ("threads", 3), ("processes", 2), ("processes", 0)])
def test_all_loaders_give_the_same_batches(folder: ImageFolder, how: str, workers: int) -> None:
    expected = load(folder, "threads", 0)
    for (images, labels), (same_images, same_labels) in zip(load(folder, how, workers), expected, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_threads_end_with_their_loader(folder: ImageFolder) -> None:
    before = threading.active_count()
    source = threads(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=3)
    next(source)
    assert threading.active_count() == before + 3
    source.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_workers_live_through_all_epochs_and_end_with_their_loader(folder: ImageFolder) -> None:
    """An epoch has four batches here; the original started its workers again inside a measured batch."""
    others = set(psutil.Process().children())
    source = processes(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=2)
    seen = set()
    for _ in range(12):
        next(source)
        seen.add(tuple(sorted(child.pid for child in set(psutil.Process().children()) - others)))
    assert len(seen) == 1
    (workers,) = seen
    assert len(workers) == 2
    source.close()  # type: ignore[attr-defined]
    assert not [pid for pid in workers if psutil.pid_exists(pid)]


def test_a_worker_that_dies_is_said(folder: ImageFolder) -> None:
    others = set(psutil.Process().children())
    source = processes(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=1)
    next(source)
    (worker,) = set(psutil.Process().children()) - others
    worker.kill()
    with pytest.raises(BenchmarkError, match="a data loader process died"):
        list(itertools.islice(source, 20))


def test_data_directories_stay_as_they_are(tmp_path: Path) -> None:
    make_folder(tmp_path / "f", ((picture(i, 3, 20, 20), i % 2) for i in range(6)))
    make_lmdb(tmp_path / "db", ((picture(i, 3, 20, 20), i % 2) for i in range(6)))

    def state() -> list[tuple[str, int]]:
        return sorted((str(path), path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))

    before = state()
    for dataset in (ImageFolder(tmp_path / "f"), CaffeLmdb(tmp_path / "db")):
        for loader in (processes, threads):
            source = loader(dataset, Order(6, 2), Crop("center"), (3, 16, 16), workers=1)
            next(source)
            source.close()  # type: ignore[attr-defined]
    assert state() == before


def test_a_database_is_opened_by_the_process_that_reads_it(tmp_path: Path) -> None:
    make_lmdb(tmp_path / "db", ((picture(i, 3, 20, 20), i) for i in range(6)))
    dataset = CaffeLmdb(tmp_path / "db")
    assert not hasattr(dataset, "_environment")
    source = processes(dataset, Order(6, 2), Crop("center"), (3, 16, 16), workers=2)
    assert [next(source)[1].tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    assert not hasattr(dataset, "_environment")


def test_loading_leaves_the_number_of_threads_of_torch_alone(folder: ImageFolder) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # readers set it to one
    try:
        for workers in (0, 2):
            source = threads(folder, Order(len(folder), 5), Crop("center"), (3, 16, 16), workers=workers)
            next(source)
            source.close()  # type: ignore[attr-defined]
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("how", ["threads", "processes"])
def test_an_error_in_a_worker_reaches_the_caller_as_one_line(folder: ImageFolder, how: str) -> None:
    path = Path(folder.images[12][0])
    path.write_bytes(b"torn")
    with pytest.raises(BenchmarkError, match=f"^cannot read the image {path}: [^\n]*$"):
        load(folder, how, 2)


class Counted(ImageFolder):
    """Images that remember which of them were read."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.read: list[int] = []

    def read_into(self, index: int, target: torch.Tensor, crop: Crop, uniform: Uniform) -> int:
        label = super().read_into(index, target, crop, uniform)
        self.read.append(index)
        return label


def test_a_slow_caller_is_not_overtaken(folder: ImageFolder, tmp_path: Path) -> None:
    """The batch in use and the one before it stay as they are, however far ahead the threads could be."""
    dataset = Counted(str(tmp_path / "f"))
    source = threads(dataset, Order(len(dataset), 5), Crop("center"), (3, 16, 16), workers=2)
    first, _ = next(source)
    second, _ = next(source)
    copies = first.clone(), second.clone()

    def rests() -> bool:
        before = len(dataset.read)
        time.sleep(0.1)
        return len(dataset.read) == before

    wait_until(lambda: len(dataset.read) >= 4 * 5 and rests(), "the threads have no more room")
    assert torch.equal(first, copies[0])
    assert torch.equal(second, copies[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 3])
def test_normalising(dtype: torch.dtype, channels: int) -> None:
    normalise = Normalise(dtype, False, 10, channels, torch.device("cpu"))
    images = torch.randint(256, (2, channels, 4, 4), dtype=torch.uint8)
    made, targets = normalise(images, torch.tensor([3, 12]))
    mean, deviation = torch.tensor(MEAN), torch.tensor(DEVIATION)
    if channels == 1:
        mean, deviation = mean.mean()[None], deviation.mean()[None]
    expected = (images / 255 - mean.view(1, -1, 1, 1)) / deviation.view(1, -1, 1, 1)
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert torch.allclose(made.float(), expected, atol=1e-5 if dtype == torch.float32 else 0.02)
    assert targets.tolist() == [3, 2]


def test_inputs_may_have_their_channels_last() -> None:
    normalise = Normalise(torch.float32, False, 10, 3, torch.device("cpu"), torch.channels_last)
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    made, _ = normalise(images, torch.zeros(2))
    expected, _ = Normalise(torch.float32, False, 10, 3, torch.device("cpu"))(images, torch.zeros(2))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made, expected)


def test_normalising_for_models_that_want_vectors() -> None:
    made, _ = Normalise(torch.float32, True, 10, 1, torch.device("cpu"))(
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.zeros(2)
    )
    assert made.shape == (2, 16)


# Making data sets


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
