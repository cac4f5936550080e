"""Folders of TorchBench models: what each needs, and installing them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dlbs.core.errors import ConfigError
from dlbs.packs.definition import find_packs, write_collection
from dlbs.suites.torchbench.importing import model_directories, needs_of
from tests.conftest import RunDlbs

BASE = "from ...util.model import BenchmarkModel\n"
CLASS = "class Model(BenchmarkModel):\n    DEFAULT_EVAL_BSIZE = 2\n"


def write(directory: Path, source: str = "", **files: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "__init__.py").write_text(BASE + source + CLASS)
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_py", ".py").replace("_yaml", ".yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return directory


def state(directory: Path) -> tuple[str, str]:
    needs = needs_of(directory)
    return needs.state, needs.reason


@pytest.mark.parametrize(
    ("source", "files", "expected"),
    [
        ("import torch\nimport json\n", {}, ("ready", "")),
        ("from torchbenchmark.util.env_check import set_random_seed\n", {}, ("ready", "")),
        ("from .net import Net\n", {"net_py": "import no_such_package.part\n"}, ("packages", "no_such_package")),
        ("from .deep import net\n", {"deep__net_py": "import no_such_package\n"}, ("packages", "no_such_package")),
        ("try:\n    import no_such_package\nexcept ImportError:\n    pass\n", {}, ("ready", "")),
        ("def later():\n    import no_such_package\n", {}, ("ready", "")),
        (
            "from torchbenchmark.util.framework.gnn.model_factory import BasicGNNModel\n",
            {},
            ("packages", "torch_geometric"),
        ),
        ("from ...util.framework.gnn.model_factory import BasicGNNModel\n", {}, ("packages", "torch_geometric")),
        (
            "from torchbenchmark.util.framework.detectron2.model_factory import Detectron2Model\n",
            {},
            (
                "not supported",
                "dlbs does not provide torchbenchmark.util.framework.detectron2.model_factory of the suite",
            ),
        ),
        (
            "",
            {
                "install_py": "from utils import s3_utils\ns3_utils.checkout_s3_data('INPUT_TARBALLS', 'coco128.tar.gz')\n"
            },
            ("data", "coco128.tar.gz"),
        ),
        (
            "",
            {"metadata_yaml": "not_implemented:\n- device: cpu\n"},
            ("GPU", "metadata.yaml: not implemented on CPUs"),
        ),
        ("", {"metadata_yaml": "not_implemented:\n- device: cpu\n  test: train\n"}, ("ready", "")),
    ],
)
def test_what_a_directory_needs(tmp_path: Path, source: str, files: dict[str, str], expected: tuple[str, str]) -> None:
    assert state(write(tmp_path / "model", source, **files)) == expected


_REFUSAL = "        if {test}:\n            raise NotImplementedError('too slow')\n"
_CPU = _REFUSAL.format(test='self.device == "cpu"')


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ({"__init__": _REFUSAL.format(test="device == 'cpu'")}, "GPU"),
        ({"__init__": _REFUSAL.format(test='not self.device == "cuda"')}, "GPU"),
        ({"train": _CPU, "eval": _CPU}, "GPU"),
        ({"_train": _CPU, "_eval": _CPU}, "GPU"),
        ({"train": _CPU}, "ready"),
        ({"get_module": _CPU}, "ready"),
        ({"__init__": _REFUSAL.format(test="device == 'cpu' and test == 'train'")}, "ready"),
        ({"__init__": _CPU.replace("NotImplementedError", "ValueError")}, "ready"),
    ],
)
def test_a_directory_needs_a_gpu_if_it_refuses_cpus_in_both_phases(
    tmp_path: Path, methods: dict[str, str], expected: str
) -> None:
    (tmp_path / "model").mkdir()
    lines = "".join(f"    def {name}(self):\n{body}" for name, body in methods.items())
    (tmp_path / "model" / "__init__.py").write_text(f"class Model:\n{lines}")
    assert state(tmp_path / "model")[0] == expected


def test_data_that_are_here_need_not_be_downloaded(tmp_path: Path) -> None:
    suite = tmp_path / "torchbenchmark"
    script = "s3_utils.checkout_s3_data('INPUT_TARBALLS', 'coco.tar.gz')\ns3_utils.checkout_s3_data('MODEL_PKLS', 'net/obs.pkl')\n"
    directory = write(suite / "models" / "net", install_py=script)
    assert state(directory) == ("data", "coco.tar.gz, net/obs.pkl")
    (suite / "data" / ".data" / "coco").mkdir(parents=True)
    assert state(directory) == ("data", "net/obs.pkl")
    (directory / "obs.pkl").write_bytes(b"")
    assert state(directory) == ("ready", "")


def test_a_token_opens_models_whose_weights_are_given_to_some_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = write(tmp_path / "gated", "class HuggingFaceAuthMixin: ...\n")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    assert state(directory) == (
        "not supported",
        "its weights require an access token: set HUGGING_FACE_HUB_TOKEN",
    )
    monkeypatch.setenv("HUGGING_FACE_HUB_TOKEN", "a token")
    assert state(directory) == ("ready", "")


def test_a_folder_is_imported_and_its_packs_are_found(dlbs: RunDlbs, tmp_path: Path) -> None:
    models = tmp_path / "suite" / "torchbenchmark" / "models"
    write(models / "plain")
    write(models / "wanting", "import no_such_package\n")
    write(models / "other", "from torchbenchmark.util.framework.diffusers.model_factory import DiffuserModel\n")
    (models / "notes").mkdir()
    done = dlbs("pack", "import", "suite/torchbenchmark/models")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["plain", "ready"],
        ["wanting", "packages"],
        ["other", "not"],
    ]
    assert done.stderr.splitlines()[0] == "3 models: 1 ready, 1 packages, 1 not supported"
    assert [line.split()[0] for line in dlbs("pack", "list").stdout.splitlines()] == ["plain", "wanting"]
    assert dlbs("pack", "list", "--select", "torchbench").stdout.count("\n") == 2
    shown = json.loads(dlbs("pack", "import", "suite/torchbenchmark/models", "--json", "--dry-run").stdout)
    assert [one["state"] for one in shown] == ["ready", "packages", "not supported"]


def test_nothing_of_a_directory_is_run(dlbs: RunDlbs, tmp_path: Path) -> None:
    trap = "open('trapped', 'w')\nraise SystemExit('ran')\n"
    write(tmp_path / "models" / "trap", trap, install_py=trap)
    assert dlbs("pack", "import", "models").returncode == 0
    assert not list(tmp_path.rglob("trapped"))


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    directory = write(tmp_path / "models" / "plain")
    mine = tmp_path / "mine.yaml"
    write_collection(mine, [directory], "torchbench")
    write_collection(mine, [directory], "torchbench")  # ours is written anew
    assert list(find_packs([mine])) == ["plain"]
    mine.write_text("mine: {}\n")
    with pytest.raises(ConfigError, match="was not written by dlbs pack import"):
        write_collection(mine, [directory], "torchbench")


def test_a_place_without_models_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="contains no directories of models"):
        model_directories([tmp_path])
