"""Two GPUs that compute nothing: tensors claim to be on `cuda:0` or `cuda:1`, and operations between devices fail, as on real ones.

`FakeTensorMode` of PyTorch computes shapes, types and devices, and the casts of `torch.autocast("cuda")`. A CPU build of PyTorch has no part
for CUDA, which autograd and `torch.accelerator` ask: `fake_gpu.cpp` replaces it. It is loaded before torch, in a process of its own.
"""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sysconfig
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    import torch

__all__ = ["Gpus", "build_library", "compiler", "fake_gpus"]


def compiler() -> str:
    """The C++ compiler of this Python, or of the system."""
    own = (sysconfig.get_config_var("CXX") or "c++").split()[0]
    return own if shutil.which(own) else "c++"


def build_library(directory: Path) -> Path:
    """Compile `fake_gpu.cpp` for the installed torch, in three seconds."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None
    assert spec.origin is not None
    torch_home, library = Path(spec.origin).parent, directory / "fake_gpu.so"
    source = Path(__file__).with_name("fake_gpu.cpp")
    libraries = [f"-L{torch_home / 'lib'}", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{torch_home / 'lib'}"]
    options = ["-std=c++20", "-shared", "-fPIC", f"-I{torch_home / 'include'}"]
    subprocess.run([compiler(), *options, str(source), "-o", str(library), *libraries], check=True)
    return library


class Gpus:
    """What a program did to the GPUs.

    Attributes:
        calls: Pairs (function of `torch.cuda`, index of the device that it concerned), with their numbers.
        waits: Where the host read a value from a device, or copied to it from ordinary memory: it waits for all work of the device.
    """

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, int]] = Counter()
        self.waits: list[str] = []

    def index(self, device: Any) -> int:
        """The index that `device` means in a call of this thread."""
        import torch

        if isinstance(device, int):
            return device
        index = None if device is None else torch.device(device).index
        return torch.accelerator.current_device_index() if index is None else index

    def asked(self, name: str, device: Any = None) -> int:
        """Note a call."""
        index = self.index(device)
        self.calls[name, index] += 1
        return index

    def clear(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.waits.clear()

    def clear_waits(self) -> None:
        """Forget the waits."""
        self.waits.clear()

    def waited(self) -> None:
        """Note a wait, with the lines of this repository that led to it."""
        lines = [frame for frame in traceback.extract_stack() if "pytorch_benchmarks" in frame.filename]
        self.waits.append("".join(traceback.format_list(lines)))

    def first_calls(self) -> str:
        """The calls that concerned the first device, as text."""
        return ", ".join(name for name, index in self.calls if index == 0)

    def indices(self) -> set[int]:
        """The devices that any call concerned."""
        return {index for _, index in self.calls}


@contextmanager
def fake_gpus(library: Path) -> Iterator[Gpus]:
    """Two GPUs in this process; torch must not be imported yet."""
    ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    import torch
    from torch import nn
    from torch._subclasses import fake_tensor

    gpus = Gpus()
    with (
        mock.patch.multiple(torch.cuda, **_functions(gpus)),
        mock.patch.object(torch.version, "cuda", "13.0"),
        mock.patch.object(torch.backends.cudnn, "is_acceptable", return_value=False),
        mock.patch.object(torch.Tensor, "record_stream", lambda tensor, stream: _used(gpus, tensor, stream)),
        mock.patch.object(nn.Module, "_apply", _apply),
        mock.patch.object(fake_tensor, "CONSTANT_NUMEL_LIMIT", -1),  # it would copy known numbers to the device
        _mode(gpus),
    ):
        yield gpus


def _mode(gpus: Gpus) -> Any:
    import torch
    from torch._subclasses import FakeTensorMode

    class Mode(FakeTensorMode):  # type: ignore[no-untyped-call]
        avoid_device_init = True  # nothing is ever computed on a device, also where there is one

        def __deepcopy__(self, memo: Any) -> Mode:
            return self  # with a model that is copied: all tensors have one mode

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is torch.ops.aten._local_scalar_dense.default:
                if args[0].device.type == "cuda":
                    gpus.waited()
                return 0.0 if args[0].is_floating_point() else int(args[0].dtype != torch.bool)
            name = func._schema.name
            if name == "aten::_pin_memory":
                pinned = torch.clone(args[0])
                pinned.is_page_locked = True  # type: ignore[attr-defined]
                return pinned
            if name in {"aten::_to_copy", "aten::copy_"} and _copies_and_waits(name, args, kwargs):
                gpus.waited()
            if name.startswith("aten::_fused_") and name.endswith("_"):
                return _fused(args, kwargs)
            return self.dispatch(func, types, args, kwargs)

    return Mode()


def _copies_and_waits(name: str, args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Whether a copy is one from the host to a device, and the host waits for it."""
    if name == "aten::copy_":
        to, source = args[0].device.type, args[1]
        asynchronous = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
    else:
        to, source = getattr(kwargs.get("device"), "type", "cpu"), args[0]
        asynchronous = kwargs.get("non_blocking", False)
    if to != "cuda" or source.device.type != "cpu":
        return False
    return not (asynchronous and hasattr(source, "is_page_locked"))


