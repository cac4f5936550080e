"""The monitor's warnings about a GPU: another program on it is one, the experiment itself is none."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from dlbs.machine.monitor import Gpus

pytestmark = pytest.mark.alone

SECONDS = 3.0
OTHER = """
import torch
factor = torch.randn(4096, 4096, device="cuda") / 64
torch.cuda.synchronize()
print(flush=True)
while True:
    for _ in range(20):
        factor @ factor
    torch.cuda.synchronize()
"""


@contextmanager
def busy() -> Iterator[None]:
    """While a program keeps the first GPU busy."""
    with subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "the program has ended"
            yield
        finally:
            process.kill()


def watch(gpus: Gpus) -> list[str]:
    """The warnings about other programs after some samples."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.1)
        gpus.sample()
    return [line for line in gpus.warnings() if line.startswith("GPU contention")]


def test_another_program_on_the_gpu_is_a_warning(cuda: torch.device) -> None:
    with busy():
        gpus = Gpus([0])
        if not gpus.count:
            pytest.skip("the monitor needs NVML: the package nvidia-ml-py, and its library of the driver")
        time.sleep(SECONDS)
        nvml, handle = gpus._nvml, gpus._handles[0]
        try:
            used = nvml.nvmlDeviceGetProcessUtilization(handle, 0)
        except nvml.NVMLError as error:
            pytest.skip(f"this driver does not report the shares of programs: {error}")
        if not {one.pid for one in used} & gpus._seen[0].others:
            pytest.skip("this driver does not list the programs on the GPU")
        (said,) = watch(gpus)
    assert float(said.split(" % ")[0].rpartition(" ")[2]) > 20


def test_the_experiment_itself_is_none(cuda: torch.device) -> None:
    """A program that comes to the GPU after the monitor is taken for the experiment."""
    gpus = Gpus([0])
    with busy():
        assert watch(gpus) == []
