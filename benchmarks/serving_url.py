"""The truth of figures about a server behind a URL: errors against a server of known times, at 100 streams of 100 tokens/s.

    python benchmarks/serving_url.py [--streams 100] [--tokens 64] [--seconds 10] [--rounds 3]

The server (`tests/known_server.py`) needs 0.5 ms per prompt token and 10 ms per output token, and shares the machine with the client. It reports when
it wrote each event. The bare client reads sockets of asyncio and nothing else: events that it sees late are late because of the server or the machine.
The client `aiohttp` has that library between them.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python")]

from benchmark_core.intervals import latency_quantile  # noqa: E402
from pytorch_benchmarks.serving import requests  # noqa: E402

PROMPT, PER_PROMPT_TOKEN, PER_TOKEN = 256, 0.5, 10.0


Figures = tuple[list[float], list[float], list[float]]  # times to first token, gaps and latencies in milliseconds


async def asked(client: str, url: str, streams: int, tokens: int, seconds: float) -> Figures:
    """The figures of streams that a client of this process reads: `bare` or `aiohttp`."""
    firsts: list[float] = []
    gaps: list[float] = []
    latencies: list[float] = []
    numbers = itertools.count()
    host, _, port = url.removeprefix("http://").partition(":")

    async def use(read: Callable[[bytes], AsyncIterator[bytes]]) -> None:
        while time.monotonic() < end:
            body = json.dumps({"prompt": [next(numbers)] * PROMPT, "max_tokens": tokens, "stream": True}).encode()
            sent = time.monotonic()
            times = []
            async for block in read(body):
                times += [time.monotonic()] * block.count(b'"text"')
            firsts.append(1000 * (times[0] - sent))
            latencies.append(1000 * (times[-1] - sent))
            gaps.extend(1000 * (after - before) for before, after in itertools.pairwise(times))

    def bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Callable[[bytes], AsyncIterator[bytes]]:
        async def read(body: bytes) -> AsyncIterator[bytes]:
            writer.write(f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            block = b""
            while not block.endswith(b"0\r\n\r\n"):
                block = await reader.read(1 << 16)
                yield block

        return read

    with suppress(OSError):  # as ours
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    if client == "bare":
        connections = [await asyncio.open_connection(host, int(port)) for _ in range(streams)]
        end = time.monotonic() + seconds
        await asyncio.gather(*(use(bare(*connection)) for connection in connections))
    else:
        import aiohttp

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def read(body: bytes) -> AsyncIterator[bytes]:
                async with session.post(url + "/v1/completions", data=body) as answer:
                    async for block in answer.content.iter_any():
                        yield block

            end = time.monotonic() + seconds
            await asyncio.gather(*(use(read) for _ in range(streams)))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return firsts, gaps, latencies


def ours(url: str, streams: int, tokens: int, seconds: float, file: Path) -> Figures:
    command = [
        sys.executable, str(ROOT / "python/pytorch_benchmarks/benchmarks.py"), "--serving", "--model=m", f"--serving_url={url}",
        "--serving_scenario=concurrent", f"--serving_users={streams}", f"--serving_prompt_tokens={PROMPT}",
        f"--serving_output_tokens={tokens}", f"--serving_min_duration={seconds}", f"--serving_requests={file}", "--num_warmup_batches=1",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        if line.startswith(("warning", "__results.serving.client_")):
            print("   ", line)
    records = [record for record in requests.load_requests(file) if requests.is_ok(record)]
    gaps = [gap for record in records for gap in record["gaps"]]
    return [requests.ttft(record) for record in records], gaps, [requests.latency(record) for record in records]


def served(url: str) -> list[tuple[float, float]]:
    """Milliseconds to the first and last event of each answer so far, as the server wrote them."""
    with urllib.request.urlopen(url + "/times") as answer:
        return [tuple(pair) for pair in json.load(answer)]


def middle_and_end(times: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return latency_quantile(ordered, 0.5), latency_quantile(ordered, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    first = PROMPT * PER_PROMPT_TOKEN
    truth = {"ttft": first, "gap": PER_TOKEN, "latency": first + PER_TOKEN * (options.tokens - 1)}
    settings = {"prompt": PER_PROMPT_TOKEN / 1000, "token": PER_TOKEN / 1000}
    command = [sys.executable, "-m", "tests.known_server", json.dumps(settings)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        print("client  figure    truth ms   p50 ms   p99 ms   the server's own p50 and p99")
        with tempfile.TemporaryDirectory() as directory:
            for _ in range(options.rounds):
                for name in ("bare", "aiohttp", "ours"):
                    given = url, options.streams, options.tokens, options.seconds
                    before = len(served(url))
                    found = (
                        ours(*given, Path(directory) / "r.jsonl")
                        if name == "ours"
                        else asyncio.run(asked(name, *given))
                    )
                    own = list(zip(*served(url)[before:], strict=True))
                    for (figure, true), times in zip(truth.items(), found, strict=True):
                        words = "".join(f"{value:>9.1f}" for value in middle_and_end(times))
                        if figure != "gap":
                            words += "".join(f"{value:>9.1f}" for value in middle_and_end(own[figure == "latency"]))
                        print(f"{name:7} {figure:8} {true:>9.1f}{words}", flush=True)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
