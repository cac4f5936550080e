"""Text generation on a GPU: a cache changes no token, and times are those of the device; options of models and weights, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pytorch_benchmarks import benchmarks
from pytorch_benchmarks.devices import Precision, choose_precision, set_backends, synchronizer
from pytorch_benchmarks.models.llama import Llama, Size
from pytorch_benchmarks.options import parse_benchmark_options
from pytorch_benchmarks.phases import Generation, inference_step
from pytorch_benchmarks.workload import requested_model
from tests.gpu.made import on, pause_of, ran, registered
from tests.gpu.work import small_model

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")
PROMPTS, PROMPT, NEW = 3, 9, 12
Bench = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with small models."""
    with registered(tmp_path_factory.mktemp("models")) as path:
        yield path


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Run benchmarks.py in this process: exit code, log values and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        return ran(benchmarks.main, capsys, "--num_batches=3", "--num_warmup_batches=2", "--batch_size=2", *arguments)

    return run


def precision_of(device: torch.device, dtype: str = "float32", amp: bool = False) -> Precision:
    options = parse_benchmark_options(["--model=m", f"--dtype={dtype}", f"--amp={str(amp).lower()}"])
    precision = choose_precision(options, device)
    set_backends(options, tf32=precision.tf32)
    return precision


def llama(device: torch.device, precision: Precision, *, key_heads: int = 2) -> Llama:
    """A small model with heads that are shared, or not."""
    torch.manual_seed(1)
    size = Size(96, width=64, depth=3, heads=4, key_heads=key_heads, hidden=96, theta=1e4, tied=True)
    return Llama("Small", size, PROMPT, NEW).to(device, precision.weights).eval()


def prompts(device: torch.device) -> Tensor:
    return torch.randint(96, (PROMPTS, PROMPT), generator=torch.Generator().manual_seed(2)).to(device)


@torch.inference_mode()
def without_cache(model: Llama, tokens: Tensor) -> Tensor:
    """New tokens, each after all earlier ones were computed again."""
    for _ in range(NEW):
        tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(dim=-1)], dim=1)
    return tokens[:, PROMPT:]


@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_a_cache_changes_no_token(device: torch.device, key_heads: int) -> None:
    """And the tokens are those of a CPU; a cache that has been used changes nothing, either."""
    model = llama(device, precision_of(device), key_heads=key_heads)
    generation = Generation(model, PROMPTS, synchronizer(device))
    expected = without_cache(llama(CPU, precision_of(CPU), key_heads=key_heads), prompts(CPU))
    assert torch.equal(without_cache(model, prompts(device)).cpu(), expected)
    other = prompts(device).flip(1)
    for _ in range(2):
        assert torch.equal(generation((prompts(device), None)).cpu(), expected)
        generation((other, None))
    assert len(set(expected.flatten().tolist())) > 1


PRECISIONS = [("float32", False, 1e-4), ("bfloat16", False, 0.05), ("bfloat16", True, 0.05), ("float16", True, 0.01)]


@pytest.mark.parametrize(("dtype", "amp", "tolerance"), PRECISIONS)
def test_a_cache_changes_no_score(device: torch.device, dtype: str, amp: bool, tolerance: float) -> None:
    """Of tokens that are given, so that two scores that are nearly equal lead to nothing else."""
    precision = precision_of(device, dtype, amp)
    model = llama(device, precision)
    generation = Generation(model, PROMPTS, synchronizer(device), precision)
    given = torch.cat([prompts(device), prompts(device).flip(0)[:, : NEW - 1]], dim=1)
    reference = llama(CPU, precision_of(CPU))
    precision_of(device, dtype, amp)  # sets what a device may round
    with torch.inference_mode():
        expected = reference(given.cpu())[:, PROMPT - 1 :]
        with generation._context():
            whole = model(given)[:, PROMPT - 1 :]
            found = [model(given[:, :PROMPT], generation._cache)]
            found += [model(given[:, at : at + 1], generation._cache, at) for at in range(PROMPT, given.shape[1])]
    scores = torch.cat(found, dim=1).float()
    for other in (whole.float(), expected.to(device)):
        assert float((scores - other).norm()) <= tolerance * float(other.norm())


