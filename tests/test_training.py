"""What training consists of: rates, groups, mixing, exact evaluation, recipes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dlbs.config.load import load_config
from dlbs.plan.build import build
from dlbs.plan.resolve import Processor
from pytorch_benchmarks.data.crops import Crop, Uniform
from pytorch_benchmarks.data.dataset import Dataset
from pytorch_benchmarks.data.once import once
from pytorch_benchmarks.data.order import Order
from pytorch_benchmarks.data.prefetch import Normalise
from pytorch_benchmarks.distributed import World
from pytorch_benchmarks.errors import BenchmarkError, UsageError
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases.training import training_step
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.tensor_files import read, save
from pytorch_benchmarks.training.evaluation import Accuracy, evaluate
from pytorch_benchmarks.training.mixing import Mixing
from pytorch_benchmarks.training.optimizers import build_optimizer, parameter_groups
from pytorch_benchmarks.training.options import TrainingOptions, parse_training_options
from pytorch_benchmarks.training.schedule import learning_rate
from tests.conftest import ROOT

CPU = torch.device("cpu")
PLAIN = Precision(torch.float32, None, False, "cpu")
ENVIRON = {"DLBS_ROOT": str(ROOT), "DLBS_PYTHON": "python3", "HOME": "/home/user"}
RECIPES = sorted(path.name for path in (ROOT / "config" / "recipes").glob("*.yaml"))


@pytest.mark.parametrize(
    ("options", "progress", "rate"),
    [
        ({}, 0.0, 0.1),
        ({}, 29.99, 0.1),
        ({}, 30.0, 0.01),
        ({}, 89.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 0.0, 0.001),
        ({"lr_warmup_epochs": 5.0}, 2.5, 0.0505),
        ({"lr_warmup_epochs": 5.0}, 34.99, 0.1),
        ({"lr_warmup_epochs": 5.0}, 35.0, 0.01),
        ({"lr_scheduler": "cosine", "epochs": 10}, 5.0, 0.05),
        ({"lr_scheduler": "cosine", "epochs": 10, "lr_min": 0.02}, 10.0, 0.02),
        ({"lr_scheduler": "cosine", "epochs": 12, "lr_warmup_epochs": 2.0}, 7.0, 0.05),
        ({"lr_scheduler": "exponential", "lr_gamma": 0.5}, 2.9, 0.025),
        ({"lr_scheduler": "constant"}, 80.0, 0.1),
        ({"lr_step_size": 0.0}, 80.0, 0.1),
    ],
)
def test_the_learning_rate_is_a_function_of_progress(options: dict[str, Any], progress: float, rate: float) -> None:
    assert learning_rate(TrainingOptions("m", **options), progress) == pytest.approx(rate)


def test_every_parameter_is_in_one_group_with_its_decay() -> None:
    model = get_model("resnet18", num_classes=4)
    options = TrainingOptions("m", weight_decay=0.1, norm_weight_decay=0.0, bias_weight_decay=0.01)
    groups = {group["weight_decay"]: group["params"] for group in parameter_groups(model, options)}
    assert sorted(groups) == [0.0, 0.01, 0.1]
    assert sum(map(len, groups.values())) == len(list(model.parameters()))
    assert all(parameter.dim() == 1 for parameter in groups[0.0])
    assert [tuple(parameter.shape) for parameter in groups[0.01]] == [(4,)]


def test_a_shared_parameter_is_decayed_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    assert [len(group["params"]) for group in parameter_groups(model, TrainingOptions("m"))] == [1]


class Linear(Model):
    """One layer."""

    input_shape = (20,)
    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(20, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "rmsprop"])
def test_every_optimizer_lowers_the_loss_of_the_shared_step(kind: str) -> None:
    torch.manual_seed(0)
    model = Linear()
    options = TrainingOptions("m", optimizer=kind, lr=0.02)
    step = training_step(model, model, optimizer=build_optimizer(model, options), clip_grad_norm=1.0)
    batch = (model.inputs(8, torch.Generator().manual_seed(0)), torch.arange(8))
    losses = [float(step(batch)) for _ in range(8)]
    assert losses[-1] < losses[0]


def test_gradients_are_clipped() -> None:
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    step = training_step(model, model, optimizer=optimizer, clip_grad_norm=1e-3)
    step((model.inputs(8, torch.Generator().manual_seed(0)), torch.arange(8)))
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    assert float(gradients.norm()) == pytest.approx(1e-3, rel=1e-3)


def pictures(count: int) -> tuple[Tensor, Tensor]:
    """Pictures whose pixels are all their number."""
    return torch.arange(count).float().view(count, 1, 1, 1).expand(count, 3, 8, 8).contiguous(), torch.arange(count)


def test_targets_stay_class_numbers_unless_something_is_asked_for() -> None:
    inputs, targets = pictures(4)
    made = Mixing(4)((inputs, targets))
    assert made[0] is inputs
    assert made[1] is targets


def test_label_smoothing_gives_every_class_its_share() -> None:
    _, targets = Mixing(4, label_smoothing=0.2)(pictures(4))
    assert torch.allclose(targets[1], torch.tensor([0.05, 0.85, 0.05, 0.05]))


@pytest.mark.parametrize("kind", ["mixup_alpha", "cutmix_alpha"])
def test_mixed_targets_say_how_much_of_each_picture_there_is(kind: str) -> None:
    for seed in range(20):
        inputs, targets = pictures(4)
        mixed, soft = Mixing(4, **{kind: 1.0}, seed=(seed,))((inputs, targets))  # type: ignore[arg-type]
        assert torch.allclose(soft.sum(dim=1), torch.ones(4))
        # A pixel of picture 1 is 1 or comes from picture 0: its mean is the share that it kept.
        assert float(mixed[1].mean()) == pytest.approx(float(soft[1, 1]), abs=1e-5)
        assert torch.equal(inputs, pictures(4)[0])  # loaders use their memory again


def test_the_same_seed_mixes_the_same() -> None:
    options = {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}
    one, two, other = (Mixing(4, **options, seed=(seed, 1)) for seed in (1, 1, 2))  # type: ignore[arg-type]
    first, second, third = ([mixing(pictures(4))[1] for _ in range(5)] for mixing in (one, two, other))
    assert all(map(torch.equal, first, second))
    assert not all(map(torch.equal, first, third))


class Numbers(Dataset):
    """Pictures of their own number, which is their class too."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    @property
    def num_classes(self) -> int:
        return self.length

    def read_into(self, index: int, target: Tensor, crop: Crop, uniform: Uniform) -> int:
        target.fill_(index)
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_every_picture_is_evaluated_exactly_once(workers: int) -> None:
    normalise = Normalise(torch.float32, False, 0, 3, CPU)
    for length in (1, 2, 7, 12):
        for size in (1, 2, 3):
            for batch in (1, 4, 16):
                seen: Counter[int] = Counter()
                for rank in range(size):
                    batches = once(
                        Numbers(length),
                        batch,
                        Crop("center"),
                        (3, 2, 2),
                        normalise,
                        workers=workers,
                        world=World(rank, size),
                    )
                    for inputs, labels in batches:
                        assert 1 <= len(inputs) == len(labels) <= batch
                        seen.update(labels.tolist())
                assert seen == Counter(range(length)), (length, size, batch)


