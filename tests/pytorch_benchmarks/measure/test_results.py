"""What is reported beside times: a pass that fails costs no results."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from benchmark_core.exits import UsageError
from benchmark_core.log import Log
from pytorch_benchmarks.data.source import Source
from pytorch_benchmarks.devices import choose_precision
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.results import log_passes
from pytorch_benchmarks.workload import Workload

CPU = torch.device("cpu")


def passes_of(step: Any, **options: Any) -> Log:
    chosen = BenchmarkOptions(model="deep_mnist", **options)
    log = Log()
    log.values |= {"results.time": 5.0, "exp.device_title": "a CPU"}
    source = Source(itertools.repeat((None, None)), "nothing")
    workload = Workload("training", get_model("deep_mnist"), source, step, step, 0.0)
    log_passes(log, chosen, workload, CPU, choose_precision(chosen, CPU))
    return log


def test_a_pass_that_fails_is_a_warning_and_the_others_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    def step(_: Any) -> None:
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("no counting here\nand more")

    log = passes_of(step)
    assert log.values["results.memory_host"] > 0
    assert "results.flops" not in log.values
    (warning,) = log.values["results.warnings"]
    assert warning == "operations not counted: RuntimeError: no counting here; disable it (pytorch.passes)"


def test_every_pass_may_fail(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def step(_: Any) -> None:
        raise ValueError

    log = passes_of(step, profile=str(tmp_path / "trace.json"))
    kinds = [warning.partition(":")[0] for warning in log.values["results.warnings"]]
    assert kinds == ["memory not measured", "operations not counted", "profile not written"]


def test_an_option_that_cannot_be_met_stays_an_error(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="--profile: cannot write"):
        passes_of(lambda _: None, passes=(), profile=str(tmp_path / "missing" / "trace.json"))
