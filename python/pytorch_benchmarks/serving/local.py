"""The model named in the options, in this process or in worker processes, and the backends that answer with it."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.program import explain
from pytorch_benchmarks.data.source import open_source
from pytorch_benchmarks.devices import Precision, World, copied_to, make_current, map_tensors, synchronizer
from pytorch_benchmarks.models.model import Generator, Model
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.phases import inference_step
from pytorch_benchmarks.serving.prompts import draw_lengths
from pytorch_benchmarks.serving.system import Backend, BatchListener, Unwatched, max_batch, warmup_batches
from pytorch_benchmarks.workload import requested_model

_TUNING = 2  # batches of a size: cuDNN times its algorithms in the first one, and torch.compile captures a CUDA graph in the second one


@dataclass(frozen=True, slots=True)
class Local:
    """A model that is ready to serve.

    Attributes:
        model: Has the weights, on the device.
        title: Source of the samples.
        prompts: Of a model that generates text; None for others.
        make_backend: Makes a backend; all of them share the model.
        build_seconds: Time to build the model and copy it to the device.
    """

    model: Model
    title: str
    prompts: Prompts | None
    make_backend: Callable[[], Backend]
    build_seconds: float


def build_local(options: BenchmarkOptions, device: torch.device, precision: Precision) -> Local:
    """Build the model and its samples.

    Raises:
        UsageError: The model or its samples are not available, or an option does not fit the model.
    """
    begin = perf_counter()
    model, lengths = _model_and_lengths(options)
    model = model.to(device=device, dtype=precision.weights)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    wait = synchronizer(device)
    wait()
    seconds = perf_counter() - begin
    if options.compile:
        model.compile(mode=None if options.compile == "default" else options.compile)
    most, warmup = max_batch(options), warmup_batches(options)
    if isinstance(model, Generator):
        prompts = Prompts(model.vocabulary, *lengths, options.seed, device)
        generator = model

        def make_text() -> Backend:
            make_current(device)  # of the thread that uses the backend
            return TextBackend(generator, prompts, wait, most, warmup, precision)

        return Local(model, "synthetic/device", prompts, make_text, seconds)
    samples = load_samples(options, model, device, precision.weights)
    step = inference_step(model, precision)

    # cuDNN times its algorithms, and torch.compile captures its CUDA graphs, in the first batches of each size: not while latencies are measured.
    tunes = device.type != "cpu"

    def make() -> Backend:
        make_current(device)
        return NetworkBackend(step, samples, wait, most, warmup, tunes=tunes)

    return Local(model, samples.title, None, make, seconds)


class Samples:
    """Inputs of a model on its device.

    Args:
        inputs: One or several tensors, shape (samples, ...).
        title: Their source, for the log.
    """

    def __init__(self, inputs: Any, title: str) -> None:
        self._inputs, self.title = inputs, title
        first = inputs if isinstance(inputs, Tensor) else inputs[0]
        self.count, self._device = len(first), first.device

    def batch(self, numbers: Sequence[int]) -> Any:
        """The inputs of some samples: a view if there is one, otherwise a copy."""
        if len(numbers) == 1:
            number = numbers[0]
            return map_tensors(lambda tensor: tensor[number : number + 1], self._inputs)
        index = copied_to(self._device, numbers)
        return map_tensors(lambda tensor: tensor.index_select(0, index), self._inputs)


def load_samples(options: BenchmarkOptions, model: Model, device: torch.device, dtype: torch.dtype) -> Samples:
    """The requested number of samples: synthetic, or the first ones of a data set.

    Raises:
        UsageError: The data set cannot be read, or does not fit the model.
    """
    whole = replace(options, batch_size=options.serving_samples, num_loader_threads=0)
    source = open_source(whole, model, device=device, dtype=dtype, world=World())
    inputs, _ = next(source.batches)
    return Samples(map_tensors(Tensor.clone, inputs), source.title)


@dataclass(slots=True)
class NetworkBackend:
    """Runs the inference step on batches of samples.

    Attributes:
        step: Function of a batch `(inputs, targets)`.
        samples: Library of samples.
        synchronize: Waits until the device has finished.
        max_batch: Maximum number of samples in a batch.
        warmup: Number of batches of each size that `warm_up` runs.
        tunes: Whether the device tunes every size separately: then sizes between those of `warmup_sizes` run, too, at most twice.
    """

    step: Callable[[Any], Any]
    samples: Samples
    synchronize: Callable[[], Any]
    max_batch: int
    warmup: int
    tunes: bool = False

    def warm_up(self) -> None:
        usual = warmup_sizes(self.max_batch)
        for size in range(1, self.max_batch + 1) if self.tunes and self.warmup else usual:
            for _ in range(self.warmup if size in usual else min(self.warmup, _TUNING)):
                self._run([number % self.samples.count for number in range(size)])

    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        self._run(samples)

    def close(self) -> None:
        pass

    def _run(self, samples: Sequence[int]) -> None:
        self.step((self.samples.batch(samples), None))
        self.synchronize()


class Prompts:
    """Random prompts of given lengths, and the lengths of their answers.

    Args:
        vocabulary: Size of the vocabulary.
        lengths: Number of tokens of each prompt.
        answers: Number of tokens of each answer.
        seed: For the random tokens.
        device: Of the tokens.
    """

    def __init__(
        self, vocabulary: int, lengths: Sequence[int], answers: Sequence[int], seed: int, device: torch.device
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths, self.answers, self.count = list(lengths), list(answers), len(lengths)
        self._tokens = torch.randint(vocabulary, (len(lengths), max(lengths)), generator=generator).to(device)

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Prompts, int64, shape (batch, longest): random tokens pad shorter ones."""
        longest = max(self.lengths[number] for number in numbers)
        return self._tokens[:, :longest].index_select(0, copied_to(self._tokens.device, numbers))


