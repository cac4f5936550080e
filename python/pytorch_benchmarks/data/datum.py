"""Parser of Caffe's Datum records.

A Datum is a protobuf message (caffe.proto): 1 channels, 2 height, 3 width, 4 data (bytes), 5 label, 6 float_data, 7 encoded. Its
fields are parsed here without building a message object, and pixels are not copied before they are cropped: protobuf's own parser
would take longer than everything else together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from pytorch_benchmarks.data.decode import MAX_PIXELS, decode_image

__all__ = ["Datum", "DatumParser", "parse_datum"]

_MOST_LABELS = 100_000
_LONGEST_LABEL = 64  # bytes after the pixels that are cached


class Datum(NamedTuple):
    """One record. `pixels` is uint8 or float32, shape (channels, height, width); encoded images are RGB."""

    pixels: np.ndarray
    label: int


@dataclass(slots=True)
class _Fields:
    """Fields of a record; `start` and `size` locate the bytes of `data` in it."""

    channels: int = 0
    height: int = 0
    width: int = 0
    label: int = 0
    encoded: bool = False
    start: int = -1
    size: int = 0
    floats: bytearray = field(default_factory=bytearray)


class _Layout(NamedTuple):
    """Layout of records with raw bytes: the bytes before them, their position, and labels by the bytes after them seen so far."""

    head: bytes
    start: int
    end: int
    shape: tuple[int, int, int]
    labels: dict[bytes, int]


class DatumParser:
    """Parser of the records of one data set.

    They usually have the same shape: a record that begins like the last one is not parsed again, and the bytes after its pixels,
    its label, are cached. That takes a third of the time. Several threads may use one parser.

    Args:
        max_pixels: Largest height times width of an encoded image.
    """

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._last: _Layout | None = None

    def __call__(self, record: memoryview) -> Datum:
        """Like `parse_datum`."""
        last = self._last
        if last is not None and 0 <= len(record) - last.end <= _LONGEST_LABEL and record[: last.start] == last.head:
            label = last.labels.get(bytes(record[last.end :]))
            if label is not None:
                return Datum(
                    np.frombuffer(record, np.uint8, last.end - last.start, last.start).reshape(last.shape), label
                )
        fields = _walk(record)
        datum = _datum(record, fields, self.max_pixels)
        if fields.start > 0 and not fields.encoded and datum.pixels.dtype == np.uint8:
            self._remember(record, fields, last)
        return datum

    def _remember(self, record: memoryview, fields: _Fields, last: _Layout | None) -> None:
        start, end = fields.start, fields.start + fields.size
        head = bytes(record[:start])
        if last is None or last.head != head:
            before = _walk(record[:start], torn=True)
            shape = (fields.channels, fields.height, fields.width)
            if (before.channels, before.height, before.width) != shape:
                return  # only bytes before the pixels may determine their shape
            last = self._last = _Layout(head, start, end, shape, {})
        if len(last.labels) < _MOST_LABELS and len(record) - end <= _LONGEST_LABEL:
            last.labels[bytes(record[end:])] = fields.label


def parse_datum(record: memoryview | bytes, max_pixels: int = MAX_PIXELS) -> Datum:
    """Parse a serialised Datum; raw pixels are not copied.

    Raises:
        ValueError: The record is truncated, its pixels do not fit its shape, or its image cannot be decoded.
    """
    record = memoryview(record)
    return _datum(record, _walk(record), max_pixels)


def _datum(record: memoryview, fields: _Fields, max_pixels: int) -> Datum:
    data = record[fields.start : fields.start + fields.size] if fields.start >= 0 else None
    if fields.encoded:
        if data is None:
            raise ValueError("encoded, but without data")
        return Datum(decode_image(bytes(data), max_pixels).transpose(2, 0, 1), fields.label)
    if data is not None and len(data):
        pixels = np.frombuffer(data, np.uint8)
    else:
        pixels = np.frombuffer(fields.floats, "<f4")
    channels, height, width = fields.channels, fields.height, fields.width
    if pixels.size == 0 or pixels.size != channels * height * width:
        raise ValueError(f"{pixels.size} values do not fit {channels} x {height} x {width}")
    return Datum(pixels.reshape(channels, height, width), fields.label)


def _walk(record: memoryview, *, torn: bool = False) -> _Fields:
    """Find the fields; with `torn`, the record ends where its data begin."""
    fields = _Fields()
    position, end = 0, len(record)
    while position < end:
        key, position = _varint(record, position)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(record, position)
            if number == 1:
                fields.channels = value
            elif number == 2:
                fields.height = value
            elif number == 3:
                fields.width = value
            elif number == 5:
                fields.label = value - (1 << 64) if value >> 63 else value
            elif number == 7:
                fields.encoded = bool(value)
        elif wire == 2:
            size, position = _varint(record, position)
            if torn and position == end:
                break
            if position + size > end:
                raise ValueError("truncated record")
            if number == 4:
                fields.start, fields.size = position, size
            elif number == 6:
                if size % 4:
                    raise ValueError("truncated record")
                fields.floats += record[position : position + size]
            position += size
        elif wire == 5 and position + 4 <= end:
            if number == 6:
                fields.floats += record[position : position + 4]
            position += 4
        elif wire == 1 and position + 8 <= end:
            position += 8
        else:
            raise ValueError("truncated record")
    return fields


def _varint(record: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    try:
        while True:
            byte = record[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position
            shift += 7
            if shift > 63:
                raise ValueError("truncated record")
    except IndexError:
        raise ValueError("truncated record") from None
