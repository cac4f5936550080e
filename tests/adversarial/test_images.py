"""Image folders that a stranger has made. Each case is a line: a file or a directory, and part of the error or the number of images read.

Each runs in a child process that is killed after a minute of CPU time or when it asks for 700 MiB more. JPEG files go through both decoders.
"""

from __future__ import annotations

import functools
import io
import os
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.adversarial.bounded import Ask, ask_and_expect, children, sparse

pytestmark = pytest.mark.integration

PROGRAM = """
import sys, torch
from PIL import Image
from pytorch_benchmarks.data.dataset import Crop
from pytorch_benchmarks.data.images import ImageFolder
from benchmark_core.exits import BenchmarkError
from tests.adversarial.bounded import serve

def work(given):
    if given["decoder"] == "pillow":
        sys.modules["simplejpeg"] = None
    dataset = ImageFolder(given["directory"], **given["options"])
    target = torch.empty(3, 32, 32, dtype=torch.uint8)
    for index in range(len(dataset)):
        try:
            dataset.read_into(index, target, Crop("center"), float)
        except BenchmarkError:
            if not given.get("each"):
                raise
    return len(dataset)

serve(work)
"""


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    with children(PROGRAM) as asked:
        yield asked


NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def encoded(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(NOISE).save(stream, kind, **options)
    return stream.getvalue()


def jpeg(height: int, width: int, *, progressive: bool = False) -> bytes:
    """A small JPEG whose header tells another size."""
    data = bytearray(encoded("JPEG", progressive=progressive))
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(height: int, width: int, *more: bytes, depth: int = 8, colours: int = 2) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def bmp(height: int, width: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(9)


def tiff(height: int, width: int) -> bytes:
    data = encoded("TIFF")
    (at,) = struct.unpack_from("<I", data, 4)
    changed = bytearray(data)
    for entry in range(struct.unpack_from("<H", data, at)[0]):
        place = at + 2 + 12 * entry
        tag = struct.unpack_from("<H", data, place)[0]
        if tag in (256, 257):
            struct.pack_into("<HHII", changed, place, tag, 4, 1, width if tag == 256 else height)
    return bytes(changed)


def gif(height: int, width: int) -> bytes:
    data = bytearray(encoded("GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    data = encoded("JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


@functools.cache
def bomb() -> bytes:
    """300 KB that become 300 MiB."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(1 << 20)) for _ in range(300)), packer.flush()])


TOO_LARGE = "exceed the limit of 100,000,000; --max_image_pixels raises it"

JPEGS: dict[str, tuple[Callable[[], bytes], Any]] = {
    "a sound one": (lambda: jpeg(48, 64), 1),
    "a sound one, progressive": (lambda: jpeg(48, 64, progressive=True), 1),
    "65,000 x 65,000": (lambda: jpeg(65_000, 65_000), TOO_LARGE),
    "65,000 x 65,000, progressive": (lambda: jpeg(65_000, 65_000, progressive=True), TOO_LARGE),
    "65,535 x 65,535": (lambda: jpeg(65_535, 65_535), None),
    "just above the limit": (lambda: jpeg(10_000, 10_001), TOO_LARGE),
    "65,000 x 1": (lambda: jpeg(1, 65_000), None),
    "1 x 65,000": (lambda: jpeg(65_000, 1), None),
    "no rows": (lambda: jpeg(0, 64), "cannot read the image"),
    "no columns": (lambda: jpeg(48, 0), "cannot read the image"),
    "500 scans": (lambda: scans(500), "scans exceed the limit of 100"),
    "20 scans": (lambda: scans(20), None),
    "only a beginning": (lambda: b"\xff\xd8\xff", "cannot read the image"),
    "only a beginning and an end": (lambda: b"\xff\xd8\xff\xd9", "cannot read the image"),
    "torn in its header": (lambda: jpeg(48, 64)[:100], "cannot read the image"),
    "a segment longer than the file": (lambda: b"\xff\xd8\xff\xe0\xff\xff" + bytes(100), "cannot read the image"),
    "10,000 empty segments": (lambda: b"\xff\xd8" + b"\xff\xe1\x00\x02" * 10_000 + jpeg(48, 64)[2:], None),
    "metadata of a bomb": (lambda: b"\xff\xd8\xff\xe1\xff\xffExif\0\0" + b"I" * 65_000 + jpeg(48, 64)[2:], None),
    "noise behind a beginning": (lambda: b"\xff\xd8\xff" + Random(1).randbytes(100_000), "cannot read the image"),
    "beginnings only": (lambda: b"\xff\xd8\xff" * 100_000, "cannot read the image"),
    "no tables": (lambda: jpeg(48, 64).replace(b"\xff\xdb", b"\xff\xfe"), "cannot read the image"),
    "ten million bytes behind it": (lambda: jpeg(48, 64) + bytes(10_000_000), None),
}

OTHERS: dict[str, tuple[Callable[[], bytes], Any]] = {
    "nothing": (lambda: b"", "unsupported format"),
    "one byte": (lambda: b"\xff", "unsupported format"),
    "a megabyte of zeros": (lambda: bytes(1 << 20), "cannot read the image"),
    "a sound PNG": (lambda: encoded("PNG"), 1),
    "a sound BMP": (lambda: encoded("BMP"), 1),
    "a sound TIFF": (lambda: encoded("TIFF"), 1),
    "a sound WebP": (lambda: encoded("WEBP"), 1),
    "a sound GIF": (lambda: encoded("GIF"), 1),
    "PNG 65,000 x 65,000": (lambda: png(65_000, 65_000), TOO_LARGE),
    "PNG of two billion columns": (lambda: png(1, 2**31 - 1), "cannot read the image"),
    "PNG of no size": (lambda: png(0, 0), "cannot read the image"),
    "PNG with few pixels in it": (lambda: png(9_000, 9_000), "cannot read the image"),
    "PNG with a text of 300 MiB": (lambda: png(1, 1, chunk(b"zTXt", b"key\0\0" + bomb())), "cannot read the image"),
    "PNG with an international text of 300 MiB": (
        lambda: png(1, 1, chunk(b"iTXt", b"key\0\1\0\0\0" + bomb())),
        "cannot read the image",
    ),
    "PNG with a profile of 300 MiB": (lambda: png(1, 1, chunk(b"iCCP", b"key\0\0" + bomb())), None),
    "PNG whose pixels are 300 MiB": (
        lambda: png(1, 1).replace(chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IDAT", bomb())),
        None,
    ),
    "PNG of a strange depth": (lambda: png(8, 8, depth=77), "cannot read the image"),
    "PNG of strange colours": (lambda: png(8, 8, colours=77), "cannot read the image"),
    "PNG, torn": (lambda: encoded("PNG")[:200], "cannot read the image"),
    "PNG with a chunk longer than the file": (
        lambda: png(8, 8)[:33] + b"\x7f\xff\xff\xffIDAT" + bytes(100),
        "cannot read the image",
    ),
    "PNG with 20,000 chunks": (lambda: png(1, 1, *[chunk(b"tEXt", b"k\0v")] * 20_000), None),
    "BMP 60,000 x 60,000": (lambda: bmp(60_000, 60_000), TOO_LARGE),
    "BMP upside down": (lambda: bmp(-60_000, 60_000), TOO_LARGE),
    "BMP of negative width": (lambda: bmp(8, -60_000), "cannot read the image"),
    "TIFF 60,000 x 60,000": (lambda: tiff(60_000, 60_000), TOO_LARGE),
    "TIFF of four billion rows": (lambda: tiff(2**32 - 1, 2**32 - 1), "cannot read the image"),
    "TIFF, torn": (lambda: encoded("TIFF")[:100], "cannot read the image"),
    "TIFF whose directory is behind it": (lambda: b"II*\0\xff\xff\xff\x7f", "cannot read the image"),
    "TIFF whose directory is itself": (lambda: b"II*\0\0\0\0\0", "cannot read the image"),
    "GIF 65,535 x 65,535": (lambda: gif(65_535, 65_535), TOO_LARGE),
    "WebP, torn": (lambda: encoded("WEBP")[:100], "cannot read the image"),
    "WebP longer than it is": (lambda: b"RIFF\xff\xff\xff\x7fWEBPVP8 " + bytes(50), "cannot read the image"),
    "PPM 65,000 x 65,000": (lambda: b"P6 65000 65000 255\n" + bytes(99), TOO_LARGE),
    "PPM of long numbers": (lambda: b"P6 " + b"9" * 5000 + b" 1 255\n", "cannot read the image"),
    "PPM of few pixels": (lambda: b"P6 9000 9000 255\n" + bytes(99), "cannot read the image"),
    "PPM of no maximum": (lambda: b"P6 8 8 0\n" + bytes(192), "cannot read the image"),
    "PostScript, which would start Ghostscript": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n{} loop\n",
        "unsupported format",
    ),
    "an icon": (lambda: b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\xff\xff\x7f\x16\0\0\0" + bytes(99), "unsupported format"),
    "SVG": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported format"),
    "PDF": (lambda: b"%PDF-1.7\n", "unsupported format"),
    "an archive": (lambda: b"PK\x03\x04" + bytes(100), "unsupported format"),
}


def put(directory: Path, *images: bytes) -> str:
    (directory / "class").mkdir()
    for number, data in enumerate(images, start=1):
        (directory / "class" / f"{number}.jpg").write_bytes(data)
    return str(directory)


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize(("make", "expected"), JPEGS.values(), ids=JPEGS)
def test_jpeg(ask: Ask, tmp_path: Path, make: Callable[[], bytes], expected: Any, decoder: str) -> None:
    ask_and_expect(ask, {"directory": put(tmp_path, make()), "decoder": decoder, "options": {}}, expected)


@pytest.mark.parametrize(("make", "expected"), OTHERS.values(), ids=OTHERS)
def test_image(ask: Ask, tmp_path: Path, make: Callable[[], bytes], expected: Any) -> None:
    ask_and_expect(ask, {"directory": put(tmp_path, make()), "decoder": "simplejpeg", "options": {}}, expected)


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize(
    ("limit", "expected"), [(48 * 64, 1), (48 * 64 - 1, "exceed the limit of 3,071"), (1, "exceed the limit of 1;")]
)
def test_the_limit_is_an_option(ask: Ask, tmp_path: Path, limit: int, expected: Any, decoder: str) -> None:
    given = {"directory": put(tmp_path, jpeg(48, 64)), "decoder": decoder, "options": {"max_pixels": limit}}
    ask_and_expect(ask, given, expected)


@pytest.mark.parametrize("decoder", ["simplejpeg", "pillow"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_bytes_that_were_changed_by_chance(ask: Ask, tmp_path: Path, kind: str, decoder: str) -> None:
    """Each of several images is read or refused."""
    images = []
    for seed in range(8):
        random = Random(f"{kind} {seed}")
        data = bytearray(encoded(kind, progressive=True) if kind == "JPEG" and seed % 2 else encoded(kind))
        for _ in range(random.choice([1, 3, 20])):
            data[random.randrange(random.choice([64, len(data)]))] = random.choice([0, 1, 127, 128, 255])
        images.append(bytes(data))
    given = {"directory": put(tmp_path, *images), "decoder": decoder, "options": {}, "each": True}
    ask_and_expect(ask, given, len(images))


# Directories. `root` is the data set, with one class that has one image in it.


def link(name: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / "class" / name).symlink_to(target)


def every_directory_leads_to_all(root: Path) -> None:
    names = [f"d{number}" for number in range(8)]
    for name in names:
        (root / "class" / name).mkdir()
        for other in names:
            (root / "class" / name / f"to-{other}").symlink_to(root / "class" / other)


def deep(root: Path) -> None:
    place = root / "class"
    for _ in range(400):
        place = place / "d"
    place.mkdir(parents=True)


def listening(root: Path) -> None:
    here = os.getcwd()
    os.chdir(root / "class")  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind("2.jpg")
    finally:
        os.chdir(here)


DIRECTORIES: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "a link to itself": (link("again", "."), 1),
    "two links to itself": (lambda root: [link(name, ".")(root) for name in "ab"], 1),
    "a link to its parent": (link("up", ".."), 1),
    "a link to the parent's parent": (link("up", "../.."), 1),
    "eight directories, each with links to all": (every_directory_leads_to_all, 1),
    "a class that is a link to the data set": (lambda root: (root / "again").symlink_to("."), 2),
    "a dangling link": (link("2.jpg", "nowhere"), "2.jpg: "),
    "a link to itself by name": (link("2.jpg", "2.jpg"), "cannot read the image"),
    "a link to an endless device": (link("2.jpg", "/dev/zero"), "is not a regular file"),
    "a link to an empty device": (link("2.jpg", "/dev/null"), "is not a regular file"),
    "a link to a terminal": (link("2.jpg", "/dev/tty"), "cannot read the image"),
    "a link to a file of the kernel": (link("2.jpg", "/proc/kmsg"), "cannot read the image"),
    "a link to the memory of the process": (link("2.jpg", "/proc/self/mem"), "cannot read the image"),
    "a named pipe": (lambda root: os.mkfifo(root / "class" / "2.jpg"), "is not a regular file"),
    "a socket": (listening, "cannot read the image"),
    "a directory with the name of an image": (lambda root: (root / "class" / "2.jpg").mkdir(), 1),
    "a file of 8 GB": (lambda root: sparse(root / "class" / "2.jpg"), "has 8,589,934,592 bytes, more than"),
    "400 directories inside each other": (deep, 1),
    "a class that is a pipe": (lambda root: os.mkfifo(root / "pipe"), 1),
    "a class that is a device": (lambda root: (root / "device").symlink_to("/dev/zero"), 1),
    "a class without images": (lambda root: (root / "empty").mkdir(), "class 'empty'"),
    "a name that is no UTF-8": (lambda root: Path(os.fsdecode(bytes(root) + b"/class/\xff.jpg")).write_bytes(b""), "unsupported format"),
    "a name with an escape sequence": (lambda root: (root / "class" / "\x1b[2J.jpg").write_bytes(b""), "unsupported format"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), DIRECTORIES.values(), ids=DIRECTORIES)
def test_directory(ask: Ask, tmp_path: Path, change: Callable[[Path], Any], expected: Any) -> None:
    root = tmp_path / "data"
    root.mkdir()
    put(root, jpeg(48, 64))
    change(root)
    ask_and_expect(ask, {"directory": str(root), "decoder": "simplejpeg", "options": {}}, expected)