class Guess(nn.Module):
    """Finds a class to be the likeliest, and the next four to follow."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        scores = torch.zeros(len(x), 10)
        scores[:, self.first : self.first + 5] = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0])
        return scores


def test_accuracy_counts_the_likeliest_and_the_five_likeliest() -> None:
    batches = [(torch.zeros(4, 1), torch.tensor([2, 2, 3, 6])), (torch.zeros(1, 1), torch.tensor([9]))]
    found = evaluate(Guess(2), iter(batches), expected=5, precision=PLAIN, world=World(), device=CPU)
    assert found == Accuracy(instances=5, top1=2, top5=4)
    assert found.percent() == {"accuracy_top1": 40.0, "accuracy_top5": 80.0}


def test_an_evaluation_that_missed_pictures_is_an_error() -> None:
    batches = [(torch.zeros(4, 1), torch.zeros(4, dtype=torch.int64))]
    with pytest.raises(BenchmarkError, match="4 pictures were evaluated, but the data set has 5"):
        evaluate(Guess(2), iter(batches), expected=5, precision=PLAIN, world=World(), device=CPU)


def test_an_order_that_begins_later_goes_on_as_the_whole_one() -> None:
    whole, later = Order(10, 3, True, 5), Order(10, 3, True, 5, first_epoch=2)
    batches, rest = whole.batches(), later.batches()
    for _ in range(2 * whole.batches_per_epoch):
        next(batches)
    assert [next(batches) for _ in range(5)] == [next(rest) for _ in range(5)]
    assert whole.draws(2 * whole.batches_per_epoch + 1) == later.draws(1)


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model=resnet18"], "--data_dir is needed"),
        (["--data_dir=d"], "--model is needed"),
        (["--model=resnet18", "--data_dir=d", "--test_only"], "name them with --weights"),
        (["--model=resnet18", "--data_dir=d", "--lr=-1"], "must be at least 0"),
        (["--model=resnet18", "--data_dir=d", "--label_smoothing=2"], "must be at most 1"),
        (["--model=resnet18", "--data_dir=d", "--optimiser=sgd"], "did you mean --optimizer"),
    ],
)
def test_wrong_options_are_one_line(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_training_options(flags)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_a_configuration_whose_command_is_understood(recipe: str) -> None:
    config = load_config(
        [f"recipes/{recipe}"], parameters=["pytorch.data_dir=/data", "exp.gpus=0,1", "exp.docker=false"]
    )
    (experiment,) = Processor(config.declarations, ENVIRON).resolve_all(build(config))
    options = parse_training_options([word for word in experiment["train.args"] if word])
    assert options.model == Path(recipe).stem == experiment["exp.model"]
    assert options.num_replicas == 2
    assert options.lr == experiment["train.lr"] > 0
    assert options.norm_weight_decay == (0.0 if recipe == "resnet50.yaml" else None)
    again = load_config([f"recipes/{recipe}"], parameters=["exp.gpus=0,1,2,3", "exp.docker=false"])
    (more,) = Processor(again.declarations, ENVIRON).resolve_all(build(again))
    assert more["train.lr"] == pytest.approx(2 * experiment["train.lr"])  # it grows with the batch