@dataclass
class TextBackend:
    """Generates text, greedily, until each answer has its length.

    A batch runs until its longest answer is complete; shorter answers are returned as soon as they are complete, but keep their slots: these steps
    are the cost of static batching. Padding of short prompts is computed like other tokens.

    Attributes:
        model: Switched to evaluation mode; its maximum lengths are at least those of the longest prompt and answer.
        prompts: Library of prompts.
        synchronize: Waits until the device has finished.
        max_batch: Maximum number of prompts in a batch.
        warmup: Number of batches of each size that `warm_up` runs.
        precision: May request autocast.
    """

    model: Generator
    prompts: Prompts
    synchronize: Callable[[], Any]
    max_batch: int
    warmup: int
    precision: Precision | None = None

    @torch.inference_mode()
    def __post_init__(self) -> None:
        self.model.eval()
        self._context = (self.precision.context if self.precision else None) or nullcontext
        kind = self.precision.autocast if self.precision else None
        cache = self.model.cache(self.max_batch)
        self._cache = [(keys.to(kind), values.to(kind)) for keys, values in cache] if kind else cache

    def warm_up(self) -> None:
        for size in warmup_sizes(self.max_batch):
            for _ in range(self.warmup):
                self.answer([number % self.prompts.count for number in range(size)], Unwatched())

    @torch.inference_mode()
    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        left = {position: self.prompts.answers[sample] for position, sample in enumerate(samples)}
        cache = [(keys[: len(samples)], values[: len(samples)]) for keys, values in self._cache]
        prompt = self.prompts.batch(samples)
        start = prompt.shape[1]
        with self._context():
            token = self.model(prompt, cache).argmax(dim=-1)
            self.synchronize()
            progress.first_token(range(len(samples)))
            generated = 1
            while left:
                ready = [position for position, wanted in left.items() if wanted <= generated]
                if ready:
                    self.synchronize()
                    progress.done(ready, [left.pop(position) for position in ready])
                if left:
                    token = self.model(token, cache, start + generated - 1).argmax(dim=-1)
                    generated += 1

    def close(self) -> None:
        pass


class ProcessBackend:
    """A backend in a new process; a fork of this process could not compute with several threads.

    Args:
        options: The process builds its model from them.

    Raises:
        BenchmarkError: The process died, or failed: then the error is of the same class as that of the process, since some have their own exit
            codes; this applies to all methods.
    """

    def __init__(self, options: BenchmarkOptions) -> None:
        from torch.multiprocessing import get_context

        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, options), daemon=True)
        self._process.start()
        theirs.close()
        self._until_done(None)

    def warm_up(self) -> None:
        self._send(None)
        self._until_done(None)

    def answer(self, samples: Sequence[int], progress: BatchListener) -> None:
        self._send(list(samples))
        self._until_done(progress)

    def close(self) -> None:
        self._connection.close()
        self._process.join()

    def _send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError:
            raise self._died() from None

    def _until_done(self, progress: BatchListener | None) -> None:
        while True:
            try:
                event, *values = self._connection.recv()
            except (EOFError, OSError):
                raise self._died() from None
            if event == "end":
                return
            if event == "error":
                (error,) = values
                raise type(error)(f"a worker process failed: {error}")
            if progress is not None:
                getattr(progress, event)(*values)

    def _died(self) -> BenchmarkError:
        self._process.join()
        return BenchmarkError(
            f"a worker process (pid {self._process.pid}) ended {how_ended(self._process)} before it had answered"
        )


