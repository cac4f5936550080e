"""The connections of the live page: not more than a number at a time, none for longer than it takes to ask and to read the answer.

uvicorn bounds the size of a request's head and how long an idle connection lives. It does not bound how many connections there are, nor how
long a request may take to arrive; and when there are no file descriptors left, asyncio tries again and again, with a log message each time.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from uvicorn import Config

__all__ = ["Limits", "Listener", "server_config"]

_BACKLOG = 64  # connections that the kernel keeps waiting
_LARGEST_HEAD = 16 << 10  # bytes of a request before its body
_PAUSE = 0.1  # s, where nothing else can be done


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take.

    Attributes:
        connections: At a time; a quarter of the file descriptors that the process may open, if that is less.
        request_seconds: In which a whole request must have arrived, since the connection or the answer before it.
        answer_seconds: In which an answer must have been read.
    """

    connections: int = 64
    request_seconds: float = 10.0
    answer_seconds: float = 60.0


class Listener(socket.socket):
    """A listening socket that closes at once what is too much: connections beyond a number, or beyond the limit of open files.

    Args:
        host, port: Where it listens; port 0 takes a free one.
        limits: Of clients.

    Raises:
        OSError: The address cannot be had.
    """

    def __init__(self, host: str, port: int, limits: Limits) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = limits.connections
        if soft != resource.RLIM_INFINITY:
            self._most = max(1, min(self._most, soft // 4))
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._spare = -1
        try:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind((host, port))
            self.listen(_BACKLOG)  # from now on: whoever reads the address may use it at once
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: There is none, or it was refused.
        """
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._refuse()
            raise BlockingIOError from None
        if sum(one.fileno() >= 0 for one in self._accepted) >= self._most:
            connection.close()
            raise BlockingIOError
        self._accepted.add(connection)
        return connection, address

    def _refuse(self) -> None:
        """Take one connection off the queue and close it, with the descriptor that was kept for that: else the loop would spin."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            super().accept()[0].close()
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # somebody else took the descriptor
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Stop listening."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()


def server_config(application: Any, limits: Limits) -> Config:
    """uvicorn's configuration for the page, with the limits that uvicorn has, and a protocol that adds those that it has not.

    Args:
        application: Of the page.
        limits: Of clients.
    """
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """HTTP with a time limit for each step of the client; what is no HTTP ends the connection without a log message."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._allow(limits.request_seconds)

        def data_received(self, data: bytes) -> None:
            try:
                super().data_received(data)
            except (h11.ProtocolError, ValueError):  # a second error, after which uvicorn cannot answer any more
                self.transport.abort()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # The connection may live on and bring a request, or the client is still reading.
            unread = self.transport.get_write_buffer_size() > 0
            self._allow(limits.answer_seconds if unread else limits.request_seconds)

        def connection_lost(self, exc: Exception | None) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(exc)

        def _allow(self, seconds: float) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = self.loop.call_later(seconds, self._end)

        def _end(self) -> None:
            if (
                self.cycle is not None
                and not self.cycle.response_complete
                and not self.transport.get_write_buffer_size()
            ):
                self._allow(limits.request_seconds)  # the answer is being made, which is not the client's fault
            else:
                self.transport.abort()

    return uvicorn.Config(
        application,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        # Clients must not be able to fill a log: requests that are no HTTP are warnings, even tracebacks. The page has errors of its own.
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )
