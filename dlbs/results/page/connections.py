"""Connection limits of the live page: on the number of connections and on the time of each request and response.

uvicorn limits the size of request headers and the lifetime of idle connections. It does not limit the number of connections or the time until
a request arrives; and without free file descriptors, asyncio retries endlessly, with a log message each time.
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

_BACKLOG = 64  # pending connections in the kernel
_LARGEST_HEAD = 16 << 10  # bytes of request headers
_PAUSE = 0.1  # s, if no descriptor can be freed


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for clients.

    Attributes:
        connections: Largest number of simultaneous connections; a quarter of the process's limit of file descriptors, if that is less.
        request_seconds: Time until a complete request must have arrived, from the connection or the previous response.
        answer_seconds: Time in which the client must have read a response.
    """

    connections: int = 64
    request_seconds: float = 10.0
    answer_seconds: float = 60.0


class Listener(socket.socket):
    """A listening socket that immediately closes excess connections, beyond the limit or without free file descriptors.

    Args:
        host, port: Address; port 0 selects a free one.
        limits: Limits for clients.

    Raises:
        OSError: The address is not available.
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
            self.listen(_BACKLOG)  # before the address is printed, so that it can be used immediately
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.close()
            raise

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept the next connection.

        Raises:
            BlockingIOError: There is none, or it was rejected.
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
        """Accept and close one connection, using the reserved descriptor; otherwise the event loop would spin."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        try:
            super().accept()[0].close()
            self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # another thread took the descriptor
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Stop listening."""
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
        super().close()


def server_config(application: Any, limits: Limits) -> Config:
    """Configure uvicorn with its limits, and with a protocol that adds the missing ones.

    Args:
        application: The web application.
        limits: Limits for clients.
    """
    import h11
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """HTTP with a time limit for each step of the client; invalid HTTP closes the connection without a log message."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._allow(limits.request_seconds)

        def data_received(self, data: bytes) -> None:
            try:
                super().data_received(data)
            except (h11.ProtocolError, ValueError):  # a second error, after which uvicorn cannot respond
                self.transport.abort()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            # The connection may stay open for another request, or the client is still reading.
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
                self._allow(
                    limits.request_seconds
                )  # the response is still being computed, which is not the client's fault
            else:
                self.transport.abort()

    return uvicorn.Config(
        application,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        # Clients must not be able to fill a log: invalid HTTP would log warnings, even tracebacks. The page reports its own errors.
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=_LARGEST_HEAD,
    )
