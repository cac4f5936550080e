"""Programs on the second of two GPUs that compute nothing: `python -m tests.pytorch_benchmarks.devices.cases LIBRARY GROUP`.

It prints a JSON object for each case: its name, and its error, empty if there is none.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from unittest import mock

from tests.pytorch_benchmarks.devices.fake_gpu import Gpus, fake_gpus
from tests.pytorch_benchmarks.models.smaller import FAMILIES, SMALLER
from tests.suites.torchbench.made_models import LOADER, write_model

if TYPE_CHECKING:
    from pytorch_benchmarks.data.loader import Batches

__all__ = ["GROUPS", "Case"]

Case = Callable[[Gpus], None]

SECOND = ["--device=gpu", "--local_rank=1"]
PRECISIONS = {
    "float32": [],
    "float16": ["--dtype=float16"],
    "bfloat16": ["--dtype=bfloat16"],
    "amp float16": ["--dtype=float16", "--amp=true"],
    "amp bfloat16": ["--dtype=bfloat16", "--amp=true"],
}
# The others repeat the layers of these.
MODELS = [*FAMILIES, "alexnet_owt", "resnet50", "tinyllama_1b"]
SHORT = {"sequence_length": 16, "new_tokens": 3}
OPTIONS = {**SMALLER, "smollm2_135m": SHORT, "tinyllama_1b": SHORT}


def program(main: Callable[[list[str]], int], arguments: list[str]) -> str:
    """Run a program and return what it printed."""
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = main([*SECOND, "--debug=true", *arguments])
    if code:
        raise AssertionError(f"exit code {code}\n{printed.getvalue()[-3000:]}")
    return printed.getvalue()


def benchmark(*arguments: str, may_wait: bool = False) -> Case:
    """A run of `benchmarks.py`, in which no step makes the host wait for the device, unless it may."""

    def run(gpus: Gpus) -> None:
        from benchmark_core import measure
        from pytorch_benchmarks.benchmarks import main

        def timed(*given: Any, **options: Any) -> Any:
            gpus.clear_waits()
            found = time_batches(*given, **options)
            if gpus.waits and not may_wait:
                raise AssertionError(f"while batches are timed, the host waits for the device:\n{gpus.waits[0]}")
            return found

        time_batches = measure.time_batches
        usual = ["--batch_size=2", "--num_batches=1", "--num_warmup_batches=0", "--passes=none"]
        with mock.patch.object(measure, "time_batches", timed):
            program(main, [*usual, *arguments])

    return run


def models(precision: str, *, forward_only: bool) -> dict[str, Case]:
    """A model of each family, in one precision; `precisions` has the others."""
    found = {}
    for name in MODELS:
        options = [f"--model={name}", f"--forward_only={str(forward_only).lower()}", *PRECISIONS[precision]]
        options += [f"--model_opts={json.dumps(OPTIONS[name])}"] if name in OPTIONS else []
        found[name] = benchmark(*options, f"--channels_last={str(not forward_only).lower()}")
    return found


def precisions() -> dict[str, Case]:
    """Each precision: of weights, and of `torch.autocast`."""
    return {
        f"{name} {title}, forward_only={phase}": benchmark(
            f"--model={name}", f"--forward_only={phase}", *PRECISIONS[title]
        )
        for name in ("deep_mnist", "resnet18", "text_cnn")
        for title in PRECISIONS
        for phase in ("true", "false")
        if (title, phase) != ("float16", "false")  # needs gradient scaling
    }


@contextmanager
def read_from_nowhere() -> Iterator[Path]:
    """A data set whose images are not read: its batches are in host memory, where the loaders put them. It yields its directory."""
    import torch

    from pytorch_benchmarks.data import source

    def read(dataset: Any, order: Any, crop: Any, shape: Any, *, workers: int, **options: Any) -> Batches:
        if not options.get("pinned"):
            raise AssertionError("batches for a GPU are not in page-locked memory")
        while True:
            batch = torch.empty((order.batch_size, *shape), dtype=torch.uint8), torch.zeros(order.batch_size).long()
            yield batch[0].pin_memory(), batch[1].pin_memory()

    with tempfile.TemporaryDirectory() as home, mock.patch.multiple(source, threads=read, processes=read):
        for place, count in (("train/one", 8), ("val/one", 1)):
            (Path(home) / place).mkdir(parents=True)
            for number in range(count):
                (Path(home) / place / f"{number}.jpg").touch()
        yield Path(home)


def from_images(*arguments: str) -> Case:
    """A run of `benchmarks.py` with a data set."""

    def run(gpus: Gpus) -> None:
        with read_from_nowhere() as home:
            benchmark(f"--data_dir={home / 'train'}", "--data_backend=image_folder", *arguments)(gpus)

    return run


def data() -> dict[str, Case]:
    """Each way of a batch to the device."""
    found: dict[str, Case] = {}
    for name in ("resnet18", "dlrm_small", "deep_mnist"):
        for memory in ("device", "pinned", "pageable"):
            waits = memory == "pageable"
            found[f"{name} from {memory} memory"] = benchmark(
                f"--model={name}", f"--data=synthetic/{memory}", may_wait=waits
            )
    for kind in ("threads", "processes"):
        found[f"images, {kind}"] = from_images("--model=resnet18", f"--data_loader={kind}")
    found["images, bfloat16, channels last"] = from_images(
        "--model=resnet18", "--dtype=bfloat16", "--channels_last=true", "--forward_only=true"
    )
    found["images as vectors"] = from_images("--model=deep_mnist", "--amp=true", "--dtype=float16")
    found["only loading"] = from_images("--model=resnet18", "--data_loader_only=true")
    return found


def ways() -> dict[str, Case]:
    """Options of `benchmarks.py` that concern the device, and models of other packages."""
    deep, folder = "--model=deep_mnist", Path(tempfile.mkdtemp())
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 16}
    gpt2 = {"n_layer": 2, "n_head": 2, "n_embd": 16, "sequence_length": 16}
    found = {
        "times of the device": benchmark(deep, "--sync=end", "--num_batches=3"),
        "until steady": benchmark(deep, "--num_batches=2", "--min_time=0.1"),
        "memory and operations": benchmark(deep, "--passes=memory,flops"),
        "operations of an LSTM": benchmark("--model=sensor_net", "--passes=flops"),
        "CUDA graphs": benchmark(deep, "--cuda_graphs=true", "--data=synthetic/pinned", "--num_batches=3"),
        "CUDA graphs, inference": benchmark(deep, "--cuda_graphs=true", "--forward_only=true"),
    }
    for name, options in (("bert", small), ("vit", small), ("gpt2", gpt2)):
        chosen = [f"--model=transformers:{name}", f"--model_opts={json.dumps(options)}", *PRECISIONS["amp bfloat16"]]
        found[f"transformers:{name}"] = benchmark(*chosen, may_wait=True)
    pack = write_model(folder / "present")
    for phase in ("true", "false"):
        found[f"TorchBench, forward_only={phase}"] = benchmark(
            f"--pack={pack}", LOADER, f"--forward_only={phase}", may_wait=True
        )
    return found


def trained(*arguments: str) -> Case:
    """A run of `train.py`: an epoch, and a second one after an interruption. Checkpoints are kept in memory, on the host."""

    def run(gpus: Gpus) -> None:
        import torch

        from pytorch_benchmarks.train import main
        from pytorch_benchmarks.training import accuracy, state

        kept: dict[Path, Any] = {}

        def on_host(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: on_host(part) for name, part in value.items()}
            if isinstance(value, list):
                return [on_host(part) for part in value]
            return value.detach().cpu() if isinstance(value, torch.Tensor) else value

        def save(content: Any, path: Path) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            kept[path] = on_host(content)

        with (
            read_from_nowhere() as home,
            mock.patch.multiple(state, save=save, read=lambda path, device: kept[path]),
            mock.patch.object(accuracy, "write_weights"),
        ):
            usual = [f"--data_dir={home}", f"--output_dir={home / 'out'}", "--batch_size=4", "--val_batch_size=1"]
            for epochs in (1, 2):
                program(main, [*usual, f"--epochs={epochs}", "--resume=auto", *arguments])

    return run


def training() -> dict[str, Case]:
    """`train.py` with each optimiser, augmentation and average."""
    net, flat = "--model=resnet18", "--model=deep_mnist"
    half, brain = ["--amp=true", "--dtype=float16"], ["--amp=true", "--dtype=bfloat16"]
    mixed = ["--mixup_alpha=0.2", "--cutmix_alpha=1", "--label_smoothing=0.1"]
    return {
        "sgd, a clipped gradient": trained(flat, "--clip_grad_norm=1", "--nesterov=true", *half),
        "adamw": trained(flat, "--optimizer=adamw", *half),
        "rmsprop": trained(flat, "--optimizer=rmsprop", *half),
        "adamw, bfloat16 weights": trained(flat, "--optimizer=adamw", "--dtype=bfloat16"),
        "average": trained(net, "--ema_decay=0.9", "--ema_steps=1", "--channels_last=true", *brain),
        "mixed": trained(net, *mixed, *half),
        "mixed, float16 weights": trained(net, *mixed, "--dtype=float16", "--channels_last=true"),
        "randaugment": trained(net, "--auto_augment=randaugment", "--random_erase=0.5", *brain),
        "trivialaugment": trained(net, "--auto_augment=trivialaugment", "--channels_last=true", "--dtype=bfloat16"),
        "each operation": augmented,
    }


def augmented(gpus: Gpus) -> None:
    """Each operation of augmentation: the host does not wait for the device, not for one value of an image."""
    import torch

    from pytorch_benchmarks.training.augmenting import OPERATIONS

    for channels in (1, 3):
        image = torch.rand(channels, 32, 32, device="cuda:1")
        gpus.clear_waits()
        for name, operation in OPERATIONS.items():
            for sign in (-1.0, 1.0):
                made = operation(image, 0.5, sign, False)
                if made.device != image.device or made.shape != image.shape:
                    raise AssertionError(f"{name} gives {made}")
    if gpus.waits:
        raise AssertionError(f"the host waits for the device:\n{gpus.waits[0]}")


def served(*arguments: str) -> Case:
    """The model of a server, in the process: batches of several sizes."""

    def run(gpus: Gpus) -> None:
        import torch

        from pytorch_benchmarks.devices import choose_precision, make_current, select_device
        from pytorch_benchmarks.options import parse_benchmark_options
        from pytorch_benchmarks.serving.local import build_local

        usual = [*SECOND, "--serving=true", "--forward_only=true", "--serving_samples=4", "--num_warmup_batches=1"]
        options = parse_benchmark_options([*usual, "--batch_size=3", *arguments])
        device = select_device(options)
        make_current(device)
        made = build_local(options, device, choose_precision(options, device))
        backend = made.make_backend()
        backend.warm_up()
        for samples in ([2], [3, 0, 3]):
            backend.answer(samples, Quiet())
        if made.prompts is None:  # a thread of CUDA begins with the first device
            indices: list[int] = []

            def work() -> None:
                made.make_backend()
                indices.append(torch.accelerator.current_device_index())

            worker = Thread(target=work)
            worker.start()
            worker.join()
            if indices != [1]:
                raise AssertionError(f"the current device of a worker is {indices}")

    return run


class Quiet:
    """Progress that nobody watches."""

    def first_token(self, positions: Any) -> None:
        pass

    def done(self, positions: Any, tokens: Any = ()) -> None:
        pass


def serving() -> dict[str, Case]:
    """Models of each kind behind a server."""
    short = ["--serving_prompt_tokens=uniform:4:8", "--serving_output_tokens=uniform:2:3"]
    return {
        "images": served("--model=resnet18", "--channels_last=true", "--dtype=float16"),
        "images, amp": served("--model=resnet18", "--amp=true", "--dtype=bfloat16"),
        "several inputs": served("--model=dlrm_small"),
        "text": served("--model=smollm2_135m", *short),
        "text, amp": served("--model=smollm2_135m", *short, "--amp=true", "--dtype=float16"),
    }


GROUPS: dict[str, Callable[[], dict[str, Case]]] = {
    "training": lambda: models("amp float16", forward_only=False),
    "inference": lambda: models("bfloat16", forward_only=True),
    "precisions": precisions,
    "data": data,
    "ways": ways,
    "train.py": training,
    "serving": serving,
}


def cases_of(group: str, architecture: str) -> dict[str, Case]:
    """The cases of a group; with an architecture, training of its models."""
    if not architecture:
        return GROUPS[group]()
    from pytorch_benchmarks.model_factory import load_architecture

    added = load_architecture(architecture)
    return {name: benchmark(f"--model={name}", f"--architecture={architecture}") for name in added}


def main(library: str, group: str, architecture: str = "") -> None:
    """Run the cases of a group."""
    with fake_gpus(Path(library)) as gpus:
        import torch

        warnings.simplefilter("ignore")
        for name, case in cases_of(group, architecture).items():
            gpus.clear()
            torch.accelerator.set_device_index(0)
            try:
                case(gpus)
                error = f"cuda:0 was used: {gpus.first_calls()}" if 0 in gpus.indices() else ""
            except Exception:
                error = traceback.format_exc()
            print(json.dumps({"case": name, "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
