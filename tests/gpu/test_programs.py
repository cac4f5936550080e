"""Whole programs on a GPU: running out of memory, sharing the GPU, being stopped, being watched, being launched by dlbs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from dlbs.core.logs import parse_line
from tests.conftest import ROOT, RunDlbs
from tests.forked import ForkServer
from tests.gpu.work import logged
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

PYTHON = ROOT / "python"
PROGRAM = PYTHON / "pytorch_benchmarks" / "benchmarks.py"
TORCHRUN = PYTHON / "pytorch_benchmarks" / "torchrun.py"
MB = 1 << 20
SMALL = ("--model=deep_mnist", "--batch_size=4", "--num_batches=5", "--num_warmup_batches=1")
ENDLESS = ("--model=deep_mnist", "--batch_size=4", "--min_time=600")
Start = Callable[..., "subprocess.Popen[str]"]
Finish = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start benchmarks.py, in a process group of its own; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def finish(forked_torch: ForkServer, tmp_path: Path) -> Finish:
    """Run benchmarks.py, or another `program`, to its end: exit code, log values and stderr."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str, program: Path = PROGRAM, **variables: str) -> tuple[int, dict[str, Any], str]:
        done = forked_torch.run(
            str(program), *arguments, directory=tmp_path, environment={**environment, **variables}, timeout=PATIENCE
        )
        return done.returncode, values_of(done.stdout), done.stderr

    return run


def values_of(output: str) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, output.splitlines()) if pair)


