"""The device of JAX, its arithmetic and its memory, with devices and errors as JAX reports them on GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.program import explain
from jax_benchmarks.benchmarks import check_arithmetic, choose_platform, gpu_facts, import_jax, parse_jax_options
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

PROGRAMS = Path(__file__).resolve().parents[2] / "python"

# JAX 0.11 with jax-cuda13-plugin, where CUDA_VISIBLE_DEVICES leaves no GPU.
NO_DEVICE = (
    "Unable to initialize backend 'cuda': INTERNAL: no supported devices found for platform CUDA (you may need to uninstall the failing "
    "plugin package, or set JAX_PLATFORMS=cpu to skip this backend.)"
)


@dataclass(frozen=True)
class Device:
    platform: str = "gpu"
    device_kind: str = "NVIDIA A100"
    compute_capability: str = "8.0"
    stats: dict[str, int] | None = None

    def memory_stats(self) -> dict[str, int] | None:
        return self.stats


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module in place of JAX, whose GPU does not start."""

    class Config:
        def __init__(self) -> None:
            self.values: dict[str, Any] = {}

        def update(self, name: str, value: Any) -> None:
            self.values[name] = value

    made: Any = ModuleType("jax")
    made.__version__, made.config, made.problem = "0.11.2", Config(), NO_DEVICE

    def devices(kind: str = "") -> list[Device]:
        if kind == "cpu" and made.config.values.get("jax_platforms") == "cpu":
            return [Device("cpu", "cpu", "")]
        raise RuntimeError(made.problem)

    made.devices = devices
    monkeypatch.setitem(sys.modules, "jax", made)
    return made


def test_a_gpu_that_does_not_start_is_an_error_that_names_what_to_install(jax: Any) -> None:
    with pytest.raises(UsageError, match=r"no supported devices found.*jax\[cuda13\].*CUDA_VISIBLE_DEVICES"):
        import_jax(parse_jax_options(["--model=deep_mnist", "--device=gpu"]))


def test_auto_is_the_cpu_if_the_gpu_does_not_start(jax: Any) -> None:
    assert import_jax(parse_jax_options(["--model=deep_mnist", "--device=auto"])).platform == "cpu"
    assert jax.config.values["jax_default_device"].platform == "cpu"


@pytest.mark.parametrize("device", ["auto", "gpu"])
def test_a_gpu_whose_memory_others_use_is_out_of_memory(jax: Any, device: str) -> None:
    jax.problem = "INTERNAL: failed to create CUDA context: CUDA_ERROR_OUT_OF_MEMORY: out of memory"
    options = parse_jax_options(["--model=deep_mnist", f"--device={device}"])
    with pytest.raises(RuntimeError) as raised:
        import_jax(options)
    assert (found := explain(raised.value, options)) is not None
    assert found.exit_code == 3


