"""benchmarks.py as a program: flags, results, failures."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from dlbs.core.logs import parse_line
from pytorch_benchmarks.data import make_dataset
from tests.conftest import BENCHMARKS, ROOT, Bench
from tests.forked import ForkServer
from tests.waiting import PATIENCE

pytestmark = pytest.mark.integration

PROGRAM = BENCHMARKS / "benchmarks.py"
TINY = ROOT / "tests" / "adversarial" / "tiny.py"


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, done.stdout.splitlines()) if pair)


ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
BRIEF = ("--num_batches=4", "--num_warmup_batches=1", "--batch_size=2", "--device=cpu")
FEW = (*BRIEF, "--passes=none")


@pytest.mark.parametrize("forward_only", ["true", "false"])
def test_results(bench: Bench, forward_only: str) -> None:
    done = bench("--model", "deep_mnist", "--forward_only", forward_only, *FEW)
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert len(found["results.time_data"]) == 4
    assert found["results.time"] == pytest.approx(sum(found["results.time_data"]) / 4, rel=1e-6)
    assert found["results.throughput"] == pytest.approx(2 * 1000 / found["results.time"])
    assert (
        found["results.time_min"]
        <= found["results.time_median"]
        <= found["results.time_p99"]
        <= found["results.time_max"]
    )
    assert found["exp.model_title"] == "DeepMNIST"
    assert found["exp.framework_title"] == "PyTorch"
    assert found["exp.framework_version"]
    assert found["exp.device_title"]
    assert ("results.loss" in found) == (forward_only == "false")
    assert not {"results.memory_host", "results.flops"} & found.keys()
    assert done.stderr == ""


def test_a_benchmark_that_takes_seconds_says_its_rate_meanwhile_and_reports_the_same(bench: Bench) -> None:
    done = bench("--model=deep_mnist", "--batch_size=2", "--device=cpu", "--num_warmup_batches=1", "--min_time=6")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if " so far, " in line]
    assert lines
    assert all(re.fullmatch(r"\d+\.\d images/s so far, \d+ of 6 s, batch [\d,]+", line) for line in lines)
    found = results(done)
    assert found["results.throughput"] == pytest.approx(2 * 1000 / found["results.time"])
    assert sum(found["results.time_data"]) >= 6000


def test_warmup_may_be_zero_and_training_runs_all_the_same(bench: Bench) -> None:
    found = results(bench("--model=deep_mnist", "--num_warmup_batches=0", "--num_batches=3", "--device=cpu"))
    assert len(found["results.time_data"]) == 3
    assert found["results.time_first_batch"] > 0


def test_every_flag_of_the_reference(bench: Bench) -> None:
    done = bench(
        "--model=deep_mnist",
        "--forward_only=true",
        "--batch_size=2",
        "--num_batches=2",
        "--num_warmup_batches=0",
        "--num_gpus=0",
        "--device=cpu",
        "--dtype=float",
        "--data_dir=",
        "--cudnn_benchmark=false",
        "--cudnn_fastest=true",
        "--data_shuffle=true",
        "--num_loader_threads=1",
        "--data_backend=image_folder",
    )
    assert done.returncode == 0, done.stderr
    assert results(done)["results.cudnn_benchmark"] is False
    assert results(done)["results.cudnn_benchmark_limit"] == 0


def test_the_same_seed_gives_the_same_loss(bench: Bench) -> None:
    losses = [results(bench("--model=deep_mnist", *FEW, f"--seed={seed}"))["results.loss"] for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_reduced_precision(bench: Bench, dtype: str) -> None:
    done = bench("--model=deep_mnist", *FEW, f"--dtype={dtype}")
    assert done.returncode == 0, done.stderr


def test_threads_layout_and_determinism(bench: Bench) -> None:
    done = bench("--model=deep_mnist", *FEW, "--num_threads=2", "--channels_last=true", "--deterministic=true")
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["results.num_threads"] == 2
    assert found["results.channels_last"] is True
    assert found["results.deterministic"] is True
    assert found["results.cudnn_benchmark"] is False


@pytest.mark.parametrize("flags", [["--amp", "--dtype=float16"], ["--amp", "--dtype=bfloat16"]])
def test_autocast_makes_alexnet_possible_in_half_precision(bench: Bench, flags: list[str]) -> None:
    least = ("--num_batches=1", "--num_warmup_batches=0", "--passes=none", "--batch_size=1", "--device=cpu")
    found = results(bench("--model=alexnet", *least, *flags))
    assert found["results.precision"] == f"float32 weights, {flags[1].split('=')[1]} autocast"
    assert found["results.loss"] > 0


def test_a_compiled_model_gives_the_same_loss(bench: Bench) -> None:
    flags = ("--model=tiny", f"--architecture={TINY}", *BRIEF, "--passes=flops")
    plain, compiled = results(bench(*flags)), results(bench(*flags, "--compile"))
    assert compiled["results.loss"] == pytest.approx(plain["results.loss"], rel=1e-4)
    assert compiled["results.time_compile"] > 100
    assert compiled["results.flops_per_batch"] == plain["results.flops_per_batch"] > 0
    assert "results.memory_host" not in plain
    assert compiled["results.compile"] == "default"


def test_generation_reports_prefill_and_decode(bench: Bench) -> None:
    options = '--model_opts={"sequence_length": 16, "new_tokens": 4}'
    model = ("--model=tiny_text", f"--architecture={ROOT / 'tests' / 'tiny_text.py'}", options)
    found = results(bench(*model, "--forward_only=true", *FEW))
    assert found["results.prefill_throughput"] == pytest.approx(2 * 16 * 1000 / found["results.time_prefill"])
    assert found["results.decode_throughput"] == pytest.approx(2 * 3 * 1000 / found["results.time_decode"])
    parts = found["results.time_prefill"] + found["results.time_decode"]
    assert 0 < parts <= found["results.time"]  # the rest is making the batch


def test_models_of_transformers(bench: Bench) -> None:
    pytest.importorskip("transformers")
    options = '--model_opts={"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, "sequence_length": 8}'
    done = bench("--model=transformers:bert", options, *FEW)
    assert done.returncode == 0, done.stderr
    assert results(done)["results.unit"] == "sequences"
    done = bench("--model=transformers:vit", '--model_opts={"num_hidden_layers": 1, "image_size": 8}', *FEW)
    assert done.returncode == 2
    assert "--model_opts do not fit transformers:vit: Calculated padded input size" in done.stderr
    assert "Traceback" not in done.stderr
    done = bench("--model=transformers:brt", *FEW)
    assert done.returncode == 2
    assert "did you mean" in done.stderr


def test_time_instead_of_a_number_of_batches_and_automatic_warm_up(bench: Bench) -> None:
    found = results(
        bench("--model=deep_mnist", "--device=cpu", "--batch_size=1", "--min_time=0.3", "--num_warmup_batches=auto")
    )
    assert sum(found["results.time_data"]) >= 300
    assert found["results.warmup_batches"] >= 10
    assert found["results.warmup_steady"] in {True, False}
    assert found["exp.flags"]["num_warmup_batches"] == "auto"
    interval = found["results.throughput_ci95"]  # none if competing load makes times too irregular
    assert interval is None or interval[0] < found["results.throughput"] < interval[1]


def test_everything_that_is_reported(bench: Bench, tmp_path: Path) -> None:
    done = bench("--model=deep_mnist", *BRIEF, "--json=result.json", "--profile=trace.json", "--peak_tflops=1")
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert json.loads((tmp_path / "result.json").read_text()) == found
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert found["results.mfu"] == pytest.approx(found["results.flops"] / 1e12)
    assert found["results.memory_host"] > 1e8
    assert found["results.page_faults"] >= 0
    assert found["exp.env.torch"] == found["exp.framework_version"]
    assert found["exp.flags"]["batch_size"] == 2
    page = (ROOT / "docs" / "log-format.md").read_text()
    for key in found:
        name = key.split(".")[-1]
        assert re.search(rf"`[a-z_.]*{name}`", page), f"{key} is not in docs/log-format.md"


def test_waiting_at_the_end_only(bench: Bench) -> None:
    found = results(bench("--model=deep_mnist", *FEW, "--sync=end"))
    assert found["results.sync"] == "end"
    assert (
        0 < found["results.throughput"] <= 1.0001 * 2000 / found["results.time"]
    )  # all time counts, not that of batches alone


def test_where_synthetic_data_lie(bench: Bench) -> None:
    assert results(bench("--model=deep_mnist", *FEW, "--data=synthetic/pageable"))["exp.data"] == "synthetic/pageable"


def test_interrupting_is_one_line(forked_torch: ForkServer, tmp_path: Path) -> None:
    command = [str(PROGRAM), "--model=deep_mnist", "--device=cpu", "--min_time=10000"]
    running = forked_torch.start(*command, directory=tmp_path, environment=ALONE)
    assert running.stdout is not None
    while b"results.start_time" not in running.stdout.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    assert err == "error: interrupted\n"
    assert "Traceback" not in out


@pytest.mark.parametrize("loader", ["threads", "processes"])
def test_no_worker_is_left(bench: Bench, data: Path, tmp_path: Path, loader: str) -> None:
    done = bench("--model=deep_mnist", f"--data_dir={data / 'caffe_lmdb'}", f"--data_loader={loader}", *FEW)
    assert done.returncode == 0, done.stderr
    assert results(done)["results.data_loader"] == loader
    assert not [process for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(tmp_path)]


EVERYWHERE = ["", "--forward_only=true", "--dtype=bfloat16 --amp", "--sync=end", "--channels_last=true"]
ON_GPUS = ["--dtype=float16", "--dtype=float16 --amp", "--data=synthetic/pinned", "--data=synthetic/pageable"]
ON_CUDA = ["--dtype=tf32", "--cuda_graphs", "--cuda_graphs --forward_only=true"]
CASES = [
    ("cpu", ""),
    ("cpu", "--dtype=bfloat16 --amp --sync=end --channels_last=true"),
    *(pytest.param("gpu", flags, marks=pytest.mark.needs("GPU")) for flags in [*EVERYWHERE, *ON_GPUS]),
    *(pytest.param("gpu", flags, marks=pytest.mark.needs("CUDA GPU")) for flags in ON_CUDA),
    pytest.param("gpu", "--num_gpus=2", marks=pytest.mark.needs("two GPUs")),
]


@pytest.mark.parametrize(("device", "flags"), CASES)
def test_on_every_device_of_the_machine(bench: Bench, device: str, flags: str) -> None:
    few = ("--batch_size=1", "--num_batches=1", "--num_warmup_batches=1", f"--device={device}")
    few += ("--passes=none",) if device == "cpu" else ()
    done = bench("--model=resnet18", *few, *flags.split())
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["results.throughput"] > 0
    assert ("results.time_device" in found) == (device == "gpu")
    assert ("results.loss" in found) == ("forward_only" not in flags)


def test_a_loss_that_is_not_finite_is_a_failure(bench: Bench, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "from pytorch_benchmarks import benchmarks\n"
        "from pytorch_benchmarks.models.deep_mnist import DeepMnist\n"
        "DeepMnist.loss = lambda self, output, target: output.sum() * float('nan')\n"
        "sys.exit(benchmarks.main(sys.argv[1:]))\n"
    )
    done = bench("--model=deep_mnist", "--num_batches=2", "--device=cpu", program=program)
    assert done.returncode == 1
    assert "the loss is nan" in done.stderr


def test_two_replicas(bench: Bench) -> None:
    done = bench("--model=deep_mnist", "--num_replicas=2", *FEW)
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["results.throughput"] == pytest.approx(2 * 2 * 1000 / found["results.time"])
    assert done.stdout.count("__results.throughput__") == 1


def test_the_launcher_before_torchrun_passes_the_local_rank(forked_torch: ForkServer, tmp_path: Path) -> None:
    flags = [
        "--model=deep_mnist",
        "--num_replicas=2",
        "--dist_backend=gloo",
        "--data=synthetic",
        "--forward_only=t",
    ]
    launcher = ["-m", "torch.distributed.launch", "--nproc-per-node=2", str(PROGRAM)]
    done = forked_torch.run(*launcher, *flags, *FEW, directory=tmp_path, environment=ALONE, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert results(done)["results.throughput"] > 0
    assert "inference, batch 4" in done.stdout  # of two replicas


def test_replicas_that_cannot_communicate_are_one_error(bench: Bench) -> None:
    done = bench("--model=deep_mnist", "--num_replicas=2", "--dist_backend=nccl", *FEW)
    assert done.returncode == 2
    assert done.stderr == "error: --dist_backend nccl does not support CPUs: use auto or gloo\n"


def test_synthetic_data_and_a_data_set_exclude_each_other(bench: Bench, tmp_path: Path) -> None:
    done = bench("--model=deep_mnist", "--data=synthetic", f"--data_dir={tmp_path}", *FEW)
    assert done.returncode == 2
    assert "--data synthetic and --data_dir exclude each other" in done.stderr
    found = results(bench("--model=deep_mnist", "--data=synthetic", *FEW))
    assert found["exp.data"] == "synthetic/device"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images and an LMDB of the same sizes."""
    root = tmp_path_factory.mktemp("data")
    for backend in ("image_folder", "caffe_lmdb"):
        sizes = ["--num_images=24", "--num_classes=3", "--height=40", "--width=48"]
        assert make_dataset.main([backend, str(root / backend), *sizes]) == 0
    return root