def _fused(args: Any, kwargs: Mapping[str, Any]) -> None:
    """A fused optimiser: it has no fake kernel; all of its tensors must be on one device."""
    from torch import Tensor
    from torch.utils._pytree import tree_leaves

    devices = {leaf.device for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    if len(devices) > 1:
        raise RuntimeError(f"a fused optimiser has tensors on {', '.join(sorted(map(str, devices)))}")


def _apply(self: torch.nn.Module, fn: Callable[[Any], Any], recurse: bool = True) -> torch.nn.Module:
    """`nn.Module.to`, which cannot replace fake parameters, but would have to: their device is an attribute in Python."""
    import torch

    for child in self.children() if recurse else ():
        child._apply(fn)  # type: ignore[no-untyped-call]
    for parameter in self._parameters.values():
        if parameter is not None:
            with torch.no_grad():
                made = fn(parameter)
            parameter.data = made
            if hasattr(made, "fake_device"):
                parameter.fake_device = made.fake_device  # type: ignore[attr-defined]
    for name, buffer in self._buffers.items():
        if buffer is not None:
            self._buffers[name] = fn(buffer)
    return self


def _used(gpus: Gpus, tensor: Any, stream: Any) -> None:
    gpus.asked("record_stream", stream.device)
    if tensor.device != stream.device:
        raise RuntimeError(f"a tensor on {tensor.device} is used by a stream of {stream.device}")


def _functions(gpus: Gpus) -> dict[str, Any]:
    """What replaces functions and classes of `torch.cuda`."""
    import torch

    current: list[Any] = []  # streams that are set, innermost last

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            self.device: Any = None

        def record(self, stream: Any = None) -> None:
            self.device = gpus.asked("Event.record", stream and stream.device)

        def synchronize(self) -> None:
            gpus.asked("Event.synchronize", self.device)

        def elapsed_time(self, end: Event) -> float:
            if self.device != end.device:
                raise RuntimeError(f"events of cuda:{self.device} and cuda:{end.device} are compared")
            return 1.0

    class Stream:
        def __init__(self, device: Any = None, **_: Any) -> None:
            self.device = torch.device("cuda", gpus.asked("Stream", device))

        def record_event(self) -> Event:
            event = Event()
            event.record(self)
            return event

        def wait_event(self, event: Event) -> None:
            gpus.asked("wait_event", self.device)

        def wait_stream(self, other: Stream) -> None:
            gpus.asked("wait_stream", self.device)

        def synchronize(self) -> None:
            gpus.asked("Stream.synchronize", self.device)

    @contextmanager
    def stream(chosen: Stream) -> Iterator[None]:
        """Also sets the current device, as in CUDA."""
        before = torch.accelerator.current_device_index()
        torch.accelerator.set_device_index(chosen.device.index)
        current.append(chosen)
        try:
            yield
        finally:
            current.pop()
            torch.accelerator.set_device_index(before)

    def current_stream(device: Any = None) -> Stream:
        index = gpus.asked("current_stream", device)
        return current[-1] if current and current[-1].device.index == index else Stream(index)

    def number(name: str, value: Any = 0) -> Callable[..., Any]:
        def called(device: Any = None, **_: Any) -> Any:
            gpus.asked(name, device)
            return value

        return called

    class Graph:
        def replay(self) -> None:
            gpus.asked("replay")

    @contextmanager
    def graph(made: Any, stream: Any = None, **_: Any) -> Iterator[None]:
        gpus.asked("graph", stream and stream.device)
        yield

    properties = SimpleNamespace(
        name="NVIDIA H100 80GB HBM3",
        total_memory=1 << 36,
        major=9,
        minor=0,
        multi_processor_count=132,
        uuid="00000000-0000-0000-0000-000000000000",
    )
    return {
        "_lazy_init": lambda: None,
        "is_initialized": lambda: True,
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: torch.accelerator.current_device_index(),
        "set_device": lambda device: torch.accelerator.set_device_index(gpus.index(device)),
        "is_bf16_supported": lambda including_emulation=True: bool(gpus.asked("is_bf16_supported") + 1),
        "get_device_capability": number("get_device_capability", (9, 0)),
        "get_device_properties": number("get_device_properties", properties),
        "get_device_name": number("get_device_name", properties.name),
        "synchronize": number("synchronize"),
        "reset_peak_memory_stats": number("reset_peak_memory_stats"),
        "max_memory_allocated": number("max_memory_allocated"),
        "max_memory_reserved": number("max_memory_reserved"),
        "memory_allocated": number("memory_allocated"),
        "manual_seed_all": lambda seed: None,
        "Event": Event,
        "Stream": Stream,
        "stream": stream,
        "current_stream": current_stream,
        "CUDAGraph": Graph,
        "graph": graph,
        "nccl": SimpleNamespace(version=lambda: (2, 29, 0)),
    }
