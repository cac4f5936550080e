"""`train.py` on a GPU: what it learns, evaluates, keeps and measures is what it does on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from pytorch_benchmarks import benchmarks, train
from pytorch_benchmarks.data import loader, make_dataset
from pytorch_benchmarks.data.loader import page_locked
from pytorch_benchmarks.data.transforms import Transforms
from pytorch_benchmarks.devices import Precision
from pytorch_benchmarks.phases import training_step
from pytorch_benchmarks.training.augmenting import OPERATIONS, Augmenting, Mixing
from pytorch_benchmarks.training.options import parse_training_options
from pytorch_benchmarks.training.state import average_of, update_average
from pytorch_benchmarks.training.trainer import build_optimizer
from tests.gpu.made import no_waiting, on, pause_of, ran, registered
from tests.gpu.work import small_model

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")
TRAINED_ON, VALIDATED_WITH = 60, 23
IMAGE = Transforms((3, 24, 32))
CHANCE = (
    "--auto_augment=randaugment",
    "--random_erase=0.25",
    "--mixup_alpha=0.5",
    "--cutmix_alpha=1",
    "--label_smoothing=0.1",
)
KEPT = (
    "--optimizer=adamw",
    "--lr=0.002",
    "--ema_decay=0.9",
    "--ema_steps=2",
    "--clip_grad_norm=1",
    "--lr_warmup_epochs=1",
)
Train = Any


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with small models and pictures of three classes."""
    directory = tmp_path_factory.mktemp("train")
    for part, count, first in (("train", TRAINED_ON, 0), ("val", VALIDATED_WITH, 10_000)):
        size = ["--height=20", "--width=20", "--num_classes=3", "--by_class", "--format=png"]
        images = [f"--num_images={count}", f"--first={first}"]
        assert make_dataset.main(["image_folder", str(directory / "set" / part), *images, *size]) == 0
    with registered(directory):
        yield directory


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """float32 is float32, `--deterministic` is for one test, and files of errors are in its directory."""
    torch.backends.cudnn.allow_tf32 = False
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def trained(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Train a small network and return what was logged."""

    def run(device: torch.device, output: str, *more: str, model: str = "small_net", code: int = 0) -> dict[str, Any]:
        found, values, errors = ran(
            train.main, capsys, f"--model={model}", f"--architecture={place / 'made_for_gpu_tests.py'}",
            f"--data_dir={place / 'set'}", f"--output_dir={tmp_path / output}", on(device), "--batch_size=8", "--lr=0.02",
            "--num_loader_threads=2", "--crop=center", *more,
        )  # fmt: skip
        assert found == code, errors
        return values

    return run


def kept(path: Path, name: str = "last.pt") -> dict[str, Any]:
    """A checkpoint, on the host."""
    found: dict[str, Any] = torch.load(path / name, map_location="cpu")
    return found


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(("more", "tolerance"), [((), 0.01), (CHANCE, 0.05)], ids=["plain", "augmented and mixed"])
def test_a_device_learns_what_a_cpu_learns(
    device: torch.device, trained: Train, more: tuple[str, ...], tolerance: float
) -> None:
    """Without dropout, whose random numbers are the device's own. A picture that is moved may differ in a few pixels."""
    flags = ("--epochs=3", '--model_opts={"dropout":0}', *more)
    expected, found = trained(CPU, "cpu", *flags), trained(device, "device", *flags)
    assert found["results.epoch_loss"] == pytest.approx(expected["results.epoch_loss"], rel=tolerance)
    assert found["results.accuracy_instances"] == VALIDATED_WITH
    if not more:
        of_two_pictures = 200 / VALIDATED_WITH + 0.01
        last = [values["results.epoch_accuracy_top1"][-1] for values in (found, expected)]
        assert last[0] == pytest.approx(last[1], abs=of_two_pictures)
    assert (found["exp.device_title"] == expected["exp.device_title"]) == (device.type == "cpu")


WAYS = {
    "float32": (),
    "bfloat16 autocast": ("--amp", "--dtype=bfloat16"),
    "bfloat16": ("--dtype=bfloat16",),
    "float16 autocast": ("--amp", "--dtype=float16"),
    "channels last": ("--channels_last",),
    "everything": (*CHANCE, *KEPT, "--amp", "--dtype=bfloat16", "--channels_last"),
    "processes": ("--data_loader=processes",),
}


@pytest.mark.parametrize("more", WAYS.values(), ids=WAYS.keys())
def test_every_way_to_train_learns(device: torch.device, trained: Train, more: tuple[str, ...]) -> None:
    found = trained(device, "one", "--epochs=8", *more)
    first, *_, last = found["results.epoch_loss"]
    assert min(last, found["results.epoch_loss"][-2]) < 0.97 * first
    assert found["results.accuracy_top1"] > 45  # of three classes
    assert found["results.throughput"] > 0


def test_compiled_training_learns(cuda: torch.device, trained: Train) -> None:
    """With CUDA graphs of torch.compile. Evaluation uses batches of one size: every other one would be compiled, too."""
    sizes = (f"--val_batch_size={VALIDATED_WITH}", f"--test_batch_size={VALIDATED_WITH}")
    found = trained(cuda, "one", "--epochs=4", "--compile=reduce-overhead", *sizes)
    assert found["results.epoch_loss"][-1] < found["results.epoch_loss"][0]
    assert found["results.accuracy_instances"] == VALIDATED_WITH


@pytest.mark.parametrize(
    "more",
    [(), (*CHANCE, *KEPT), ("--amp", "--dtype=float16"), ("--data_loader=processes", "--channels_last")],
    ids=["plain", "everything", "scaled gradients", "processes"],
)
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(
    device: torch.device, trained: Train, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """With dropout: the state of its random numbers is that of the device."""
    flags = ("--deterministic", *more)
    whole = trained(device, "whole", "--epochs=3", *flags)
    trained(device, "parts", "--epochs=1", *flags)
    parts = trained(device, "parts", "--epochs=3", "--resume=auto", *flags)
    assert parts["results.resumed_epoch"] == 1
    assert parts["results.epoch_loss"] == whole["results.epoch_loss"]
    one, other = kept(tmp_path / "whole"), kept(tmp_path / "parts")
    for key in ("model", "ema", "optimizer", "scaler", "epoch", "best"):
        assert same(one[key], other[key]), key


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.02), ("adamw", 0.002), ("rmsprop", 0.001)])
@pytest.mark.parametrize("amp", ["--amp=true", "--amp=false"])
def test_a_training_goes_on_on_another_device(
    cuda: torch.device, trained: Train, optimizer: str, rate: float, amp: str
) -> None:
    """With weights in bfloat16, a CPU does not fuse the optimizer: it keeps other things than the GPU."""
    flags = (f"--optimizer={optimizer}", f"--lr={rate}", '--model_opts={"dropout":0}', amp, "--dtype=bfloat16")
    for first, second in ((CPU, cuda), (cuda, CPU)):
        name = f"{first.type} {second.type}"
        trained(first, name, "--epochs=1", *flags)
        found = trained(second, name, "--epochs=3", "--resume=auto", *flags)
        assert found["results.resumed_epoch"] == 1
        assert found["results.epoch_loss"][-1] < found["results.epoch_loss"][0]


