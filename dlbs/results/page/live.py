"""The report of a log directory over HTTP, on this machine only, up to date while a plan runs."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbs.errors import LogError

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["HOST", "LiveResults", "application"]

HOST = "127.0.0.1"


class LiveResults:
    """What a log directory holds just now; made anew only when a file in it has changed.

    Args:
        directory: The log directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._signature = ""
        self._content = ""

    def content(self) -> tuple[str, str]:
        """The version and the HTML of the page's content."""
        with self._lock:
            signature = self._sign()
            if signature != self._signature:
                self._content = self._make(page=False)
                self._signature = signature
            return self._signature, self._content

    def page(self) -> str:
        """The whole page."""
        with self._lock:
            return self._make(page=True)

    def _sign(self) -> str:
        from dlbs.run.locks import owner

        digest = hashlib.sha256(f"{owner(self.directory)}".encode())
        for path in sorted(self.directory.rglob("*")):
            try:
                status = path.stat()
            except OSError:
                continue
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, *, page: bool) -> str:
        from dlbs.config.load import load_config
        from dlbs.results.page.page import content_html, page_html
        from dlbs.results.read.findings import Reading
        from dlbs.results.read.onelog import Record
        from dlbs.results.read.records import load_records
        from dlbs.run.locks import owner

        reading = Reading()
        records: list[Record] = []
        # An empty directory is where a plan is about to run: no error here.
        if any(self.directory.rglob("*.log*")):
            try:
                records = load_records([str(self.directory)], reading)
            except LogError:
                records = []
        ended = [record for record in records if not str(record["exp.log_file"]).endswith(".part")]
        running = [record for record in records if str(record["exp.log_file"]).endswith(".part")]
        live = {
            "planned": max(len(records), self._planned()),
            "done": len(ended),
            "owner": owner(self.directory),
            "running": [_running(record) for record in running],
        }
        declarations = load_config().declarations
        logs = reading.paths
        if page:
            return page_html(ended, declarations, logs=logs, live=live, live_path="/content")
        return content_html(ended, declarations, logs=logs, live=live)

    def _planned(self) -> int:
        from dlbs.run.status import read_states

        try:
            return len(read_states(self.directory))
        except LogError:
            return 0


def _running(record: dict[str, Any]) -> dict[str, str]:
    from dlbs.results.grouping import describe
    from dlbs.text import text

    names = [
        name for name in ("exp.model", "exp.phase", "exp.dtype", "exp.replica_batch", "exp.repeat") if name in record
    ]
    return {
        "name": describe(record, names) or text(record.get("exp.log_file")),
        "gpus": text(record.get("exp.gpu_ids")) or "–",
        "cpus": text(record.get("exp.cpus")) or "–",
        "since": text(record.get("exp.start_time")) or "–",
    }


def application(directory: Path, port: int) -> Starlette:
    """The web application: `/` is the page, `/content` what changes in it. Nothing can be written, and no other file can be asked for.

    Requests for another host name are refused, so that no site can reach it by pointing its own name here (DNS rebinding), and so are those that
    another origin makes.
    """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send

    results = LiveResults(directory)
    hosts = {f"{name}:{port}" for name in (HOST, "localhost")}
    origins = {f"http://{host}" for host in hosts}
    headers = {
        "Cache-Control": "no-cache",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }

    class OnlyFromHere:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await self.app(scope, receive, send)
                return
            request = Request(scope)
            answer = None
            if request.headers.get("host") not in hosts:
                answer = PlainTextResponse(f"ask for {HOST}:{port}\n", 421)
            elif request.headers.get("origin", f"http://{HOST}:{port}") not in origins:
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

    return Starlette(routes=[Route("/", page), Route("/content", content)], middleware=[Middleware(OnlyFromHere)])
