"""What answers under load: the model that the options name, or a server behind a URL."""

from __future__ import annotations

import json
import mimetypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

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

__all__ = ["Subject", "local", "remote"]

_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Subject:
    """What answers.

    Attributes:
        make_backends: One for each worker.
        has_tokens: Whether it generates text.
        prompt_tokens: Tokens of each sample's prompt, if it does.
    """

    make_backends: Sequence[Callable[[], Backend]]
    has_tokens: bool
    prompt_tokens: Sequence[int]


def local(options: BenchmarkOptions, device: torch.device, precision: Precision, log: Log) -> Subject:
    """The model that the options name, in this process or in others.

    Raises:
        UsageError: It cannot be had, or generates no text although something about text was asked for.
    """
    made = build_local(options, device, precision)
    log_facts(log, options, made.model, device, made.title)
    log("results.time_build", 1000.0 * made.build_seconds)
    if (options.serving_target_ttft or options.serving_target_tpot) and made.prompts is None:
        raise UsageError(
            f"--serving_target_ttft and --serving_target_tpot: {options.model} generates no text; leave them out"
        )
    workers = options.serving_workers or 1
    tokens = made.prompts.lengths if made.prompts else ()
    if options.serving_worker_kind == "processes":
        makers: list[Callable[[], Backend]] = [lambda: ProcessBackend(options)] * workers
        return Subject(makers, made.prompts is not None, tokens)
    return Subject([made.make_backend] * workers, made.prompts is not None, tokens)


def remote(options: BenchmarkOptions, log: Log) -> Subject:
    """A server behind a URL.

    Raises:
        UsageError: The address, the lengths or what is posted are wrong.
    """
    log("exp.framework_title", "HTTP")
    log_program(log, options, torch.device("cpu"))  # which sends requests; what the server runs on is not known
    log("exp.model_title", options.model)
    log("exp.data", "synthetic" if not options.serving_body else options.serving_body)
    log("results.unit", "sequences" if options.serving_protocol == "openai" else "requests")
    streams = {"single-stream": 1, "multi-stream": options.serving_samples_per_query}
    workers = options.serving_workers or min(_CONNECTIONS, streams.get(options.serving_scenario, _CONNECTIONS))
    if options.serving_find:
        workers = options.serving_workers or _CONNECTIONS
    warmup = warmup_batches(options)
    Server(options.serving_url, options.serving_timeout)  # a wrong address is found here, not by a worker

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
        raise UsageError("--serving_output_tokens: an answer has two tokens at least, so that there is a time for each")

    def completions() -> Backend:
        return CompletionsBackend(server(), options.model, lengths, answers, seed, warmup)

    return Subject([completions] * workers, True, lengths)


def _bodies(options: BenchmarkOptions) -> tuple[list[bytes], str]:
    """What is posted to a predict endpoint, for each sample, and its media type."""
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
            raise UsageError(f"{options.model} has several inputs: give what is posted as --serving_body FILE")
        bodies.append(json.dumps({"instances": inputs.tolist()}).encode())
    return bodies, "application/json"