@pytest.mark.alone
def test_times_are_those_of_the_device(device: torch.device, bench: Bench, models: Path) -> None:
    """Of a model that keeps the device busy in each pass: one pass for the prompt, three for further tokens."""
    code, found, errors = bench("--model=slow_text", f"--architecture={models}", "--forward_only=true", on(device))
    assert code == 0, errors
    pause = pause_of(device)
    assert found["results.time_prefill"] >= pause
    assert found["results.time_decode"] >= 3 * pause
    assert found["results.time"] >= 4 * pause
    assert found["results.throughput"] <= 1000 * 2 / (4 * pause)
    assert found["results.decode_throughput"] <= 1000 * 2 / pause
    assert found["results.prefill_throughput"] <= 1000 * 2 * 8 / pause
    if device.type == "cuda":
        assert found["results.time_device"] >= 4 * pause


@pytest.mark.parametrize("sync", ["each", "end"])
@pytest.mark.parametrize("flags", [(), ("--amp", "--dtype=bfloat16"), ("--dtype=bfloat16",)], ids=["", "amp", "bf16"])
def test_a_benchmark_generates(
    device: torch.device, bench: Bench, models: Path, sync: str, flags: tuple[str, ...]
) -> None:
    small = ("--model=small_text", f"--architecture={models}", "--forward_only=true", "--passes=none")
    code, found, errors = bench(*small, f"--sync={sync}", on(device), *flags)
    assert code == 0, errors
    assert found["results.time_prefill"] + found["results.time_decode"] <= 1.5 * found["results.time"]


def test_generation_is_not_recorded_as_a_graph(cuda: torch.device, bench: Bench, models: Path) -> None:
    code, _, errors = bench(
        "--model=small_text", f"--architecture={models}", "--forward_only=true", "--cuda_graphs", on(cuda)
    )
    assert code == 2
    assert "text generation waits for the device" in errors


@pytest.mark.parametrize("phase", ["training", "inference"])
def test_options_reach_the_builder_of_a_model(device: torch.device, bench: Bench, models: Path, phase: str) -> None:
    forward = f"--forward_only={'true' if phase == 'inference' else 'false'}"
    lengths = '--model_opts={"sequence_length":16,"new_tokens":3}'
    code, found, errors = bench("--model=small_text", f"--architecture={models}", lengths, forward, on(device))
    assert code == 0, errors
    assert (found["results.memory_device_allocated"] is None) == (device.type == "cpu")
    if phase == "inference":
        assert found["results.prefill_throughput"] * found["results.time_prefill"] == pytest.approx(1000 * 2 * 16)
        assert found["results.decode_throughput"] * found["results.time_decode"] == pytest.approx(1000 * 2 * (3 - 1))


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("vit_b_16", '{"patch_size":17}', "patch_size"),
        ("resnet18", '{"classes":3}', "classes"),
        ("patch_net", '{"patch":17}', "(without patch, it runs)"),
    ],
)
def test_options_that_do_not_fit_a_model_are_named(
    device: torch.device, bench: Bench, models: Path, model: str, options: str, said: str
) -> None:
    code, _, errors = bench(f"--model={model}", f"--model_opts={options}", f"--architecture={models}", on(device))
    assert code == 2, errors
    assert "--model_opts" in errors
    assert said in errors


def test_weights_are_those_of_the_file(device: torch.device, tmp_path: Path, models: Path) -> None:
    """Written on a device, and read on another."""
    model, batches = small_model("deep_mnist", device)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    expected = inference_step(model)(next(batches)).cpu()
    options = parse_benchmark_options(["--model=deep_mnist", f"--weights={tmp_path / 'weights.pt'}"])
    for where in (CPU, device):
        torch.manual_seed(7)
        again = requested_model(options).to(where)
        inputs = next(batches)[0].to(where)
        torch.testing.assert_close(inference_step(again)((inputs, None)).cpu(), expected, rtol=1e-3, atol=1e-4)
