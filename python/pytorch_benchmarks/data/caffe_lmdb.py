"""Caffe data sets: LMDB databases of Datum records."""

from __future__ import annotations

import os
import threading
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_benchmarks.data.crops import Crop, Uniform, place
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.datum import DatumParser
from pytorch_benchmarks.data.decode import MAX_PIXELS
from pytorch_benchmarks.data.lmdb_file import read_keys
from pytorch_benchmarks.errors import BenchmarkError, UsageError

__all__ = ["CaffeLmdb"]

_OPENING = threading.Lock()


def _lmdb() -> Any:
    try:
        import lmdb
    except ImportError:
        raise UsageError("reading LMDB needs the package lmdb: pip install lmdb") from None
    return lmdb


class CaffeLmdb(Dataset):
    """An LMDB database of Datum records.

    Args:
        directory: Contains data.mdb. It is checked once, now, and must not change while it is read.
        max_pixels: Largest height times width of an encoded image.

    Raises:
        UsageError: It is missing, empty, incomplete or damaged.
    """

    def __init__(self, directory: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self.directory = os.fspath(directory)
        if not os.path.isdir(self.directory):
            raise UsageError(f"data directory {self.directory} does not exist")
        file = os.path.join(self.directory, "data.mdb")
        if not os.path.lexists(file):
            raise UsageError(
                f"{self.directory} contains no LMDB (data.mdb): for directories of images use --data_backend image_folder"
            )
        self._process = 0
        self._parse = DatumParser(max_pixels)
        try:
            self._keys = read_keys(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise UsageError(f"the LMDB {self.directory} cannot be opened: {reason}") from None
        if not self._keys:
            raise UsageError(f"the LMDB {self.directory} is empty")
        with warnings.catch_warnings():
            # torch warns once per process about read-only memory, such as this database.
            warnings.simplefilter("ignore", UserWarning)
            torch.from_numpy(np.frombuffer(b"x", np.uint8))

    def _open(self) -> Any:
        lmdb = _lmdb()
        try:
            return lmdb.open(self.directory, readonly=True, lock=False, readahead=False, max_readers=1024)
        except lmdb.Error as error:
            raise UsageError(f"the LMDB {self.directory} cannot be opened: {error}") from None

    def _transaction(self) -> Any:
        """A transaction per thread, kept open: opening one costs more than reading a record.

        The database is opened in the process that reads it: an LMDB environment must not be used across a fork.
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
        """The serialised Datum number `index`, as a view of the database."""
        found = self._transaction().get(self._keys[index])
        if found is None:
            raise ValueError("its key is not found: the database is damaged")
        return memoryview(found)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def num_classes(self) -> int:
        """0: the labels are unknown until they are read."""
        return 0

    def __getstate__(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "_keys": self._keys,
            "_process": 0,
            "_parse": DatumParser(self._parse.max_pixels),
        }

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        try:
            pixels, label = self._parse(self.record(index))
        except (ValueError, _lmdb().Error) as error:
            raise BenchmarkError(f"cannot read record {self._keys[index]!r} of {self.directory}: {error}") from None
        if pixels.dtype != np.uint8:
            pixels = pixels.clip(0, 255).astype(np.uint8)
        channels, height, width = target.shape
        if channels != pixels.shape[0]:
            pixels = self._with_channels(index, pixels, channels)
        place(pixels, crop.box(pixels.shape[1], pixels.shape[2], (height, width), uniform), target)
        return label

    def _with_channels(self, index: int, pixels: np.ndarray, channels: int) -> np.ndarray:
        """Convert between grey and colour: channels are averaged or replicated."""
        if channels == 1 and pixels.shape[0] == 3:
            return pixels.mean(axis=0, keepdims=True).astype(np.uint8)
        if pixels.shape[0] == 1:
            return np.broadcast_to(pixels, (channels, *pixels.shape[1:]))
        raise BenchmarkError(
            f"record {self._keys[index]!r} of {self.directory} has {pixels.shape[0]} channels; the model needs {channels}"
        )
