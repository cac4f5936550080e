"""`benchmarks.py --serving` as a program: real models, LoadGen, servers on loopback, failures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from dlbs.logs import parse_line
from tests.conftest import ROOT
from tests.forked import ForkServer, Program
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.integration

PROGRAM = ROOT / "python" / "pytorch_benchmarks" / "benchmarks.py"
ALONE = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
Serve = Callable[..., "subprocess.CompletedProcess[str]"]
Running = Program | subprocess.Popen[str]
# A run for the 99th percentile takes LoadGen 662 queries at least, one for the 90th takes 64.
SHORT = (
    "--serving", "--device=cpu", "--serving_min_duration=0.2", "--num_warmup_batches=1", "--serving_samples=8", "--serving_percentile=90",
)  # fmt: skip
SERVER = ("--serving_scenario=server", "--serving_target_qps=40", "--serving_target_latency=60000")


@pytest.fixture
def serve(forked_torch: ForkServer, tmp_path: Path) -> Serve:
    """Run benchmarks.py --serving from an empty directory."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked_torch.run(
            str(PROGRAM), *SHORT, *arguments, directory=tmp_path, environment=ALONE, timeout=PATIENCE
        )

    return run


@pytest.fixture
def text_model(tmp_path: Path) -> tuple[str, str]:
    """Flags of a language model that costs next to nothing."""
    path = tmp_path / "tiny.py"
    path.write_text(
        "from pytorch_benchmarks.model_factory import register_model\n"
        "from pytorch_benchmarks.models.llama import Llama, Size\n"
        '@register_model("tiny_text")\n'
        "def tiny_text(*, sequence_length: int = 8, new_tokens: int = 4) -> Llama:\n"
        "    size = Size(64, width=16, depth=2, heads=2, key_heads=1, hidden=32, theta=1e4, tied=True)\n"
        '    return Llama("Tiny", size, sequence_length, new_tokens)\n'
    )
    return ("--model=tiny_text", f"--architecture={path}")


def begin(forked_torch: ForkServer, directory: Path, *arguments: str) -> Running:
    """Start benchmarks.py --serving in the background."""
    return forked_torch.start(str(PROGRAM), *SHORT, *arguments, directory=directory, environment=ALONE)


def spawned(program: Running) -> list[psutil.Process]:
    """The processes that a program has started to work for it."""
    return [one for one in psutil.Process(program.pid).children() if "spawn_main" in " ".join(one.cmdline())]


