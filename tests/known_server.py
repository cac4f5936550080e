"""A server of known truth: OpenAI's API with times that follow from its settings, caches, and failures of all kinds.

Every event has an absolute deadline, computed when its request has a slot: delays of this process do not add up.

    python -m tests.known_server '{"token": 0.01, "slots": 8}' [PORT]      # prints its address
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass
class Truth:
    """Settings. Times are seconds.

    Attributes:
        prompt, token: Time per prompt token that is not cached, and per output token.
        slots: Requests that are answered at the same time; 0 is no limit.
        cache: `` for none, `prompt` for whole prompts, or the size of a block in tokens.
        fails: What happens to every `every`-th request: a kind of `_fail`.
        key: Required bearer token.
        chat_only: Whether completions are unknown.
        per_event: Tokens per event.
        usage: Whether token counts are reported.
        stall, stall_every: A pause at every n-th token.
        shorter: Tokens that answers lack.
        metrics: Whether /metrics has the counters of vLLM.
        pages: Kind of `_fail` that answers /metrics and other pages.
    """

    prompt: float = 0.0
    token: float = 0.0
    slots: int = 0
    cache: str = ""
    fails: str = ""
    every: int = 1
    key: str = ""
    chat_only: bool = False
    per_event: int = 1
    usage: bool = True
    stall: float = 0.0
    stall_every: int = 0
    shorter: int = 0
    metrics: bool = False
    pages: str = ""


class _Reader(asyncio.StreamReader):
    """Knows when the last bytes arrived, however long they wait to be read."""

    arrived = 0.0

    def feed_data(self, data: bytes) -> None:
        self.arrived = time.monotonic()
        super().feed_data(data)


@dataclass
class KnownServer:
    """The server, and what it knows.

    Attributes:
        truth: Its settings.
        asked: Bodies, in order of arrival.
        heads: Request lines and headers, likewise.
        counts: `connections`, `answered`, `failed`, `prompt tokens`, `cached tokens`.
        most: Maximum number of requests at the same time.
        times: Of each streamed answer, milliseconds from its arrival to its first and to its last event, as they were written.
        lag: Maximum milliseconds that its event loop was late: so much later may a request be read.
    """

    truth: Truth = field(default_factory=Truth)
    asked: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    most: int = 0
    times: list[tuple[float, float]] = field(default_factory=list)
    lag: float = 0.0
    url: str = ""
    _known: set[Any] = field(default_factory=set)
    _now: int = 0

    async def serve(self, port: int = 0) -> asyncio.Server:
        self._slots = asyncio.Semaphore(self.truth.slots or 1 << 30)
        loop = asyncio.get_running_loop()

        def make() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(_Reader(limit=1 << 26), self._client)

        server = await loop.create_server(make, "127.0.0.1", port, backlog=1000)
        self._watching = loop.create_task(self._watch())
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return server

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + 0.005
            await asyncio.sleep(0.005)
            self.lag = max(self.lag, 1000 * (time.monotonic() - due))

    def start(self) -> None:
        """Serve from a thread."""
        ready = threading.Event()

        async def run() -> None:
            self._loop = asyncio.get_running_loop()
            self._end = asyncio.Event()
            async with await self.serve():
                ready.set()
                await self._end.wait()
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()

        self._thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    async def _client(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.counts["connections"] += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                length = next(
                    (int(line[15:]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0
                )
                body = await reader.readexactly(length)
                arrived = reader.arrived
                if not head.startswith("POST") and self.truth.pages:
                    await self._fail(writer, self.truth.pages)
                elif not head.startswith("POST"):
                    self._metrics(head, writer)
                else:
                    self._now += 1
                    self.most = max(self.most, self._now)
                    try:
                        await self._answer(head, json.loads(body), arrived, writer)
                    finally:
                        self._now -= 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    def _metrics(self, head: str, writer: asyncio.StreamWriter) -> None:
        text = (
            json.dumps(self.times)
            if "/times" in head
            else (
                "# HELP a page of a real server is long\n"
                * 5000
                + f'vllm:prefix_cache_queries_total{{model="m"}} {float(self.counts["prompt tokens"])}\n'
                f'vllm:prefix_cache_hits_total{{model="m"}} {float(self.counts["cached tokens"])}\n'
            )
        )
        status = "200 OK" if self.truth.metrics or "/metrics" not in head else "404 Not Found"
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())

    async def _answer(self, head: str, body: Any, arrived: float, writer: asyncio.StreamWriter) -> None:
        truth = self.truth
        self.asked.append(body)
        self.heads.append(head)
        if truth.key and f"Bearer {truth.key}\r\n" not in head:
            return _plain(writer, "401 Unauthorized", "who are you?")
        if truth.chat_only and "/chat/" not in head:
            return _plain(writer, "404 Not Found", "no such path")
        if truth.fails and len(self.asked) % truth.every == 0:
            self.counts["failed"] += 1
            return await self._fail(writer, truth.fails)
        async with self._slots:
            await self._stream(body, arrived, max(arrived, time.monotonic() if truth.slots else 0.0), writer)

    async def _stream(self, body: Any, arrived: float, start: float, writer: asyncio.StreamWriter) -> None:
        truth, is_chat = self.truth, "messages" in body
        tokens = [word for one in body["messages"] for word in one["content"].split()] if is_chat else body["prompt"]
        tokens = tokens.split() if isinstance(tokens, str) else tokens
        cached, count = self._cached(tokens), body.get("max_tokens", 16) - truth.shorter
        self.counts.update({"prompt tokens": len(tokens), "cached tokens": cached})
        usage = {
            "prompt_tokens": len(tokens),
            "completion_tokens": count,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        due = start + truth.prompt * (len(tokens) - cached)
        if not body.get("stream"):
            await _until(due + truth.token * count)
            choice = {"message": {"content": "x " * count}} if is_chat else {"text": "x " * count}
            name = "chat.completion" if is_chat else "text_completion"
            choices = [{"index": 0, **choice, "finish_reason": "length"}]
            entry = {"object": name, "choices": choices, **({"usage": usage} if truth.usage else {})}
            self.counts["answered"] += 1
            return _plain(writer, "200 OK", json.dumps(entry))
        head, begin, now = HEAD.encode(), 0.0, 0.0
        name = "chat.completion.chunk" if is_chat else "text_completion"
        end = (
            (_event({"object": name, "choices": [], "usage": usage}) if truth.usage else b"")
            + _chunk("data: [DONE]\n\n")
            + b"0\r\n\r\n"
        )
        for first in range(0, count, truth.per_event):
            if first:
                due += truth.token * truth.per_event
                if truth.stall_every and first // truth.stall_every != (first - truth.per_event) // truth.stall_every:
                    due += truth.stall
            text = "x " * min(truth.per_event, count - first)
            is_last = first + truth.per_event >= count
            choice = {"delta": {"content": text}} if is_chat else {"text": text}
            choices = [{"index": 0, **choice, "finish_reason": "length" if is_last else None}]
            event = _event({"object": name, "choices": choices})
            await _until(due)
            writer.write(head + event + end if is_last else head + event)  # one packet: each costs both sides
            now = 1000 * (time.monotonic() - arrived)
            head, begin = b"", begin or now
            await writer.drain()
        self.times.append((begin, now))
        self.counts["answered"] += 1
        return None

    def _cached(self, tokens: list[Any]) -> int:
        if not self.truth.cache:
            return 0
        size = len(tokens) if self.truth.cache == "prompt" else int(self.truth.cache)
        ends = range(size, len(tokens) + 1, max(1, size))
        found = 0
        for end in ends:
            if tuple(tokens[:end]) not in self._known:
                break
            found = end
        self._known.update(tuple(tokens[:end]) for end in ends)
        return min(found, len(tokens) - 1)

    async def _fail(self, writer: asyncio.StreamWriter, kind: str) -> None:
        """A failure; endless ones end when the client closes the connection."""
        event = 'data: {"choices": [{"text": "x"}]}\n\n'
        if kind.isdigit():
            _plain(writer, f"{kind} Out of order", "out of order")
        elif kind == "reset":
            writer.transport.abort()
        elif kind == "cut":
            writer.write(HEAD.encode() + _chunk(event))
            await writer.drain()
            writer.close()
        elif kind == "error event":
            writer.write(HEAD.encode() + _chunk('data: {"error": {"message": "no memory"}}\n\n') + b"0\r\n\r\n")
        elif kind in EVENTS:
            writer.write(HEAD.encode() + _chunk(EVENTS[kind]) + _chunk("data: [DONE]\n\n") + b"0\r\n\r\n")
        elif kind in WHOLE:
            writer.write(WHOLE[kind])
            await writer.drain()
            await asyncio.sleep(3600)
        else:
            begin, block, pause = ENDLESS[kind]
            writer.write(begin)
            while True:
                writer.write(block)
                await writer.drain()
                await asyncio.sleep(pause)


def _plain(writer: asyncio.StreamWriter, status: str, text: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())


def _chunk(text: str) -> bytes:
    return f"{len(text):x}\r\n{text}\r\n".encode()


def _event(entry: Any) -> bytes:
    return _chunk(f"data: {json.dumps(entry)}\n\n")


async def _until(due: float) -> None:
    if (left := due - time.monotonic()) > 0:
        await asyncio.sleep(left)


_USAGE = 'data: {"choices": [{"text": "x"}], "usage": {"completion_tokens": %s}}\n\n'
# Answers that end, and are not what the protocol says.
EVENTS = {
    "nonsense": "<html>hello</html>\n",
    "no JSON": "data: {\n\n",
    "deep JSON": "data: " + "[" * 100_000 + "\n\n",
    "deep objects": "data: " + '{"choices":' * 100_000 + "\n\n",
    "a list": "data: [1]\n\n",
    "choices that are a number": 'data: {"choices": 5}\n\n',
    "a choice that is a text": 'data: {"choices": ["x"]}\n\n',
    "a text that is a number": 'data: {"choices": [{"text": 7}]}\n\n',
    "2**63 tokens": _USAGE % 2**63,
    "2**70 tokens": _USAGE % 2**70,
    "-1 tokens": _USAGE % -1,
    "1e400 tokens": _USAGE % "1e400",
    "usage that is a list": 'data: {"choices": [], "usage": [1]}\n\n',
    "no text": 'data: {"choices": []}\n\n',
    "no event": ": comment\n\n",
}
# Answers that are broken below the protocol; then the server is silent.
WHOLE = {
    "silence": b"",
    "a huge chunk": HEAD.encode() + b"ffffffffffffffffff\r\nx",
    "a negative chunk": HEAD.encode() + b"-5\r\nhello\r\n",
    "no HTTP": b"SSH-2.0-x\r\n\r\n",
    "a redirect": b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "compressed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
    "a length of 16 exabytes": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nx",
    "two lengths": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
}
# Answers without an end: their beginning, what follows again and again, and the pause.
ENDLESS = {
    "endless headers": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 1000, 0.001),
    "a header byte by byte": (b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.01),
    "endless 100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.001),
    "endless comments": (HEAD.encode(), _chunk(": alive\n\n"), 0.001),
    "an endless line": (HEAD.encode(), _chunk("data: " + "x" * 60_000), 0.0),
    "endless text": (HEAD.encode(), _chunk('data: {"choices": [{"text": "x"}]}\n\n' * 1000), 0.0),
    "endless trailers": (HEAD.encode() + b"0\r\n", b"X: y\r\n" * 100, 0.001),
    "one byte at a time": (HEAD.encode(), _chunk("d"), 0.01),
}


async def _main(truth: Truth, port: int) -> None:
    known = KnownServer(truth)
    gc.freeze()
    gc.disable()
    with suppress(OSError):  # so that nothing else on this machine delays its answers
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    async with await known.serve(port) as server:
        print(known.url, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(Truth(**json.loads(sys.argv[1])), int(sys.argv[2]) if sys.argv[2:] else 0))
