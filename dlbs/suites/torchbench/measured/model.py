"""Names that models written for TorchBench import: their base class, their arguments and metadata, tasks, seeds and distributions."""

from __future__ import annotations

import argparse
import inspect
import random
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn
from torch.distributions import Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform as TorchTanhTransform
from torch.utils._pytree import tree_leaves, tree_map

from benchmark_core.exits import BenchmarkError, UsageError


def _tasks(area: str, *tasks: str) -> Any:
    """The tasks of an area, as in `NLP.LANGUAGE_MODELING`."""
    return Enum(area, {task.replace(" ", "_").upper(): task for task in tasks})


COMPUTER_VISION = _tasks(
    "COMPUTER_VISION",
    *("segmentation", "classification", "detection", "generation", "pattern recognition", "video interpolation"),
    "other computer vision",
)
NLP = _tasks("NLP", "translation", "language modeling", "generation", "other nlp")
SPEECH = _tasks("SPEECH", "synthesis", "recognition")
RECOMMENDATION = _tasks("RECOMMENDATION", "recommendation")
REINFORCEMENT_LEARNING = _tasks("REINFORCEMENT_LEARNING", "other rl")
AUDIO = _tasks("AUDIO", "music source separation")
GNN = _tasks("GNN", "classification")
OTHER = _tasks("OTHER", "other tasks", "microbench")

MAIN_RANDOM_SEED = 1337


