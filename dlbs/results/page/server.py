"""Serve pages over HTTP, read-only and to this machine only; files cannot be requested."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark_core.text import printable
from dlbs.core.errors import DlbsError
from dlbs.results.page.history import Asked, HistoryPages
from dlbs.results.page.live import LiveResults, Prepared

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response


HOST = "127.0.0.1"
HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

Tell = Callable[[Exception], None]


def listen(port: int) -> socket.socket:
    """Listen on this machine only, before the address is printed, so that it can be used immediately.

    Args:
        port: Port; 0 selects a free one.

    Raises:
        OSError: The port is not available.
    """
    return socket.create_server((HOST, port), backlog=64)


def serve(pages: Starlette, listener: socket.socket) -> None:
    """Serve pages until the process is interrupted, within uvicorn's own limits for clients.

    Args:
        pages: Result of `application` or `history_application`.
        listener: Result of `listen`.
    """
    import uvicorn

    config = uvicorn.Config(
        pages,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        # Clients must not be able to fill a log: invalid HTTP would log warnings, even tracebacks. The page reports its own errors.
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=64,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16 << 10,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # raised again by uvicorn after a regular shutdown
        return


def application(directory: Path, port: int, tell: Tell) -> Starlette:
    """Create the application of a log directory's live view: `/` is the page, `/now` the current progress, `/content` everything that changes, `/plots`
    its plots. The content is generated at once, before the first request.
    """
    from starlette.responses import HTMLResponse, Response

    results = LiveResults(directory)

    def answering(make: Callable[[], Prepared]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            made = make()
            headers = {**HEADERS, "ETag": made.version, "Vary": "Accept-Encoding"}
            if request.headers.get("if-none-match") == made.version:
                return Response(status_code=304, headers=headers)
            if "gzip" in request.headers.get("accept-encoding", ""):
                return HTMLResponse(made.packed, headers={**headers, "Content-Encoding": "gzip"})
            return HTMLResponse(made.body, headers=headers)

        return answer

    def prepare() -> None:
        try:
            results.content()
        except DlbsError:  # whoever asks gets it as the answer
            return
        except Exception as error:
            tell(error)

    threading.Thread(target=prepare, daemon=True).start()
    pages = {"/": results.page, "/now": results.now, "/content": results.content, "/plots": results.plots}
    return protected({path: answering(make) for path, make in pages.items()}, port, tell)


def protected(pages: Mapping[str, Callable[[Request], Response]], port: int, tell: Tell) -> Starlette:
    """Create a read-only application with only these pages.

    Requests for another host name are rejected, so that no site can reach it by resolving its own name to this address (DNS rebinding), and so are
    requests from other origins. The port is part of an origin, but not of a host name.

    Args:
        pages: Path → handler. DLBS errors become responses.
        port: Port of the server.
        tell: Called with unexpected errors, once for each kind.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

    hosts = [HOST, "localhost"]
    origins = {f"http://{host}:{port}" for host in hosts}

    class OnlySameOrigin:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            request = Request(scope)
            answer = None
            if request.headers.get("origin", f"http://{HOST}:{port}") not in origins:
                answer = PlainTextResponse("requests from other origins are not allowed\n", 403)
            elif request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
                answer = PlainTextResponse("requests from other sites are not allowed\n", 403)
            elif request.method not in {"GET", "HEAD"}:
                answer = PlainTextResponse("this page is read-only\n", 405, {"Allow": "GET, HEAD"})
            await (answer or self.app)(scope, receive, send)

    reported: set[str] = set()

    def guarded(make: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                return make(request)
            except DlbsError as error:
                message = str(error)
            except Exception as error:
                message = f"internal error of dlbs: {type(error).__name__}; see the terminal of dlbs serve"
                if message not in reported:  # pages poll every few seconds
                    reported.add(message)
                    tell(error)
            return PlainTextResponse(f"{printable(message)}\n", 500, HEADERS)

        return answer

    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(OnlySameOrigin),
    ]
    return Starlette(routes=[Route(path, guarded(make)) for path, make in pages.items()], middleware=middleware)


def history_application(url: str, directory: Path, port: int, tell: Callable[[Exception], None]) -> Starlette:
    """Create the web application of a store's history.

    Args:
        url: URL of the store.
        directory: Directory of logs that may be shown.
        port: Port of the server.
        tell: Called with unexpected errors.
    """
    from starlette.responses import HTMLResponse

    pages = HistoryPages(url, directory)

    def answering(make: Callable[[Asked], str]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            return HTMLResponse(make(dict(request.query_params)), headers=HEADERS)

        return answer

    made = {
        "/": pages.overview,
        "/trend": pages.trend,
        "/compare": pages.compare,
        "/tags": pages.tags,
        "/run": pages.run,
    }
    return protected({path: answering(make) for path, make in made.items()}, port, tell)
