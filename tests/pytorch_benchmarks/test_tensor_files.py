"""Files of tensors are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.tensor_files import read, save

CPU = torch.device("cpu")


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save({"a": 1}, path)
    with pytest.raises(Exception, match=r"pickle|local"):
        save({"a": lambda: 1}, path)
    assert torch.load(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        save({}, tmp_path / "file" / "last.pt")


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04 torn", b"\x80\x02."])
def test_a_file_that_is_torn_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(UsageError, match=r"last\.pt cannot be read as tensors"):
        read(tmp_path / "last.pt", CPU)