@pytest.mark.parametrize("phase", ["--forward_only=true", "--forward_only=false", "--data_loader_only=true"])
@pytest.mark.parametrize("backend", ["image_folder", "caffe_lmdb"])
def test_real_data(bench: Bench, data: Path, backend: str, phase: str) -> None:
    done = bench("--model=deep_mnist", f"--data_dir={data / backend}", f"--data_backend={backend}", phase, *FEW)
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert found["exp.data"] == backend
    assert found["results.data_instances"] == 24
    assert found["results.data_loader"] == "threads"
    crops = ("center", "center") if "forward" in phase and "true" in phase else ("random_resized", "random_crop_mirror")
    assert found["results.data_crop"] == crops[backend == "caffe_lmdb"]
    assert 0 < found["results.time_data_wait"] <= found["results.time"]
    assert ("results.loss" in found) == (phase == "--forward_only=false")


def test_loading_without_workers(bench: Bench, data: Path) -> None:
    flags = (f"--data_dir={data / 'caffe_lmdb'}", "--data_loader_only=true", "--num_loader_threads=0")
    done = bench("--model=resnet18", *flags, *FEW)
    assert done.returncode == 0, done.stderr
    assert results(done)["results.data_loader"] == "none"


def test_bad_data_is_one_line(bench: Bench, data: Path, tmp_path: Path) -> None:
    cases = {
        f"--data_dir={tmp_path / 'nope'}": "does not exist",
        f"--data_dir={data / 'image_folder'}": "--data_backend image_folder",
        f"--data_dir={data / 'caffe_lmdb'} --batch_size=25": "fewer than a batch",
        f"--data_dir={data / 'caffe_lmdb'} --model=acoustic_model": "its instances are frames",
    }
    for arguments, said in cases.items():
        done = bench("--model=deep_mnist", *arguments.split())
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert said in line


