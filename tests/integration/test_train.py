"""train.py and recipes: real trainings of small networks on small pictures."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dlbs.core.logs import parse_line
from pytorch_benchmarks import model_factory, train
from pytorch_benchmarks.data import make_dataset
from pytorch_benchmarks.weights import read_weights
from tests.conftest import BENCHMARKS, Bench, RunDlbs, start_dlbs
from tests.experiments import start_replicas
from tests.forked import ForkServer
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

PROGRAM = BENCHMARKS / "train.py"
ARCHITECTURE = '''
"""A network for tests (2026)."""
from torch import nn
from pytorch_benchmarks.model_factory import register_model
from pytorch_benchmarks.models.layers import ACTIVATIONS, NORMS, convolution
from pytorch_benchmarks.models.model import Model

__all__ = ["Thumbnail"]

@register_model("thumbnail")
class Thumbnail(Model):
    """Pictures of 16 x 16, with everything that remembers or forgets: running statistics and dropout."""

    title = "Thumbnail"
    input_shape = (3, 16, 16)

    def __init__(self, *, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.features = nn.Sequential(
            *convolution(3, 16, 3, stride=2, norm=NORMS["batch"], activation=ACTIVATIONS["relu"]),
            *convolution(16, 32, 3, stride=2, norm=NORMS["batch"], activation=ACTIVATIONS["relu"]),
        )
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(32 * 16, num_classes))

    def forward(self, x):
        return self.classifier(self.features(x))
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an architecture, and pictures of three classes: 60 to train on, 23 to validate with."""
    directory = tmp_path_factory.mktemp("train")
    (directory / "thumbnail.py").write_text(ARCHITECTURE)
    for part, count, first in (("train", 60, 0), ("val", 23, 10_000)):
        size = ["--height=20", "--width=20", "--num_classes=3", "--by_class", "--format=png"]
        images = [f"--num_images={count}", f"--first={first}"]
        assert make_dataset.main(["image_folder", str(directory / "set" / part), *images, *size]) == 0
    return directory


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test registers is not there for others."""
    yield
    model_factory.BUILDERS.pop("thumbnail", None)
    for name in list(model_factory._LOADED):
        del model_factory._LOADED[name], sys.modules[name]


def flags(place: Path, output: Path, *more: str) -> list[str]:
    return [
        "--model=thumbnail", f"--architecture={place / 'thumbnail.py'}", f"--data_dir={place / 'set'}", f"--output_dir={output}",
        "--device=cpu", "--batch_size=8", "--lr=0.02", "--num_loader_threads=2", "--crop=center", *more,
    ]  # fmt: skip


def results(text: str) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, text.splitlines()) if pair)


def trained(place: Path, output: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    """Train in this process, and return what was logged."""
    code = train.main(flags(place, output, *more))
    said = capsys.readouterr()
    assert code == 0, said.err
    return results(said.out)


def refused(place: Path, output: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    code = train.main(flags(place, output, *more))
    assert code == 2
    return capsys.readouterr().err


def same_tensors(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_tensors(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_tensors, one, other))
    return bool(one == other)


def test_a_training_from_pictures_to_weights(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = trained(place, tmp_path, capsys, "--epochs=8")
    assert (found["results.epochs"], len(found["results.epoch_loss"])) == (8, 8)
    assert found["results.epoch_loss"][-1] < found["results.epoch_loss"][0]
    assert found["results.accuracy_top1"] == max(found["results.epoch_accuracy_top1"]) > 50
    assert (found["results.accuracy_instances"], found["results.accuracy_batch"]) == (23, 1)
    assert found["results.throughput"] > 0
    share = found["results.competing_load"]
    kinds = [line.partition(":")[0] for line in found.get("results.warnings", [])]
    assert ("CPU contention" in kinds) == (share is not None and share > 0.05)  # as benchmarks warn
    assert found["results.context_switches_involuntary"] >= 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt", "thumbnail.json", "thumbnail.pt"]
    entry = read_weights(tmp_path / "thumbnail.json")
    assert entry.model_opts == {"num_classes": 3}
    assert entry.metrics["accuracy_top1"] == found["results.accuracy_top1"]
    assert entry.categories == ("class_0000", "class_0001", "class_0002")
    assert entry.training["options"]["lr"] == 0.02
    best = torch.load(tmp_path / "best.pt")
    assert best["epoch"] == found["results.best_epoch"]
    assert same_tensors(best["model"], entry.tensors())


@pytest.mark.parametrize("policy", ["randaugment", "trivialaugment"])
def test_it_learns_from_images_that_chance_has_changed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    found = trained(place, tmp_path, capsys, "--epochs=12", f"--auto_augment={policy}", "--random_erase=0.25")
    assert found["results.epoch_loss"][-1] < found["results.epoch_loss"][0]
    assert found["results.accuracy_top1"] > 50


def test_weights_are_as_accurate_as_their_entry_says(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(place, tmp_path, capsys, "--epochs=3", "--crop_pct=0.6")  # which the entry says, too
    weights = f"--weights={tmp_path / 'thumbnail.json'}"
    for batch in ("1", "5", "100"):  # whatever the batch, each picture counts once
        found = trained(place, tmp_path, capsys, weights, "--test_only", f"--test_batch_size={batch}")
        assert found["results.accuracy_top1"] == first["results.accuracy_top1"]
        assert found["results.accuracy_instances"] == 23
        assert "results.warnings" not in found
    entry = json.loads((tmp_path / "thumbnail.json").read_text())
    entry["metrics"]["accuracy_top1"] += 1
    (tmp_path / "thumbnail.json").write_text(json.dumps(entry))
    (warning,) = trained(place, tmp_path, capsys, weights, "--test_only")["results.warnings"]
    assert "accuracy differs from the weights' entry" in warning


EVERYTHING = (
    "--crop=random_resized", "--optimizer=adamw", "--lr=0.002", "--label_smoothing=0.1", "--mixup_alpha=0.5", "--cutmix_alpha=1",
    "--ema_decay=0.9", "--ema_steps=2", "--clip_grad_norm=1", "--lr_warmup_epochs=1", "--lr_step_size=1", "--lr_gamma=0.7",
    "--auto_augment=randaugment", "--ra_magnitude=5", "--random_erase=0.25",
)  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        (),
        EVERYTHING,
        ("--amp", "--dtype=bfloat16", "--optimizer=rmsprop", "--lr=0.001"),
        ("--data_loader=processes",),
        ("--amp", "--dtype=float16"),
    ],
)
def test_training_that_was_interrupted_goes_on_as_if_it_had_not_been(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    whole = trained(place, tmp_path / "whole", capsys, "--epochs=4", *more)
    trained(place, tmp_path / "parts", capsys, "--epochs=1", *more)
    parts = trained(place, tmp_path / "parts", capsys, "--epochs=4", "--resume=auto", *more)
    assert parts["results.resumed_epoch"] == 1
    assert parts["results.epoch_loss"] == whole["results.epoch_loss"]
    assert parts["results.accuracy_top1"] == whole["results.accuracy_top1"]
    one, other = (torch.load(tmp_path / name / "last.pt") for name in ("whole", "parts"))
    for key in ("model", "ema", "optimizer", "epoch", "best"):
        assert same_tensors(one[key], other[key]), key


def test_a_finished_training_is_only_evaluated_again(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(place, tmp_path, capsys, "--epochs=2")
    written = (tmp_path / "last.pt").stat().st_mtime_ns
    again = trained(place, tmp_path, capsys, "--epochs=2", "--resume=auto")
    assert (tmp_path / "last.pt").stat().st_mtime_ns == written
    for key in ("accuracy_top1", "epoch_loss", "best_epoch", "loss"):
        assert again[f"results.{key}"] == first[f"results.{key}"]


def test_no_epoch_at_all_measures_random_weights(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = trained(place, tmp_path, capsys, "--epochs=0")
    assert found["results.accuracy_instances"] == 23
    assert "results.epochs" not in found
    assert read_weights(tmp_path / "thumbnail.json").training["best_epoch"] is None


def test_pictures_from_databases(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "val"):
        folder = ["--from_folder", str(place / "set" / part), "--height=20", "--width=20"]
        assert make_dataset.main(["caffe_lmdb", str(tmp_path / "set" / part), *folder]) == 0
    backend = ["--data_backend=caffe_lmdb", f"--data_dir={tmp_path / 'set'}", "--epochs=3"]
    found = trained(place, tmp_path / "out", capsys, *backend)
    assert found["results.accuracy_instances"] == 23
    assert found["results.epoch_loss"][-1] < found["results.epoch_loss"][0]
    entry = read_weights(tmp_path / "out" / "thumbnail.json")
    assert entry.model_opts == {}  # how many classes there are is not known, so the model has as many as it has
    assert entry.categories == ()


@pytest.mark.parametrize("more", [(), ("--label_smoothing=0.1",), ("--epochs=0",)], ids=["train", "smooth", "val"])
def test_a_label_of_a_database_beyond_the_classes_of_the_model_is_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    for part in ("train", "val"):
        folder = ["--from_folder", str(place / "set" / part), "--height=20", "--width=20"]
        assert make_dataset.main(["caffe_lmdb", str(tmp_path / "set" / part), *folder]) == 0
    capsys.readouterr()
    backend = ["--data_backend=caffe_lmdb", f"--data_dir={tmp_path / 'set'}", """--model_opts={"num_classes": 2}"""]
    assert train.main(flags(place, tmp_path / "out", *backend, "--epochs=1", *more)) == 1
    said = capsys.readouterr().err
    part = "val" if "--epochs=0" in more else "train"
    assert f"of {tmp_path / 'set' / part} has label 2, but the model has 2 classes, 0 to 1: set --model_opts" in said


def test_nothing_is_overwritten_or_mixed_up(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(place, tmp_path, capsys, "--epochs=1")
    before = (tmp_path / "last.pt").read_bytes()
    assert "already contains a training: continue it with --resume auto" in refused(
        place, tmp_path, capsys, "--epochs=2"
    )
    said = refused(place, tmp_path, capsys, "--resume=auto", "--nesterov")
    assert "belongs to another training: nesterov was False, now True" in said
    other = tmp_path / "other"
    trained(place, other, capsys, "--epochs=1")
    assert "already contains a training" in refused(place, other, capsys, f"--resume={tmp_path / 'last.pt'}")
    moved = trained(place, tmp_path / "new", capsys, f"--resume={tmp_path / 'last.pt'}", "--epochs=2")
    assert (moved["results.epochs"], moved["results.best_epoch"]) == (2, 2)  # the best of the others stayed with them
    assert "does not exist" in refused(place, tmp_path, capsys, f"--resume={tmp_path / 'no.pt'}")
    torch.save({"model": {}}, tmp_path / "other.pt")
    assert "is not a checkpoint of train.py" in refused(place, tmp_path, capsys, f"--resume={tmp_path / 'other.pt'}")
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_what_was(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        train.main(flags(place, tmp_path, "--epochs=3", "--lr_warmup_epochs=1", "--lr_warmup_decay=0", "--lr=1e30"))
        == 1
    )
    said = capsys.readouterr()
    assert "the loss is" in said.err
    assert "--lr_warmup_epochs" in said.err
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model=unet"], "U-Net is not a classifier"),
        (["--model=text_cnn"], "does not take images"),
        (["--model=thumbnial"], "did you mean thumbnail"),
        (["--model_opts", '{"num_classes": 2}'], "Thumbnail has 2 classes, the data set 3"),
        (["--model_opts", '{"depth": 2}'], "--model_opts do not fit thumbnail"),
        (["--data_dir=/nowhere"], "/nowhere/train does not exist"),
        (["--val_dir=/nowhere"], "data directory /nowhere does not exist"),
        (["--batch_size=61"], "the data set has 60 images, fewer than a batch of 61"),
        (["--architecture=/nowhere.py"], "--architecture: /nowhere.py does not exist"),
        (["--json=/nowhere/r.json"], "--json /nowhere/r.json: the directory /nowhere does not exist"),
        (
            ["--output_dir=/dev/null/out"],
            "--output_dir /dev/null/out/last.pt: the directory /dev/null does not exist or",
        ),
        (["--resume=/nowhere.pt"], "/nowhere.pt does not exist"),
    ],
)
def test_wrong_input_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    if "--val_dir=/nowhere" in more:
        more = [*more, f"--data_dir={place / 'set' / 'train'}"]
    message = refused(place, tmp_path / "out", capsys, *more)
    assert said in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_classes_of_training_and_validation_must_be_the_same(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fewer = place / "set" / "val" / "class_0002"
    fewer.rename(place / "class_0002")
    try:
        said = refused(place, tmp_path / "out", capsys)
        assert "'class_0002' is only in one of them" in said
    finally:
        (place / "class_0002").rename(fewer)


def test_several_processes_see_every_validation_picture_once_and_agree_with_one(
    bench: Bench, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = bench(*flags(place, tmp_path, "--epochs=3", "--num_replicas=2", "--ema_decay=0.5"), program=PROGRAM)
    assert done.returncode == 0, done.stderr
    found = results(done.stdout)
    assert found["results.accuracy_instances"] == 23
    assert done.stdout.count("\nepoch ") == 3  # one process speaks
    # The weights that were written are those that were evaluated, in this process too.
    weights = f"--weights={tmp_path / 'thumbnail.json'}"
    alone = trained(place, tmp_path, capsys, weights, "--test_only")
    assert alone["results.accuracy_top1"] == found["results.accuracy_top1"]
    assert "results.warnings" not in alone
    more = trained(place, tmp_path, capsys, "--epochs=4", "--ema_decay=0.5", "--resume=auto")
    assert "2 replicas before, 1 now" in more["results.warnings"][0]


def test_nodes_without_a_common_directory_train_and_resume_from_the_checkpoints_of_the_first(
    forked_torch: ForkServer, place: Path, tmp_path: Path
) -> None:
    nodes = [tmp_path / "zero", tmp_path / "one"]
    for node in nodes:
        node.mkdir()

    def run(*more: str) -> list[tuple[int | None, str, str]]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            meeting = f"--rendezvous=127.0.0.1:{free.getsockname()[1]}"
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        started = [
            forked_torch.start(
                str(PROGRAM),
                *flags(place, Path("out"), "--num_nodes=2", f"--node_rank={rank}", meeting, *more),
                directory=directory,
                environment=environment,
            )
            for rank, directory in enumerate(nodes)
        ]
        said = [program.communicate(timeout=PATIENCE) for program in started]
        return [(program.returncode, *texts) for program, texts in zip(started, said, strict=True)]

    (zero, said, errors), (one, _, others) = run("--epochs=1", "--resume=auto")
    assert (zero, one) == (0, 0), errors + others
    assert results(said)["results.accuracy_instances"] == 23
    assert {path.name for path in (nodes[0] / "out").iterdir()} == {
        "best.pt",
        "last.pt",
        "thumbnail.json",
        "thumbnail.pt",
    }
    assert not (nodes[1] / "out").exists()
    # With another rendezvous, as after each start of `dlbs run --nodes`; no epoch is left to train.
    (zero, said, errors), (one, _, others) = run("--epochs=1", "--resume=auto")
    assert (zero, one) == (0, 0), errors + others
    found = results(said)
    assert (found["results.resumed_epoch"], found["results.epochs"]) == (1, 1)
    assert "results.warnings" not in found
    (nodes[0] / "out" / "last.pt").write_bytes(b"damaged")
    options = flags(place, Path("out"), "--epochs=1", "--resume=auto")
    for replica in start_replicas(forked_torch, nodes, str(PROGRAM), *options):
        _, errors = replica.communicate(timeout=PATIENCE)
        assert replica.returncode == 2
        assert "error: out/last.pt cannot be read as tensors" in errors


def experiment(place: Path, *more: str) -> tuple[str, ...]:
    return (
        "run", "-Pexp.framework=train", "-Pexp.model=thumbnail", f"-Ppytorch.architecture={place / 'thumbnail.py'}",
        f"-Ppytorch.data_dir={place / 'set'}", "-Pexp.replica_batch=8", "-Pexp.gpus=", "-Pexp.docker=false", *more,
    )  # fmt: skip


HOLD = """def forward(self, x):  # having written a checkpoint, it trains no further until there is a file `go`
        import os, pathlib, time
        here = pathlib.Path({directory!r})
        while list(here.glob("logs/*/last.pt")) and not (here / "go").exists():
            (here / f"held.{{os.getpid()}}").touch()
            time.sleep(0.05)"""


def log_of(directory: Path) -> dict[str, Any]:
    (log,) = directory.glob("logs/*.log")
    return results(log.read_text())


def test_a_killed_experiment_goes_on_with_its_epoch(place: Path, tmp_path: Path) -> None:
    held = ARCHITECTURE.replace("def forward(self, x):", HOLD.format(directory=str(tmp_path)))
    (tmp_path / "thumbnail.py").write_text(held)
    command = experiment(
        place, "-Ptrain.epochs=4", "-Ptrain.lr=0.01", f"-Ppytorch.architecture={tmp_path / 'thumbnail.py'}"
    )
    running = start_dlbs(tmp_path, *command)
    (held_by,) = wait_until(lambda: list(tmp_path.glob("held.*")), "a checkpoint")
    running.send_signal(signal.SIGKILL)
    running.communicate()
    running = start_dlbs(tmp_path, *command)
    wait_until(lambda: not psutil.pid_exists(int(held_by.suffix[1:])), "the end of what was left running")
    (tmp_path / "go").touch()
    _, said = running.communicate(timeout=PATIENCE)
    assert running.returncode == 0, said
    found = log_of(tmp_path)
    assert 1 <= found["results.resumed_epoch"] < 4
    assert (found["results.epochs"], len(found["results.epoch_loss"])) == (4, 4)


def test_a_recipe_is_an_experiment_like_any_other(dlbs: RunDlbs, tmp_path: Path) -> None:
    """From pictures to a table, a comparison and a benchmark with the weights, as docs/training.md has it."""
    for part, count, first in (("train", 300, 0), ("val", 43, 10_000)):
        size = ["--height=40", "--width=40", "--channels=1", "--num_classes=4", "--by_class", "--format=png"]
        images = [f"--num_images={count}", f"--first={first}"]
        assert make_dataset.main(["image_folder", str(tmp_path / "set" / part), *images, *size]) == 0
    recipe = (
        "run",
        "--plan",
        "recipes/deep_mnist.yaml",
        "-Ppytorch.data_dir=set",
        "-Pexp.gpus=",
        "-Pexp.docker=false",
    )
    done = dlbs(*recipe, "-Ptrain.epochs=2", check=True)
    found = log_of(tmp_path)
    # The accuracy is the result: in the terminal, in the default report and on the page.
    assert f", accuracy {found['results.accuracy_top1']:.2f} %, " in done.stderr
    assert "Top-1 accuracy, %" in dlbs("report", "logs", check=True).stdout
    dlbs("report", "logs", "--html", "page.html", check=True)
    assert "accuracy, %" in (tmp_path / "page.html").read_text()
    assert found["exp.status"] == "ok"
    assert found["results.accuracy_top1"] > 80
    assert found["results.accuracy_instances"] == 43
    table = dlbs("report", "logs", "--values", "results.accuracy_top1", "--format", "csv", check=True).stdout
    (row,) = csv.DictReader(table.splitlines())
    assert float(row["value"]) == pytest.approx(found["results.accuracy_top1"])
    entry = tmp_path / found["results.weights"]
    assert entry.parent.parent == tmp_path / "logs"
    measured = ("-Pexp.model=deep_mnist", f"-Ppytorch.weights={entry}", "-Pexp.phase=inference", "-Pexp.log_dir=fast")
    few = ("-Pexp.num_batches=3", "-Ppytorch.passes=none")
    dlbs("run", *measured, "-Pexp.gpus=", "-Pexp.docker=false", *few, check=True)
    (log,) = (tmp_path / "fast").glob("*.log")
    assert results(log.read_text())["exp.flags"]["weights"] == str(entry)
    again = dlbs(*recipe, "-Ptrain.epochs=2", check=True)
    assert "1 already finished" in again.stderr


def test_a_recipe_needs_data(dlbs: RunDlbs) -> None:
    done = dlbs("run", "--plan", "recipes/resnet18.yaml", "-Pexp.gpus=", "-Pexp.docker=false")
    assert done.returncode == 2
    assert "training needs data (set pytorch.data_dir to a directory that contains train and val)" in done.stderr
