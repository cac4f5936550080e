"""Requests that the model under load cannot fulfil."""

from __future__ import annotations

import pytest
import torch
from torch.torch_version import TorchVersion

from benchmark_core.exits import UsageError
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.serving import run


@pytest.mark.parametrize(
    ("version", "flags", "is_possible"),
    [
        ("2.11.0+cu130", ("--serving_workers=2", "--compile=reduce-overhead"), False),
        ("2.12.1", ("--serving_workers=2", "--compile=max-autotune"), False),
        ("2.13.0", ("--serving_workers=2", "--compile=reduce-overhead"), True),
        ("2.11.0", ("--serving_workers=1", "--compile=reduce-overhead"), True),
        ("2.11.0", ("--serving_workers=2", "--compile=default"), True),
        ("2.11.0", ("--serving_workers=2", "--compile=max-autotune", "--serving_worker_kind=processes"), True),
    ],
)
def test_threads_with_cuda_graphs_need_a_pytorch_that_has_them(
    monkeypatch: pytest.MonkeyPatch, version: str, flags: tuple[str, ...], is_possible: bool
) -> None:
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    options = parse_benchmark_options(["--model=m", "--serving", *flags])
    run._check_graphs(options, torch.device("cpu"))
    if is_possible:
        run._check_graphs(options, torch.device("cuda", 0))
        return
    with pytest.raises(UsageError, match=r"captures CUDA graphs, which PyTorch .* supports in one thread"):
        run._check_graphs(options, torch.device("cuda", 0))
