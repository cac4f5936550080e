"""Caffe's data sets: LMDB databases of Datum records.

A Datum is a protobuf message (caffe.proto): 1 channels, 2 height, 3 width, 4 data (bytes), 5 label, 6 float_data, 7 encoded. Its
fields are walked here without building a message object, and pixels are not copied before they are cropped: the parser of
protobuf alone would take longer than everything else.
"""

from __future__ import annotations

import os
import threading
import warnings
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, place
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.image_folder import decode_image
from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["CaffeLmdb", "Datum", "parse_datum"]


_OPENING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Datum:
    """One record. `pixels` is uint8 or float32, shape (channels, height, width); encoded images are RGB."""

    pixels: np.ndarray
    label: int


def parse_datum(record: memoryview | bytes) -> Datum:
    """Parse a serialised Datum; raw pixels stay where they are.

    Raises:
        ValueError: It is torn, or its pixels do not fit its shape.
    """
    channels = height = width = label = 0
    data: memoryview | None = None
    floats: list[np.ndarray] = []
    encoded = False
    record = memoryview(record)
    position, end = 0, len(record)
    while position < end:
        key, position = _varint(record, position)
        field, wire = key >> 3, key & 7
        if wire == 0:
            value, position = _varint(record, position)
            if field == 1:
                channels = value
            elif field == 2:
                height = value
            elif field == 3:
                width = value
            elif field == 5:
                label = value - (1 << 64) if value >> 63 else value
            elif field == 7:
                encoded = bool(value)
        elif wire == 2:
            size, position = _varint(record, position)
            if position + size > end:
                raise ValueError("torn record")
            if field == 4:
                data = record[position : position + size]
            elif field == 6:
                floats.append(np.frombuffer(record[position : position + size], "<f4"))
            position += size
        elif wire == 5 and position + 4 <= end:
            if field == 6:
                floats.append(np.frombuffer(record[position : position + 4], "<f4"))
            position += 4
        elif wire == 1 and position + 8 <= end:
            position += 8
        else:
            raise ValueError("torn record")
    if encoded:
        if data is None:
            raise ValueError("encoded, but without data")
        return Datum(decode_image(bytes(data)).transpose(2, 0, 1), label)
    if data is not None and len(data):
        pixels = np.frombuffer(data, np.uint8)
    else:
        pixels = np.concatenate(floats) if floats else np.empty(0, np.float32)
    if pixels.size == 0 or pixels.size != channels * height * width:
        raise ValueError(f"{pixels.size} values do not fit {channels} x {height} x {width}")
    return Datum(pixels.reshape(channels, height, width), label)


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
                raise ValueError("torn record")
    except IndexError:
        raise ValueError("torn record") from None


class CaffeLmdb(Dataset):
    """An LMDB of Datum records.

    Args:
        directory: Holds data.mdb.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = os.fspath(directory)
        if not os.path.isdir(self.directory):
            raise UsageError(f"data directory {self.directory} does not exist")
        if not os.path.isfile(os.path.join(self.directory, "data.mdb")):
            raise UsageError(
                f"{self.directory} holds no LMDB (data.mdb): for directories of images use --data_backend image_folder"
            )
        self._process = 0
        with self._open() as environment, environment.begin() as transaction:
            # Keys alone: reading the values of a large database takes minutes.
            self._keys = list(transaction.cursor().iternext(keys=True, values=False))
        if not self._keys:
            raise UsageError(f"the LMDB {self.directory} is empty")
        with warnings.catch_warnings():
            # torch warns, once for a process, when it sees memory that must not be written to. Ours is the database.
            warnings.simplefilter("ignore", UserWarning)
            torch.from_numpy(np.frombuffer(b"x", np.uint8))

    def _open(self) -> Any:
        try:
            import lmdb
        except ImportError:
            raise UsageError("reading LMDB needs the package lmdb: pip install lmdb") from None
        try:
            return lmdb.open(self.directory, readonly=True, lock=False, readahead=False, max_readers=1024)
        except lmdb.Error as error:
            raise UsageError(f"the LMDB {self.directory} cannot be opened: {error}") from None

    def _transaction(self) -> Any:
        """A transaction for each thread, kept open: a new one costs more than a record.

        The database is opened in the process that reads it: LMDB must not be carried over a fork.
        """
        if self._process != os.getpid():
            with _OPENING:
                if self._process != os.getpid():
                    self._environment, self._local = self._open(), threading.local()
                    self._process = os.getpid()
        transaction = getattr(self._local, "transaction", None)
        if transaction is None:
            transaction = self._local.transaction = self._environment.begin(buffers=True)
        return transaction

    def record(self, index: int) -> memoryview:
        """The serialised Datum number `index`, where it lies in the database."""
        return memoryview(self._transaction().get(self._keys[index]))

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def num_classes(self) -> int:
        """0: the labels are not known before they are read."""
        return 0

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "_keys": self._keys, "_process": 0}

    def read_into(self, index: int, target: Tensor, crop: Crop, random: Random) -> int:
        try:
            datum = parse_datum(self.record(index))
        except ValueError as error:
            raise BenchmarkError(f"cannot read record {self._keys[index]!r} of {self.directory}: {error}") from None
        pixels = datum.pixels
        if pixels.dtype != np.uint8:
            pixels = pixels.clip(0, 255).astype(np.uint8)
        if target.shape[0] == 1 and pixels.shape[0] == 3:
            pixels = pixels.mean(axis=0, keepdims=True).astype(np.uint8)
        if pixels.shape[0] != target.shape[0] and pixels.shape[0] != 1:
            raise BenchmarkError(
                f"record {self._keys[index]!r} of {self.directory} has {pixels.shape[0]} channels, the model wants "
                f"{target.shape[0]}"
            )
        size = (target.shape[1], target.shape[2])
        place(torch.from_numpy(pixels), crop.box(pixels.shape[1], pixels.shape[2], size, random), target)
        return datum.label