def test_a_jax_that_does_not_fit_its_parts_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Finder:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name == "jax":
                raise RuntimeError("jaxlib version 0.10.2 is newer than and incompatible with jax version 0.9.0")

    monkeypatch.delitem(sys.modules, "jax", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(UsageError, match=r"cannot be imported \(jaxlib version"):
        import_jax(parse_jax_options(["--model=deep_mnist"]))


@pytest.mark.parametrize("kind", ["cuda", "rocm"])
def test_only_one_gpu_is_opened(kind: str) -> None:
    """JAX reserves three quarters of the memory of each GPU that it opens. What JAX itself passes to the GPU's plugin has the last word."""
    code = (
        "import sys\n"
        "from jax_benchmarks.benchmarks import parse_jax_options\n"
        "from jax_benchmarks.benchmarks import import_jax\n"
        "import_jax(parse_jax_options(['--model=deep_mnist', '--device=auto']))\n"
        "from jax._src import xla_bridge\n"
        "print(xla_bridge._options_from_jax_configs(sys.argv[1])['visible_devices'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, kind], cwd=PROGRAMS, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "[0]\n", done.stderr


def test_on_a_cpu_no_gpu_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "")
    choose_platform("cpu")
    assert os.environ["JAX_PLATFORMS"] == "cpu"


@pytest.mark.parametrize(
    ("dtype", "precision"), [("float32", "highest"), ("tf32", "tensorfloat32"), ("bfloat16", "highest")]
)
def test_products_of_float32_have_the_precision_of_the_option(jax: Any, dtype: str, precision: str) -> None:
    """By default JAX rounds their operands to TF32 on GPUs."""
    import_jax(parse_jax_options(["--model=deep_mnist", f"--dtype={dtype}"]))
    assert jax.config.values["jax_default_matmul_precision"] == precision


@pytest.mark.parametrize(
    ("dtype", "device", "message"),
    [
        ("tf32", Device(), ""),
        ("bfloat16", Device(compute_capability="12.0"), ""),
        ("bfloat16", Device("cpu"), ""),
        ("bfloat16", Device(compute_capability="gfx90a"), ""),
        ("float16", Device(compute_capability="7.0"), ""),
        ("tf32", Device("cpu"), "CPUs do not support it"),
        (
            "tf32",
            Device(device_kind="Tesla V100", compute_capability="7.0"),
            "not supported by Tesla V100; use float32",
        ),
        ("tf32", Device(compute_capability="gfx90a"), "not supported"),
        ("bfloat16", Device(compute_capability="7.5"), "use float32 or float16"),
    ],
)
def test_types_that_a_device_lacks_are_skipped(dtype: str, device: Device, message: str) -> None:
    if message:
        with pytest.raises(SkippedError, match=message):
            check_arithmetic(dtype, device)
    else:
        check_arithmetic(dtype, device)


def test_facts_about_a_gpu_have_the_keys_of_pytorch() -> None:
    assert gpu_facts(Device()) == {"gpu": "NVIDIA A100", "gpu_capability": "8.0", "gpu_multiprocessors": None}
    assert gpu_facts(Device("cpu")) == {}


@dataclass
class Compiled:
    temp_size_in_bytes: int = 700
    output_size_in_bytes: int = 310
    alias_size_in_bytes: int = 300

    def memory_analysis(self) -> Compiled:
        return self


@dataclass
class Step:
    compiled: Any = field(default_factory=Compiled)


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        # JAX's own peak has the buffers of the tuning during compilation.
        (Device(stats={"bytes_in_use": 1000, "peak_bytes_in_use": 4_000_000}), 1710),
        (Device(stats={"bytes_in_use": 1000, "peak_bytes_in_use": 1600}), 1600),
        (Device(stats={"peak_bytes_in_use": 1600}), 1600),
        (Device(stats={}), None),
        (Device("cpu", stats={"bytes_in_use": 1000, "peak_bytes_in_use": 1600}), None),
    ],
)
def test_peak_memory_is_that_of_a_batch(device: Device, peak: int | None) -> None:
    from jax_benchmarks.steps import peak_memory

    assert peak_memory(Step(), device) == peak  # type: ignore[arg-type]


def test_what_xla_allocates_for_a_step_contains_its_gradients() -> None:
    import jax.numpy as jnp

    from jax_benchmarks.models.model import Model, initial
    from jax_benchmarks.steps import Training, peak_memory

    model = Model(
        "tiny", "images", (64,), 4, {"weight": (4, 64)}, lambda own, buffers, x, _: (x @ own["weight"].T, buffers)
    )
    batch = model.batch(2, 1, jnp.float32)
    step = Training(model, *initial(model, 1, jnp.float32), batch)
    state = 2 * 4 * 64 * 4  # weights and momenta, which the next ones replace in place
    assert step.compiled.memory_analysis().alias_size_in_bytes == state
    peak = peak_memory(step, Device(stats={"bytes_in_use": 0, "peak_bytes_in_use": 1 << 30}))
    assert peak is not None
    assert 0 < peak < 4 * state
