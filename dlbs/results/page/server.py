"""Serve pages over HTTP, read-only and to this machine only; files cannot be requested."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.errors import DlbsError
from dlbs.results.page.connections import Limits, Listener, server_config
from dlbs.results.page.live import LiveResults, Prepared
from dlbs.text import printable

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["HEADERS", "HOST", "application", "protected", "serve"]

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


def serve(pages: Starlette, listener: Listener, limits: Limits) -> None:
    """Serve pages until the process is interrupted.

    Args:
        pages: Result of `application` or `protected`.
        listener: Listening socket.
        limits: Limits for clients.
    """
    import uvicorn

    try:
        uvicorn.Server(server_config(pages, limits)).run(sockets=[listener])
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
