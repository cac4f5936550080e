"""Serve the history over HTTP, with the protections of the live view and a read-only database connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dlbs.results.history.pages import Asked, HistoryPages
from dlbs.results.page.server import HEADERS, protected

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["history_application"]


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
