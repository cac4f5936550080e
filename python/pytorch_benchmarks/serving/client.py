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
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from benchmark_core.crash import guarded

_MOST_BYTES = 64 << 20  # of an answer
_MOST_LINE = 1 << 20  # bytes of an event
_MOST_TOKENS = 1 << 31
_SHOWN = 120  # characters of an answer in a message
_KEPT_OPEN = 4.0  # seconds of an idle connection: uvicorn, which most servers use, closes it after 5
_TAIL = 1.0  # seconds to wait for the end of an answer that is complete
_WATCHED = 0.005  # seconds between observations of the event loop
_REJECTED = (429, 503)
_FIRST_ID, _IDS = 100, 900  # every vocabulary has these; the first ones often end a text
# One token each in most vocabularies; 16 of them, the least that a server caches, have 96 bits.
_WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
]


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
    """The received part of an answer. Times are seconds of the event loop.

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
        self._limit = asyncio.Semaphore(plan["limit"]) if plan["limit"] else None
        self._tokenizer = _tokenizer(plan["tokenizer"])
        self._begun, self._lags = 0, [0.0]
        self._prefix = self._random(plan["prefix"], "prefix")

    async def run(self, start: float) -> dict[str, float]:
        """Send everything; returns facts about this process: share of a CPU, mean, 99th percentile and maximum of the lag of its event loop (ms)."""
        plan = self._plan
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_OPEN)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Accept-Encoding": "identity", **plan["headers"]},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as self._session:
            await asyncio.sleep(max(0.0, start - time.monotonic()))
            watch = asyncio.create_task(self._watch())
            began, used = time.monotonic(), time.process_time()
            await (self._open(start) if plan["due"] is not None else self._closed(start))
            seconds = max(1e-9, time.monotonic() - began)
            watch.cancel()
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

    def _numbers(self) -> Iterator[int]:
        return itertools.count(self._plan["first"], self._plan["step"])

    async def _open(self, start: float) -> None:
        """Send each request when it is due, whatever has become of the others."""
        tasks = set()
        for number, due in zip(self._numbers(), self._plan["due"]):  # noqa: B905 - numbers are endless
            body = self._body(number, 0, [])  # before it is due
            if (left := start + due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            task = asyncio.create_task(self._session_of(number, start, start + due, body))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.gather(*tasks)

    async def _closed(self, start: float) -> None:
        """Users who send a request as soon as the previous one is answered."""
        plan, numbers = self._plan, self._numbers()
        end = start + plan["seconds"]

        async def use() -> None:
            while (time.monotonic() < end or self._begun < plan["least"]) and self._begun < plan["most"]:
                self._begun += 1
                number = next(numbers)
                body = self._body(number, 0, [])
                await self._session_of(number, start, time.monotonic(), body)

        await asyncio.gather(*(use() for _ in range(plan["users"])))

    async def _session_of(self, number: int, start: float, due: float, body: bytes) -> None:
        """The turns of a conversation, usually one: each is due when the previous one is answered."""
        turns, _ = self._item(number)
        said: list[Any] = []
        for turn in range(max(1, len(turns))):
            if turn:
                body, due = self._body(number, turn, said), time.monotonic()
            if self._limit is not None:
                async with self._limit:
                    answer = await self._send(number, turn, start, due, body)
            else:
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
                await asyncio.wait_for(self._ask(body, answer), self._plan["timeout"])
                failure = None
            except FailedError as error:
                failure = error
            except asyncio.TimeoutError:
                failure = FailedError(
                    "timeout", f"no complete answer within {self._plan['timeout']:g} s (serving.timeout)"
                )
            except aiohttp.ClientConnectorError as error:
                failure = FailedError("connection", f"the server cannot be reached: {error.strerror or error}")
            except aiohttp.ClientPayloadError:
                failure = FailedError("cut", "the server ended an answer before it was complete")
            except (aiohttp.ServerDisconnectedError, ConnectionError):
                failure = FailedError("connection", "the server closed the connection before its answer")
            except (aiohttp.ClientError, OSError) as error:
                failure = FailedError("malformed", str(error) or type(error).__name__)
            except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
                failure = FailedError("malformed", f"the answer is not what the protocol says: {error}")
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
        plan = self._plan
        async with self._session.post(
            plan["url"], data=body, headers={"Content-Type": plan["kind"]}, allow_redirects=False
        ) as response:
            if response.status != 200:
                text = await _read(response, _MOST_LINE)
                kind = "rejected" if response.status in _REJECTED else f"HTTP {response.status}"
                raise FailedError(kind, f"the server answered {response.status} {response.reason}: {_shown(text)}")
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise FailedError("malformed", "the answer is compressed, although the request asked for none")
            if plan["protocol"] != "predict" and plan["stream"]:
                await self._stream(response, answer)
                with suppress(asyncio.TimeoutError, aiohttp.ClientError):  # so that the connection can be used again
                    await asyncio.wait_for(_read(response, _MOST_LINE), _TAIL)
                return
            found = json.loads(await _read(response, _MOST_BYTES))
            answer.done = time.monotonic()
            if plan["protocol"] == "predict":
                if not found or not isinstance(found, (dict, list)):
                    raise FailedError("malformed", "the answer has no predictions")
                return
            _take(found, answer)
            if not answer.text:
                raise FailedError("malformed", "the answer has no text")

    async def _stream(self, response: aiohttp.ClientResponse, answer: Answer) -> None:
        """Read server-sent events until the answer is complete."""
        rest, received, is_finished = b"", 0, False
        async for block in response.content.iter_any():
            now = time.monotonic()
            received += len(block)
            *lines, rest = (rest + block).split(b"\n")
            if received > _MOST_BYTES or len(rest) > _MOST_LINE:
                raise FailedError("malformed", "the answer is too long")
            for line in lines:
                line = line.strip()
                if line == b"data: [DONE]":
                    is_finished = True
                    break
                if line.startswith(b"data:"):
                    has_text, is_end = _take(json.loads(line[5:]), answer)
                    if has_text:
                        answer.times.append(now)
                    if has_text or is_end:
                        answer.done = now
                    is_finished |= is_end
                elif line and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                    raise FailedError("malformed", f"the answer is not a stream of completions: {_shown(line)}")
            else:
                continue
            break
        if not is_finished:
            raise FailedError("cut", "the server ended an answer before it was complete")
        if not answer.times:
            raise FailedError("malformed", "the answer has no text")

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
        chance = random.Random(f"{self._plan['nonce']}/{name}")
        if self._plan["protocol"] == "chat":
            return chance.choices(_WORDS, k=count)
        return chance.choices(range(_FIRST_ID, _FIRST_ID + _IDS), k=count)


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


async def _read(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The rest of an answer.

    Raises:
        FailedError: It is too long.
    """
    blocks, length = [], 0
    async for block in response.content.iter_any():
        blocks.append(block)
        length += len(block)
        if length > most:
            raise FailedError("malformed", f"the answer exceeds {most >> 20} MiB")
    return b"".join(blocks)


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
    with suppress(KeyboardInterrupt, BrokenPipeError):
        asyncio.run(_main())
    return 0


if __name__ == "__main__":
    os._exit(guarded(main))
