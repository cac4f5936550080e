"""Models in JAX are those of PyTorch: the same parameters, and the same outputs, losses and updates for the same weights.

JAX is imported by the tests, not by this module: pytest collects it in every process, and JAX takes two seconds and starts threads, which forks do not survive.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from benchmark_core.exits import UnknownModelError, UsageError
from pytorch_benchmarks.model_factory import get_model as torch_model
from pytorch_benchmarks.models import gpt2 as torch_gpt2
from pytorch_benchmarks.models import resnet as torch_resnet
from pytorch_benchmarks.models.model import Model as TorchModel
from pytorch_benchmarks.phases import training_step

pytestmark = pytest.mark.integration

NAMES = ["deep_mnist", "gpt2_small", "resnet18"]

# Small inputs, so that the tests are quick.
OPTIONS: dict[str, dict[str, Any]] = {"resnet18": {"num_classes": 10}, "gpt2_small": {"sequence_length": 4}}


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, and with few of the compiler's optimizations, which take most of the time of these tests."""
    import jax

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2 with two blocks instead of twelve equal ones, which take XLA six times as long to compile, and a thousand words.

    ResNet with the first two of its four stages, which have every kind of block, and small images.
    """
    from jax_benchmarks.models import gpt2, resnet

    monkeypatch.setattr(gpt2, "_DEPTH", 2)
    monkeypatch.setattr(gpt2, "_VOCABULARY", 1000)
    monkeypatch.setattr(torch_gpt2.GPT2, "vocabulary", 1000)
    monkeypatch.setattr(torch_gpt2, "GPT2", partial(_shallow, torch_gpt2.GPT2))
    monkeypatch.setattr(resnet, "_STAGES", resnet._STAGES[:2])
    monkeypatch.setattr(torch_resnet.ResNet, "input_shape", (3, 32, 32))
    monkeypatch.setattr(torch_resnet, "ResNet", partial(_two_stages, torch_resnet.ResNet))


def _two_stages(
    kind: type[torch_resnet.ResNet], depth: int, blocks: tuple[int, int, int, int], **options: Any
) -> torch_resnet.ResNet:
    return kind(depth, (*blocks[:2], 0, 0), **options)


def _shallow(kind: type[torch_gpt2.GPT2], title: str, **options: Any) -> torch_gpt2.GPT2:
    return kind(title, **{**options, "depth": 2})


def converted(model: TorchModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and buffers of a PyTorch model for JAX."""
    import jax.numpy as jnp

    kept = {name: value for name, value in model.named_buffers() if not name.endswith("num_batches_tracked")}
    return (
        {name: jnp.asarray(value.detach().numpy().copy()) for name, value in model.named_parameters()},
        {name: jnp.asarray(value.numpy().copy()) for name, value in kept.items()},
    )


def batches(model: TorchModel) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """One batch for PyTorch, and the same for JAX, whose images have their channels last."""
    import jax.numpy as jnp

    generator = torch.Generator().manual_seed(1)
    inputs = model.inputs(2, generator)
    targets = model.targets(2, generator)
    assert isinstance(inputs, torch.Tensor)
    last = inputs.permute(0, 2, 3, 1) if inputs.dim() == 4 else inputs
    return (inputs, targets), (jnp.asarray(last.contiguous().numpy()), jnp.asarray(targets.numpy()))


def test_every_model_is_compared() -> None:
    from jax_benchmarks.models.model import MODELS

    assert sorted(MODELS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_pytorch(name: str) -> None:
    from jax_benchmarks.models.model import get_model

    with torch.device("meta"):
        model = torch_model(name)
    mine = get_model(name)
    assert dict(mine.shapes) == {key: tuple(value.shape) for key, value in model.named_parameters()}
    assert mine.num_parameters() == model.num_parameters()
    assert (mine.title, mine.unit, mine.num_classes) == (model.title, model.unit, model.num_classes)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_pytorch(name: str) -> None:
    from jax_benchmarks.models.model import get_model
    from jax_benchmarks.steps import Inference

    model, mine = torch_model(name, **OPTIONS.get(name, {})).eval(), get_model(name, **OPTIONS.get(name, {}))
    theirs, ours = batches(model)
    with torch.inference_mode():
        expected = model(theirs[0]).numpy()
    found = np.asarray(Inference(mine, *converted(model), ours)(ours))
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("name", NAMES)
def test_two_training_steps_are_those_of_pytorch(name: str) -> None:
    from jax_benchmarks.models.model import get_model
    from jax_benchmarks.steps import Training

    model, mine = torch_model(name, **OPTIONS.get(name, {})), get_model(name, **OPTIONS.get(name, {}))
    theirs, ours = batches(model)
    training = Training(mine, *converted(model), ours)
    step = training_step(model, model)
    for _ in range(2):
        assert float(training(ours)) == pytest.approx(float(step(theirs)), rel=1e-4)
    for own, expected in zip((training.state[0], training.state[2]), converted(model), strict=True):
        assert own.keys() == expected.keys()
        for key, value in own.items():
            np.testing.assert_allclose(value, expected[key], rtol=1e-3, atol=2e-4, err_msg=key)


def test_weights_in_bfloat16_stay_so() -> None:
    import jax.numpy as jnp

    from jax_benchmarks.models.model import Model, initial
    from jax_benchmarks.steps import Training

    model = Model(
        "tiny", "images", (3,), 4, {"weight": (4, 3)}, lambda own, buffers, x, _: (x @ own["weight"].T, buffers)
    )
    batch = model.batch(2, 1, jnp.bfloat16)
    training = Training(model, *initial(model, 1, jnp.bfloat16), batch)
    assert np.isfinite(float(training(batch)))
    assert {value.dtype for value in training.state[0].values()} == {jnp.dtype("bfloat16")}


def test_the_same_seed_gives_the_same_batch() -> None:
    import jax.numpy as jnp

    from jax_benchmarks.models.model import Model

    model = Model("tiny", "images", (3,), 4, {}, lambda parameters, buffers, x, training: (x, buffers))
    first, again, other = (model.batch(5, seed, jnp.float32) for seed in (1, 1, -2))
    np.testing.assert_array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert first[1].max() < 4


@pytest.mark.parametrize(
    ("name", "options", "kind", "message"),
    [
        (
            "resnet81",
            {},
            UnknownModelError,
            "did you mean resnet18. available models are deep_mnist, gpt2_small, resnet18",
        ),
        ("vgg16", {}, UnknownModelError, "unknown JAX model 'vgg16': available models are deep_mnist"),
        ("deep_mnist", {"depth": 3}, UsageError, "--model_opts do not fit deep_mnist: .*depth"),
        ("gpt2_small", {"sequence_length": 2000}, UsageError, "must be 1 to 1024, not 2000"),
        ("gpt2_small", {"sequence_length": 1.5}, UsageError, r"must be a whole number, not 1\.5"),
        ("deep_mnist", {"num_classes": 0}, UsageError, "num_classes must be at least 1, not 0"),
        ("resnet18", {"num_classes": "x"}, UsageError, "num_classes must be a whole number, not 'x'"),
    ],
)
def test_what_there_is_not_is_named(name: str, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    from jax_benchmarks.models.model import get_model

    with pytest.raises(kind, match=message):
        get_model(name, **options)
