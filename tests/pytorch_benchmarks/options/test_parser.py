"""Command lines of the programs, made from the fields of their options."""

from __future__ import annotations

from typing import Any

import pytest

from benchmark_core.options import options_of
from pytorch_benchmarks.options import BenchmarkOptions, CommonOptions, parse_benchmark_options
from pytorch_benchmarks.training.options import TrainingOptions, parse_training_options

KINDS = [CommonOptions, BenchmarkOptions, TrainingOptions]


def test_without_arguments_every_option_has_the_default_of_its_field() -> None:
    assert parse_benchmark_options(["--model=m"]) == BenchmarkOptions("m")
    training = parse_training_options(["--model=m", "--data_dir=d"])
    assert training == TrainingOptions("m", data_dir="d", output_dir="trained/m")


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--batch_size=4"], "batch_size", 4),
        (["--batch-size", "4"], "batch_size", 4),
        (["--num-warmup-batches=auto"], "num_warmup_batches", None),
        (["--num_warmup_batches=0"], "num_warmup_batches", 0),
        (["--channels-last"], "channels_last", True),
        (["--channels_last", "yes"], "channels_last", True),
        (["--cudnn_benchmark=false"], "cudnn_benchmark", False),
        *((["--forward_only", word], "forward_only", True) for word in ("t", "true", "True", "y", "yes", "on", "1")),
        *((["--cudnn_benchmark", word], "cudnn_benchmark", False) for word in ("f", "FALSE", "n", "no", "off", "0")),
        (["--data=synthetic"], "data", "synthetic"),
        (["--dist-backend", "gloo"], "dist_backend", "gloo"),
        (["--local-rank=1"], "local_rank", 1),
        (["--local_rank", "0"], "local_rank", 0),
        (["--compile"], "compile", "default"),
        (["--compile="], "compile", ""),
        (["--passes=flops"], "passes", ("flops",)),
        (["--passes=none"], "passes", ()),
        (["--model_opts", '{"depth": 3}'], "model_opts", {"depth": 3}),
        (["--model_opts="], "model_opts", {}),
        (["--pack_args", '["a-b", 1]'], "pack_args", ("a-b", "1")),
        (["--json=out-of-range.json"], "json", "out-of-range.json"),
        (["--min_time=0.5"], "min_time", 0.5),
        (["--seed=-1"], "seed", -1),
    ],
)
def test_an_argument_becomes_a_value(flags: list[str], name: str, value: Any) -> None:
    assert getattr(parse_benchmark_options(["--model=m", *flags]), name) == value


def test_options_of_training_that_are_empty_are_taken_from_elsewhere() -> None:
    options = parse_training_options(["--model=a:b", "--data_dir=d", "--norm_weight_decay=", "--bias_weight_decay=0"])
    assert (options.norm_weight_decay, options.bias_weight_decay, options.crop_pct) == (None, 0.0, None)
    assert options.output_dir == "trained/a-b"


def test_a_model_of_a_pack_has_the_name_of_its_directory() -> None:
    assert parse_benchmark_options(["--pack=/packs/mine/", "--pack_loader=/suite/load.py"]).model == "mine"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--model is required"),
        (["--model=m", "--batch_size=0"], "argument --batch_size: must be at least 1, not 0"),
        (["--model=m", "--batch-size=x"], "argument --batch_size: 'x' is not an integer"),
        (["--model=m", "--min_time=-1"], "must be at least 0, not -1"),
        (["--model=m", "--min_time=inf"], "must be at least 0, not inf"),
        (["--model=m", "--amp=maybe"], "'maybe' is neither true nor false"),
        (["--model=m", "--dist_backend=ncl"], "invalid choice: 'ncl'"),
        (["--model=m", "--local_rank=-2"], "must be at least -1"),
        (["--model=m", "--dtype=float17"], "invalid choice: 'float17'"),
        (["--model=m", "--passes=time"], "'time' is not one of memory, flops, none"),
        (["--model=m", "--model_opts=[1]"], "'[1]' is not a JSON object"),
        (["--model=m", "--model_opts={"], "'{' is not JSON"),
        (["--model=m", "--pack_args={}"], "'{}' is not a JSON list"),
        (["--model=m", "--seed=x"], "argument --seed: invalid int value"),
        (["--model=m", "--num-batchs=3"], "unknown argument --num-batchs: did you mean --num_batches?"),
        (["--model=m", "--bat=3"], "unknown argument --bat"),
        (["--model=m", "stray"], "unknown argument stray"),
    ],
)
def test_a_wrong_argument_of_a_benchmark_is_one_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_benchmark_options(flags)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert error.endswith("(benchmarks.py --help lists the options)\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model=resnet18"], "--data_dir is required"),
        (["--data_dir=d"], "--model is required"),
        (["--model=resnet18", "--data_dir=d", "--test_only"], "--test_only requires --weights"),
        (["--model=resnet18", "--data_dir=d", "--lr=-1"], "must be at least 0"),
        (["--model=resnet18", "--data_dir=d", "--label_smoothing=2"], "must be at most 1"),
        (["--model=resnet18", "--data_dir=d", "--optimiser=sgd"], "did you mean --optimizer"),
    ],
)
def test_a_wrong_argument_of_a_training_is_one_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_training_options(flags)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("parse", [parse_benchmark_options, parse_training_options])
def test_the_help_has_every_option_with_its_text_and_fits_80_columns(
    parse: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    assert ended.value.code == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    kind = BenchmarkOptions if parse is parse_benchmark_options else TrainingOptions
    words = "".join(page.split()).replace("-", "")
    for one, known in options_of(kind):
        assert f"  --{one.name} " in page
        assert "".join(known.help.split()).replace("-", "") in words


@pytest.mark.parametrize("kind", KINDS)
def test_help_texts_are_sentences(kind: type[CommonOptions]) -> None:
    for one, known in options_of(kind):
        assert known.help[0].isupper(), one.name
        assert known.help.endswith("."), one.name