def test_a_training_goes_on_with_another_order_in_memory(device: torch.device, trained: Train, tmp_path: Path) -> None:
    flags = ("--deterministic", '--model_opts={"dropout":0}')
    whole = trained(device, "whole", "--epochs=3", *flags)
    trained(device, "parts", "--epochs=1", *flags)
    parts = trained(device, "parts", "--epochs=3", "--resume=auto", "--channels_last", *flags)
    assert parts["results.epoch_loss"] == pytest.approx(whole["results.epoch_loss"], rel=0.01)


def test_weights_are_as_accurate_on_a_device_as_on_a_cpu(device: torch.device, trained: Train, tmp_path: Path) -> None:
    """In batches of any size, from an entry and from a checkpoint, wherever they were written."""
    expected = trained(device, "one", "--epochs=3")["results.accuracy_top1"]
    assert all(tensor.device == CPU for tensor in torch.load(tmp_path / "one" / "small_net.pt").values())
    options = '--model_opts={"num_classes":3}'
    one_picture = 100 / VALIDATED_WITH + 0.01
    for where in (CPU, device):
        for file, batch in (("small_net.json", 1), ("small_net.json", 10), ("best.pt", 100)):
            weights = f"--weights={tmp_path / 'one' / file}"
            found = trained(where, "none", weights, "--test_only", f"--test_batch_size={batch}", options)
            assert found["results.accuracy_top1"] == pytest.approx(expected, abs=one_picture)
            assert found["results.accuracy_instances"] == VALIDATED_WITH


@pytest.mark.alone
def test_time_and_throughput_are_those_of_the_device(device: torch.device, trained: Train) -> None:
    """A network that keeps the device busy, while the host goes on."""
    found = trained(device, "one", "--epochs=1", model="slow_net")
    pause = pause_of(device)
    assert found["results.time"] >= pause
    assert found["results.throughput"] <= 1000 * 8 / pause


@pytest.mark.alone
def test_a_training_without_enough_memory_has_its_exit_code(device: torch.device, trained: Train) -> None:
    said = trained(device, "one", "--epochs=1", model="huge_net", code=3)["exp.status_msg"]
    assert "huge_net with batch size 8 in float32 does not fit" in said


