"""The checks that a TorchBench model has to pass: one batch in each phase, and what else a measurement relies on."""

from __future__ import annotations

import argparse
import gc
import json
import os
import socket
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark_core.exits import BenchmarkError, SkippedError
from pytorch_benchmarks.checks import CheckError, print_finding, run_checks

from .model import phase_of
from .workload import load_class, make, module_of

PHASES = ("train", "eval")
_SEED = 1234


class LoadedModel:
    """The model to check.

    Args:
        found: Its class.
        device: Device to run it on.
        settings: Settings of torch before the model was imported.
        words: Its `extra_args`.
    """

    def __init__(self, found: type, device: str, settings: dict[str, Any], words: Sequence[str] = ()) -> None:
        self.found, self.device, self.settings, self.words = found, device, settings, list(words)

    def make(self, test: str, **options: Any) -> Any:
        """Create a new model, with the same random numbers each time."""
        torch.manual_seed(_SEED)
        return make(self.found, test, self.device, None, self.words, **options)

    def supported(self) -> Iterator[tuple[str, Any]]:
        """Create a new model for each phase that it supports."""
        for test in PHASES:
            try:
                made = self.make(test)
                phase_of(made, test)()
            except (SkippedError, NotImplementedError):
                continue
            yield test, made


def runs(subject: LoadedModel, test: str) -> str:
    """It trains, or evaluates, one batch."""
    made = subject.make(test)
    try:
        phase_of(made, test)()
    except NotImplementedError as error:
        raise SkippedError(str(error) or "NotImplementedError") from None
    return "one batch"


def works_anywhere(subject: LoadedModel) -> str:
    """It runs in any working directory and leaves no files there."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as elsewhere:
        os.chdir(elsewhere)
        try:
            for test, made in subject.supported():
                phase_of(made, test)()
            left = sorted(os.listdir(elsewhere))
        finally:
            os.chdir(before)
    if left:
        raise CheckError(f"it left {', '.join(left[:5])} in the working directory")
    return "in an empty directory, which stayed empty"


def two_in_one_process(subject: LoadedModel) -> str:
    """Two instances in one process do not affect each other's results."""
    for test, _ in subject.supported():
        alone = _two_batches(subject.make(test), test)
        second, third = subject.make(test), subject.make(test)
        phase_of(third, test)()
        if alone != _two_batches(second, test):
            raise CheckError(f"{test}: its results change when another instance exists")
    return "two models, the same results"


def _two_batches(made: Any, test: str) -> list[list[Any]]:
    torch.manual_seed(_SEED)
    return [_numbers(phase_of(made, test)()) for _ in range(2)]


def memory_is_returned(subject: LoadedModel) -> str:
    """Its memory is freed when it is deleted."""
    device = torch.device(subject.device)
    module = torch.get_device_module(device) if device.type != "cpu" else None
    watched: list[weakref.ref[Any]] = []
    gc.collect()
    before = module.memory_allocated(device) if module else 0
    for _, made in subject.supported():
        found = module_of(made)
        watched += [weakref.ref(found[0])] if found else []
        del made, found
    gc.collect()
    if module is not None and module.memory_allocated(device) > before:
        raise CheckError(f"{module.memory_allocated(device) - before} bytes are still allocated on the device")
    alive = sum(reference() is not None for reference in watched)
    if alive:
        raise CheckError("its network is not freed: something outside still refers to it")
    return "device memory as before" if module else "the network was freed"


def same_seed_same_result(subject: LoadedModel) -> str:
    """The same random numbers give the same weights and the same outputs."""
    compared = 0
    for test in PHASES:
        results = []
        for _ in range(2):
            try:
                made = subject.make(test)
                torch.manual_seed(_SEED)
                output = _numbers(phase_of(made, test)())
            except (SkippedError, NotImplementedError):
                break
            found = module_of(made)
            weights = [float(parameter.detach().double().sum()) for parameter in found[0].parameters()] if found else []
            results.append((output, weights))
        if len(results) == 2:
            compared += 1
            if results[0] != results[1]:
                raise CheckError(f"{test}: two runs differ: set the seeds in the constructor")
    if not compared:
        raise SkippedError("no phase is supported")
    return "weights and outputs of two runs are equal"


def everything_is_on_the_device(subject: LoadedModel) -> str:
    """Parameters, buffers and inputs are on the requested device."""
    wanted = torch.device(subject.device).type
    looked = 0
    for test, made in subject.supported():
        found = module_of(made)
        if found is None:
            continue
        network, inputs = found
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            looked += 1
            if tensor.device.type != wanted:
                raise CheckError(f"{test}: {name} is on {tensor.device}")
        for leaf in torch.utils._pytree.tree_leaves(inputs):
            if isinstance(leaf, Tensor):
                looked += 1
                if leaf.device.type != wanted:
                    raise CheckError(f"{test}: an input is on {leaf.device}")
    if not looked:
        raise SkippedError("get_module returns no network")
    return f"{looked} tensors are on {wanted}"


