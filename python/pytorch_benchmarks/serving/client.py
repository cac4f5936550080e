"""The client of a server behind a URL: a separate process, which sends requests when they are due and prints one JSON line for each.

Its plan is the first line of its input, the start (seconds of `time.monotonic`) the second. It ends when its input ends, because then its parent has.
It imports neither torch nor the other programs: nothing shares its interpreter, so that only the machine can delay it.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import itertools
import json
import os
import random
import resource
import ssl
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import httptools

from benchmark_core.crash import guarded

_MOST_BYTES = 64 << 20  # of an answer
_MOST_LINE = 1 << 20  # bytes of an event, or of an error
_MOST_HEAD = 1 << 16
_MOST_TOKENS = 1 << 31
_SHOWN = 120  # characters of an answer in a message
_OPENED = 5.0  # seconds for a connection that is opened before the start
_TAIL = 1.0  # seconds to wait for the end of an answer that is complete
_PAGE = 2.0  # seconds for a page such as /metrics
_TOO_LATE = "no complete answer in time (serving.timeout)"
_WATCHED = 0.005  # seconds between observations of the event loop
_REJECTED = (429, 503)
_FIRST_ID, _IDS = 100, 900  # every vocabulary has these; the first ones often end a text
_UNIQUE = 16  # tokens at the beginning of a prompt, the least that a server caches: at least 96 bits
_POOL = 1 << 16  # tokens, from which the rest of a prompt is cut: drawing 32,000 for each would delay events by 10 ms
_READY = 64  # requests that are prepared before they are due
_MOST_OPENED = 1024  # connections that are opened before the start
# One token each in most vocabularies. As a list, it would take 64 lines.
_WORDS = (  # noqa: SIM905
    "time year street way day man thing woman life child world school state family student group country problem hand part place case "
    "week company system program question work government number night point home water room mother area money story fact month lot "
    "right study book eye job word business issue side kind head house service friend father power hour game line end member"
).split()


class FailedError(Exception):
    """A request has no valid answer.

    Args:
        kind: `HTTP 500`, `rejected`, `timeout`, `connection`, `cut`, `error event` or `malformed`.
        text: The reason.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(slots=True)
class Answer:
    """The received part of an answer. Times are seconds of `time.monotonic`.

    Attributes:
        times: Of the events with text.
        done: When it was complete.
        text: Of each event that has any.
        usage: Token counts of the server: prompt, output, cached; None where it reports none.
    """

    times: list[float] = field(default_factory=list)
    done: float = 0.0
    text: list[str] = field(default_factory=list)
    usage: tuple[int | None, int | None, int | None] = (None, None, None)


