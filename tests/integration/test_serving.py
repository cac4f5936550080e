"""`benchmarks.py --serving` as a program: real models, LoadGen, servers on loopback, failures."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dlbs.core.logs import parse_line
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
TEXT_MODEL = ("--model=tiny_text", f"--architecture={ROOT / 'tests' / 'tiny_text.py'}")
SERVER = ("--serving_scenario=server", "--serving_target_qps=40", "--serving_target_latency=60000")


@pytest.fixture
def serve(forked_torch: ForkServer, tmp_path: Path) -> Serve:
    """Run benchmarks.py --serving from an empty directory."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return forked_torch.run(
            str(PROGRAM), *SHORT, *arguments, directory=tmp_path, environment=ALONE, timeout=PATIENCE
        )

    return run


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
def test_a_language_model_with_bounds_of_its_tokens(serve: Serve, kind: str) -> None:
    done = serve(
        *TEXT_MODEL, "--batch_size=4", "--serving_scenario=server", "--serving_target_qps=100", "--serving_percentile=90",
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
def test_a_language_model_without_bounds(serve: Serve, scenario: str) -> None:
    done = serve(*TEXT_MODEL, "--batch_size=4", f"--serving_scenario={scenario}", "--serving_percentile=90")
    assert done.returncode == 0, done.stderr
    assert served(results(done), "valid") is True
    assert served(results(done), "output_tokens") == 4


def test_lengths_that_cannot_be(serve: Serve) -> None:
    for flags, said in (
        (["--serving_output_tokens=1"], "answers need at least two tokens"),
        (["--serving_prompt_tokens=x"], "is not one of 128"),
        (["--serving_prompt_tokens=9", '--model_opts={"sequence_length":8}'], "sequence_length is 8, but the longest"),
    ):
        done = serve(*TEXT_MODEL, *flags)
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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--serving_scenario=server",), "the server scenario needs a rate"),
        (("--serving_scenario=server", "--serving_target_latency=5"), "the server scenario needs a rate"),
        (("--serving_find=max_qps",), "a search needs a bound"),
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
        (("--serving_url=http://127.0.0.1:1", "--serving_workers=3"), "--serving_workers belongs to models"),
        (("--serving_url=http://127.0.0.1:1", "--serving_prompts=some"), "is not unique, repeat or shared-prefix:TOKENS"),
        (("--serving_url=http://127.0.0.1:1", "--serving_arrivals=gamma"), "is not poisson, constant, gamma:SHAPE"),
        (("--serving_url=http://127.0.0.1:1", "--serving_goodput=ttft"), "is not bounds in milliseconds"),
        (("--serving_url=http://127.0.0.1:1", "--serving_turns=2"), "needs --serving_protocol chat"),
        (("--serving_url=http://127.0.0.1:1", "--serving_tokenizer=none"), "there is no file none"),
        (("--serving_url=http://127.0.0.1:1", "--serving_data=none"), "--serving_data none"),
        (("--serving_scenario=concurrent",), "needs a server (--serving_url)"),
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
