"""The verb `serve`: the live view of a log directory, or the history in a store, over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LogError
from dlbs.results.page.connections import Limits, Listener
from dlbs.results.page.server import HOST, application, serve
from dlbs.unforeseen import tell_unforeseen

__all__ = ["serve_command"]


@click.command("serve", context_settings=CONTEXT)
@click.argument("directory", metavar="DIR", default="logs")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 selects a free one."
)
@click.option(
    "--db", metavar="URL", help="Show the history in this store instead; logs of its runs are shown if they are in DIR."
)
@common_options
def serve_command(directory: str, port: int, db: str | None) -> None:
    """Show the results of a log directory in a browser, updated while a plan runs; with --db, the history in a store.

    The server listens on 127.0.0.1 only and writes nothing; `ssh -L 8080:127.0.0.1:8080 HOST` on another machine gives access to it.
    Ctrl-C ends it.

    \b
    Examples:
      dlbs serve logs
      dlbs serve logs --port 0
      dlbs serve --db results.db
      dlbs serve --db postgresql+psycopg://bench@db.example.org/results /data/logs
    """
    from dlbs.extras import require

    for module in ("uvicorn", "starlette"):
        require(module, "serve")
    require("matplotlib", "reports")
    if db is None and not Path(directory).is_dir():
        raise LogError("no such directory", where=directory, hint="give the directory of a plan's logs")
    if db is not None:
        from dlbs.results.store.store import Store

        Store(db, read_only=True).__exit__(None, None, None)  # report its errors here, not on the page
    limits = Limits()
    try:
        listener = Listener(HOST, port, limits)
    except OSError as error:
        raise LogError(f"{error.strerror}", where=f"--port {port}", hint="--port 0 selects a free one") from None
    with listener:
        number = listener.getsockname()[1]
        if db is None:
            pages, what = application(Path(directory), number, tell_unforeseen), directory
        else:
            from dlbs.results.history.server import history_application

            pages, what = history_application(db, Path(directory), number, tell_unforeseen), "the history in the store"
        click.echo(f"http://{HOST}:{number}/ shows {what}; Ctrl-C ends it", err=True)
        serve(pages, listener, limits)