def results(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return dict(pair for pair in map(parse_line, done.stdout.splitlines()) if pair)


def served(found: dict[str, Any], key: str) -> Any:
    return found[f"results.serving.{key}"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--serving_scenario=single-stream",),
        ("--serving_scenario=multi-stream", "--serving_samples_per_query=3"),
        SERVER,
        ("--serving_scenario=offline",),
    ],
    ids=["single-stream", "multi-stream", "server", "offline"],
)
def test_a_model_through_every_scenario(serve: Serve, flags: tuple[str, ...]) -> None:
    done = serve("--model=deep_mnist", "--batch_size=4", *flags)
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert served(found, "valid") is True, served(found, "reason")
    assert served(found, "qps") > 0
    assert found["results.throughput"] > 0
    assert served(found, "batch_size_max") <= 4
    assert served(found, "latency_p50") <= served(found, "latency_p99")
    assert served(found, "loadgen")["result_validity"] == "VALID"
    assert found["exp.model_title"] == "DeepMNIST"
    assert found["exp.flags"]["serving_scenario"] in done.stdout
    assert f"deep_mnist serving, {served(found, 'scenario')}: " in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_language_model_with_bounds_of_its_tokens(serve: Serve, text_model: tuple[str, str], kind: str) -> None:
    done = serve(
        *text_model, "--batch_size=4", "--serving_scenario=server", "--serving_target_qps=100", "--serving_percentile=90",
        "--serving_target_ttft=60000", "--serving_target_tpot=60000", "--serving_prompt_tokens=uniform:2:20",
        "--serving_output_tokens=uniform:2:9", f"--serving_worker_kind={kind}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert served(found, "valid") is True, served(found, "reason")
    assert 2 <= served(found, "prompt_tokens") <= 20
    assert 2 <= served(found, "output_tokens") <= 9
    assert 0 < served(found, "ttft_p50") <= served(found, "latency_p50")
    assert served(found, "tpot_p50") > 0
    assert served(found, "tokens_per_second") > 0
    assert any("token" in key for key in served(found, "loadgen"))


@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream", "offline"])
def test_a_language_model_without_bounds(serve: Serve, text_model: tuple[str, str], scenario: str) -> None:
    done = serve(*text_model, "--batch_size=4", f"--serving_scenario={scenario}", "--serving_percentile=90")
    assert done.returncode == 0, done.stderr
    assert served(results(done), "valid") is True
    assert served(results(done), "output_tokens") == 4


def test_lengths_that_cannot_be(serve: Serve, text_model: tuple[str, str]) -> None:
    for flags, said in (
        (["--serving_output_tokens=1"], "answers need at least two tokens"),
        (["--serving_prompt_tokens=x"], "is not one of 128"),
        (["--serving_prompt_tokens=9", '--model_opts={"sequence_length":8}'], "sequence_length is 8, but the longest"),
    ):
        done = serve(*text_model, *flags)
        assert done.returncode == 2
        assert said in done.stderr


def test_processes_answer_too_and_their_end_is_an_error(forked_torch: ForkServer, tmp_path: Path, serve: Serve) -> None:
    flags = ("--model=deep_mnist", "--batch_size=4", *SERVER, "--serving_worker_kind=processes", "--serving_workers=2")
    done = serve(*flags)
    assert done.returncode == 0, done.stderr
    assert served(results(done), "valid") is True
    assert served(results(done), "workers") == 2

    program = begin(forked_torch, tmp_path, *flags, "--serving_workers=1", "--serving_min_duration=3600")
    (worker,) = wait_until(lambda: spawned(program), "a worker")
    worker.kill()
    out, err = program.communicate()
    assert program.returncode == 1
    assert f"error: a worker process (pid {worker.pid}) ended by signal 9 before it had answered" in err
    assert "__exp.status_msg__" in out


def test_an_error_of_a_worker_process_has_its_exit_code(serve: Serve, tmp_path: Path) -> None:
    """Launchers skip larger batches after exit code 3."""
    path = tmp_path / "large.py"
    path.write_text(
        "import multiprocessing\n"
        "from pytorch_benchmarks.model_factory import BUILDERS, register_model\n"
        '@register_model("large")\n'
        "def large():\n"
        "    if multiprocessing.parent_process():\n"
        '        raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")\n'
        '    return BUILDERS["deep_mnist"]()\n'
    )
    done = serve("--model=large", f"--architecture={path}", "--serving_worker_kind=processes")
    assert done.returncode == 3
    assert done.stderr.startswith("error: a worker process failed: out of memory: large with batch size 16 in float32")


def test_ctrl_c_ends_a_run_at_once(forked_torch: ForkServer, tmp_path: Path) -> None:
    flags = ("--model=deep_mnist", "--serving_min_duration=3600", "--serving_log_dir=logs")
    program = begin(forked_torch, tmp_path, *flags)
    wait_until(lambda: (tmp_path / "logs" / "mlperf_log_detail.txt").exists())
    program.send_signal(signal.SIGINT)
    _, err = program.communicate()
    assert (program.returncode, err) == (130, "error: interrupted\n")


def test_the_highest_rate_is_searched_beside_offline(serve: Serve, tmp_path: Path) -> None:
    for bound in (200, 2_000, 20_000):  # ms: as long as this machine needs for an answer without load
        done = serve(
            "--model=deep_mnist", "--batch_size=4", "--serving_find=max_qps", f"--serving_target_latency={bound}", "--serving_percentile=50",
            "--serving_find_trials=10", f"--serving_log_dir=logs{bound}",
        )  # fmt: skip
        if "no rate meets the bounds" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    found = results(done)
    low, high = served(found, "max_qps_ci95")
    assert 0 < low <= served(found, "max_qps") <= high
    assert served(found, "offline_qps") > 0
    assert 0 < served(found, "unloaded_latency") <= bound
    trials = served(found, "trials")
    assert all(set(trial) == {"qps", "latency", "kept"} for trial in trials)
    assert served(found, "scenario") == "server"
    assert "deep_mnist serving, server: " in done.stdout
    assert found["exp.model_title"] == "DeepMNIST"
    assert found["results.competing_load"] is None or found["results.competing_load"] >= 0
    assert 8 <= len(trials) <= 10
    names = {path.name for path in (tmp_path / f"logs{bound}").iterdir()}
    assert names == {
        "offline",
        "unloaded",
        "at-the-limit",
        *(f"trial-{number:02d}" for number in range(1, len(trials) + 1)),
    }
    assert (tmp_path / f"logs{bound}" / "at-the-limit" / "mlperf_log_summary.txt").exists()


def test_a_search_may_start_at_a_rate(serve: Serve) -> None:
    done = serve(
        "--model=deep_mnist", "--batch_size=4", "--serving_find=max_qps", "--serving_target_latency=20000", "--serving_percentile=50",
        "--serving_find_start=50", "--serving_find_trials=4",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert "results.serving.offline_qps" not in found
    assert served(found, "trials")[0]["qps"] == pytest.approx(50, rel=0.01)
    assert served(found, "max_qps") > 0


SEARCH = (
    "--serving_find=max_qps", "--serving_target_latency=60000", "--serving_percentile=50", "--serving_min_duration=60",
    "--serving_log_dir=logs",
)  # fmt: skip


@pytest.mark.parametrize("workers", ["threads", "processes"])
def test_ctrl_c_ends_a_search_and_its_workers(forked_torch: ForkServer, tmp_path: Path, workers: str) -> None:
    program = begin(
        forked_torch, tmp_path, "--model=deep_mnist", "--batch_size=4", *SEARCH, f"--serving_worker_kind={workers}"
    )
    wait_until(lambda: (tmp_path / "logs" / "offline" / "mlperf_log_detail.txt").exists())
    family = spawned(program)
    assert len(family) == (0 if workers == "threads" else 1)
    for pid in (*(one.pid for one in family), program.pid):  # a terminal sends it to all
        os.kill(pid, signal.SIGINT)
    _, err = program.communicate()
    assert (program.returncode, err) == (130, "error: interrupted\n")
    wait_until(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in family))


def test_an_architecture_that_fails_in_a_search_is_an_error_with_its_traceback(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(
        "from pytorch_benchmarks.model_factory import register_model\n"
        '@register_model("broken")\n'
        "def broken():\n"
        '    raise RuntimeError("no such layer")\n'
    )
    done = serve("--model=broken", f"--architecture={path}", "--serving_find=max_qps", "--serving_target_latency=9")
    assert done.returncode == 1
    assert done.stderr == "error: RuntimeError: no such layer\n"
    assert f'File "{path}", line 4, in broken' in done.stdout


def test_a_server_is_searched_and_not_restarted(serve: Serve, local_server: LocalServer) -> None:
    for bound in (100, 1_000, 10_000):  # ms: as long as this machine needs for an answer without load
        done = serve(
            *TEXT, f"--serving_url={local_server.url}", "--serving_find=max_qps", f"--serving_target_latency={bound}", "--serving_percentile=50",
            "--serving_find_trials=8",
        )  # fmt: skip
        if "no rate meets the bounds" not in done.stderr:
            break
    assert done.returncode == 0, done.stderr
    assert "server not restarted: repeated searches have new clients" in " ".join(results(done)["results.warnings"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--serving_scenario=server",), "the server scenario needs a bound"),
        (("--serving_scenario=server", "--serving_target_latency=5"), "the server scenario needs a rate"),
        (("--serving_find=max_qps",), "the server scenario needs a bound"),
        (("--serving_find=max_qps", "--serving_target_latency=5", "--serving_find_trials=3"), "--serving_find_trials"),
        (("--serving_find=max_qps", "--serving_target_latency=5", "--serving_scenario=offline"), "not of offline"),
        (("--serving_queue_limit=3",), "only the server scenario can have a limit, not single-stream"),
        (("--serving_target_ttft=3", "--serving_target_latency=3", "--serving_scenario=server", "--serving_target_qps=1"), "omit one"),
        ((*SERVER[:2], "--serving_target_ttft=3"), "deep_mnist generates no text"),
        (("--serving_prompt_tokens=8",), "deep_mnist generates no text"),
        (("--num_replicas=2",), "one replica on one node"),
        (("--cuda_graphs",), "--cuda_graphs and --serving exclude each other"),
        (("--serving_url=ftp://x",), "is not an address such as http://127.0.0.1:8000"),
        (("--serving_url=http://127.0.0.1:99999",), "99999"),
        (("--serving_url=http://127.0.0.1:1", "--serving_worker_kind=processes"), "workers of --serving_url are connections"),
        (("--serving_url=http://127.0.0.1:1", "--serving_protocol=predict", "--serving_body=none"), "--serving_body none: No such file"),
        (("--serving_percentile=100",), "must be less than 100"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_measured(serve: Serve, flags: tuple[str, ...], said: str) -> None:
    done = serve("--model=deep_mnist", *flags)
    assert done.returncode == 2
    assert said in done.stderr
    assert "results.serving.qps" not in done.stdout


def test_bounds_that_cannot_be_met(serve: Serve) -> None:
    done = serve(
        "--model=deep_mnist", "--batch_size=4", "--serving_find=max_qps", "--serving_target_latency=0.001", "--serving_percentile=50",
        "--serving_min_duration=0.05",
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: no rate meets the bounds: without load, p50 is " in done.stderr
    assert "trial 1" not in done.stdout
    assert "raise serving.target_latency" in done.stderr


class LocalServer:
    """A small server on loopback, in a thread, that answers as the test wants.

    Attributes:
        requests: What was asked: path, body.
        answer: `text`, `nonsense`, `error`, `busy`, `short`, or `dies` after a few requests.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, bytes]] = []
        self.answer = "text"
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def app(self) -> Any:
        from starlette.applications import Starlette
        from starlette.requests import Request
        from starlette.responses import PlainTextResponse, Response, StreamingResponse
        from starlette.routing import Route

        async def completions(request: Request) -> Response:
            given = json.loads(await request.body())
            self.requests.append((request.url.path, await request.body()))

            async def stream() -> AsyncIterator[str]:
                count = 1 if self.answer == "short" else given["max_tokens"]
                for _ in range(count):
                    if self.answer == "dies" and len(self.requests) > 20:
                        raise RuntimeError("the server dies")
                    yield f"data: {json.dumps({'choices': [{'text': 'x'}]})}\n\n"
                if self.answer != "cut":
                    yield f"data: {json.dumps({'choices': [], 'usage': {'completion_tokens': count}})}\n\n"
                    yield "data: [DONE]\n\n"

            return refused() or StreamingResponse(stream(), media_type="text/event-stream")

        async def predict(request: Request) -> Response:
            self.requests.append((request.url.path, await request.body()))
            return refused() or PlainTextResponse('{"predictions": [1]}')

        def refused() -> Response | None:
            kinds = {
                "nonsense": (200, "<html>hello"),
                "error": (500, "out of order"),
                "missing": (404, "no such model"),
            }
            if self.answer == "busy" and len(self.requests) % 10 == 0:
                return PlainTextResponse("later", status_code=503)
            if self.answer in kinds and len(self.requests) > 8:
                status, words = kinds[self.answer]
                return PlainTextResponse(words, status_code=status)
            return None

        return Starlette(
            routes=[
                Route("/v1/completions", completions, methods=["POST"]),
                Route("/v1/models/m:predict", predict, methods=["POST"]),
            ]
        )

    def run(self) -> Any:
        import uvicorn

        server = uvicorn.Server(uvicorn.Config(self.app(), log_level="critical"))
        threading.Thread(target=server.run, kwargs={"sockets": [self._socket]}, daemon=True).start()
        wait_until(lambda: server.started)
        return server


@pytest.fixture
def local_server() -> Iterator[LocalServer]:
    made = LocalServer()
    server = made.run()
    yield made
    server.should_exit = True


TEXT = ("--model=m", "--serving_prompt_tokens=4", "--serving_output_tokens=3", "--serving_workers=4")


@pytest.mark.parametrize("flags", [("--serving_scenario=single-stream",), SERVER], ids=["single-stream", "server"])
def test_a_server_that_speaks_openai_completions(
    serve: Serve, local_server: LocalServer, flags: tuple[str, ...]
) -> None:
    done = serve(*TEXT, f"--serving_url={local_server.url}", "--serving_percentile=50", *flags)
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert served(found, "valid") is True, served(found, "reason")
    assert served(found, "output_tokens") == 3
    assert 0 <= served(found, "ttft_p50") <= served(found, "latency_p50")
    path, body = local_server.requests[0]
    assert path == "/v1/completions"
    asked = json.loads(body)
    assert (asked["model"], len(asked["prompt"]), asked["max_tokens"], asked["stream"]) == ("m", 4, 3, True)


def test_a_plain_predict_endpoint(serve: Serve, local_server: LocalServer, tmp_path: Path) -> None:
    url = f"--serving_url={local_server.url}/v1/models/m:predict"
    done = serve("--model=deep_mnist", url, "--serving_protocol=predict", "--serving_percentile=50", *SERVER)
    assert done.returncode == 0, done.stderr
    assert served(results(done), "valid") is True
    assert len(json.loads(local_server.requests[0][1])["instances"][0]) == 784
    (tmp_path / "body.bin").write_bytes(b"an image")
    done = serve(
        "--model=anything", url, "--serving_protocol=predict", "--serving_body=body.bin", "--serving_percentile=50"
    )
    assert done.returncode == 0, done.stderr
    assert local_server.requests[-1][1] == b"an image"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nonsense", "the answer is not a stream of completions: <html>hello"),
        ("error", "the server answered 500 Internal Server Error: out of order"),
        ("missing", "the server answered 404 Not Found: no such model"),
        ("short", "the answer has fewer than two tokens"),
        ("cut", "the server ended an answer before it was complete"),
        ("dies", "the server ended an answer before it was complete"),
    ],
)
def test_a_server_that_goes_wrong_ends_the_run(serve: Serve, local_server: LocalServer, answer: str, said: str) -> None:
    local_server.answer = answer
    done = serve(
        *TEXT, f"--serving_url={local_server.url}", "--serving_percentile=50", "--serving_min_duration=3600", *SERVER
    )
    assert done.returncode == 1
    assert f"error: {local_server.url}: {said}" in done.stderr


def test_a_busy_server_is_measured_and_its_rejections_count_as_too_late(
    serve: Serve, local_server: LocalServer
) -> None:
    local_server.answer = "busy"
    flags = (
        "--serving_scenario=server",
        "--serving_target_qps=100",
        "--serving_target_latency=500",
        "--serving_workers=1",
    )
    done = serve(
        "--model=m", "--serving_output_tokens=2", f"--serving_url={local_server.url}", *flags, "--serving_percentile=95"
    )
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert served(found, "rejected") > 0
    assert served(found, "late") >= served(found, "rejected")
    assert served(found, "valid") is False
    assert any(warning.startswith("rejected queries: ") for warning in found["results.warnings"])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("scenario", ["single-stream", "multi-stream"])
def test_a_rejection_of_a_sequential_query_counts_and_does_not_stop_the_run(
    serve: Serve, local_server: LocalServer, scenario: str, workers: int
) -> None:
    local_server.answer = "busy"
    done = serve(
        "--model=m", "--serving_output_tokens=2", f"--serving_url={local_server.url}", f"--serving_scenario={scenario}",
        f"--serving_workers={workers}", "--serving_samples_per_query=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = results(done)
    assert served(found, "rejected") > 0
    assert served(found, "latency_max") is None
    assert served(found, "latency_min") > 0
    assert any("the server rejects even single queries" in warning for warning in found["results.warnings"])


def test_no_server_is_there(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = serve(*TEXT, f"--serving_url={url}")
    assert done.returncode == 1
    assert f"error: {url}: no server listens there (connection refused)" in done.stderr


def test_a_server_that_never_answers(serve: Serve) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = serve(*TEXT, f"--serving_url={url}", "--serving_timeout=0.5")
    assert done.returncode == 1
    assert f"error: {url}: no answer within 0.5 s (--serving_timeout)" in done.stderr
