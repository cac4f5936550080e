"""A TorchBench model as a workload."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.exits import SkippedError, UsageError
from benchmark_core.program import reason
from pytorch_benchmarks.data.source import Source
from pytorch_benchmarks.devices import Precision, synchronizer
from pytorch_benchmarks.models.model import Model
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.workload import Workload

from .install import ROOT, provide_torchbench
from .model import phase_of


def load_class(directory: Path) -> type:
    """Import a directory as `torchbenchmark.models.NAME`, with its imports of TorchBench redirected here; return its class `Model`.

    Raises:
        UsageError: The directory does not exist, cannot be imported, or has no class Model.
    """
    directory = directory.resolve()
    if not (directory / "__init__.py").is_file():
        raise UsageError(f"{directory} is not a model: it has no __init__.py")
    if not directory.name.isidentifier():
        raise UsageError(f"{directory.name!r} cannot be imported: rename the directory, using letters, digits and _")
    provide_torchbench(directory)
    name = f"{ROOT}.models.{directory.name}"
    spec = importlib.util.spec_from_file_location(
        name, directory / "__init__.py", submodule_search_locations=[str(directory)]
    )
    assert spec is not None
    assert spec.loader is not None
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(directory / "__init__.py"):
        module = known
    else:
        for other in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[other]  # from another directory of that name
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            raise UsageError(f"{directory.name} cannot be imported: {type(error).__name__}: {reason(error)}") from error
    found = getattr(module, "Model", None)
    if not inspect.isclass(found):
        raise UsageError(f"{directory / '__init__.py'} defines no class Model")
    return found


def make(
    found: type,
    test: str,
    device: str,
    batch_size: int | None,
    extra_args: list[str] | None = None,
    *,
    jit: bool = False,
) -> Any:
    """Construct a model in its form.

    Raises:
        SkippedError: The model does not support the request.
        UsageError: An argument is unknown to the model.
    """
    # Signature of the constructor, not of the class: TorchBench's metaclass accepts anything.
    parameters = inspect.signature(found.__init__).parameters  # type: ignore[misc]
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    wanted: dict[str, Any] = {
        "test": test,
        "device": device,
        "batch_size": batch_size,
        "extra_args": list(extra_args or []),
        "jit": jit,
    }
    if not takes_any or "test" in parameters:
        wanted = {name: value for name, value in wanted.items() if name in parameters or (takes_any and name != "jit")}
    if extra_args and "extra_args" not in wanted:
        raise UsageError(
            f"the model takes no arguments, so {' '.join(extra_args)} would be ignored: remove them from argv"
        )
    try:
        made = found(**wanted)
        if jit and "jit" not in parameters:
            _require(made, "jit_callback")()
    except NotImplementedError as error:
        raise SkippedError(
            f"{test} on {device}{' with jit' if jit else ''} is not supported: {error or 'NotImplementedError'}"
        ) from None
    return made


def _require(made: Any, name: str) -> Callable[[], Any]:
    method = getattr(made, name, None)
    if method is None:
        raise NotImplementedError(name)
    return method


def module_of(made: Any) -> tuple[nn.Module, Any] | None:
    """The network and its inputs; None if the model does not provide them."""
    try:
        module, inputs = made.get_module()
    except (NotImplementedError, AttributeError):
        return None
    return (module, inputs) if isinstance(module, nn.Module) else None


def instances(made: Any) -> int:
    """Instances in a batch: as stated by the model, or the length of the first input."""
    size = getattr(made, "batch_size", None)
    if isinstance(size, int) and size > 0:
        return size
    found = module_of(made)
    for leaf in torch.utils._pytree.tree_leaves(found[1]) if found else ():
        if isinstance(leaf, Tensor) and leaf.dim() > 0:
            return len(leaf)
    return 1


class _PackModel(Model):
    """The facts of a model that reports need, for a model with its own data."""

    unit = "instances"

    def __init__(self, title: str, parameters: int) -> None:
        super().__init__()
        self.title = title
        self._parameters_outside = parameters

    def num_parameters(self) -> int:
        return self._parameters_outside


def pack_workload(options: BenchmarkOptions, device: torch.device, precision: Precision) -> tuple[Workload, int]:
    """The workload of `--pack`, and the number of instances in its batches.

    Raises:
        UsageError: An option is incompatible with packs, or the model cannot be imported.
        SkippedError: The model does not support the phase or the device.
    """
    _check(options)
    directory = Path(options.pack)
    found = load_class(directory)
    phase, test = ("inference", "eval") if options.forward_only else ("training", "train")
    begin = perf_counter()
    made = make(
        found,
        test,
        _called(device),
        None if options.own_batch else options.batch_size,
        list(options.pack_args),
        jit=options.jit,
    )
    synchronizer(device)()
    seconds = perf_counter() - begin
    network = module_of(made)
    for name in ("set_train", "set_eval")[options.forward_only :: 2]:
        if network is not None and hasattr(made, name):
            getattr(made, name)()
    step = _step(phase_of(made, test), test, precision)
    size = instances(made)
    if not options.own_batch and size != options.batch_size:
        raise SkippedError(f"the batch size is fixed at {size}: omit exp.replica_batch")
    count = sum(parameter.numel() for parameter in network[0].parameters()) if network else 0
    model = _PackModel(directory.name, count)
    wanted = getattr(made, "dargs", None)
    own = getattr(wanted, "precision", "fp32")
    facts = {} if own == "fp32" else {"precision": f"{own}, by the model"}
    source = Source(itertools.repeat((None, None)), "pack", facts)
    return Workload(phase, model, source, step, step, seconds), size


def _called(device: torch.device) -> str:
    """The device as models compare it: `cuda`, without a number if it is the only visible one."""
    return device.type if not device.index else str(device)


def _step(run: Callable[[], Any], test: str, precision: Precision) -> Callable[[Any], Any]:
    context: Callable[[], AbstractContextManager[Any]] = precision.context or nullcontext

    def step(_: Any) -> Any:
        try:
            with context():
                result = run()
        except NotImplementedError as error:
            raise SkippedError(f"{test} is not supported: {error or 'NotImplementedError'}") from None
        # A loss, if training returns one, alone or as first of several; other results are not used.
        first = result[0] if isinstance(result, (tuple, list)) and result else result
        return first.detach() if isinstance(first, Tensor) and first.numel() == 1 else None

    return step


def _check(options: BenchmarkOptions) -> None:
    refused = {
        "--compile": options.compile,
        "--cuda_graphs": options.cuda_graphs,
        "--data_dir": options.data_dir,
        "--data_loader_only": options.data_loader_only,
        "--channels_last": options.channels_last,
        "--num_replicas": options.num_replicas > 1 or options.num_gpus > 1,
        f"--dtype {options.dtype}": options.dtype in {"float16", "bfloat16"} and not options.amp,
    }
    for flag, given in refused.items():
        if given:
            raise UsageError(f"{flag} cannot be combined with --pack, whose model has its own data and step: omit it")


def run_block(directory: Path, words: Sequence[str]) -> None:
    """Import a model's directory and run its file as a program with these arguments, with working relative imports.

    Raises:
        UsageError: It cannot be imported.
    """
    load_class(directory)
    file = str(directory.resolve() / "__init__.py")
    sys.argv = [file, *words]
    package = f"{ROOT}.models.{Path(file).parent.name}"
    names = {"__name__": "__main__", "__package__": package, "__file__": file, "__builtins__": __builtins__}
    exec(compile(Path(file).read_bytes(), file, "exec"), names)
