"""The verb `serve`: the page of a log directory over HTTP."""

from __future__ import annotations

from pathlib import Path

import click

from dlbs.cli.ending import tell_unforeseen
from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LogError
from dlbs.results.page.connections import Limits, Listener
from dlbs.results.page.server import HOST, serve

__all__ = ["serve_command"]


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
    from dlbs.extras import require

    for module in ("uvicorn", "starlette"):
        require(module, "serve")
    require("matplotlib", "reports")
    if not Path(directory).is_dir():
        raise LogError("no such directory", where=directory, hint="give the directory of a plan's logs")
    limits = Limits()
    try:
        listener = Listener(HOST, port, limits)
    except OSError as error:
        raise LogError(f"{error.strerror}", where=f"--port {port}", hint="--port 0 takes a free one") from None
    with listener:
        click.echo(f"http://{HOST}:{listener.getsockname()[1]}/ shows {directory}; Ctrl-C ends it", err=True)
        serve(Path(directory), listener, tell_unforeseen, limits)
