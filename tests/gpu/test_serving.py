"""Inference under load on a GPU: latencies include the work of the device, and batches give the answers of single queries."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch import Tensor

from benchmark_core.log import Log
from pytorch_benchmarks import benchmarks
from pytorch_benchmarks.devices import choose_precision, set_backends
from pytorch_benchmarks.model_factory import get_model, load_architecture
from pytorch_benchmarks.options import BenchmarkOptions, parse_benchmark_options
from pytorch_benchmarks.serving.local import Local, build_local
from pytorch_benchmarks.serving.run import make_service
from pytorch_benchmarks.serving.system import Backend, Queue, System, Unwatched
from tests.gpu.made import no_waiting, on, pause_of, ran, registered
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

CPU = torch.device("cpu")
LARGEST = 8  # samples in a batch
Serve = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file with small models."""
    with registered(tmp_path_factory.mktemp("models")) as path:
        yield path


@pytest.fixture
def options_of(models: Path) -> Callable[..., BenchmarkOptions]:
    def parse(model: str, *more: str) -> BenchmarkOptions:
        load_architecture(models)
        return parse_benchmark_options(
            [f"--model={model}", f"--architecture={models}", "--serving", f"--batch_size={LARGEST}", "--serving_samples=16", *more]
        )  # fmt: skip

    return parse