BAD = [
    (["--model=alexnte"], 2, "did you mean alexnet"),
    ([], 2, "--model is required"),
    (["--modle=alexnet"], 2, "did you mean --model?"),
    (["--model=deep_mnist", "--batch_size=0"], 2, "must be at least 1"),
    (["--model=deep_mnist", "--batch_size=many"], 2, "not an integer"),
    (["--model=deep_mnist", "--num_batches=0"], 2, "must be at least 1"),
    (["--model=deep_mnist", "--forward_only=maybe"], 2, "neither true nor false"),
    (["--model=deep_mnist", "--dtype=float64"], 2, "float64"),
    (["--model=deep_mnist", "--device=tpu"], 2, "tpu"),
    (["--model=deep_mnist", "--model_opts={"], 2, "not JSON"),
    (["--model=deep_mnist", '--model_opts={"depth": 3}'], 2, "--model_opts do not fit deep_mnist"),
    (["--model=gpt2_small", '--model_opts={"sequence_length": 1.5}'], 2, "must be a whole number, not 1.5"),
    (["--model=deep_mnist", "--dtype=int8", "--device=cpu"], 77, "exp.framework=onnxruntime"),
    (["--model=deep_mnist", "--dtype=tf32", "--device=cpu"], 77, "use float32, float16, bfloat16"),
    (["--model=deep_mnist", "--amp"], 2, "--amp computes in float16 or bfloat16"),
    (["--model=deep_mnist", "--device=cpu", "--cuda_graphs"], 2, "needs a CUDA device"),
    (["--model=deep_mnist", "--device=cpu", "--data=synthetic/pinned"], 2, "use synthetic/device"),
    (["--model=deep_mnist", "--data=synthetic/device", "--data_dir=/tmp", "--device=cpu"], 2, "exclude each other"),
    (["--model=deep_mnist", "--compile=fast"], 2, "fast"),
    (["--model=deep_mnist", "--min_time=-1"], 2, "must be at least 0"),
    (["--model=deep_mnist", "--passes=energy"], 2, "is not one of memory, flops, none"),
    (["--model=deep_mnist", "--json=nowhere/result.json"], 2, "does not exist or cannot be written to"),
    (["--model=deep_mnist", "--profile=nowhere/trace.json"], 2, "does not exist or cannot be written to"),
    (["--model=torchvison:resnet50"], 2, "unknown provider"),
    (["--model=deep_mnist", "--num_batches=1", "--batch_size=4000000000", "--device=cpu"], 3, "out of memory"),
]


