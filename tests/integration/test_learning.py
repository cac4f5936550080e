"""Training trains: in every precision, for long, and in several processes as in one. test_every_model.py trains every model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch

from pytorch_benchmarks.devices import Precision
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.phases import training_step
from tests.conftest import ROOT
from tests.forked import ForkServer
from tests.pytorch_benchmarks.models.smaller import SIDE
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration


def losses(model: Model, steps: int, precision: Precision | None = None, *, side: int | None = None) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = model.inputs(2, generator), model.targets(2, generator)
    if side is not None:
        inputs = torch.nn.functional.interpolate(inputs, size=(side, side))
    step = training_step(model, model, precision)
    found = [float(step((inputs, targets))) for _ in range(steps - 1)]
    context = (precision.context if precision else None) or nullcontext
    with torch.no_grad(), context():  # no test looks at what the last step would do after its loss
        return [*found, float(model.loss(model(inputs), targets))]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_loss_falls_under_autocast(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = losses(get_model("deep_mnist"), 20, Precision(torch.float32, dtype, False, "cpu"))
    assert found[-1] < found[0]


def test_the_same_seed_gives_the_same_losses() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)  # with one there would be nothing to be added up in another order
    try:
        runs = []
        for _ in range(2):
            torch.manual_seed(3)
            runs.append(losses(get_model("resnet18"), 3, side=SIDE))
    finally:
        torch.set_num_threads(before)
    assert runs[0] == runs[1]


def test_one_batch_can_be_trained_on_for_long() -> None:
    """A benchmark repeats its batch; with ten times the learning rate the loss of this one is above 100 after 11 steps, and later not finite."""
    torch.manual_seed(0)
    found = losses(get_model("alexnet"), 13)
    assert max(found) < 1.01 * found[0]


PARALLEL = """
import sys
import torch
from pytorch_benchmarks.distributed import joined, parallel
from pytorch_benchmarks.model_factory import get_model
from pytorch_benchmarks.phases import training_step

device = torch.device("cpu")
with joined(device) as world:
    torch.manual_seed(5)
    model = get_model("deep_mnist")
    generator = torch.Generator().manual_seed(6)
    inputs, targets = model.inputs(8, generator), model.targets(8, generator)
    mine = slice(world.rank * 8 // world.size, (world.rank + 1) * 8 // world.size)
    step = training_step(model, parallel(model, world, device))
    for _ in range(5):
        step((inputs[mine], targets[mine]))
    if world.rank == 0:
        torch.save(model.state_dict(), sys.argv[1])
"""


@contextmanager
def running_store() -> Iterator[int]:
    """The port of a store at which two processes meet, which torchrun has in its own process, too."""
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    yield store.port


def variables_of_torchrun(rank: int, port: int) -> dict[str, str]:
    """The environment of one of two processes; torchrun itself, which imports PyTorch again in each, runs in other tests."""
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
    }


def test_two_processes_train_as_one_does_on_the_joined_batch(forked_torch: ForkServer, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"import sys\nsys.path.insert(0, {str(ROOT / 'python')!r})\n{PARALLEL}")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    forked_torch.run(str(script), "one.pt", directory=tmp_path, environment=environment, timeout=PATIENCE, check=True)
    with running_store() as port:
        processes = [
            forked_torch.start(
                str(script), "two.pt", directory=tmp_path, environment=environment | variables_of_torchrun(rank, port)
            )
            for rank in range(2)
        ]
        for process in processes:
            _, said = process.communicate(PATIENCE)
            assert process.returncode == 0, said
    one, two = (torch.load(tmp_path / file) for file in ("one.pt", "two.pt"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-6), name