def test_a_batch_whose_scaled_gradients_overflow_changes_nothing(device: torch.device) -> None:
    """Nor does it leave an infinite momentum to the batch after it: the fused optimizer is what skips it."""
    model, batches = small_model("deep_mnist", device)
    options = parse_training_options(["--model=deep_mnist", "--lr=0.01", "--data_dir=d"])
    precision = Precision(torch.float32, torch.float16, False, device.type)
    step = training_step(model, model, precision, optimizer=build_optimizer(model, options))
    inputs, targets = next(batches)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    step((torch.full_like(inputs, torch.inf), targets))
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))
    for _ in range(3):
        loss = step((inputs, targets))
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())
    assert not torch.equal(next(model.parameters()), before[0])


def pictures(device: torch.device, count: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.nn.functional.interpolate(
        torch.randn(count, 3, 6, 8, generator=generator), (24, 32), mode="bilinear"
    )
    return images.to(device), (torch.arange(count) % 10).to(device)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("wide", [False, True])
def test_an_operation_on_images_gives_what_a_cpu_gives(device: torch.device, name: str, wide: bool) -> None:
    """But for a few pixels: those between two others, and those between two levels."""
    images, _ = pictures(CPU)
    for image in (images * 0.2 + 0.5).clamp(0, 1):
        expected = OPERATIONS[name](image, 0.45, -1.0, wide)
        found = OPERATIONS[name](image.to(device), 0.45, -1.0, wide).cpu()
        differ = (found - expected).abs() > 1e-3
        assert float(differ.float().mean()) < 0.03


@pytest.mark.parametrize("policy", ["none", "randaugment", "trivialaugment"])
def test_images_are_augmented_and_mixed_as_on_a_cpu(device: torch.device, policy: str) -> None:
    def made(where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        augmenting = Augmenting(IMAGE, policy=policy, erasing=0.5, seed=(3,))
        mixing = Mixing(10, label_smoothing=0.1, mixup_alpha=0.5, cutmix_alpha=1, seed=(3,))
        inputs, targets = mixing(augmenting(pictures(where, 32)))
        return inputs, targets

    inputs, targets = made(device)
    expected, labels = made(CPU)
    assert inputs.device.type == targets.device.type == device.type
    torch.testing.assert_close(targets.cpu(), labels)
    differ = (inputs.cpu() - expected).abs() > 0.01
    assert float(differ.float().mean()) < 0.03


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_the_host_runs_ahead_of_the_device(cuda: torch.device) -> None:
    """An epoch may launch the next batch while the GPU still works on this one, whatever is done with the images and weights."""
    model, _ = small_model("resnet18", cuda, num_classes=10)
    options = parse_training_options(["--model=resnet18", "--ema_decay=0.9", "--data_dir=d", *CHANCE])
    average = average_of(model, options)
    assert average is not None
    step = training_step(model, model, optimizer=build_optimizer(model, options), clip_grad_norm=1.0)
    image = (pictures(cuda, 1)[0][0] * 0.2 + 0.5).clamp(0, 1)
    losses = torch.zeros((), device=cuda)

    def batch(number: int) -> None:
        nonlocal losses
        for policy in ("randaugment", "trivialaugment"):
            augmenting = Augmenting(IMAGE, policy=policy, erasing=0.5, seed=(number,))
            mixing = Mixing(10, label_smoothing=0.1, mixup_alpha=0.5, cutmix_alpha=1, seed=(number,))
            losses += step(mixing(augmenting(pictures_on_gpu)))
        update_average(average, model)

    pictures_on_gpu = pictures(cuda)
    batch(0)
    with no_waiting():
        for operation in OPERATIONS.values():
            operation(image, 0.5, 1.0, False)
        for number in range(1, 4):
            batch(number)
    assert torch.isfinite(losses)


def test_a_whole_benchmark_gets_the_same_batches_from_processes(
    device: torch.device, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose memory is page-locked for a GPU: losses of a training on shuffled, randomly cropped images."""
    locked = []

    @contextmanager
    def observed(*tensors: torch.Tensor) -> Iterator[bool]:
        with page_locked(*tensors) as is_locked:
            locked.append(is_locked)
            yield is_locked

    monkeypatch.setattr(loader, "page_locked", observed)
    losses = []
    for flags in (("--num_loader_threads=0",), ("--data_loader=threads",), ("--data_loader=processes",)):
        code, values, errors = ran(
            benchmarks.main, capsys, "--model=small_net", f"--architecture={place / 'made_for_gpu_tests.py'}",
            f"--data_dir={place / 'set' / 'train'}", "--data_backend=image_folder", "--data_shuffle", "--num_batches=20",
            "--num_warmup_batches=3", "--batch_size=8", "--deterministic", "--passes=none", on(device), *flags,
        )  # fmt: skip
        assert code == 0, errors
        losses.append(values["results.loss"])
    assert losses[0] == losses[1] == losses[2]
    assert locked == ([] if device.type == "cpu" else [True])
