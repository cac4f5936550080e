"""Errors of frameworks that users can act on, and the end of a program."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from benchmark_core.exits import BenchmarkError, LostReplicaError, OutOfMemoryError, UsageError
from benchmark_core.program import end, explain
from pytorch_benchmarks.options import parse_benchmark_options


def explained(text: str, *options: str) -> BenchmarkError | None:
    return explain(RuntimeError(text), parse_benchmark_options(["--model=m", *options]))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : bfc_arena.cc:376 Failed to allocate memory for requested buffer",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc",
    ],
)
def test_messages_of_too_little_memory(text: str) -> None:
    assert isinstance(explained(text), OutOfMemoryError)


def test_other_errors_of_cudnn_are_no_lack_of_memory() -> None:
    assert explained("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED") is None


def test_an_operation_that_a_graph_cannot_contain() -> None:
    text = "CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors might be asynchronous"
    error = explained(text, "--cuda_graphs=true")
    assert isinstance(error, UsageError)
    assert "omit --cuda_graphs (CUDA error: operation not permitted when stream is capturing)" in str(error)
    assert explained(text) is None


def test_an_operation_that_is_never_deterministic_is_named() -> None:
    text = (
        "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set "
        "'torch.use_deterministic_algorithms(True)'. You can turn off determinism just for this operation"
    )
    error = explained(text, "--deterministic=true")
    assert isinstance(error, UsageError)
    assert str(error).endswith("on this device, adaptive_avg_pool2d_backward_cuda: omit --deterministic")


def test_a_loader_process_that_was_killed_while_the_model_computed() -> None:
    error = explained("DataLoader worker (pid 7) is killed by signal: Bus error. ")
    assert str(error).startswith("a data loader process died: DataLoader worker (pid 7) is killed by signal: Bus error")


NCCL = "NCCL error in: NCCLUtils.cpp:94, {}, NCCL version 2.28.9\n{}: {}\nLast error:\n{}"


class DistBackendError(RuntimeError):
    """As torch has one."""


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (
            NCCL.format("remote process exited or there was a network error", "ncclRemoteError", "A call failed.", "socketPollConnect: connection refused"),
            LostReplicaError,
            "the connection to another replica was lost: NCCL error in: NCCLUtils.cpp:94, remote process exited or there was a network error, "
            "NCCL version 2.28.9: socketPollConnect: connection refused",
        ),
        (
            NCCL.format("invalid usage", "ncclInvalidUsage", "This reflects invalid usage.", "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 10"),
            BenchmarkError,
            "replicas cannot communicate: NCCL error in: NCCLUtils.cpp:94, invalid usage, NCCL version 2.28.9: "
            "Duplicate GPU detected : rank 0 and rank 1 both on CUDA device 10",
        ),
        (
            NCCL.format("unhandled system error", "ncclSystemError", "System call failed.", "Error while creating shared memory segment /dev/shm/nccl-x (size 9637888)"),
            BenchmarkError,
            "replicas cannot communicate: NCCL error in: NCCLUtils.cpp:94, unhandled system error, NCCL version 2.28.9: Error while creating shared "
            "memory segment /dev/shm/nccl-x (size 9637888); enlarge /dev/shm (docker run --shm-size=8g, or --ipc=host)",
        ),
        (
            NCCL.format("unhandled cuda error", "ncclUnhandledCudaError", "Call to CUDA function failed.", "Cuda failure 2 'out of memory'"),
            OutOfMemoryError,
            None,
        ),
        ("", LostReplicaError, "the connection to another replica was lost: no message"),
    ],
    ids=["a lost replica", "one GPU for two", "little shared memory", "no memory", "no message"],
)  # fmt: skip
def test_errors_of_nccl_name_their_cause(
    text: str, kind: type[BenchmarkError], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only some of them mean that another replica is gone: it has the better reason then."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    error = explain(DistBackendError(text), parse_benchmark_options(["--model=m"]))
    assert type(error) is kind
    assert expected is None or str(error) == expected


@pytest.mark.parametrize(
    ("code", "replica", "at_once"), [(0, False, False), (1, False, False), (0, True, False), (1, True, True)]
)
def test_a_failed_replica_ends_at_once_even_if_it_compiled(
    code: int, replica: bool, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EndedError(Exception):
        pass

    def ended(code: int) -> None:
        raise EndedError

    monkeypatch.setattr(os, "_exit", ended)
    name = "torch._inductor.async_compile"
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    if replica:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    else:
        monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(EndedError if at_once else SystemExit):
        end(code)


def test_too_little_memory_of_the_host_is_named_too() -> None:
    options = parse_benchmark_options(["--model=m"])
    said = "Unable to allocate 5.70 TiB for an array with shape (2000000000, 784) and data type float32"
    assert said in str(explain(MemoryError(said), options))
    assert isinstance(explain(MemoryError(), options), OutOfMemoryError)