def the_mode_is_switched(subject: LoadedModel) -> str:
    """set_train() and set_eval() switch the network and everything that depends on its mode."""
    looked = 0
    for _, made in subject.supported():
        found = module_of(made)
        if found is None:
            continue
        for name, training in (("set_train", True), ("set_eval", False), ("set_train", True)):
            getattr(made, name)()
            looked += 1
            if _modes(module_of(made)[0]) != {training}:  # type: ignore[index]
                raise CheckError(f"after {name}() part of the network is in the other mode")
    if not looked:
        raise SkippedError("get_module returns no network")
    return "set_train() and set_eval() reach every part"


def _modes(network: nn.Module) -> set[bool]:
    return {module.training for module in network.modules()}


def script_equals_eager(subject: LoadedModel) -> str:
    """The scripted network gives the same output as the eager one."""
    plain = subject.make("eval")
    scripted = subject.make("eval", jit=True)
    pairs = [module_of(plain), module_of(scripted)]
    if pairs[0] is None or pairs[1] is None:
        raise SkippedError("get_module returns no network")
    outputs = []
    for network, _ in pairs:  # type: ignore[misc]
        network.eval()
        inputs = pairs[0][1]
        torch.manual_seed(_SEED)
        with torch.no_grad():
            outputs.append(
                network(*inputs)
                if isinstance(inputs, (tuple, list))
                else network(**inputs)
                if isinstance(inputs, dict)
                else network(inputs)
            )
    if not isinstance(pairs[1][0], (torch.jit.ScriptModule, torch.jit.ScriptFunction)):
        raise CheckError("with jit, the network is not scripted")
    for one, other in zip(*map(torch.utils._pytree.tree_leaves, outputs), strict=True):
        if isinstance(one, Tensor) and not torch.allclose(one, other, rtol=1e-3, atol=1e-4):
            raise CheckError(f"outputs differ by up to {float((one - other).abs().max()):g}")
    return "outputs of the scripted and the eager network agree"


def needs_no_network(subject: LoadedModel) -> str:
    """It runs without network access."""
    if not _asked_hooks:
        sys.addaudithook(_refuse)
        _asked_hooks.append(_refuse)
    _asked.clear()
    _refusing.append(True)
    try:
        for test, made in subject.supported():
            phase_of(made, test)()
    except OSError as error:
        if not _asked:  # for example a missing file or a full disk
            raise CheckError(f"{type(error).__name__}: {error}") from None
        raise CheckError(f"it needs the network: {_asked[0]}") from None
    finally:
        _refusing.clear()
    if _asked:
        raise CheckError(f"it requested {_asked[0]}")
    return "it requested no connection"


_refusing: list[bool] = []
_asked: list[str] = []
_asked_hooks: list[Any] = []  # an audit hook can never be removed


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo"} and _refusing and not _is_local(event, arguments):
        _asked.append(str(arguments[-1] if event == "socket.connect" else arguments[0]))
        raise OSError("this check has no network access")


def _is_local(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "socket.connect":
        return getattr(arguments[0], "family", None) == socket.AF_UNIX
    return arguments[0] in {"localhost", "127.0.0.1", "::1", None}


def flags_are_restored(subject: LoadedModel) -> str:
    """Global settings of torch are unchanged after it has run and was deleted."""
    before = subject.settings
    for test, made in subject.supported():
        phase_of(made, test)()
        del made
    gc.collect()
    changed = [f"{name} from {before[name]} to {value}" for name, value in settings().items() if before[name] != value]
    if changed:
        raise CheckError(f"it changed {', '.join(changed)}")
    return f"{len(before)} settings of torch are unchanged"


def settings() -> dict[str, Any]:
    """The global settings of torch."""
    return {
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "float32 matrix products": torch.get_float32_matmul_precision(),
        "threads": torch.get_num_threads(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.enabled": torch.backends.cudnn.enabled,
        "anomaly detection": torch.is_anomaly_enabled(),
    }


CHECKS: dict[str, Callable[[LoadedModel], str]] = {
    "train": lambda subject: runs(subject, "train"),
    "eval": lambda subject: runs(subject, "eval"),
    "working directory": works_anywhere,
    "two in one process": two_in_one_process,
    "memory": memory_is_returned,
    "seeds": same_seed_same_result,
    "device": everything_is_on_the_device,
    "mode": the_mode_is_switched,
    "script": script_equals_eager,
    "network": needs_no_network,
    "settings": flags_are_restored,
}


def _numbers(output: Any) -> list[Any]:
    """The comparable parts of an output: numbers and sums of tensors."""
    found: list[Any] = []
    for leaf in torch.utils._pytree.tree_leaves(output):
        if isinstance(leaf, Tensor):
            found.append((tuple(leaf.shape), float(leaf.detach().double().sum())))
        elif isinstance(leaf, (int, float)):
            found.append(leaf)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks; return 1 if one failed, or if no phase is supported."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pack_args", type=json.loads, default=[], metavar="JSON", help="arguments of the model")
    options = parser.parse_args(arguments)
    try:
        before = settings()
        subject = LoadedModel(load_class(options.directory), options.device, before, options.pack_args)
    except BenchmarkError as error:
        print_finding("import", "failed", str(error))
        return 1
    statuses = run_checks(CHECKS, subject)
    if statuses["train"] == statuses["eval"] == "skipped":
        print_finding("phases", "failed", "neither training nor evaluation is supported: nothing to measure")
        return 1
    return int("failed" in statuses.values())