@pytest.mark.parametrize(
    ("arguments", "code", "said"), BAD, ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else ""
)
def test_bad_input_is_one_line_and_an_exit_code(bench: Bench, arguments: list[str], code: int, said: str) -> None:
    done = bench(*arguments)
    assert done.returncode == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_no_gpu_is_said(bench: Bench) -> None:
    wanted = torch.cuda.device_count() + 1
    done = bench("--model=deep_mnist", "--device=gpu", f"--num_gpus={wanted}")
    assert done.returncode == 2
    assert "--device gpu" in done.stderr or "--num_gpus" in done.stderr


@pytest.mark.parametrize("asked", [["--device=auto", "--num_gpus=2"], ["--device=cuda"]])
def test_nothing_runs_on_the_cpu_instead_of_gpus(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    done = bench("--model=deep_mnist", *asked)
    assert done.returncode == 2
    assert f"error: --{'num_gpus 2' if len(asked) == 2 else 'device cuda'}: PyTorch" in done.stderr
    assert "finds only the cpu on this machine" in done.stderr
    assert "--device cpu" in done.stderr


@pytest.mark.parametrize("debug", ["false", "true"])
def test_a_traceback_of_torch_is_printed_only_with_debug(bench: Bench, debug: str) -> None:
    flags = ["--num_batches=1", "--batch_size=1", "--device=cpu", f"--debug={debug}"]
    done = bench("--model=alexnet", "--dtype=float16", *flags)
    assert done.returncode == 2
    assert ("Traceback" in done.stdout) == (debug == "true")
    assert "float16" in results(done)["exp.status_msg"]


def test_it_never_imports_dlbs() -> None:
    sources = (ROOT / "python").rglob("*.py")
    assert not [path for path in sources if "import dlbs" in path.read_text() or "from dlbs" in path.read_text()]


def test_dlbs_never_imports_torch() -> None:
    sources = [path for path in (ROOT / "dlbs").rglob("*.py") if not {"templates", "measured"} & {*path.parts}]
    assert not [path for path in sources if re.search(r"^\s*(import|from) torch", path.read_text(), re.MULTILINE)]
