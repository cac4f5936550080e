"""Make synthetic data sets, to try input pipelines without downloading anything.

    python make_dataset.py image_folder DIR --num_images 1000 --num_classes 10 --height 375 --width 500
    python make_dataset.py caffe_lmdb DIR --num_images 1000 --height 256 --width 256 [--encoded true | --float_data true]
    python make_dataset.py caffe_lmdb DIR --from_folder IMAGES --height 256 --width 256

The same arguments make the same bytes. With `--by_class true` images of a class resemble each other, so that a model can learn
to classify them: make validation data with another --first, the number of the first image. Images are smooth gradients with some noise,
which compress like photographs: noise alone would make JPEG files four times as large, and decoding as much slower.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a script, from any directory
    sys.path[0] = str(Path(__file__).absolute().parents[2])

import argparse
import io
from collections.abc import Iterator, Sequence

import numpy as np

from benchmark_core.crash import guarded
from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.options import boolean, whole

Labelled = tuple[np.ndarray, int]


def picture(index: int, channels: int, height: int, width: int, kind: int | None = None) -> np.ndarray:
    """Generate image number `index`: uint8, shape (height, width, channels).

    Args:
        index: Images of the same number are identical.
        channels, height, width: Of the image.
        kind: The number of its class, which then determines its waves; `index` determines their phases, and the noise.
    """
    random = np.random.default_rng(index)
    waves = random if kind is None else np.random.default_rng((kind, 1))
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if kind is not None:  # as many waves in small images as in large ones
        y, x = y * (400 / height), x * (400 / width)
    image = np.empty((height, width, channels), np.float32)
    for channel in range(channels):
        a, b, c, d = waves.uniform(-1, 1, 4)
        if kind is not None:
            c = random.uniform(-1, 1)
        image[:, :, channel] = 128 + 90 * np.sin(a * x / 40 + b * y / 40 + 6 * c) + 20 * np.sin(d * (x + y) / 7)
    image += random.normal(0, 6, (height, width, 1)).astype(np.float32)
    return image.clip(0, 255).astype(np.uint8)


def make_folder(directory: Path, pictures: Iterator[Labelled], *, kind: str = "jpg", quality: int = 90) -> int:
    """Write images as `class_NNNN/NNNNNN.jpg` and return their number."""
    from PIL import Image

    count = 0
    for count, (pixels, label) in enumerate(pictures, start=1):
        place = directory / f"class_{label:04d}"
        place.mkdir(parents=True, exist_ok=True)
        grey = pixels.shape[2] == 1
        image = Image.fromarray(pixels[:, :, 0] if grey else pixels)
        image.save(place / f"{count - 1:06d}.{kind}", quality=quality)
    return count


def make_lmdb(directory: Path, pictures: Iterator[Labelled], *, encoded: bool = False, float_data: bool = False) -> int:
    """Write images as Datum records, channels in the order blue, green, red as in Caffe, and return their number."""
    try:
        import lmdb
    except ImportError:
        raise UsageError("writing LMDB needs the package lmdb: pip install lmdb") from None
    directory.mkdir(parents=True, exist_ok=True)
    count = 0
    with lmdb.open(str(directory), map_size=1 << 40) as environment:
        transaction = environment.begin(write=True)
        for count, (pixels, label) in enumerate(pictures, start=1):
            record = encode_datum(pixels, label, encoded=encoded, float_data=float_data)
            transaction.put(f"{count - 1:08d}".encode(), record)
            if count % 1000 == 0:
                transaction.commit()
                transaction = environment.begin(write=True)
        transaction.commit()
    return count


def encode_datum(pixels: np.ndarray, label: int, *, encoded: bool = False, float_data: bool = False) -> bytes:
    """Serialise an RGB or grey image, uint8, shape (height, width, channels), as a Datum."""
    height, width, channels = pixels.shape
    planes = np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1))
    record = b"".join(_field(number, value) for number, value in ((1, channels), (2, height), (3, width)))
    if encoded:
        from PIL import Image

        stream = io.BytesIO()
        Image.fromarray(pixels if channels == 3 else pixels[:, :, 0]).save(stream, "JPEG", quality=90)
        record += _block(4, stream.getvalue())
    elif not float_data:
        record += _block(4, planes.tobytes())
    record += _field(5, label)
    if float_data:
        record += _block(6, planes.astype("<f4").tobytes())
    return record + (_field(7, 1) if encoded else b"")


def _number(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _field(number: int, value: int) -> bytes:
    return _number(number << 3) + _number(value)


def _block(number: int, data: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(data)) + data


def pictures_of_folder(directory: Path, height: int, width: int) -> Iterator[Labelled]:
    """The images of an image folder, resized without keeping their aspect ratio, as Caffe's converter does."""
    import torch

    from pytorch_benchmarks.data.dataset import resize
    from pytorch_benchmarks.data.images import decode_image, find_images, read_image

    for path, label in find_images(directory)[1]:
        try:
            image = decode_image(read_image(path))
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"cannot read the image {path}: {error}") from None
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        yield resize(pixels, height, width).permute(1, 2, 0).numpy(), label


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a data set; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="make_dataset.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("backend", choices=["image_folder", "caffe_lmdb"])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--num_images", type=whole(1), default=256)
    parser.add_argument("--num_classes", type=whole(1), default=10)
    parser.add_argument("--channels", type=int, choices=[1, 3], default=3)
    parser.add_argument("--height", type=whole(1), default=256)
    parser.add_argument("--width", type=whole(1), default=256)
    parser.add_argument("--format", choices=["jpg", "png"], default="jpg", help="files of an image folder")
    parser.add_argument(
        "--encoded", type=boolean, nargs="?", const=True, default=False, help="records contain JPEG images"
    )
    parser.add_argument(
        "--float_data", type=boolean, nargs="?", const=True, default=False, help="records contain floats"
    )
    parser.add_argument(
        "--by_class", type=boolean, nargs="?", const=True, default=False, help="images of a class resemble each other"
    )
    parser.add_argument("--first", type=whole(0), default=0, help="number of the first image")
    parser.add_argument("--from_folder", type=Path, help="convert this image folder instead of generating images")
    parser.add_argument("--debug", action="store_true", help="print the traceback of an unforeseen error")
    options = parser.parse_args(arguments)
    try:
        if options.directory.exists() and any(options.directory.iterdir()):
            raise UsageError(f"{options.directory} is not empty: use a new directory")
        if options.from_folder:
            pictures = pictures_of_folder(options.from_folder, options.height, options.width)
        else:
            size = (options.channels, options.height, options.width)
            pictures = (
                (
                    picture(index, *size, index % options.num_classes if options.by_class else None),
                    index % options.num_classes,
                )
                for index in range(options.first, options.first + options.num_images)
            )
        if options.backend == "image_folder":
            count = make_folder(options.directory, pictures, kind=options.format)
        else:
            count = make_lmdb(options.directory, pictures, encoded=options.encoded, float_data=options.float_data)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return BenchmarkError.exit_code
    print(f"{count} images in {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
