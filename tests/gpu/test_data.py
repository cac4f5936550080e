"""Batches that come to the device through streams are those that a CPU gets, however slow the device is."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks.data import make_dataset
from pytorch_benchmarks.data.loader import page_locked
from pytorch_benchmarks.data.source import ahead, open_source, synthetic_batches
from pytorch_benchmarks.devices import World
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.options import parse_benchmark_options
from tests.gpu.work import sleep

BATCHES = 24  # more than a ring has places, several times over
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["image_folder", "caffe_lmdb"])
def data_set(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A backend, and a small data set of it."""
    backend: str = request.param
    if backend == "caffe_lmdb":
        pytest.importorskip("lmdb", reason="needs the package lmdb")
    directory = tmp_path_factory.mktemp("data") / backend
    size = ["--num_images=64", "--height=72", "--width=72", "--num_classes=4"]
    assert make_dataset.main([backend, str(directory), *size]) == 0
    shutil.copytree(directory, _for_cpu(directory))  # an LMDB can be opened once in a process
    return backend, directory


def _for_cpu(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}_for_cpu")


def batches(
    data_set: tuple[str, Path], device: torch.device, *flags: str, on_cpu_to_compare: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    backend, directory = data_set
    if on_cpu_to_compare:
        directory = _for_cpu(directory)
    options = parse_benchmark_options(
        ["--model=resnet18", "--batch_size=6", f"--data_dir={directory}", f"--data_backend={backend}", *flags]
    )
    model = get_model("resnet18") if not _MODELS else _MODELS[0]
    _MODELS[:] = [model]
    source = open_source(options, model, device=device, dtype=torch.float32, world=World())
    return source.batches


_MODELS: list[Any] = []  # one for all tests: it only says which shape its inputs have


def sums(taken: Iterator[tuple[Tensor, Tensor]], count: int = BATCHES) -> list[tuple[float, float]]:
    """A number for the inputs of each batch, and one for its targets."""
    return [(float(x.double().sum()), float(y.sum())) for x, y in itertools.islice(taken, count)]


@pytest.mark.integration
@pytest.mark.parametrize("loader", ["threads", "processes"])
@pytest.mark.parametrize("layout", ["--channels_last=false", "--channels_last=true"])
def test_batches_are_those_of_the_cpu(
    device: torch.device, data_set: tuple[str, Path], loader: str, layout: str
) -> None:
    expected = batches(data_set, CPU, "--num_loader_threads=0", layout, on_cpu_to_compare=True)
    found = batches(data_set, device, "--num_loader_threads=2", f"--data_loader={loader}", layout)
    for (inputs, targets), (same, labels) in itertools.islice(zip(found, expected, strict=True), 12):
        assert inputs.device.type == device.type
        assert inputs.stride() == same.stride()
        torch.testing.assert_close(inputs.cpu(), same, rtol=1e-5, atol=1e-5)
        assert torch.equal(targets.cpu(), labels)


@pytest.mark.alone
@pytest.mark.parametrize("loader", ["threads", "processes"])
def test_a_slow_model_gets_every_batch_whole(cuda: torch.device, data_set: tuple[str, Path], loader: str) -> None:
    """The host runs ahead while kernels that work on earlier batches still wait: nobody may write to their memory."""
    expected = sums(batches(data_set, CPU, "--num_loader_threads=0", on_cpu_to_compare=True))
    found = []
    for inputs, targets in itertools.islice(
        batches(data_set, cuda, "--num_loader_threads=2", f"--data_loader={loader}"), BATCHES
    ):
        sleep(20)
        found.append((inputs.double().sum(), targets.sum()))  # in the stream, behind the kernel that waits
    torch.cuda.synchronize(cuda)
    for (inputs, targets), (same, labels) in zip(found, expected, strict=True):
        assert float(inputs) == pytest.approx(same, rel=1e-4, abs=1.0)
        assert float(targets) == labels


@pytest.mark.alone
def test_memory_shared_by_processes_is_page_locked_within_the_block(cuda: torch.device) -> None:
    shared = torch.arange(1 << 20).share_memory_()
    with page_locked(shared, torch.ones(3).share_memory_()) as locked:
        assert locked
        assert shared.is_pinned()
        copied, done = torch.empty_like(shared, device=cuda), torch.cuda.Event()
        done.record()
        sleep(50)
        copied.copy_(shared, non_blocking=True)
        done.record()
        assert not done.query()  # the host did not wait
    assert done.query()  # but before the memory is released
    assert not shared.is_pinned()
    assert torch.equal(copied.cpu(), torch.arange(1 << 20))


def test_memory_that_cannot_be_page_locked_is_used_as_it_is(cuda: torch.device) -> None:
    """CUDA refuses memory that is registered already; its error does not come back at the next kernel."""
    shared = torch.ones(1 << 20).share_memory_()
    with page_locked(shared), page_locked(torch.ones(3).share_memory_(), shared) as locked:
        assert not locked
        assert float(shared.to(cuda).sum()) == 1 << 20
    assert not shared.is_pinned()


@pytest.mark.alone
@pytest.mark.parametrize("slow", ["the copy", "the model", "both", "neither"])
def test_memory_of_the_host_is_used_again_only_after_it_was_copied(cuda: torch.device, slow: str) -> None:
    """A producer that overwrites its one pinned batch each time: the worst that a ring can do."""
    host = torch.empty(1 << 20, dtype=torch.int32).pin_memory()

    def produce() -> Iterator[Tensor]:
        for number in itertools.count():
            host.fill_(number)
            yield host

    def prepare(batch: Tensor) -> tuple[Tensor, Tensor]:
        if slow in {"the copy", "both"}:
            sleep(10)
        made = batch.to(cuda, non_blocking=True)
        return made, made + 0

    results = []
    for inputs, derived in itertools.islice(ahead(produce(), prepare, cuda), BATCHES):
        if slow in {"the model", "both"}:
            sleep(10)
        results.append(torch.stack([inputs.min(), inputs.max(), derived.min(), derived.max()]))
        del inputs, derived  # their memory may be given to the next batch while the kernels above still wait
    for number, result in enumerate(results):
        assert result.tolist() == [number] * 4


@pytest.mark.alone
def test_the_next_batch_is_copied_while_the_model_works(cuda: torch.device, figures: dict[str, Any]) -> None:
    """Copying 64 MB and 20 ms of work, beside work alone: the copies hide behind the work."""
    host = torch.zeros(16 << 20, dtype=torch.int32).pin_memory()

    def run(taken: Iterator[Any]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        next(taken)
        begin.record()
        for _ in range(10):
            next(taken)
            sleep(20)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)

    alone = run(itertools.repeat(None))

    def prepare(batch: Tensor) -> tuple[Tensor, Tensor]:
        made = batch.to(cuda, non_blocking=True)
        return made, made

    copying = run(ahead(itertools.repeat(host), prepare, cuda))
    figures.update({"work ms": alone, "with copies ms": copying, "ratio": copying / alone})
    assert copying < 1.25 * alone


def test_synthetic_batches_are_the_same_wherever_they_are_kept(device: torch.device) -> None:
    model = get_model("deep_mnist")

    def batch(memory: str, on: torch.device) -> tuple[Any, Any]:
        made = synthetic_batches(model, 4, device=on, dtype=torch.float32, seed=5, memory=memory)
        next(made)
        return next(made)

    inputs, targets = batch("device", CPU)
    for memory in ("device", "pageable") if device.type == "cpu" else ("device", "pinned", "pageable"):
        found, labels = batch(memory, device)
        assert found.device.type == labels.device.type == device.type
        assert torch.equal(found.cpu(), inputs)
        assert torch.equal(labels.cpu(), targets)


def test_synthetic_text_and_tables_come_too(device: torch.device) -> None:
    """Inputs that are tuples, and integers."""
    model = get_model("dlrm_small")
    memory = "device" if device.type == "cpu" else "pinned"
    expected = next(synthetic_batches(model, 2, device=CPU, dtype=torch.float32, seed=5))
    found = next(synthetic_batches(model, 2, device=device, dtype=torch.float32, seed=5, memory=memory))
    for one, same in zip(found[0], expected[0], strict=True):
        assert torch.equal(one.cpu(), same)
