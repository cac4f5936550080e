"""The live page over HTTP, on this machine only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.results.page.live import LiveResults

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["HOST", "application"]

HOST = "127.0.0.1"


def application(directory: Path, port: int) -> Starlette:
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
    return Starlette(routes=[Route("/", page), Route("/content", content)], middleware=middleware)
