"""Every registered model: its shape, its number of weights, what it computes."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
import torch

from pytorch_benchmarks import model_factory
from pytorch_benchmarks.checks.expected_outputs import Subject
from pytorch_benchmarks.checks.model import CHECKS, CheckError, check_model
from pytorch_benchmarks.errors import UnknownModelError, UsageError
from pytorch_benchmarks.model_factory import ModelFactory, get_model, list_models, register_model
from pytorch_benchmarks.models.layers import DropPath
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases.generation import Generation
from pytorch_benchmarks.phases.inference import inference_step
from pytorch_benchmarks.tensors import map_tensors

# As published for the original suite, which counted what a checkpoint stores: running statistics of batch normalisation too.
# The published count of resnet50 is 25,610,269. That is 64 more than the paper's architecture has, and than the same block
# structure gives for 101 and 152 layers: as many as a bias of the first convolution, which the paper does not have.
STORED = {
    "acoustic_model": ((540,), 34_678_784),
    "alexnet": ((3, 227, 227), 62_378_344),
    "alexnet_owt": ((3, 227, 227), 61_100_840),
    "deep_mnist": ((784,), 11_972_510),
    "inception3": ((3, 299, 299), 23_869_094),
    "inception4": ((3, 299, 299), 42_743_133),
    "overfeat": ((3, 231, 231), 145_920_872),
    "googlenet": ((3, 224, 224), 6_998_552),
    "resnet18": ((3, 224, 224), 11_703_485),
    "resnet34": ((3, 224, 224), 21_819_085),
    "resnet50": ((3, 224, 224), 25_610_269 - 64),
    "resnet101": ((3, 224, 224), 44_654_608),
    "resnet152": ((3, 224, 224), 60_344_387),
    "resnet200": ((3, 224, 224), 64_850_035),
    "resnet269": ((3, 224, 224), 102_326_456),
    "vgg11": ((3, 224, 224), 132_863_336),
    "vgg13": ((3, 224, 224), 133_047_848),
    "vgg16": ((3, 224, 224), 138_357_544),
    "vgg19": ((3, 224, 224), 143_667_240),
}

# Trainable values, as the authors' released models have them; where a paper gives no exact count, the sum of its layers.
TRAINABLE = {
    "bert_base": ((128,), 109_482_240),
    "convnext_tiny": ((3, 224, 224), 28_589_128),
    "dlrm_small": ((39,), 13_924_673),  # without its cap on the tables: see below
    "efficientnet_b0": ((3, 224, 224), 5_288_548),
    "gpt2_small": ((1024,), 124_439_808),  # of the released model; the paper rounds to 117 million
    "mobilenet_v3_large": ((3, 224, 224), 5_483_032),
    # Layer by layer: convolutions 384 + 3 x 20,544, LSTMs 3,769,344 + 132,096 with both biases of PyTorch, classes 2,322.
    "sensor_net": ((24, 113), 3_965_778),
    "smollm2_135m": ((128,), 134_515_008),
    # Embedding 18,765 x 300, windows (3 + 4 + 5) x 300 x 100 + 300, classes 600 + 2.
    "text_cnn": ((56,), 18_765 * 300 + 12 * 30_000 + 300 + 602),
    "tinyllama_1b": ((512,), 1_100_048_384),
    "unet": ((1, 572, 572), 31_030_658),  # the paper's figure 1; it gives no count
    "vit_b_16": ((3, 224, 224), 86_567_656),
}

# Of text and pictures less will do; their expected outputs say with which options they were made.
SMALLER: dict[str, dict[str, int]] = {
    "bert_base": {"sequence_length": 16},
    "gpt2_small": {"sequence_length": 16},
    "smollm2_135m": {"sequence_length": 16},
    "unet": {"side": 188},
}


def test_every_model_is_in_one_of_the_tables() -> None:
    assert sorted([*STORED, *TRAINABLE]) == list_models()


@pytest.mark.parametrize("name", list_models())
def test_input_shape_and_parameter_count(name: str) -> None:
    with torch.device("meta"):
        model = get_model(name)
    shape, count = STORED.get(name) or TRAINABLE[name]
    assert model.input_shape == shape
    assert (model.num_stored_values() if name in STORED else model.num_parameters()) == count
    assert model.title


def test_the_recommendation_model_of_the_paper_has_540_million_parameters() -> None:
    with torch.device("meta"):
        assert round(get_model("dlrm_small", max_rows=0).num_parameters() / 1e6) == 541


@pytest.mark.parametrize("name", list_models())
def test_output_and_targets_fit_each_other(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = get_model(name, **SMALLER.get(name, {})).eval()
    inputs, targets = model.inputs(2, generator), model.targets(2, generator)
    output = model(map_tensors(lambda tensor: tensor.to("meta"), inputs))
    loss = model.loss(output, targets.to("meta"))
    assert loss.shape == ()
    if model.unit in {"images", "frames"} and name != "unet":
        assert output.shape == (2, model.num_classes)


# tinyllama_1b needs 5 GB; it is smollm2_135m with other numbers.
@pytest.mark.integration
@pytest.mark.parametrize("name", [name for name in list_models() if name != "tinyllama_1b"])
def test_expected_output(name: str) -> None:
    """What seeded weights give for a seeded batch. `EXPECTTEST_ACCEPT=1 pytest tests/test_models.py -k NAME` accepts what it is now."""
    CHECKS["expected output"](Subject(name, SMALLER.get(name, {})))


@pytest.mark.integration
@pytest.mark.parametrize(
    "name", ["bert_base", "convnext_tiny", "dlrm_small", "resnet18", "smollm2_135m", "unet", "vit_b_16"]
)
def test_scripted_models_give_what_they_give_otherwise(name: str) -> None:
    assert CHECKS["script"](Subject(name, SMALLER.get(name, {}))) == "the same output"


@pytest.mark.parametrize("name", ["deep_mnist", "sensor_net"])
def test_our_models_pass_the_list_for_new_ones(name: str) -> None:
    found = {title: status for title, status, _ in check_model(Subject(name, SMALLER.get(name, {})))}
    assert set(found) == set(CHECKS)
    assert "failed" not in found.values()


@pytest.mark.parametrize("name", list_models())
def test_every_model_is_exported_described_and_has_options_by_name(name: str) -> None:
    for check in ("exported", "described", "documented", "options"):
        CHECKS[check](Subject(name, SMALLER.get(name, {})))


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "inception3",
        "inception4",
        "efficientnet_b0",
        "mobilenet_v3_large",
        "vit_b_16",
        "gpt2_small",
        "bert_base",
    ],
)
def test_constructors_of_layers_reach_every_layer(name: str) -> None:
    norms, activations = re.findall(r"of (\d+) of (\d+) layers", CHECKS["layers"](Subject(name)))
    assert norms[0] == norms[1]
    if name != "mobilenet_v3_large":  # its first blocks keep ReLU
        assert activations[0] == activations[1]


def test_layers_are_chosen_by_name_or_by_constructor() -> None:
    with torch.device("meta"):
        named = get_model("resnet18", norm="group", activation="silu", num_classes=7)
        passed = get_model("resnet18", norm=torch.nn.InstanceNorm2d)
    assert sum(isinstance(module, torch.nn.GroupNorm) for module in named.modules()) == 21
    assert any(isinstance(module, torch.nn.SiLU) for module in named.modules())
    assert named.num_classes == 7
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in [*named.modules(), *passed.modules()])
    with pytest.raises(TypeError, match="did you mean group"):
        get_model("resnet18", norm="grouop")
    with pytest.raises(TypeError, match="there are elu, gelu"):
        get_model("resnet18", activation="xyz")


def broken(**changes: Any) -> type[Model]:
    """A registered model that is not as it should be."""

    class Broken(Model):
        """Broken on purpose (2026)."""

        title = "Broken"
        input_shape = (4,)
        num_classes = 3

        def __init__(self, *, activation: Any = torch.nn.ReLU) -> None:
            super().__init__()
            self.activation = torch.nn.ReLU()  # whatever was asked for
            self.layer = torch.nn.Linear(4, 3)
            self.unused = torch.nn.Linear(1, 1) if "unused" in changes else None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * changes.get("factor", 1.0) + changes.get("noise", 0.0) * torch.rand(1)

    return Broken


@pytest.mark.parametrize(
    ("check", "changes", "said"),
    [
        ("exported", {}, "is not in __all__"),
        ("backward", {"unused": True}, "no gradient reaches unused.weight"),
        ("forward", {"factor": float("inf")}, "the loss is"),
        ("layers", {}, "the option activation is taken, but none of the 1 layers"),
        ("documented", {}, "docs/models.md does not speak of it"),
        ("autocast", {"factor": float("nan")}, "under autocast the loss is nan"),
        ("expected output", {}, "EXPECTTEST_ACCEPT=1"),
    ],
)
def test_the_list_finds_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, check: str, changes: dict[str, Any], said: str
) -> None:
    monkeypatch.setitem(model_factory.BUILDERS, "broken", broken(**changes))
    with pytest.raises(CheckError, match=said):
        CHECKS[check](Subject("broken"))


def test_inference_changes_no_weights_and_records_no_gradients() -> None:
    model = get_model("resnet18")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output = inference_step(model)((model.inputs(2, torch.Generator()), None))
    assert not output.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_decoder_does_not_see_what_comes_later() -> None:
    torch.manual_seed(0)
    model = get_model("gpt2_small", sequence_length=8).eval()
    tokens = model.inputs(1, torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 5] += 1
    with torch.inference_mode():
        before, after = model(tokens)[0], model(changed)[0]
    assert torch.allclose(before[:5], after[:5], atol=1e-5)
    assert not torch.allclose(before[5], after[5])


def test_an_encoder_sees_what_comes_later() -> None:
    torch.manual_seed(0)
    model = get_model("bert_base", sequence_length=8).eval()
    tokens = model.inputs(1, torch.Generator().manual_seed(0))
    changed = tokens.clone()
    changed[0, 5] += 1
    with torch.inference_mode():
        before, after = model(tokens)[0], model(changed)[0]
    assert not torch.allclose(before[0, 0], after[0, 0])


@pytest.mark.integration
def test_decoding_from_the_cache_gives_what_the_whole_sequence_gives() -> None:
    torch.manual_seed(0)
    model = get_model("smollm2_135m", sequence_length=6, new_tokens=5).eval()
    prompt = model.inputs(2, torch.Generator().manual_seed(0))
    made = Generation(model, 2, lambda: None)((prompt, None))
    assert made.shape == (2, 5)
    sequence = prompt
    with torch.inference_mode():
        for _ in range(5):
            sequence = torch.cat([sequence, model(sequence)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(made, sequence[:, 6:])


@pytest.mark.integration
def test_generation_tells_prefill_from_decode() -> None:
    model = get_model("smollm2_135m", sequence_length=32, new_tokens=3)
    step = Generation(model, 2, lambda: None)
    for _ in range(3):
        step((model.inputs(2, torch.Generator()), None))
    found = step.metrics(batches=2, replicas=1)
    assert found["results.prefill_throughput"] == pytest.approx(2 * 32 * 1000 / found["results.time_prefill"])
    assert found["results.decode_throughput"] == pytest.approx(2 * 2 * 1000 / found["results.time_decode"])


def test_left_out_branches_keep_the_mean() -> None:
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    kept = layer(torch.ones(20_000, 1, 1, 1)).flatten()
    assert sorted(set(kept.tolist())) == [0.0, pytest.approx(4 / 3)]
    assert float(kept.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(layer.eval()(kept), kept)


def test_categories_lie_in_their_tables() -> None:
    with torch.device("meta"):
        model = get_model("dlrm_small", max_rows=50)
    _, categories = model.inputs(500, torch.Generator())
    assert categories.min() == 0
    assert categories.max() == 49
    assert model.num_parameters() < 600_000


def test_a_sequence_cannot_be_longer_than_the_positions() -> None:
    with pytest.raises(TypeError, match="1 to 1024"):
        get_model("gpt2_small", sequence_length=2000)


def test_names_and_patterns() -> None:
    assert "resnet18" in list_models("resnet*")
    assert "vgg11" not in list_models("resnet*")
    assert list_models("nope*") == []


def test_an_unknown_model_suggests_the_closest() -> None:
    with pytest.raises(UnknownModelError, match="did you mean resnet50"):
        get_model("resnet5o")


def test_a_provider_that_does_not_import_is_one_line() -> None:
    for provider in ("torchvision", "timm"):
        if importlib.util.find_spec(provider) is None:
            with pytest.raises(UsageError, match=f"needs the package {provider}, which does not import here"):
                get_model(f"{provider}:resnet18")
    with pytest.raises(UnknownModelError, match="there are torchvision, timm, transformers"):
        get_model("torchvison:resnet18")


def test_the_factory_of_the_reference() -> None:
    assert ModelFactory.get_model("deep_mnist").title == "DeepMNIST"
    assert ModelFactory.models() == list_models()


def test_two_models_cannot_have_one_name() -> None:
    with pytest.raises(ValueError, match="two models"):
        register_model("deep_mnist")(Model)