def wait_until_it_measures(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("__results.start_time__"):
            time.sleep(1.0)  # it is in the middle of its batches
            return
    pytest.fail(f"it ended: {process.communicate()[1]}")


def free_memory(device: torch.device) -> int:
    """Bytes of the GPU that nobody has, with PyTorch's cache of this process given back."""
    torch.cuda.synchronize(device)
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


def memory_is_back(device: torch.device, before: int) -> bool:
    """Whether so much is free again; the driver may take a second to clear it."""
    return wait_until(lambda: free_memory(device) >= before - 64 * MB, "the return of the memory")


@contextmanager
def only_free(device: torch.device, size: int) -> Iterator[None]:
    """Hold all memory of the GPU but `size` bytes, in this process."""
    held = []
    step = 64 * MB
    while (free := free_memory(device)) > size + step:
        held.append(torch.empty(min(free - size, 4096 * MB) // step * step, dtype=torch.uint8, device=device))
    try:
        yield
    finally:
        held.clear()
        torch.cuda.empty_cache()


def on(device: torch.device) -> str:
    return "--device=cpu" if device.type == "cpu" else "--device=gpu"


# What each needs is more than the 2.5 GB that are left for it, and a process needs half a GB itself.
TOO_LARGE = {
    "training": ("--model=resnet50", "--batch_size=128"),
    "inference": ("--model=vgg16", "--batch_size=512", "--forward_only=true"),
    "a graph": ("--model=resnet50", "--batch_size=128", "--cuda_graphs"),
    "ingestion": ("--model=resnet18", "--batch_size=5000", "--data_loader_only"),
    "building the model": ("--model=tinyllama_1b", "--batch_size=1", "--forward_only=true"),
    "autocast": ("--model=resnet50", "--batch_size=256", "--dtype=bfloat16", "--amp"),
}


@pytest.mark.alone
@pytest.mark.parametrize("phase", TOO_LARGE)
def test_out_of_memory_is_one_line_and_exit_code_3(cuda: torch.device, finish: Finish, phase: str) -> None:
    with only_free(cuda, 2560 * MB):
        code, values, errors = finish(*TOO_LARGE[phase], "--num_batches=2", "--device=gpu")
    assert code == 3, errors
    assert "out of memory" in values["exp.status_msg"]
    assert "--batch_size" in errors
    assert errors.strip().splitlines()[-1].startswith("error: out of memory"), errors


def test_pinned_memory_that_the_host_lacks_is_out_of_memory_too() -> None:
    """What CUDA says of it, as a recorded text: to try it would take all memory of the machine."""
    from benchmark_core.exits import OutOfMemoryError
    from benchmark_core.program import _explain
    from pytorch_benchmarks.options import parse_benchmark_options

    options = parse_benchmark_options(["--model=m"])
    for text in (
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB",
    ):
        assert isinstance(_explain(RuntimeError(text), options), OutOfMemoryError)
    assert not isinstance(_explain(RuntimeError("CUDA error: an illegal memory access"), options), OutOfMemoryError)


def test_a_replica_that_fails_says_why_even_if_it_is_not_the_first(tmp_path: Path) -> None:
    """Under a torchrun of the user's own, which ends the others at once, with exit code 1 whatever theirs was: the reason is all that a launcher has."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "--model=deep_mnist", "--weights=nowhere.pt", "--device=cpu"],
        env={**os.environ, "RANK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 2
    values = values_of(done.stdout)
    assert list(values) == ["exp.status_msg"]
    assert "nowhere.pt" in values["exp.status_msg"]


@pytest.mark.alone
def test_the_launcher_skips_larger_batches_than_one_that_did_not_fit(
    cuda: torch.device, dlbs: RunDlbs, tmp_path: Path
) -> None:
    with only_free(cuda, 3072 * MB):
        dlbs(
            "run", "-Pexp.docker=false", "-Pexp.gpus=0", "-Pexp.model=resnet50", "-Pexp.phase=training",
            "-Vexp.replica_batch=[2,128,256]", "-Pexp.num_batches=2", "-Pexp.num_warmup_batches=1",
            "-Pexp.log_file=logs/${exp.replica_batch}.log",
        )  # fmt: skip
    ended = {batch: logged(tmp_path / f"logs/{batch}.log") for batch in (2, 128, 256)}
    assert [ended[batch]["exp.status"] for batch in ended] == ["ok", "failure", "skipped"]
    assert ended[128]["exp.exit_code"] == 3
    assert "did not fit into memory" in ended[256]["exp.status_msg"]


def test_two_processes_share_a_gpu(cuda: torch.device, start: Start) -> None:
    both = [start(*SMALL, on(cuda)) for _ in range(2)]
    for process in both:
        out, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
        assert values_of(out)["results.throughput"] > 0


def test_experiments_on_one_gpu_wait_for_each_other(cuda: torch.device, dlbs: RunDlbs, tmp_path: Path) -> None:
    dlbs(
        "run", "--jobs", "2", "-Pexp.docker=false", "-Pexp.gpus=0", "-Pexp.model=deep_mnist", "-Vexp.seed=[1,2]",
        "-Pexp.num_batches=3", "-Pexp.log_file=logs/${exp.seed}.log", check=True,
    )  # fmt: skip
    for seed in (1, 2):
        values = logged(tmp_path / f"logs/{seed}.log")
        assert values["exp.status"] == "ok"
        assert "exp.neighbours" not in values or values["exp.neighbours"] == []


@pytest.mark.alone
def test_an_interrupted_program_says_so(device: torch.device, start: Start) -> None:
    process = start(*ENDLESS, on(device))
    wait_until_it_measures(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "error: interrupted" in errors
    assert "Traceback" not in errors


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda one: one.name)
def test_a_program_that_is_stopped_gives_its_memory_back(
    cuda: torch.device, start: Start, number: signal.Signals
) -> None:
    before = free_memory(cuda)
    process = start(*ENDLESS, on(cuda))
    wait_until_it_measures(process)
    assert free_memory(cuda) < before - 64 * MB
    process.send_signal(number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert memory_is_back(cuda, before)


@pytest.mark.alone
def test_a_run_that_is_interrupted_frees_the_gpu(cuda: torch.device, tmp_path: Path) -> None:
    before = free_memory(cuda)
    flags = ["-Pexp.docker=false", "-Pexp.gpus=0", "-Pexp.model=deep_mnist", "-Ppytorch.min_time=600"]
    run = subprocess.Popen(
        [sys.executable, "-m", "dlbs", "run", *flags, "-Pexp.log_file=logs/one.log"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    part = tmp_path / "logs/one.log.part"

    def measures() -> bool:
        assert run.poll() is None, run.communicate()[0]
        return part.exists() and "results.start_time" in part.read_text()

    wait_until(measures, "the beginning of its batches")
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=PATIENCE)
    assert logged(tmp_path / "logs/one.log")["exp.status"] == "cancelled"
    assert memory_is_back(cuda, before)


@pytest.mark.alone
@pytest.mark.parametrize("phase", ["training", "inference"])
def test_a_plan_on_the_gpu_has_what_a_reader_of_its_log_wants(
    cuda: torch.device, dlbs: RunDlbs, tmp_path: Path, phase: str, figures: dict[str, Any]
) -> None:
    done = dlbs(
        "run", "-Pexp.docker=false", "-Pexp.gpus=0", "-Pexp.model=resnet50", f"-Pexp.phase={phase}", "-Pexp.dtype=bfloat16",
        "-Pexp.replica_batch=64", "-Ppytorch.min_time=3", "-Pmonitor.interval=0.1", "-Pexp.log_file=logs/one.log",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    values = logged(tmp_path / "logs/one.log")
    assert values["exp.device_title"] == torch.cuda.get_device_name(cuda)
    assert values["results.time_device"] <= values["results.time"]
    assert values["results.memory_device_allocated"] > 100 * MB
    assert ("results.loss" in values) == (phase == "training")
    figures.update(
        {name: values.get(f"results.{name}") for name in ("throughput", "mfu", "energy_per_instance", "power")}
    )
    if "results.use.gpu_mem" not in values:
        pytest.skip("the monitor needs NVML: the package nvidia-ml-py, and its library of the driver")
    (memory,), (use,) = values["results.use.gpu_mem_peak"], values["results.use.gpu_util"]
    assert memory > values["results.memory_device_allocated"]
    assert max(use) > 50
    if values["results.use.gpu_energy"][0] is not None and "results.energy" in values:
        assert values["results.use.gpu_energy"][0] > 0.5 * values["results.energy"]  # its start and end besides


def test_results_are_those_of_the_device_that_was_asked_for(
    device: torch.device, finish: Finish, tmp_path: Path
) -> None:
    code, _, errors = finish(*SMALL, on(device), "--json=results.json")
    assert code == 0, errors
    values = json.loads((tmp_path / "results.json").read_text())
    assert ("results.time_device" in values) == (device.type == "cuda")
    assert (values["results.memory_device_allocated"] is None) == (device.type == "cpu")
    assert ("cuda" in values["exp.env.torch"] or "exp.env.cuda" in values) == (device.type == "cuda")


def test_a_replica_alone_communicates_by_nccl(cuda: torch.device, tmp_path: Path) -> None:
    """As one of one: what torchrun, NCCL and the choice of the device have to do with each other."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", str(PROGRAM)]
    done = subprocess.run(
        [*command, *SMALL, "--device=gpu"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert "guessing device" not in done.stderr.lower(), done.stderr


def test_two_replicas_train_on_two_gpus(cuda: torch.device, finish: Finish) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    code, values, errors = finish(*SMALL, "--device=gpu", "--num_gpus=2")
    assert code == 0, errors
    assert values["results.throughput"] > 0


# A replica, which DOES something.
REPLICA = f"""
import os, sys
from array import array
sys.path.insert(0, {str(PYTHON)!r})
import torch
from torch import nn
from pytorch_benchmarks.distributed import World, from_first, joined, largest, mean, parallel, share_buffers, slowest, total
from benchmark_core.exits import BenchmarkError
from benchmark_core.log import Log
from pytorch_benchmarks.options import parse_benchmark_options
from benchmark_core.program import end, run

options = parse_benchmark_options(["--model=m", *sys.argv[1:]])
device = torch.device("cpu") if options.device == "cpu" else torch.device("cuda", 0)
if device.type == "cuda":
    torch.accelerator.set_device_index(0)

def work():
    with joined(device, options.dist_backend) as world:
        DOES

end(run(work, options, Log()))
"""

# A group of one is told that it is one of two, because alone it would not communicate.
EVERYTHING = """two = World(0, 2)
        assert list(slowest(array("d", [0.5, 0.25]), two, device)) == [0.5, 0.25]
        assert (largest(3, two, device), total(4, two, device), mean(1.0, two, device)) == (3, 4, 0.5)
        assert from_first(lambda: {"weights": torch.arange(1000)}, two)["weights"].sum() == 499500
        share_buffers(nn.BatchNorm2d(3).to(device), two)
        parallel(nn.Linear(4, 4).to(device), two, device)(torch.ones(2, 4, device=device)).sum().backward()"""
FAILS = """
        raise BenchmarkError("it is broken")"""
WAITS = """torch.distributed.all_reduce(torch.ones(4, device=device))
        if world.rank == 1:
            raise BenchmarkError("it is broken")
        torch.distributed.all_reduce(torch.ones(4, device=device))
        total(1, world, device)"""


def replicas(
    finish: Finish, directory: Path, count: int, does: str, device: torch.device, backend: str = "auto"
) -> tuple[int, str]:
    """Exit code and standard error of so many replicas."""
    (directory / "replica.py").write_text(REPLICA.replace("DOES", does))
    words = ["--standalone", f"--nproc-per-node={count}", "replica.py", on(device), f"--dist_backend={backend}"]
    code, _, errors = finish(*words, program=TORCHRUN, NCCL_MULTI_RANK_GPU_ENABLE="1")
    return code, errors


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_replicas_communicate(device: torch.device, finish: Finish, tmp_path: Path, ends: str) -> None:
    code, errors = replicas(finish, tmp_path, 1, EVERYTHING + FAILS * (ends != "well"), device)
    assert code == (0 if ends == "well" else 1), errors
    assert ("error: it is broken" in errors) == (ends != "well")
    assert "guessing device" not in errors.lower()


def test_replicas_on_gpus_may_communicate_by_gloo(cuda: torch.device, finish: Finish, tmp_path: Path) -> None:
    code, errors = replicas(finish, tmp_path, 1, EVERYTHING, cuda, backend="gloo")
    assert code == 0, errors


def test_a_replica_that_fails_while_another_one_waits_for_it(
    device: torch.device, finish: Finish, tmp_path: Path, figures: dict[str, Any]
) -> None:
    """NCCL before 2.30 refuses two replicas on one GPU, which is an error of both that is reported once."""
    begin = time.monotonic()
    code, errors = replicas(finish, tmp_path, 2, WAITS, device)
    figures.update({"s": time.monotonic() - begin, "refused": "Duplicate GPU" in errors})
    assert code == 1, errors
    (error,) = (line for line in errors.splitlines() if line.startswith("error: "))
    if "Duplicate GPU" in errors:
        assert error.startswith("error: replicas cannot communicate: NCCL error")
        assert "Duplicate GPU detected" in error
    else:
        assert error == "error: it is broken"


# Operations that a GPU cannot do in the way that was asked for.
ARCHITECTURE = """
import torch
from torch import nn
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.models.model import register_model

@register_model("theirs")
class Theirs(Model):
    title, input_shape, num_classes = "Theirs", (8,), 3
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
    def forward(self, x):
        if self.training:
            image = x.reshape(-1, 1, 2, 4) * self.layer.weight.sum()
            return self.layer(x) + nn.functional.grid_sample(image, torch.zeros(len(x), 1, 3, 2, device=x.device))[:, 0, 0]
        return self.layer(x) * x.sum().item()
"""


@pytest.mark.parametrize(
    ("flag", "error"),
    [
        ("--cuda_graphs --forward_only=true", "--cuda_graphs: theirs has an operation that waits for the device"),
        ("--deterministic", "--deterministic: theirs has an operation without a deterministic implementation"),
    ],
)
def test_an_operation_that_an_option_excludes_is_named(
    cuda: torch.device, finish: Finish, tmp_path: Path, flag: str, error: str
) -> None:
    (tmp_path / "theirs.py").write_text(ARCHITECTURE)
    code, _, errors = finish("--model=theirs", "--architecture=theirs.py", "--device=gpu", *flag.split())
    assert code == 2, errors
    assert f"error: {error}" in errors


def data_set(directory: Path, broken: bool) -> tuple[str, ...]:
    """Options for a small data set; the last image that is read may be broken."""
    from pytorch_benchmarks.data import make_dataset

    place = directory / "images"
    size = ["--num_images=32", "--height=72", "--width=72", "--num_classes=2"]
    assert make_dataset.main(["image_folder", str(place), *size]) == 0
    if broken:
        max(place.rglob("*.jpg")).write_bytes(b"no image")
    return (
        "--model=resnet18",
        "--batch_size=4",
        f"--data_dir={place}",
        "--data_backend=image_folder",
        "--data_loader=processes",
    )


def test_an_error_of_a_loader_process_ends_the_program(device: torch.device, finish: Finish, tmp_path: Path) -> None:
    """The memory that it shares is page-locked for a GPU, which may still copy from it."""
    code, values, errors = finish(*data_set(tmp_path, broken=True), on(device), "--min_time=600")
    assert code == 1, errors
    assert ".jpg" in values["exp.status_msg"]
    assert "Traceback" not in errors


@pytest.mark.alone
def test_an_interrupted_program_that_reads_a_data_set_ends(device: torch.device, start: Start, tmp_path: Path) -> None:
    process = start(*data_set(tmp_path, broken=False), on(device), "--min_time=600")
    wait_until_it_measures(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors


FATAL = f"""
import sys
sys.path.insert(0, {str(PYTHON)!r})
import torch
from pytorch_benchmarks.data.loader import page_locked
from benchmark_core.program import end

shared = torch.ones(1 << 20).share_memory_()
try:
    with page_locked(shared) as locked:
        copied = shared.to("cuda", non_blocking=True)
        copied[torch.tensor([1 << 30], device="cuda")].sum().item()
except RuntimeError as error:
    print(locked, error, file=sys.stderr)
    end(7 if locked and "assert" in str(error) else 1)
"""


def test_a_fatal_error_of_the_device_is_that_of_the_program(cuda: torch.device, finish: Finish, tmp_path: Path) -> None:
    """And none about page-locked memory, which cannot be released then."""
    (tmp_path / "fatal.py").write_text(FATAL)
    code, _, errors = finish(program=tmp_path / "fatal.py")
    assert code == 7, errors
