"""Servers behind a URL: OpenAI's completions, or an endpoint that maps JSON to JSON."""

from __future__ import annotations

import http.client
import json
import mimetypes
import random
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch

from benchmark_core.exits import BenchmarkError, UsageError
from benchmark_core.log import Log
from benchmark_core.measure import log_program
from pytorch_benchmarks.devices import device_facts
from pytorch_benchmarks.options import BenchmarkOptions
from pytorch_benchmarks.serving.prompts import draw_lengths
from pytorch_benchmarks.serving.system import Backend, Progress, RejectedError, Service, warmup_batches
from pytorch_benchmarks.workload import requested_model

_MOST_BYTES = 64 << 20  # of an answer
_BUSY = (429, 503)
_SHOWN = 120  # characters of an answer in a message
_CONNECTIONS = 32


def remote_service(options: BenchmarkOptions, log: Log) -> Service:
    """A server behind a URL."""
    log("exp.framework_title", "HTTP")
    log_program(log, options, device_facts(torch.device("cpu")))  # of the client; the device of the server is unknown
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
        return Service([lambda: PredictBackend(server(), bodies, kind, warmup)] * workers, False, ())
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

    return Service([completions] * workers, True, lengths)


class Server:
    """A connection to a server, which is kept open. Each thread needs a separate object.

    Args:
        url: With `http://` or `https://`.
        timeout: Maximum time of each wait for data, in seconds.

    Raises:
        UsageError: The URL is invalid.
    """

    def __init__(self, url: str, timeout: float) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"--serving_url {url}: {error}") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"--serving_url {url!r} is not an address such as http://127.0.0.1:8000")
        self.url, self.path = url, parts.path.rstrip("/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
        self._timeout = timeout

    def post(self, path: str, body: bytes, kind: str = "application/json") -> http.client.HTTPResponse:
        """Send a request; returns the response, whose body has not been read yet.

        Raises:
            RejectedError: The server is overloaded (429 or 503).
            BenchmarkError: The server is unreachable, or answers with another status.
        """
        response = self._respond(path, body, kind)
        if response.status == 200:
            return response
        text = self.read(response)
        if response.status in _BUSY:
            raise RejectedError
        raise BenchmarkError(f"{self.url}: the server answered {response.status} {response.reason}: {_shown(text)}")

    def _respond(self, path: str, body: bytes, kind: str) -> http.client.HTTPResponse:
        for attempt in (1, 2):
            is_new = self._connection.sock is None
            try:
                self._connection.request("POST", path or "/", body, {"Content-Type": kind})
                return self._connection.getresponse()
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                self._connection.close()
                # Servers may close idle connections; a new connection must work.
                if is_new or attempt == 2:
                    raise self._unreachable(error) from None
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                raise self._unreachable(error) from None
        raise AssertionError

    def read(self, response: http.client.HTTPResponse) -> bytes:
        """The rest of an answer.

        Raises:
            BenchmarkError: It is incomplete or too long.
        """
        try:
            text = response.read(_MOST_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from None
        self._check_length(len(text))
        return text

    def lines(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The lines of an answer as they arrive.

        Raises:
            BenchmarkError: It is incomplete or too long.
        """
        length = 0
        try:
            while line := response.readline(_MOST_BYTES + 1):
                length += len(line)
                self._check_length(length)
                yield line.strip()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreachable(error) from None

    def invalid(self, what: str, text: bytes | str) -> BenchmarkError:
        """The error for an answer that violates the protocol."""
        return BenchmarkError(f"{self.url}: {what}: {_shown(text)}")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _check_length(self, length: int) -> None:
        if length > _MOST_BYTES:
            self._connection.close()
            raise BenchmarkError(f"{self.url}: an answer exceeds {_MOST_BYTES >> 20} MiB")

    def _unreachable(self, error: Exception) -> BenchmarkError:
        if isinstance(error, TimeoutError):
            what = f"no answer within {self._timeout:g} s (--serving_timeout)"
        elif isinstance(error, ConnectionRefusedError):
            what = "no server listens there (connection refused): start it, or change --serving_url"
        elif isinstance(error, http.client.IncompleteRead):
            what = "the server ended an answer before it was complete"
        elif isinstance(error, ConnectionError):
            what = "the server closed the connection before its answer"
        else:
            what = f"the server is unreachable: {error}"
        return BenchmarkError(f"{self.url}: {what}")


class CompletionsBackend:
    """OpenAI's completions, streamed: `POST /v1/completions` with a prompt of token IDs.

    Args:
        server: Connection of this thread.
        model: Name of the model on the server.
        lengths: Number of tokens of each prompt.
        answers: Number of tokens of each answer.
        seed: For the random tokens of prompts.
        warmup: Number of requests that `warm_up` sends.
    """

    def __init__(
        self, server: Server, model: str, lengths: Sequence[int], answers: Sequence[int], seed: int, warmup: int
    ) -> None:
        self._server, self._warmup = server, warmup
        chance = random.Random(seed)
        # IDs that every vocabulary has, but not the first ones, which often end a text.
        self._bodies = [
            json.dumps(
                {
                    "model": model,
                    "prompt": [chance.randrange(100, 1000) for _ in range(length)],
                    "max_tokens": answer,
                    "temperature": 0,
                    "stream": True,
                    "stream_options": {"include_usage": True},
                    "ignore_eos": True,  # vLLM and others: answers have the requested lengths
                }
            ).encode()
            for length, answer in zip(lengths, answers, strict=True)
        ]
        path, _, query = server.path.partition("?")
        path = path if path.endswith("/completions") else f"{path}{'' if path.endswith('/v1') else '/v1'}/completions"
        self._path = f"{path}?{query}" if query else path

    def warm_up(self) -> None:
        for number in range(self._warmup):
            self._tokens(number % len(self._bodies), None)

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        for position, sample in enumerate(samples):
            progress.done([position], [self._tokens(sample, (position, progress))])

    def close(self) -> None:
        self._server.close()

    def _tokens(self, sample: int, watched: tuple[int, Progress] | None) -> int:
        """Request an answer; returns its number of tokens."""
        server = self._server
        pieces, counted, is_complete = 0, 0, False
        for line in server.lines(server.post(self._path, self._bodies[sample])):
            if line == b"data: [DONE]":
                is_complete = True
            elif line.startswith(b"data:"):
                entry = self._entry(line)
                if any(choice.get("text") for choice in entry["choices"]):
                    if not pieces and watched is not None:
                        watched[1].first_token([watched[0]])
                    pieces += 1
                counted = (entry.get("usage") or {}).get("completion_tokens") or counted
            elif line and not line.startswith(b":"):
                raise server.invalid("the answer is not a stream of completions", line)
        if not is_complete:
            raise BenchmarkError(f"{server.url}: the server ended an answer before it was complete")
        tokens = counted or pieces
        if not pieces or not isinstance(tokens, int) or tokens < 2:
            raise server.invalid("the answer has fewer than two tokens", f"{pieces} pieces, {tokens} tokens")
        return tokens

    def _entry(self, line: bytes) -> dict[str, Any]:
        try:
            entry = json.loads(line[5:])
            choices = entry["choices"]
            usage = entry.get("usage") or {}
            if all(isinstance(choice, dict) for choice in choices) and isinstance(usage, dict):
                return dict(entry)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        raise self._server.invalid("the answer is not a stream of completions", line)


class PredictBackend:
    """An endpoint that receives a body and answers with JSON.

    Args:
        server: Connection of this thread; its URL is that of the endpoint.
        bodies: Body of the request for each sample.
        kind: Media type of the bodies.
        warmup: Number of requests that `warm_up` sends.
    """

    def __init__(self, server: Server, bodies: Sequence[bytes], kind: str, warmup: int) -> None:
        self._server, self._bodies, self._kind, self._warmup = server, bodies, kind, warmup

    def warm_up(self) -> None:
        for number in range(self._warmup):
            self._ask(number % len(self._bodies))

    def answer(self, samples: Sequence[int], progress: Progress) -> None:
        for position, sample in enumerate(samples):
            self._ask(sample)
            progress.done([position])

    def close(self) -> None:
        self._server.close()

    def _ask(self, sample: int) -> None:
        server = self._server
        text = server.read(server.post(server.path, self._bodies[sample], self._kind))
        try:
            answer = json.loads(text)
        except ValueError:
            raise server.invalid("the answer is not JSON", text) from None
        if not answer or not isinstance(answer, (dict, list)):
            raise server.invalid("the answer has no predictions", text)


def _shown(text: bytes | str) -> str:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    return " ".join(words.split())[:_SHOWN] or "an empty answer"


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
