"""Network architectures, from the first step of adding one to the last: as a pack, and as one of DLBS's own models."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dlbs.core.logs import parse_line
from pytorch_benchmarks.data import make_dataset
from tests.conftest import BENCHMARKS, ROOT, Bench, RunDlbs
from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

HERE = ("-Pexp.docker=false", "-Pexp.gpus=")
FEW = ("-Pexp.num_batches=3", "-Pexp.num_warmup_batches=1", "-Pexp.replica_batch=4")


def logged(directory: Path, pattern: str = "logs/*.log") -> list[dict[str, Any]]:
    return [
        dict(pair for pair in map(parse_line, log.read_text().splitlines()) if pair)
        for log in sorted(directory.glob(pattern))
    ]


def make_pictures(directory: Path, side: int) -> None:
    for part, count, first in (("train", 80, 0), ("val", 21, 10_000)):
        size = [f"--height={side}", f"--width={side}", "--num_classes=3", "--by_class", "--format=png"]
        images = [f"--num_images={count}", f"--first={first}"]
        assert make_dataset.main(["image_folder", str(directory / part), *images, *size]) == 0


def test_a_network_from_a_template_to_trained_weights(
    dlbs: RunDlbs, bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dlbs("pack", "new", "mynet", "--template", "architecture", check=True)
    assert "mynet  architecture" in dlbs("pack", "list", check=True).stdout
    assert "pytorch.architecture = " in dlbs("pack", "show", "mynet", check=True).stdout

    # The check list finds that its output was never accepted; then it is.
    file = tmp_path / "packs" / "mynet" / "architecture.py"

    def checked() -> subprocess.CompletedProcess[str]:
        return bench("mynet", f"--architecture={file}", program=BENCHMARKS / "checks.py")

    first = checked()
    assert first.returncode == 1
    failed = [one for one in map(json.loads, first.stdout.splitlines()) if one["status"] == "failed"]
    assert [(one["check"], one["message"]) for one in failed] == [
        (
            "expected output",
            f"{file.parent}/expected/mynet.json does not exist: create it with EXPECTTEST_ACCEPT=1 dlbs pack check",
        )
    ]
    with monkeypatch.context() as patch:
        patch.setenv("EXPECTTEST_ACCEPT", "1")
        assert checked().returncode == 0
    file.write_text(file.read_text().replace("self.activation(x + self.layers(x))", "self.activation(self.layers(x))"))
    assert "the output differs from" in checked().stdout
    file.write_text(file.read_text().replace("self.activation(self.layers(x))", "self.activation(x + self.layers(x))"))

    # Its recipe trains it.
    make_pictures(tmp_path / "set", 40)
    recipe = ("run", "--plan", "packs/mynet/recipe.yaml", "-Ppytorch.data_dir=set", "-Pexp.log_dir=trained", *HERE)
    dlbs(*recipe, "-Ptrain.epochs=2", check=True)
    (training,) = logged(tmp_path, "trained/*.log")
    assert training["results.accuracy_instances"] == 21
    weights = tmp_path / "packs" / "mynet" / "weights"
    weights.mkdir()
    entry = tmp_path / training["results.weights"]
    for path in (entry, entry.with_suffix(".pt")):
        shutil.copy(path, weights)
    passed = dlbs("pack", "check", "mynet", check=True).stdout
    assert "layers: norm of 7 of 7 layers, activation of 7 of 7 layers" in passed
    assert f"weights: mynet: {training['results.accuracy_top1']:.2f} %" in passed

    # Everything that is measured of models goes with it, and with its weights.
    pack = ("run", "-Pexp.framework=pack", "-Pexp.pack=mynet", *HERE, *FEW)
    dlbs(*pack, "-Pexp.phase=training", '-Pexp.model_opts={"norm": "group", "width": 16}', check=True)
    inference = ("-Pexp.phase=inference", "-Pexp.dtype=bfloat16", "-Ppytorch.weights=mynet")
    dlbs(*pack, *inference, check=True, DLBS_WEIGHTS_DIR=str(weights))
    found = logged(tmp_path)
    assert len(found) == 2
    assert {(one["exp.status"], one["exp.model_title"]) for one in found} == {("ok", "mynet")}
    assert all(one["results.flops_per_batch"] > 0 and one["results.throughput_ci95"] is None for one in found)
    assert "mynet" in dlbs("report", "logs", check=True).stdout


def test_a_file_without_a_pack(dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs("pack", "new", "mynet", "--template", "architecture", "--dest", "elsewhere", check=True)
    shutil.move(tmp_path / "elsewhere" / "mynet" / "architecture.py", tmp_path / "mynet.py")
    wanted = ("-Ppytorch.architecture=mynet.py", *HERE, *FEW)
    wrong = dlbs("run", "-Pexp.model=mynett", *wanted)
    assert wrong.returncode == 2
    assert "did you mean 'mynet'" in wrong.stderr
    dlbs("run", "-Pexp.model=mynet", "-Pexp.phase=inference", "-Ppytorch.passes=none", *wanted, check=True)
    assert logged(tmp_path)[0]["exp.model_title"] == "mynet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "registers no models: decorate a builder with @register_model"),
        ("import nothing_of_that_name\n", "cannot be imported: ModuleNotFoundError"),
        ("def broken(:\n", "cannot be imported: SyntaxError"),
        (
            'from pytorch_benchmarks.model_factory import register_model\n@register_model("vgg16")\ndef vgg16(): ...\n',
            "two models are named 'vgg16'",
        ),
    ],
)
def test_a_file_that_is_no_architecture_is_one_line(bench: Bench, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    done = bench("--model=m", "--architecture=mine.py", "--device=cpu")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def python(checkout: Path) -> Iterator[ForkServer]:
    """Starts programs of the checkout, for which PyTorch is imported once."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = ForkServer(("torch._dynamo", "numpy", "pytest"), checkout, clean)
    yield server
    server.close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What of this repository a model is added to, in a directory of its own."""
    copy = tmp_path / "checkout"
    for name in ("python", "config", "scripts", "docs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    room = Path("tests", "pytorch_benchmarks", "models")
    shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (
        "__init__.py",
        "conftest.py",
        "durations.py",
        "forked.py",
        "services.py",
        "waiting.py",
        "pytorch_benchmarks/__init__.py",
        "pytorch_benchmarks/changes.py",
        "pytorch_benchmarks/test_every_model.py",
    ):
        source = ROOT / "tests" / file
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / "tests" / file)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_a_network_becomes_one_of_the_models(dlbs: RunDlbs, python: ForkServer, checkout: Path, tmp_path: Path) -> None:
    """The steps of docs/packs-models.md, with the file that stands there."""
    (source,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "packs-models.md").read_text(), re.DOTALL)

    # The file, its line in the table, its published number of values.
    (checkout / "python" / "pytorch_benchmarks" / "models" / "perceptron.py").write_text(source)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    check = ("-m", "pytorch_benchmarks.checks", "perceptron")
    before = python.run(*check, directory=checkout / "python", environment=clean, timeout=PATIENCE)
    assert "docs/models.md does not mention the model" in before.stdout
    with (checkout / "docs" / "models.md").open("a") as page:
        page.write("\n| `perceptron` | 784 images | 79,510 | Rosenblatt 1958 |\n")
    tests = checkout / "tests" / "pytorch_benchmarks" / "models" / "test_models.py"
    tests.write_text(tests.read_text().replace("TRAINABLE = {", 'TRAINABLE = {\n    "perceptron": ((784,), 79_510),'))

    # Its expected output: missing, accepted, compared.
    def pytest_says(**environment: str) -> subprocess.CompletedProcess[str]:
        files = [f"tests/pytorch_benchmarks/{name}" for name in ("models/test_models.py", "test_every_model.py")]
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", "perceptron"]
        return python.run(*command, directory=checkout, environment={**clean, **environment}, timeout=PATIENCE)

    (checkout / "tests" / "expected").mkdir()
    missing = pytest_says()
    assert missing.returncode == 1
    assert "EXPECTTEST_ACCEPT=1 pytest tests/pytorch_benchmarks/test_every_model.py -k perceptron" in missing.stdout
    assert pytest_says(EXPECTTEST_ACCEPT="1").returncode == 0
    assert json.loads((checkout / "tests" / "expected" / "perceptron.json").read_text())["shapes"] == [[2, 10]]
    assert pytest_says().returncode == 0

    # The recipe, the training, the accuracy in batches of 1, the whole list.
    recipe = (checkout / "config" / "recipes" / "deep_mnist.yaml").read_text().replace("deep_mnist", "perceptron")
    (checkout / "config" / "recipes" / "perceptron.yaml").write_text(recipe)
    make_pictures(tmp_path / "set", 28)
    trained = ("run", "--plan", "recipes/perceptron.yaml", "-Ppytorch.data_dir=set", "-Ptrain.epochs=2", *HERE)
    dlbs(*trained, check=True, DLBS_ROOT=str(checkout))
    (training,) = logged(tmp_path)
    entry = tmp_path / training["results.weights"]
    program = str(checkout / "python" / "pytorch_benchmarks" / "train.py")
    flags = ("--model=perceptron", "--data_dir=set", "--test_only", f"--weights={entry}")
    tested = python.run(program, *flags, directory=tmp_path, environment=clean, timeout=PATIENCE, check=True).stdout
    assert f"__results.accuracy_top1__= {training['results.accuracy_top1']}" in tested
    assert "warning" not in tested
    listed = dlbs("pack", "check", "--model", "perceptron", DLBS_ROOT=str(checkout), DLBS_WEIGHTS_DIR=str(entry.parent))
    assert listed.returncode == 0, listed.stdout
    assert "skipped" not in listed.stdout.replace("layers", "")
    assert f"weights: perceptron: {training['results.accuracy_top1']:.2f} %" in listed.stdout
    assert "perceptron" in dlbs("help", "--models", check=True, DLBS_ROOT=str(checkout)).stdout


def test_torch_hub_knows_all_models(tmp_path: Path) -> None:
    model = torch.hub.load(str(ROOT), "deep_mnist", source="local", num_classes=3)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = torch.hub.load(str(ROOT), "deep_mnist", source="local", weights=str(tmp_path / "w.pt"), num_classes=3)
    inputs = model.inputs(2, torch.Generator().manual_seed(0))
    assert torch.equal(model(inputs), again(inputs))
