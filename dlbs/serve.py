"""The verb `serve`: the report of a log directory over HTTP, on this machine only, up to date while a plan runs."""

from __future__ import annotations

import hashlib
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbs.cli import CONTEXT, common_options
from dlbs.errors import LogError

if TYPE_CHECKING:
    from starlette.applications import Starlette

__all__ = ["LiveResults", "application", "serve_command"]

_HOST = "127.0.0.1"


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
        from dlbs.claims import owner

        digest = hashlib.sha256(f"{owner(self.directory)}".encode())
        for path in sorted(self.directory.rglob("*")):
            try:
                status = path.stat()
            except OSError:
                continue
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return f'"{digest.hexdigest()[:32]}"'

    def _make(self, *, page: bool) -> str:
        from dlbs.claims import owner
        from dlbs.config import load_config
        from dlbs.results.logfiles import Reading, Record
        from dlbs.results.page import content_html, page_html
        from dlbs.results.records import load_records

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
        from dlbs.status import read_states

        try:
            return len(read_states(self.directory))
        except LogError:
            return 0


def _running(record: dict[str, Any]) -> dict[str, str]:
    from dlbs.parameters import text
    from dlbs.results.settings import describe

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
    hosts = {f"{name}:{port}" for name in (_HOST, "localhost")}
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
                answer = PlainTextResponse(f"ask for {_HOST}:{port}\n", 421)
            elif request.headers.get("origin", f"http://{_HOST}:{port}") not in origins:
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


@click.command("serve", context_settings=CONTEXT)
@click.argument("directory", metavar="DIR", default="logs")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 takes a free one."
)
@common_options
def serve_command(directory: str, port: int) -> None:
    """Show the report of a log directory in a browser, up to date while a plan runs.

    It listens on 127.0.0.1 only and writes nothing: `ssh -L 8080:127.0.0.1:8080 HOST` brings it to another machine. Ctrl-C ends it.

    \b
    Examples:
      dlbs serve logs
      dlbs serve logs --port 0
    """
    from dlbs.results.statistics import require

    for module in ("uvicorn", "starlette"):
        require(module, "serve")
    require("matplotlib", "reports")
    import uvicorn

    if not Path(directory).is_dir():
        raise LogError("no such directory", where=directory, hint="give the directory of a plan's logs")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
    except OSError as error:
        raise LogError(f"{error.strerror}", where=f"--port {port}", hint="--port 0 takes a free one") from None
    bound = listening.getsockname()[1]
    click.echo(f"http://{_HOST}:{bound}/ shows {directory}; Ctrl-C ends it", err=True)
    server = uvicorn.Server(
        uvicorn.Config(application(Path(directory), bound), log_level="warning", server_header=False)
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn passes it on after it has ended in order
        return
