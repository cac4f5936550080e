"""The live page over HTTP, on this machine only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.errors import DlbsError
from dlbs.results.page.connections import Limits, Listener, server_config
from dlbs.results.page.live import LiveResults
from dlbs.text import printable

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["HOST", "application", "serve"]

HOST = "127.0.0.1"

Tell = Callable[[Exception], None]


def serve(directory: Path, listener: Listener, tell: Tell, limits: Limits) -> None:
    """Serve the page of a log directory until the process is interrupted.

    Args:
        directory: The log directory.
        listener: Where requests come from.
        tell: Takes errors that nobody foresaw, each kind once.
        limits: Of clients.
    """
    import uvicorn

    port = listener.getsockname()[1]
    try:
        uvicorn.Server(server_config(application(directory, port, tell), limits)).run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn passes it on after it has ended in order
        return


def application(directory: Path, port: int, tell: Tell) -> Starlette:
    """The web application: `/` is the page, `/content` what changes in it. Nothing can be written, and no other file can be asked for.

    Requests for another host name are refused, so that no site can reach it by pointing its own name here (DNS rebinding), and so are those that
    another origin makes. The port is part of an origin, but not of a host name.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

    results = LiveResults(directory)
    hosts = [HOST, "localhost"]
    origins = {f"http://{host}:{port}" for host in hosts}
    headers = {
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }

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
                answer = PlainTextResponse("other origins may not ask\n", 403)
            elif request.headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
                answer = PlainTextResponse("other sites may not ask\n", 403)
            elif request.method not in {"GET", "HEAD"}:
                answer = PlainTextResponse("nothing can be written here\n", 405, {"Allow": "GET, HEAD"})
            await (answer or self.app)(scope, receive, send)

    told: set[str] = set()

    def guarded(make: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def answer(request: Request) -> Response:
            try:
                return make(request)
            except DlbsError as error:
                message = str(error)
            except Exception as error:
                message = f"an unforeseen error, a defect of dlbs: {type(error).__name__}; the terminal of dlbs serve says more"
                if message not in told:  # pages ask every few seconds
                    told.add(message)
                    tell(error)
            return PlainTextResponse(f"{printable(message)}\n", 500, headers)

        return answer

    def page(request: Request) -> Response:
        return HTMLResponse(results.page(), headers=headers)

    def content(request: Request) -> Response:
        version, html = results.content()
        if request.headers.get("if-none-match") == version:
            return Response(status_code=304, headers={**headers, "ETag": version})
        return HTMLResponse(html, headers={**headers, "ETag": version})

    middleware = [
        Middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False),
        Middleware(OnlySameOrigin),
    ]
    return Starlette(routes=[Route("/", guarded(page)), Route("/content", guarded(content))], middleware=middleware)
