"""Trained weights, their entries, and files of tensors."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark_core.exits import UsageError
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.weights import Weights, find_weights, list_weights, read, read_weights, save, write_weights

TRANSFORMS = Transforms((1, 28, 28), flat=True, crop_pct=1.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An entry of deep_mnist with three classes."""
    directory = tmp_path_factory.mktemp("written")
    torch.manual_seed(0)
    model = get_model("deep_mnist", num_classes=3)
    described = Weights(
        "deep_mnist",
        Path("digits.pt"),
        model_opts={"num_classes": 3},
        transforms=TRANSFORMS,
        categories=("a", "b", "c"),
        metrics={"accuracy_top1": 98.5},
        training={"options": {"lr": 0.1}},
    )
    write_weights(directory / "digits.json", model.state_dict(), described)
    return directory / "digits.json"


@pytest.fixture
def entry(tmp_path: Path, written: Path) -> Path:
    """The same entry; each test may change its description. The tensors take 48 MB, so all tests share that file."""
    os.link(written.with_suffix(".pt"), tmp_path / "digits.pt")
    return Path(shutil.copy(written, tmp_path))


def changed(entry: Path, **values: Any) -> Path:
    data = json.loads(entry.read_text())
    entry.write_text(json.dumps({key: value for key, value in {**data, **values}.items() if value != "missing"}))
    return entry


def test_an_entry_is_read_as_it_was_written(entry: Path) -> None:
    found = read_weights(entry)
    assert (found.model, found.model_opts, found.transforms) == ("deep_mnist", {"num_classes": 3}, TRANSFORMS)
    assert (found.categories, found.metrics) == (("a", "b", "c"), {"accuracy_top1": 98.5})
    assert found.training["options"]["lr"] == 0.1


def test_a_model_takes_its_weights_and_the_options_of_their_entry(entry: Path) -> None:
    torch.manual_seed(0)
    expected = get_model("deep_mnist", num_classes=3).state_dict()
    model = get_model("deep_mnist", weights=str(entry))
    assert model.num_classes == 3
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())
    again = get_model("deep_mnist", weights=str(entry.with_suffix(".pt")), num_classes=3)  # the tensors alone
    assert torch.equal(again.state_dict()["model.0.weight"], expected["model.0.weight"])


def test_entries_in_the_directory_have_names(entry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DLBS_WEIGHTS_DIR", str(entry.parent))
    assert list(list_weights()) == list(list_weights("deep_mnist")) == ["digits"]
    assert list_weights("resnet18") == {}
    assert get_model("deep_mnist", weights="digits").num_classes == 3
    with pytest.raises(UsageError, match="did you mean digits"):
        find_weights("digist", "deep_mnist")
    with pytest.raises(UsageError, match="entries of resnet18: none"):
        find_weights("xyz", "resnet18")


def test_weights_of_a_checkpoint_are_its_average_if_it_has_one(tmp_path: Path) -> None:
    one, two = ({"w": torch.full((2,), value)} for value in (1.0, 2.0))
    save({"model": one, "ema": two}, tmp_path / "best.pt")
    save({"model": one, "ema": None}, tmp_path / "last.pt")
    assert Weights("m", tmp_path / "best.pt").tensors()["w"].tolist() == [2.0, 2.0]
    assert Weights("m", tmp_path / "last.pt").tensors()["w"].tolist() == [1.0, 1.0]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"w": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UsageError, match="cannot be read as tensors"):
        Weights("m", tmp_path / "evil.pt").tensors()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sha256": "0" * 64}, "is not the file that its entry describes"),
        ({"file": "other.pt", "sha256": ""}, "does not exist"),
        ({"file": "../other.pt"}, "must be the name of a file in the same directory"),
        ({"model": "resnet18"}, "these weights are for resnet18, not deep_mnist"),
        ({"metrics": "missing"}, "it lacks 'metrics'"),
        (
            {"transforms": {"shape": [1, 2]}},
            "is not an entry of weights: shape, mean and `deviation` must be three numbers",
        ),
        ({"transforms": {"shape": [1, 28, 28], "crop_pct": 7}}, "crop_pct above 0 and at most 1"),
        ({"transforms": {"size": 3}}, "unexpected keyword"),
        ({"categories": 5}, "is not an entry of weights"),
        ({"model_opts": {"num_classes": 4}}, r"classifier|has shape \(3, 500\) instead of \(4, 500\)"),
        ({"model_opts": {}}, r"has shape \(3, 500\) instead of \(10, 500\)"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said(entry: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        get_model("deep_mnist", weights=str(changed(entry, **values)))


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, entry: Path) -> None:
    (tmp_path / "torn.pt").write_bytes(entry.with_suffix(".pt").read_bytes()[:1000])
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "torn.json").write_text('{"model": ')
    for file, said in (
        ("torn.pt", "cannot be read as tensors"),
        ("list.pt", "does not contain the tensors of a model"),
        ("torn.json", "cannot be read"),
        ("no.pt", "does not exist"),
    ):
        with pytest.raises(UsageError, match=said):
            get_model("deep_mnist", weights=str(tmp_path / file))
    with pytest.raises(UsageError, match=r"are missing .*belong to another model"):
        get_model("alexnet", weights=str(entry.with_suffix(".pt")))


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