class Connection(asyncio.Protocol):
    """A connection to the server. The time of an event is that of its arrival, before anything is done with it.

    aiohttp sends and reads bodies in tasks, which run after those of all other connections: at 100 streams, its times to first token were up to
    24 ms late (`benchmarks/serving_url.py`).

    Args:
        idle: Where it puts itself when it can send another request.
    """

    def __init__(self, idle: deque[Connection]) -> None:
        self._idle = idle
        self._waiting: asyncio.Future[None] | None = None

    def ask(self, request: bytes, answer: Answer, kind: str, timeout: float) -> asyncio.Future[None]:
        """Send a request and fill `answer` from `events`, an `object`, `predictions` or a `page`; the future fails with a `FailedError`."""
        loop = asyncio.get_running_loop()
        self._answer, self._kind, self._parser = answer, kind, httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._rest, self._received, self._status, self._reason, self._encoding = b"", 0, 0, b"", b"identity"
        self._has_head = self._has_end = self._is_finished = self._is_complete = self._stays_open = False
        self._ends_by_close = True
        self._waiting = loop.create_future()
        self._end = loop.call_later(timeout, self._fail, FailedError("timeout", _TOO_LATE))
        self.transport.write(request)
        return self._waiting

    # Called by the event loop.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._waiting is None:
            self.transport.abort()  # an answer without a request
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
            self._read(now)
        except FailedError as error:
            self._fail(error)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(FailedError("malformed", f"the answer is not HTTP: {error}"))
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
            self._fail(FailedError("malformed", f"the answer is not what the protocol says: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is None:
            return
        if self._has_head and self._ends_by_close and exc is None:
            self._is_complete = True
            self.data_received(b"")
        elif self._has_head:
            self._fail(FailedError("cut", "the server ended an answer before it was complete"))
        else:
            self._fail(FailedError("connection", "the server closed the connection before its answer"))

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self._is_complete:
            raise ValueError("there are two answers")

    def on_status(self, status: bytes) -> None:
        self._reason = status

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding":
            self._encoding = value
        elif name.lower() in {b"content-length", b"transfer-encoding"}:
            self._ends_by_close = False

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._has_head = self._status >= 200  # others precede the answer

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._is_complete = self._has_head
        self._stays_open = self._parser.should_keep_alive()  # the parser forgets it

    def _read(self, now: float) -> None:
        """Use the bytes that have arrived.

        Raises:
            FailedError: The answer is not valid.
        """
        most = _MOST_BYTES if self._status == 200 else _MOST_LINE if self._has_head else _MOST_HEAD
        if self._received > most:
            raise FailedError("malformed", "the answer is too long")
        if self._status == 200 and self._encoding != b"identity":
            raise FailedError("malformed", "the answer is compressed, although the request asked for none")
        if self._status == 200 and self._kind == "events" and self._parts:
            block = self._rest + b"".join(self._parts)
            self._parts.clear()
            if not self._is_finished:
                self._read_events(block, now)
        if self._is_complete:
            if not self._is_finished:
                self._read_all(now)
            self._end.cancel()
            self._waiting = None
            if self._stays_open and not self._ends_by_close:
                self._idle.append(self)
            else:
                self.transport.abort()

    def _read_events(self, block: bytes, now: float) -> None:
        """Server-sent events, until the answer is complete."""
        answer = self._answer
        *lines, self._rest = block.split(b"\n")
        if len(self._rest) > _MOST_LINE:
            raise FailedError("malformed", "the answer is too long")
        for line in lines:
            line = line.strip()
            if line == b"data: [DONE]":
                self._finish()
                return
            if line.startswith(b"data:"):
                has_text, is_end = _take(json.loads(line[5:]), answer)
                if has_text:
                    answer.times.append(now)
                if has_text or is_end:
                    answer.done = now
                self._has_end |= is_end
            elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                raise FailedError("malformed", f"the answer is not a stream of completions: {_shown(line)}")

    def _read_all(self, now: float) -> None:
        """The answer when its last byte has arrived."""
        answer, body = self._answer, b"".join(self._parts)
        if self._status != 200 and not (self._kind == "page" and 200 <= self._status < 300):
            kind = "rejected" if self._status in _REJECTED else f"HTTP {self._status}"
            raise FailedError(kind, f"the server answered {self._status} {_shown(self._reason)}: {_shown(body)}")
        if self._kind == "page":
            answer.text.append(body.decode(errors="replace"))
        elif self._kind != "events":
            found = json.loads(body)
            answer.done = now
            if self._kind == "object":
                _take(found, answer)
            elif not found or not isinstance(found, (dict, list)):
                raise FailedError("malformed", "the answer has no predictions")
        elif not self._has_end:
            raise FailedError("cut", "the server ended an answer before it was complete")
        self._finish()

    def _finish(self) -> None:
        """The answer is complete; the rest is read for a moment, so that the connection can be used again."""
        if self._kind in {"events", "object"} and not self._answer.text:
            raise FailedError("malformed", "the answer has no text")
        self._is_finished = True
        self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(_TAIL, self.transport.abort)
        assert self._waiting is not None
        self._waiting.set_result(None)

    def _fail(self, error: FailedError) -> None:
        self._end.cancel()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
        self._waiting = None
        self.transport.abort()


class Client:
    """Sends the requests of a plan.

    Args:
        plan: `url`, `protocol` (completions, chat, predict), `model`, `stream`, `headers`, `extra`, `ignore_eos`, `tokenizer`, `timeout` (s),
            `retries`; `items`: turns (lengths, texts, token IDs or messages) and lengths of answers; `nonce`, `repeat`, `prefix` of random
            prompts; `bodies` and `kind` of predict; `due` (s from the start) or `users`, `seconds`, `least`; `most`; `limit` of requests at the
            same time; `first` and `step` of the numbers of its requests.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._bodies = [base64.b64decode(body) for body in plan["bodies"]]
        self._limit = asyncio.Semaphore(plan["limit"] or 1 << 60)
        self._tokenizer = _tokenizer(plan["tokenizer"])
        self._begun, self._lags = 0, [0.0]
        self._tokens: list[Any] = _WORDS if plan["protocol"] == "chat" else list(range(_FIRST_ID, _FIRST_ID + _IDS))
        self._pool = random.Random(plan["nonce"]).choices(self._tokens, k=_POOL)
        self._prefix = self._random(plan["prefix"], "prefix")
        self._kind = "predictions" if plan["protocol"] == "predict" else "events" if plan["stream"] else "object"
        self._address = urlsplit(plan["url"])
        self._secure = ssl.create_default_context() if self._address.scheme == "https" else None
        self._head = _head("POST", self._address, {"Content-Type": plan["kind"], **plan["headers"]})
        self._idle: deque[Connection] = deque()
        self._ready: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue(max(_READY, plan["users"]))

    async def prepare(self) -> None:
        """Everything that need not take time later: the first requests, and connections for those that are due at once."""
        plan, numbers = self._plan, itertools.count(self._plan["first"], self._plan["step"])
        while not self._ready.full():
            number = next(numbers)
            self._ready.put_nowait((number, self._body(number, 0, [])))
        self._preparing = asyncio.create_task(self._prepare(numbers))
        at_once = plan["users"] if plan["due"] is None else plan["due"].count(0.0)
        # A request that needs a connection tries again, and reports the problem.
        with suppress(asyncio.TimeoutError, OSError, UnicodeError):
            for _ in range(min(at_once, plan["limit"] or at_once, _MOST_OPENED)):
                self._idle.append(await asyncio.wait_for(self._connect(), _OPENED))

    async def _prepare(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            await self._ready.put((number, self._body(number, 0, [])))
            await asyncio.sleep(0)  # events come first

    async def run(self, start: float) -> dict[str, float]:
        """Send everything; returns facts about this process: share of a CPU, mean, 99th percentile and maximum of the lag of its event loop (ms)."""
        await asyncio.sleep(max(0.0, start - time.monotonic()))
        watch = asyncio.create_task(self._watch())
        began, used = time.monotonic(), time.process_time()
        await (self._open(start) if self._plan["due"] is not None else self._closed(start))
        seconds = max(1e-9, time.monotonic() - began)
        watch.cancel()
        self._preparing.cancel()
        lags = sorted(self._lags)
        return {
            "cpu": (time.process_time() - used) / seconds,
            "lag": 1000 * sum(lags) / len(lags),
            "lag_p99": 1000 * lags[int(0.99 * len(lags))],
            "lag_max": 1000 * lags[-1],
        }

    async def _watch(self) -> None:
        while True:
            due = time.monotonic() + _WATCHED
            await asyncio.sleep(_WATCHED)
            self._lags.append(time.monotonic() - due)

    async def _open(self, start: float) -> None:
        """Send each request when it is due, whatever has become of the others."""
        tasks = set()
        for due in self._plan["due"]:
            number, body = await self._ready.get()
            if (left := start + due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            task = asyncio.create_task(self._session_of(number, start, start + due, body))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.gather(*tasks)

    async def _closed(self, start: float) -> None:
        """Users who send a request as soon as the previous one is answered."""
        plan = self._plan
        end = start + plan["seconds"]

        async def use() -> None:
            while (time.monotonic() < end or self._begun < plan["least"]) and self._begun < plan["most"]:
                self._begun += 1
                number, body = await self._ready.get()
                await self._session_of(number, start, time.monotonic(), body)

        await asyncio.gather(*(use() for _ in range(plan["users"])))

    async def _session_of(self, number: int, start: float, due: float, body: bytes) -> None:
        """The turns of a conversation, usually one: each is due when the previous one is answered."""
        turns, _ = self._item(number)
        said: list[Any] = []
        for turn in range(max(1, len(turns))):
            if turn:
                body, due = self._body(number, turn, said), time.monotonic()
            async with self._limit:
                answer = await self._send(number, turn, start, due, body)
            if answer is None:
                return  # the rest of a conversation needs this answer
            said.append("".join(answer.text))

    async def _send(self, number: int, turn: int, start: float, due: float, body: bytes) -> Answer | None:
        """Send a request, again after a failure if the plan allows it, and print what became of it."""
        sent, answer, failure, retries = time.monotonic(), Answer(), None, 0
        while True:
            try:
                answer = Answer()
                await self._ask(body, answer)
                failure = None
            except FailedError as error:
                failure = error
            if failure is None or retries >= self._plan["retries"] or failure.kind == "timeout":
                break
            retries += 1
        ended = answer.done if failure is None else time.monotonic()
        prompt, output, cached = answer.usage
        first_tokens = None
        if self._tokenizer is not None and answer.text:
            output = len(self._tokenizer.encode("".join(answer.text), add_special_tokens=False).ids)
            first_tokens = len(self._tokenizer.encode(answer.text[0], add_special_tokens=False).ids)
        times, (_, asked) = answer.times, self._item(number)
        line = {
            "number": number,
            "turn": turn,
            "due": round(due - start, 6),
            "sent": round(sent - start, 6),
            "first": round(times[0] - start, 6) if times else None,
            "done": round(ended - start, 6),
            "gaps": [round(1000 * (after - before), 3) for before, after in itertools.pairwise(times)],
            "asked_tokens": asked,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "cached_tokens": cached,
            "first_tokens": first_tokens,
            "status": "ok" if failure is None else failure.kind,
            "error": None if failure is None else _shown(str(failure)),
            "retries": retries,
        }
        print(json.dumps(line), flush=True)
        return answer if failure is None else None

    async def _ask(self, body: bytes, answer: Answer) -> None:
        """One attempt; fills `answer`.

        Raises:
            FailedError: There is no valid answer.
        """
        end = time.monotonic() + self._plan["timeout"]
        while True:
            if not self._idle:
                try:
                    connection = await asyncio.wait_for(self._connect(), self._plan["timeout"])
                except asyncio.TimeoutError:
                    raise FailedError("timeout", "no connection in time (serving.timeout)") from None
                except (OSError, UnicodeError) as error:
                    reason = getattr(error, "strerror", None) or str(error)
                    raise FailedError("connection", f"the server cannot be reached: {reason}") from None
                break
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                break
        request = self._head + str(len(body)).encode() + b"\r\n\r\n" + body
        await connection.ask(request, answer, self._kind, max(0.0, end - time.monotonic()))

    async def _connect(self) -> Connection:
        return await _connected(self._address, self._secure, self._idle)

    def _item(self, number: int) -> tuple[list[Any], int]:
        items = self._plan["items"]
        turns, asked = items[number % len(items)] if items else ([], 0)
        return turns, asked

    def _body(self, number: int, turn: int, said: list[str]) -> bytes:
        """The body of a request; `said` are the answers to the turns before."""
        plan = self._plan
        if self._bodies:
            return self._bodies[number % len(self._bodies)]
        turns, asked = self._item(number)
        contents = [self._content(turns[one], number, one) for one in range(turn + 1)]
        body: dict[str, Any] = {"model": plan["model"]}
        if plan["protocol"] == "chat":
            messages: list[Any] = []
            for one, content in enumerate(contents):
                messages += content if _is_messages(content) else [{"role": "user", "content": content}]
                if one < len(said):
                    messages.append({"role": "assistant", "content": said[one]})
            body["messages"] = messages
        else:
            body["prompt"] = contents[0]
        if asked:
            body["max_tokens"] = asked
            if plan["ignore_eos"]:
                body["ignore_eos"] = True
        body["temperature"] = 0
        if plan["stream"]:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        body |= plan["extra"]
        return json.dumps({name: value for name, value in body.items() if value is not None}).encode()

    def _content(self, content: Any, number: int, turn: int) -> Any:
        """A prompt of the data, or a random one if only its length is given."""
        if not isinstance(content, int):
            return content
        rest = max(0, content - len(self._prefix)) if not turn else content
        which = number % len(self._plan["items"]) if self._plan["repeat"] else number
        words = (self._prefix if not turn else []) + self._random(rest, f"{which}.{turn}")
        return " ".join(words) if self._plan["protocol"] == "chat" else words

    def _random(self, count: int, name: str) -> list[Any]:
        """Tokens or words: a beginning that no other name has, and a part of the pool."""
        chance = random.Random(f"{self._plan['nonce']}/{name}")
        found = chance.choices(self._tokens, k=min(count, _UNIQUE))
        begin = chance.randrange(_POOL)
        while len(found) < count:
            found += self._pool[begin : begin + count - len(found)]
            begin = 0
        return found


def _take(entry: Any, answer: Answer) -> tuple[bool, bool]:
    """Add an event, or a whole answer, to `answer`; returns whether it has text, and whether it is the last one with a choice.

    Raises:
        FailedError: It is an error, or not what the protocol says.
    """
    if not isinstance(entry, dict):
        raise FailedError("malformed", f"an event is not an object: {_shown(str(entry))}")
    if entry.get("error"):
        raise FailedError("error event", f"the server reports an error: {_shown(json.dumps(entry['error']))}")
    has_text = is_end = False
    for choice in entry.get("choices") or []:
        given = choice.get("delta") or choice.get("message") or choice
        pieces = [given.get(name) for name in ("text", "content", "reasoning_content", "reasoning")]
        text = "".join(piece for piece in pieces if piece)
        if not text and given.get("tool_calls"):
            text = json.dumps(given["tool_calls"])
        if text:
            answer.text.append(text)
            has_text = True
        is_end |= choice.get("finish_reason") is not None
    if usage := entry.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        answer.usage = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")), _count(cached)
    elif "choices" not in entry:
        raise FailedError("malformed", f"an event has no choices: {_shown(json.dumps(entry))}")
    return has_text, is_end


def _count(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not 0 <= value < _MOST_TOKENS):
        raise FailedError("malformed", f"{_shown(str(value))} is not a number of tokens")
    return value


async def _connected(address: SplitResult, secure: ssl.SSLContext | None, idle: deque[Connection]) -> Connection:
    port = address.port or (443 if secure else 80)
    make = asyncio.get_running_loop().create_connection
    return (await make(lambda: Connection(idle), address.hostname or "", port, ssl=secure))[1]


def fetch(address: SplitResult) -> str | None:
    """A page of a server; None if it is missing, or not complete within two seconds."""

    async def ask() -> str:
        answer = Answer()
        secure = ssl.create_default_context() if address.scheme == "https" else None
        connection = await _connected(address, secure, deque())
        try:
            await connection.ask(_head("GET", address, {}) + b"0\r\n\r\n", answer, "page", _PAGE)
        finally:
            connection.transport.abort()
        return answer.text[0]

    with suppress(FailedError, OSError, UnicodeError, asyncio.TimeoutError):
        return asyncio.run(asyncio.wait_for(ask(), _PAGE))
    return None


def _head(method: str, parts: SplitResult, headers: Mapping[str, str]) -> bytes:
    """The beginning of each request, up to the length of its body."""
    path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/%:@!$&'()*+,;=~?")
    given = {"Host": parts.netloc.rpartition("@")[2], "Accept-Encoding": "identity", "User-Agent": "dlbs"}
    if parts.username:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        given["Authorization"] = "Basic " + base64.b64encode(words.encode()).decode()
    given |= {name: value for name, value in headers.items() if name.lower() != "content-length"}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items()), "Content-Length: "]
    return "\r\n".join(lines).encode("utf-8")


def _is_messages(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(one, dict) for one in content)


def _shown(text: bytes | str) -> str:
    words = text[: 8 * _SHOWN].decode(errors="replace") if isinstance(text, bytes) else text[: 8 * _SHOWN]
    return " ".join(words.split())[:_SHOWN] or "an empty answer"


def _tokenizer(path: str) -> Any:
    if not path:
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_file(path)


async def _main() -> None:
    loop = asyncio.get_running_loop()
    client = Client(json.loads(sys.stdin.buffer.readline()))
    await client.prepare()
    print(json.dumps({"ready": True}), flush=True)
    start = float(sys.stdin.buffer.readline())
    loop.add_reader(sys.stdin.fileno(), lambda: os._exit(1))  # the parent has ended, or wants no more
    # A collection of everything that exists stops the loop for milliseconds: it need not look at what lives on.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    found = await client.run(start)
    print(json.dumps({"end": found}), flush=True)


def main() -> int:
    """Send the requests of the plan on standard input; returns the exit code."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # Where it is permitted: a server that saturates this machine does not delay the clock of its answers.
    with suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_main())
    return 0


if __name__ == "__main__":
    os._exit(guarded(main))