def warmup_sizes(most: int) -> list[int]:
    """Batch sizes of the warm-up: 1, 2, 4, ... and the largest, because memory, tuning and compilation depend on the size."""
    sizes = [1]
    while sizes[-1] * 2 < most:
        sizes.append(sizes[-1] * 2)
    return sizes if most == 1 else [*sizes, most]


def _model_and_lengths(options: BenchmarkOptions) -> tuple[Model, tuple[list[int], list[int]]]:
    """The model, and the lengths of prompts and answers; models that generate text are built for the longest."""
    given, answers = options.serving_prompt_tokens, options.serving_output_tokens
    if given.startswith("file:"):
        answers = answers or given
    lengths: dict[str, list[int]] = {}
    if given:
        lengths["sequence_length"] = draw_lengths(
            "--serving_prompt_tokens", given, options.serving_samples, options.seed
        )
    if answers:
        lengths["new_tokens"] = draw_lengths(
            "--serving_output_tokens", answers, options.serving_samples, options.seed + 1, 1
        )
    if min(lengths.get("new_tokens", [2])) < 2:
        raise UsageError(
            "--serving_output_tokens: answers need at least two tokens, so that there is a time per further token"
        )
    try:
        model = requested_model(options, **{name: max(values) for name, values in lengths.items()})
    except UsageError:
        if not lengths:
            raise
        model = requested_model(options)
    if not isinstance(model, Generator):
        if lengths:
            raise UsageError(
                f"--serving_prompt_tokens and --serving_output_tokens: {options.model} generates no text; omit them"
            )
        return model, ([], [])
    prompts = lengths.get("sequence_length", [model.sequence_length] * options.serving_samples)
    outputs = lengths.get("new_tokens", [model.new_tokens] * options.serving_samples)
    for name, values in {"sequence_length": prompts, "new_tokens": outputs}.items():
        if max(values) > (most := getattr(model, name)):
            raise UsageError(
                f"--model_opts {name} is {most}, but the longest length in --serving_prompt_tokens or --serving_output_tokens is {max(values)}"
            )
    return model, (prompts, outputs)


def how_ended(process: BaseProcess) -> str:
    """How a process ended: `by signal 9`, `with exit code 1`."""
    code = process.exitcode or 0
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"


class _Sender:
    """Sends the progress of a batch to the process that waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def first_token(self, positions: Sequence[int]) -> None:
        self._connection.send(("first_token", list(positions)))

    def done(self, positions: Sequence[int], tokens: Sequence[int] = ()) -> None:
        self._connection.send(("done", list(positions), list(tokens)))


def _serve(connection: Connection, options: BenchmarkOptions) -> None:
    """Main function of a worker process; it ends when the other end of the pipe is closed."""
    import torch

    from pytorch_benchmarks.devices import choose_precision, make_current, select_device, set_backends

    try:
        device = select_device(options)
        make_current(device)
        precision = choose_precision(options, device)
        set_backends(options, tf32=precision.tf32)
        torch.manual_seed(options.seed)
        backend = build_local(options, device, precision).make_backend()
        gc.collect()
        gc.disable()  # a collection would delay answers by up to 0.2 s
        connection.send(("end",))
        progress = _Sender(connection)
        while True:
            samples = connection.recv()
            if samples is None:
                backend.warm_up()
            else:
                backend.answer(samples, progress)
            connection.send(("end",))
    except (EOFError, OSError):
        pass  # the program has ended, or no longer needs this process
    except KeyboardInterrupt:
        pass
    except Exception as error:
        explained = explain(error, options) or BenchmarkError(f"{type(error).__name__}: {error}")
        with suppress(OSError):  # the program has ended
            connection.send(("error", explained))
    with suppress(OSError):  # of a closed pipe, which is the concern of the program
        sys.stdout.flush()
    os._exit(0)
