"""What is said when a model cannot be built with the options that were given."""

from __future__ import annotations

import pytest
import torch

from benchmark_core.exits import UnknownModelError, UsageError
from benchmark_core.program import built_with
from pytorch_benchmarks.options import CommonOptions
from pytorch_benchmarks.workload import requested_model


@pytest.mark.parametrize(
    ("model", "model_opts", "said"),
    [
        ("deep_mnist", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("vgg11", {"num_classes": 2, "dropout": 50}, "dropout probability has to be between 0 and 1, but got 50"),
        ("resnet18", {"num_classes": -1}, "num_classes must be at least 1, not -1"),
        ("efficientnet_b0", {"drop_path": 1.5}, r"drop_path must be a number from 0 to below 1, not 1\.5"),
        ("convnext_tiny", {"drop_path": float("nan")}, "drop_path must be a number from 0 to below 1, not nan"),
        (
            "vgg11",
            {"num_classes": 2, "activation": []},
            r"'list' object is not callable \(without activation, it runs\)",
        ),
        ("resnet18", {"norm": "layer"}, "normalise the features of tokens"),
        ("gpt2_small", {"sequence_length": 1.5}, r"sequence_length must be a whole number, not 1\.5"),
        ("gpt2_small", {"sequence_length": 2000}, "sequence_length must be 1 to 1024, not 2000"),
        ("smollm2_135m", {"sequence_length": "x"}, "sequence_length must be a whole number, not 'x'"),
        ("smollm2_135m", {"new_tokens": 1}, "new_tokens must be at least 2, not 1"),
        ("unet", {"side": 204.0}, r"side must be a whole number, not 204\.0"),
        ("dlrm_small", {"max_rows": True}, "max_rows must be a whole number, not True"),
    ],
)
def test_a_value_that_a_builder_rejects_is_an_error_of_the_options(
    model: str, model_opts: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=f"--model_opts do not fit {model}: .*{said}"):
        requested_model(CommonOptions(model=model, model_opts=model_opts))


@pytest.mark.parametrize(
    ("model", "model_opts", "said"),
    [
        ("bert", {"sequence_length": 513}, "sequence_length must be 1 to 512, not 513"),
        (
            "roberta",
            {"sequence_length": 512, "max_position_embeddings": 512},
            "sequence_length must be 1 to 510, not 512",
        ),
        ("gpt2", {"n_positions": 8, "sequence_length": 9}, "sequence_length must be 1 to 8, not 9"),
        ("llama", {"sequence_length": 0}, "sequence_length must be at least 1, not 0"),
        ("bert", {"hiden_size": 8}, "BertConfig has no field 'hiden_size': did you mean hidden_size"),
        ("gpt2", {"nope": 1}, "GPT2Config has no field 'nope'$"),
        ("bert", {"num_attention_heads": "x"}, "num_attention_heads.*expected int, got str"),
    ],
)
def test_a_value_that_another_package_rejects_is_an_error_of_the_options(
    model: str, model_opts: dict[str, object], said: str
) -> None:
    pytest.importorskip("transformers")
    with (
        torch.device("meta"),
        pytest.raises(UsageError, match=f"--model_opts do not fit transformers:{model}: .*{said}"),
    ):
        requested_model(CommonOptions(model=f"transformers:{model}", model_opts=model_opts))


def test_names_that_another_package_converts_are_options() -> None:
    pytest.importorskip("transformers")
    options = {"num_labels": 3, "attn_implementation": "eager", "hidden_size": 8, "num_attention_heads": 1}
    with torch.device("meta"):
        assert requested_model(CommonOptions(model="transformers:vit", model_opts=options)).num_classes == 3
        gpt2 = requested_model(CommonOptions(model="transformers:gpt2", model_opts={"hidden_size": 12}))  # n_embd
    assert gpt2.num_parameters() < 10**6


def test_models_that_compute_positions_take_any_number_of_tokens() -> None:
    pytest.importorskip("transformers")
    small = {
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
    }
    options = {**small, "vocab_size": 8, "max_position_embeddings": 4, "sequence_length": 16}
    assert requested_model(CommonOptions(model="transformers:llama", model_opts=options)).input_shape == (16,)


def test_images_of_transformers_may_have_two_sides() -> None:
    pytest.importorskip("transformers")
    with torch.device("meta"):
        model = requested_model(CommonOptions(model="transformers:vit", model_opts={"image_size": [32, 48]}))
    assert model.input_shape == (3, 32, 48)


def test_an_error_of_any_type_is_one_of_the_options() -> None:
    class OtherError(Exception):
        pass

    with (
        pytest.raises(UsageError, match=r"--model_opts do not fit m: in the field: 3 is not a name$"),
        built_with({"n": 3}, "m"),
    ):
        raise OtherError("in the field:\n    3 is not a name\nmore")
    with pytest.raises(UsageError, match=r"--model_opts do not fit m: not a number$"), built_with({"n": 3}, "m"):
        raise TypeError("not a number\nframe #1 of a stack in C++")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes"),
        MemoryError(),
        FileNotFoundError("a file"),
        UnknownModelError("unknown model"),
    ],
)
def test_other_errors_are_not_those_of_options(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, built_with({"depth": 3}, "m"):
        raise error
    assert caught.value is error


def test_without_options_a_bug_is_a_bug() -> None:
    with pytest.raises(ValueError, match="a bug"), built_with({}, "m"):
        raise ValueError("a bug")