@pytest.fixture
def serve(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Run `benchmarks.py --serving` in this process: exit code, log values and stderr."""
    pytest.importorskip("mlperf_loadgen", reason="needs the package mlcommons-loadgen")
    monkeypatch.chdir(tmp_path)

    def run(model: str, *more: str) -> tuple[int, dict[str, Any], str]:
        # A run for the median takes LoadGen 11 queries at least.
        short = (
            "--serving_min_duration=0.3",
            "--serving_percentile=50",
            "--num_warmup_batches=1",
            "--serving_samples=8",
        )
        architecture = ("--serving", f"--model={model}", f"--architecture={models}", f"--batch_size={LARGEST}")
        code, values, errors = ran(benchmarks.main, capsys, *architecture, *short, *more)
        prefix = "results.serving."
        return code, {key.removeprefix(prefix): value for key, value in values.items()}, errors

    return run


class Outputs:
    """What a model answers while this is open, on the host."""

    def __init__(self, made: Local) -> None:
        self.seen: list[Tensor] = []
        self._hook = made.model.register_forward_hook(lambda module, inputs, output: self.seen.append(output))

    def of(self, backend: Backend, samples: Sequence[int]) -> list[Tensor]:
        """The outputs of the calls that answer a batch."""
        self.seen.clear()
        backend.answer(samples, Unwatched())
        return [output.float().cpu() for output in self.seen]


def built(options: BenchmarkOptions, device: torch.device) -> tuple[Local, Backend, Outputs]:
    precision = choose_precision(options, device)
    set_backends(options, tf32=precision.tf32)
    torch.manual_seed(1)
    made = build_local(options, device, precision)
    return made, made.make_backend(), Outputs(made)


@pytest.mark.alone
@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "server", "offline"])
def test_latencies_include_the_work_of_the_device(device: torch.device, serve: Serve, scenario: str) -> None:
    """A model that keeps the device busy, while the host goes on: nobody can answer sooner, nor more often."""
    rate = ("--serving_target_qps=100", "--serving_target_latency=10000") if scenario == "server" else ()
    code, found, errors = serve("slow_net", f"--serving_scenario={scenario}", on(device), *rate)
    assert code == 0, errors
    pause = pause_of(device)
    assert found["latency_min"] >= pause
    assert found["results.throughput"] <= 1000 * LARGEST / pause
    if scenario == "single-stream":
        assert found["qps"] <= 1000 / pause
        assert found["latency_p50"] <= 5 * pause
    if scenario in {"server", "offline"}:
        assert 1 < found["batch_size_max"] <= LARGEST


@pytest.mark.alone
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_several_workers_answer(device: torch.device, serve: Serve, kind: str) -> None:
    workers = ("--serving_workers=2", f"--serving_worker_kind={kind}", "--serving_target_latency=10000")
    code, found, errors = serve(
        "slow_net", "--serving_scenario=server", "--serving_target_qps=60", on(device), *workers
    )
    assert code == 0, errors
    assert found["workers"] == 2
    assert found["latency_min"] >= pause_of(device)
    assert found["rejected"] == 0


@pytest.mark.alone
def test_tokens_are_measured_when_the_device_has_made_them(device: torch.device, serve: Serve) -> None:
    """The first after one pass through a slow model, each further one after another pass."""
    code, found, errors = serve("slow_text", on(device))
    assert code == 0, errors
    pause = pause_of(device)
    assert found["ttft_min"] >= pause
    assert found["tpot_min"] >= pause
    assert found["latency_min"] >= 4 * pause
    assert found["output_tokens"] == 4


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_batch_is_answered_as_single_queries_are(
    device: torch.device, options_of: Callable[..., BenchmarkOptions], dtype: str
) -> None:
    """And as on a CPU."""
    options = options_of("small_net", f"--dtype={dtype}")
    _, backend, outputs = built(options, device)
    _, on_cpu, expected = built(options_of("small_net"), CPU)
    tolerance = 1e-3 if dtype == "float32" else 0.05
    for batch in ([5], [3, 0, 7], [1, 1], list(range(LARGEST))):
        (together,) = outputs.of(backend, batch)
        for number, sample in enumerate(batch):
            (alone,) = outputs.of(backend, [sample])
            torch.testing.assert_close(together[number : number + 1], alone, rtol=tolerance, atol=tolerance)
        (same,) = expected.of(on_cpu, batch)
        torch.testing.assert_close(together, same, rtol=tolerance, atol=tolerance)


def test_texts_of_a_batch_are_those_of_single_queries(
    device: torch.device, options_of: Callable[..., BenchmarkOptions]
) -> None:
    _, backend, outputs = built(options_of("small_text"), device)
    _, on_cpu, expected = built(options_of("small_text"), CPU)

    def tokens(found: Outputs, by: Backend, batch: Sequence[int]) -> Tensor:
        return torch.cat([output[:, -1].argmax(dim=-1, keepdim=True) for output in found.of(by, batch)], dim=1)

    for batch in ([2], [3, 0, 5], list(range(LARGEST))):
        together = tokens(outputs, backend, batch)
        assert together.shape == (len(batch), 6)
        for number, sample in enumerate(batch):
            assert torch.equal(together[number], tokens(outputs, backend, [sample])[0])
        assert torch.equal(together, tokens(expected, on_cpu, batch))


def test_the_warm_up_tunes_all_sizes_that_a_gpu_will_get(
    device: torch.device, options_of: Callable[..., BenchmarkOptions]
) -> None:
    _, backend, outputs = built(options_of("small_net", "--num_warmup_batches=3"), device)
    backend.warm_up()
    sizes = [len(output) for output in outputs.seen]
    usual = [1, 2, 4, 8] * 3
    assert sizes == sorted(usual if device.type == "cpu" else [*usual, *[3, 5, 6, 7] * 2])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_worker_launches_its_batch_without_waiting_for_others(
    cuda: torch.device, options_of: Callable[..., BenchmarkOptions]
) -> None:
    """Workers share a stream: one that waited before it launches would wait for the batches of all."""
    for model in ("small_net", "small_text"):
        _, backend, outputs = built(options_of(model), cuda)
        wait = MagicMock()
        backend._synchronize = wait  # type: ignore[attr-defined]
        for batch in ([1], [3, 0, 5]):
            backend.answer(batch, Unwatched())
            with no_waiting():
                backend.answer(batch, Unwatched())
        assert wait.called
        assert outputs.seen


def test_two_threads_answer_at_the_same_time(device: torch.device, options_of: Callable[..., BenchmarkOptions]) -> None:
    """With one model, and without LoadGen: all queries get an answer, each worker takes some."""
    options = options_of("slow_net", "--num_warmup_batches=1")
    made, _, outputs = built(options, device)
    answered: list[int] = []

    class Answers:
        def first_token(self, responses: Sequence[int]) -> None:
            raise AssertionError("no text")

        def complete(self, responses: Sequence[int], tokens: Sequence[int]) -> None:
            answered.extend(responses)

    system = System(Answers(), Queue(LARGEST), [made.make_backend] * 2)
    pace = system.start()
    pause = pause_of(device) / 1000
    assert pace.one >= pause
    assert pace.full >= pause
    outputs.seen.clear()
    for number in range(20):
        system.issue([number], [number % 16])
    wait_until(lambda: len(answered) == 20)
    system.stop()
    assert sorted(answered) == list(range(20))
    assert sum(len(output) for output in outputs.seen) == 20
    assert all(query.done - query.taken >= pause for query in system.queries)


@pytest.mark.alone
def test_worker_processes_have_the_memory_for_themselves(
    cuda: torch.device, options_of: Callable[..., BenchmarkOptions]
) -> None:
    """The main process builds the model for the log, and keeps none of it."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(cuda)
    options = parse_benchmark_options(
        ["--model=alexnet", "--serving", "--serving_worker_kind=processes", "--batch_size=1"]
    )
    service = make_service(options, cuda, choose_precision(options, cuda), Log())
    assert len(service.make_backends) == 1
    assert torch.cuda.memory_reserved(cuda) <= before


@pytest.mark.alone
@pytest.mark.parametrize(("kind", "scenario"), [("threads", "offline"), ("processes", "single-stream")])
def test_out_of_memory_has_its_exit_code(device: torch.device, serve: Serve, kind: str, scenario: str) -> None:
    code, found, errors = serve(
        "huge_net", f"--serving_scenario={scenario}", f"--serving_worker_kind={kind}", on(device)
    )
    assert code == 3, errors
    assert "out of memory: huge_net with batch size 8 in float32 does not fit" in found["exp.status_msg"]


@pytest.mark.alone
def test_the_highest_rate_is_not_above_that_of_the_device(
    cuda: torch.device, serve: Serve, figures: dict[str, Any]
) -> None:
    code, found, errors = serve(
        "slow_net", "--serving_find=max_qps", "--serving_find_trials=6", "--serving_target_latency=100",
        '--model_opts={"milliseconds":10}', on(cuda),
    )  # fmt: skip
    assert code == 0, errors
    pause = pause_of(cuda, 10)
    assert found["offline_qps"] <= 1000 * LARGEST / pause
    assert found["unloaded_latency"] >= pause
    assert 0 < found["max_qps"] <= 1.5 * found["offline_qps"]
    figures.update({"pause ms": pause, "offline": found["offline_qps"], "highest": found["max_qps"]})


def test_a_server_on_the_device_behind_a_url(device: torch.device, serve: Serve, models: Path) -> None:
    """One that computes with a slow model: the client's latencies include the work of the device."""
    load_architecture(models)
    model = get_model("slow_net").to(device).eval()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with torch.inference_mode():
                answer = model(torch.tensor(given["instances"], device=device)).tolist()
            body = json.dumps({"predictions": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"--serving_url=http://127.0.0.1:{server.server_address[1]}/predict"
        code, found, errors = serve("slow_net", url, "--serving_protocol=predict", on(device))
        server.shutdown()
    assert code == 0, errors
    assert found["latency_min"] >= pause_of(device)
