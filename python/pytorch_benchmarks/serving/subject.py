"""The subject of a run: the model named in the options, or a server behind a URL."""

from __future__ import annotations

import gc
import json
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pytorch_benchmarks.devices import release_memory
from pytorch_benchmarks.errors import UsageError
from pytorch_benchmarks.log import Log
from pytorch_benchmarks.measure.results import log_facts, log_program
from pytorch_benchmarks.options.benchmark import BenchmarkOptions
from pytorch_benchmarks.phases.workload import requested_model
from pytorch_benchmarks.precision import Precision
from pytorch_benchmarks.serving.backend import Backend
from pytorch_benchmarks.serving.http import CompletionsBackend, PredictBackend, Server
from pytorch_benchmarks.serving.lengths import draw_lengths
from pytorch_benchmarks.serving.local import build_local, warmup_batches
from pytorch_benchmarks.serving.processes import ProcessBackend

__all__ = ["Subject", "make_subject"]

_CONNECTIONS = 32
_WITH_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile


@dataclass(frozen=True, slots=True)
class Subject:
    """The model or server under load.

    Attributes:
        make_backends: Functions that create the backends, one for each worker.
        has_tokens: Whether it generates text.
        prompt_tokens: Number of tokens of each sample's prompt; empty if it does not generate text.
    """

    make_backends: Sequence[Callable[[], Backend]]
    has_tokens: bool
    prompt_tokens: Sequence[int]


def make_subject(options: BenchmarkOptions, device: torch.device, precision: Precision, log: Log) -> Subject:
    """Build the model, or check the address of the server, and log the facts about it.

    Raises:
        UsageError: The model is not available, or an option does not fit it.
    """
    subject = _remote(options, log) if options.serving_url else _local(options, device, precision, log)
    log("results.serving.workers", len(subject.make_backends))
    return subject


def _local(options: BenchmarkOptions, device: torch.device, precision: Precision, log: Log) -> Subject:
    """The model named in the options, in this process or in worker processes."""
    _check_graphs(options, device)
    made = build_local(options, device, precision)
    log_facts(log, options, made.model, device, made.title)
    log("results.time_build", 1000.0 * made.build_seconds)
    if (options.serving_target_ttft or options.serving_target_tpot) and made.prompts is None:
        raise UsageError(
            f"--serving_target_ttft and --serving_target_tpot: {options.model} generates no text; omit them"
        )
    workers = options.serving_workers or 1
    has_tokens, tokens = made.prompts is not None, made.prompts.lengths if made.prompts else ()
    if options.serving_worker_kind == "processes":
        del made  # each process builds its own: the memory of this one belongs to them
        gc.collect()
        release_memory(device)
        makers: list[Callable[[], Backend]] = [lambda: ProcessBackend(options)] * workers
        return Subject(makers, has_tokens, tokens)
    return Subject([made.make_backend] * workers, has_tokens, tokens)


def _check_graphs(options: BenchmarkOptions, device: torch.device) -> None:
    """Reject CUDA graphs of torch.compile in several threads, which fail before PyTorch 2.13 (https://github.com/pytorch/pytorch/issues/123177).

    Raises:
        UsageError: They are requested.
    """
    several = options.serving_workers > 1 and options.serving_worker_kind == "threads"
    if several and options.compile in _WITH_GRAPHS and device.type == "cuda" and torch.__version__ < "2.13":
        raise UsageError(
            f"--compile {options.compile} captures CUDA graphs, which PyTorch {torch.__version__} supports in one thread: "
            "use --serving_worker_kind processes, or --compile max-autotune-no-cudagraphs"
        )


def _remote(options: BenchmarkOptions, log: Log) -> Subject:
    """A server behind a URL."""
    log("exp.framework_title", "HTTP")
    log_program(log, options, torch.device("cpu"))  # of the client; the device of the server is unknown
    log("exp.model_title", options.model)
    log("exp.data", "synthetic" if not options.serving_body else options.serving_body)
    log("results.unit", "sequences" if options.serving_protocol == "openai" else "requests")
    streams = {"single-stream": 1, "multi-stream": options.serving_samples_per_query}
    workers = options.serving_workers or min(_CONNECTIONS, streams.get(options.serving_scenario, _CONNECTIONS))
    if options.serving_find:
        workers = options.serving_workers or _CONNECTIONS
    warmup = warmup_batches(options)
    Server(options.serving_url, options.serving_timeout)  # a wrong address is an error here, not in a worker

    def server() -> Server:
        return Server(options.serving_url, options.serving_timeout)

    if options.serving_protocol == "predict":
        bodies, kind = _bodies(options)
        return Subject([lambda: PredictBackend(server(), bodies, kind, warmup)] * workers, False, ())
    answers_from = options.serving_output_tokens or (
        options.serving_prompt_tokens if options.serving_prompt_tokens.startswith("file:") else "16"
    )
    count, seed = options.serving_samples, options.seed
    lengths = draw_lengths("--serving_prompt_tokens", options.serving_prompt_tokens or "128", count, seed)
    answers = draw_lengths("--serving_output_tokens", answers_from, count, seed + 1, 1)
    if min(answers) < 2:
        raise UsageError(
            "--serving_output_tokens: answers need at least two tokens, so that there is a time per further token"
        )

    def completions() -> Backend:
        return CompletionsBackend(server(), options.model, lengths, answers, seed, warmup)

    return Subject([completions] * workers, True, lengths)


def _bodies(options: BenchmarkOptions) -> tuple[list[bytes], str]:
    """The bodies of requests to a predict endpoint, one for each sample, and their media type."""
    if options.serving_body:
        try:
            body = Path(options.serving_body).read_bytes()
        except OSError as error:
            raise UsageError(f"--serving_body {options.serving_body}: {error.strerror}") from None
        kind = mimetypes.guess_type(options.serving_body)[0] or "application/octet-stream"
        return [body] * options.serving_samples, kind
    with torch.device("meta"):
        model = requested_model(options)
    generator = torch.Generator().manual_seed(options.seed)
    bodies = []
    for _ in range(options.serving_samples):
        inputs = model.inputs(1, generator)
        if isinstance(inputs, tuple):
            raise UsageError(f"{options.model} has several inputs: set the body of requests with --serving_body FILE")
        bodies.append(json.dumps({"instances": inputs.tolist()}).encode())
    return bodies, "application/json"