def set_random_seed() -> None:
    """Seed the generators of Python, PyTorch and, if it is imported, NumPy."""
    random.seed(MAIN_RANDOM_SEED)
    torch.manual_seed(MAIN_RANDOM_SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(MAIN_RANDOM_SEED)


class TanhTransform(TorchTanhTransform):
    """tanh, with an optional clamp of its inverse, which is infinite at ±1.

    Args:
        cache_size: 1 caches the last argument, so that its inverse is exact.
        clamp: Largest absolute value that is inverted unchanged; None inverts all values.
    """

    def __init__(self, cache_size: int = 1, clamp: float | None = None) -> None:
        super().__init__(cache_size=cache_size)
        self.clamp = clamp

    def _inverse(self, y: Tensor) -> Tensor:
        return torch.atanh(y if self.clamp is None else y.clamp(-self.clamp, self.clamp))


class SquashedNormal(TransformedDistribution):
    """tanh of a normal distribution.

    Args:
        loc: Means of the normal distribution.
        scale: Its standard deviations.
        tanh_transform_clamp: `clamp` of `TanhTransform`.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, loc: Tensor, scale: Tensor, tanh_transform_clamp: float | None = None) -> None:
        self.loc, self.scale = loc, scale
        super().__init__(Normal(loc, scale), [TanhTransform(clamp=tanh_transform_clamp)])

    @property
    def mean(self) -> Tensor:
        """tanh of the means: the action without sampling."""
        return torch.tanh(self.loc)


PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "amp", "amp_fp16", "amp_bf16", "bypass")


class TEST_STAGE(Enum):  # noqa: N801
    """The part of a training step that a context applies to."""

    FORWARD = "forward"
    BACKWARD = "backward"
    OPTIMIZER = "optimizer"
    ALL = "all"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"arguments of the model (argv): {message}")


def parse_extra_args(words: Sequence[str], *, precision: str = "fp32") -> tuple[Namespace, list[str]]:
    """Split the words into arguments that every model accepts and arguments of this model.

    Args:
        words: `extra_args` of the model.
        precision: Default precision.

    Returns:
        Settings: `precision` (one of `PRECISIONS`; `bypass` leaves it to the model), `channels_last` (of weights and inputs), `backend`
        (`jit` scripts the network), `compiler` (backend of torch.compile; empty for none). And the other words.

    Raises:
        UsageError: An argument has an invalid value.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--precision", choices=PRECISIONS, default=precision)
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--backend", choices=["eager", "jit"], default="eager")
    parser.add_argument("--torchdynamo", "--compile", metavar="BACKEND", default="", dest="compiler")
    parser.add_argument("--inductor", action="store_const", const="inductor", dest="compiler")
    return parser.parse_known_args(list(words))


Phase = Callable[[], Any]
_STAGES = ("forward", "backward", "optimizer_step")


def phase_of(made: Any, test: str) -> Phase:
    """A function that runs one batch of `train` or `eval`. Inference runs without gradients unless the model's `eval_in_nograd()` returns False.

    Raises:
        BenchmarkError: The model has no such method.
    """
    if not (test == "train" and is_staged(made)) and getattr(made, test, None) is None:
        raise BenchmarkError(f"the class Model has no method {test}")
    if test == "train":
        return lambda: one_batch(made, test)
    wants_gradients = hasattr(made, "eval_in_nograd") and not made.eval_in_nograd()

    def infer() -> Any:
        with torch.set_grad_enabled(wants_gradients):
            return one_batch(made, test)

    return infer


def is_staged(made: Any) -> bool:
    """Whether a model trains in stages: forward, backward, optimizer_step. Its own method `train` takes precedence."""
    whole = getattr(type(made), "train", None)
    own = whole is not None and whole.__qualname__ != "BenchmarkModel.train"  # which only raises NotImplementedError
    return not own and all(callable(getattr(made, name, None)) for name in _STAGES)


def one_batch(made: Any, test: str) -> Any:
    """Train on one batch, or evaluate one, in the contexts of the model.

    Returns:
        The result of the model's method; of stages, the loss.
    """
    if test == "train" and is_staged(made):
        return _staged(made)
    method = getattr(made, test)
    with _entered(getattr(made, "run_contexts", ())):
        result = call_once(method)
    if isinstance(result, NotImplementedError):  # some models return it instead of raising it
        raise result
    return result


def call_once(method: Callable[..., Any]) -> Any:
    """Call a method that may take a number of iterations, as in the first form of models: one."""
    return method(niter=1) if "niter" in inspect.signature(method).parameters else method()


def _staged(made: Any) -> Any:
    try:
        optimizer = made.get_optimizer()
    except (AttributeError, NotImplementedError):
        optimizer = None
    with _entered(getattr(made, "run_contexts", ())):
        if optimizer is not None:
            optimizer.zero_grad()
        with _entered(getattr(made, "forward_contexts", ())):
            losses = made.forward()
        with _entered(getattr(made, "backward_contexts", ())):
            made.backward(losses)
        if optimizer is not None:
            with _entered(getattr(made, "optimizer_contexts", ())):
                made.optimizer_step()
    return losses


def _entered(makers: Iterable[Callable[[], AbstractContextManager[Any]]]) -> ExitStack:
    stack = ExitStack()
    for make in makers:
        stack.enter_context(make())
    return stack


_LIKE = {"AMD Instinct MI210": "NVIDIA A100-SXM4-40GB"}  # devices for which the suite uses the sizes of another one


def read_metadata(directory: Path) -> Mapping[str, Any]:
    """The contents of `metadata.yaml` in a model's directory; empty without one.

    Raises:
        UsageError: The file cannot be read, or PyYAML is missing.
    """
    path = directory / "metadata.yaml"
    if not path.is_file():
        return {}
    try:
        import yaml
    except ImportError:
        raise UsageError(f"{path} cannot be read without PyYAML: pip install pyyaml") from None
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{path} cannot be read: {str(error).splitlines()[0]}") from None
    return content if isinstance(content, dict) else {}


def default_batch(metadata: Mapping[str, Any], test: str, device: str) -> int:
    """The batch size for `train` or `eval` on a device of this type; 0 if unspecified."""
    name = _name(device)
    devices = metadata.get("devices")
    entry = devices.get(_LIKE.get(name, name)) if isinstance(devices, dict) else None
    size = entry.get(f"{test}_batch_size") if isinstance(entry, dict) else None
    return size if isinstance(size, int) and size > 0 else 0


def refusal(metadata: Mapping[str, Any], test: str, device: str) -> str:
    """Why a phase is unsupported on a device, given by type or title; empty if it is supported.

    Entries about other options, such as jit, are left to the model.
    """
    asked = {"test": (test,), "device": (torch.device(device).type, _name(device))}
    for entry in metadata.get("not_implemented") or ():
        if isinstance(entry, dict) and entry and all(value in asked.get(key, ()) for key, value in entry.items()):
            return f"metadata.yaml: not implemented: {', '.join(f'{key} {value}' for key, value in entry.items())}"
    return ""


def _name(device: str) -> str:
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


Context = Callable[[], AbstractContextManager[Any]]


class _DecoratedWhenMade(type):
    """Applies the requested settings after the complete constructor, when the network exists."""

    def __call__(cls, *arguments: Any, **options: Any) -> Any:
        made = super().__call__(*arguments, **options)
        made.__post__init__()
        return made


class BenchmarkModel(metaclass=_DecoratedWhenMade):
    """A model with its data that can train on and evaluate one batch.

    Subclasses are constructed as `Model(test, device, batch_size, extra_args)`, or as `Model(device, jit)` in TorchBench's first form.
    Unsupported requests raise `NotImplementedError`, from the constructor or the method.

    Attributes:
        test: `train` or `eval`.
        device: `cpu`, `cuda`, …
        batch_size: Instances in a batch.
        extra_args: Arguments of this model; its constructor removes those that it understands.
        metadata: Contents of the model's `metadata.yaml`; empty without it.
        dargs: Settings requested by the arguments that every model accepts.
        dynamo, opt_args: The same, under the names that models use.
        jit: Whether the network is to be scripted, for older models.
        opt: The optimizer of models without the attribute `optimizer`.
    """

    DEFAULT_TRAIN_BSIZE: ClassVar[int | None] = None
    DEFAULT_EVAL_BSIZE: ClassVar[int | None] = None
    ALLOW_CUSTOMIZE_BSIZE: ClassVar[bool] = True

    test: str
    device: str
    batch_size: int | None
    extra_args: list[str]

    def __init__(
        self, test: str | None = None, device: str = "cpu", batch_size: int | None = None, extra_args: list[str] | None = None, *,
        jit: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self.metadata = read_metadata(Path(inspect.getfile(type(self))).parent)
        self.name: str = getattr(self, "name", None) or type(self).__module__.rpartition(".")[2]
        self.test = test or "eval"
        self.device = device
        self.jit = jit
        if test is not None and (reason := refusal(self.metadata, test, device)):
            raise NotImplementedError(reason)
        self.dargs, self.extra_args = parse_extra_args(extra_args or [], precision=self._usual_precision())
        self.dynamo = bool(self.dargs.compiler)
        self.opt_args = Namespace(backend="jit" if self.dargs.backend == "jit" else None)
        self._scripted = jit or self.dargs.backend == "jit"
        set_random_seed()
        self.batch_size = self._batch(test, batch_size)
        self.opt: Any = None
        self.run_contexts: list[Context] = []
        self.forward_contexts: list[Context] = []
        self.backward_contexts: list[Context] = []
        self.optimizer_contexts: list[Context] = []

    def _usual_precision(self) -> str:
        if torch.device(self.device).type != "cuda":
            return "fp32"
        return str(getattr(self, f"DEFAULT_{self.test.upper()}_CUDA_PRECISION", "fp32"))

    def _batch(self, test: str | None, wanted: int | None) -> int | None:
        usual = self.DEFAULT_TRAIN_BSIZE if self.test == "train" else self.DEFAULT_EVAL_BSIZE
        if wanted and usual and wanted != usual and not self.ALLOW_CUSTOMIZE_BSIZE:
            raise NotImplementedError(f"the batch size is fixed at {usual}")
        of_device = default_batch(self.metadata, self.test, self.device) if self.ALLOW_CUSTOMIZE_BSIZE else 0
        size = wanted or of_device or usual
        if not size and test is not None:
            raise NotImplementedError(f"the model has no default batch size for {test}")
        return size

    def __post__init__(self) -> None:
        """Apply the requested settings, and reject unused arguments.

        Raises:
            UsageError: An argument was used neither by this class nor by the model.
            NotImplementedError: The model does not support a setting.
        """
        if not hasattr(self, "dargs"):
            return  # a subclass did not call this constructor
        if self.extra_args:
            raise UsageError(
                f"unknown arguments of the model: {' '.join(self.extra_args)}: remove them from argv"
                " (models remove the arguments they use from self.extra_args)"
            )
        if self.dargs.channels_last:
            self.enable_channels_last()
        self._set_precision(self.dargs.precision)
        if self._scripted:
            self.jit_callback()
        if self.dargs.compiler:
            self.set_module(torch.compile(self.get_module()[0], backend=self.dargs.compiler))

    def _set_precision(self, precision: str) -> None:
        kind = torch.device(self.device).type
        if precision == "tf32":
            if kind != "cuda":
                raise NotImplementedError(f"tf32 is a precision of CUDA devices, not of {kind}")
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        elif precision in {"fp16", "bf16", "amp"}:
            getattr(self, f"enable_{precision}")()
        elif precision in {"amp_fp16", "amp_bf16"}:
            self._autocast(torch.float16 if precision == "amp_fp16" else torch.bfloat16)

    def get_module(self) -> tuple[nn.Module, Any]:
        """The network, and inputs for one call of it.

        Raises:
            NotImplementedError: The model does not provide it.
        """
        raise NotImplementedError("get_module")

    def set_module(self, module: Any) -> None:
        """Replace the network.

        Raises:
            NotImplementedError: The network is not the attribute `model`.
        """
        if not isinstance(getattr(self, "model", None), nn.Module):
            raise NotImplementedError("the network cannot be replaced: it is not the attribute `model`")
        self.model = module

    def train(self) -> Any:
        """Train on one batch.

        Raises:
            NotImplementedError: Training is not supported.
        """
        return self._of_older_form("train")

    def eval(self) -> Any:
        """Evaluate one batch.

        Raises:
            NotImplementedError: Evaluation is not supported.
        """
        return self._of_older_form("eval")

    def _of_older_form(self, test: str) -> Any:
        """`_train` or `_eval`, which some older models have instead of `train` and `eval`."""
        method = getattr(self, f"_{test}", None)
        if method is None:
            raise NotImplementedError(test)
        return call_once(method)

    def invoke(self) -> Any:
        """Train on one batch, in stages if the model has them, or evaluate one."""
        return one_batch(self, self.test)

    def eval_in_nograd(self) -> bool:
        """Whether `eval` runs without gradients. Models that train something during evaluation override this."""
        return True

    def set_train(self) -> None:
        """Switch the network to training mode. Models with several networks override this."""
        self.get_module()[0].train()

    def set_eval(self) -> None:
        """Switch the network to evaluation mode."""
        self.get_module()[0].eval()

    def add_context(self, make: Context, stage: TEST_STAGE = TEST_STAGE.ALL) -> None:
        """Run batches, or one stage of training, inside the context that `make` creates."""
        contexts = self.run_contexts if stage is TEST_STAGE.ALL else getattr(self, f"{stage.value}_contexts")
        contexts.append(make)

    def jit_callback(self) -> None:
        """Replace the network by its TorchScript.

        Raises:
            NotImplementedError: The model cannot be scripted.
        """
        module = getattr(self, "model", None)
        if not isinstance(module, nn.Module):
            raise NotImplementedError("jit: the network is not the attribute `model`")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch warns that scripting is deprecated
            self.model = torch.jit.script(module)

    def enable_channels_last(self) -> None:
        """Store the weights and inputs of the network channels-last.

        Raises:
            NotImplementedError: The model's inputs cannot be converted.
        """
        network, _ = self.get_module()
        self.set_module(network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
        self._convert_inputs(
            lambda tensor: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        )

    def enable_fp16(self) -> None:
        """Convert the network and its inputs to float16.

        Raises:
            NotImplementedError: On a CPU, in training, or if the model's inputs cannot be converted.
        """
        if torch.device(self.device).type == "cpu" or self.test == "train":
            raise NotImplementedError("fp16 is only supported for inference on a GPU")
        self._convert(torch.float16)

    def enable_bf16(self) -> None:
        """Convert the network and its inputs to bfloat16.

        Raises:
            NotImplementedError: The model's inputs cannot be converted.
        """
        self._convert(torch.bfloat16)

    def enable_amp(self) -> None:
        """Compute in lower precision where that is safe: float16 on GPUs, bfloat16 on CPUs."""
        self._autocast(torch.bfloat16 if torch.device(self.device).type == "cpu" else torch.float16)

    def _autocast(self, dtype: torch.dtype) -> None:
        kind = torch.device(self.device).type
        stage = TEST_STAGE.FORWARD if self.test == "train" and is_staged(self) else TEST_STAGE.ALL
        self.add_context(lambda: torch.autocast(kind, dtype), stage)

    def _convert(self, dtype: torch.dtype) -> None:
        network, _ = self.get_module()
        self.set_module(network.to(dtype))
        self._convert_inputs(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
        inputs = [leaf for leaf in tree_leaves(self.get_module()[1]) if isinstance(leaf, Tensor)]
        if any(tensor.is_floating_point() and tensor.dtype != dtype for tensor in inputs):
            raise NotImplementedError(f"the inputs of this model cannot be converted to {dtype}")

    def _convert_inputs(self, convert: Callable[[Tensor], Tensor]) -> None:
        def one(value: Any) -> Any:
            return convert(value) if isinstance(value, Tensor) else value

        for name in ("example_inputs", "inputs"):
            if name in vars(self):
                setattr(self, name, tree_map(one, getattr(self, name)))

    def get_input_iter(self) -> Iterator[Any]:
        """Infinite inputs: always the same, unless a model overrides this."""
        while True:
            yield self.get_module()[1]

    def get_optimizer(self) -> Any:
        """The optimizer, named `optimizer` or `opt`; None if there is none."""
        return self.optimizer if hasattr(self, "optimizer") else self.opt

    def set_optimizer(self, optimizer: Any) -> None:
        """Replace the optimizer."""
        setattr(self, "optimizer" if hasattr(self, "optimizer") else "opt", optimizer)
