"""The verb `serve`: the page of a log directory over HTTP."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from dlbs.cli.options import CONTEXT, common_options
from dlbs.errors import LogError
from dlbs.results.page.server import HOST, application

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
    import uvicorn

    if not Path(directory).is_dir():
        raise LogError("no such directory", where=directory, hint="give the directory of a plan's logs")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        raise LogError(f"{error.strerror}", where=f"--port {port}", hint="--port 0 takes a free one") from None
    bound = listening.getsockname()[1]
    click.echo(f"http://{HOST}:{bound}/ shows {directory}; Ctrl-C ends it", err=True)
    server = uvicorn.Server(
        uvicorn.Config(application(Path(directory), bound), log_level="warning", server_header=False)
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:  # uvicorn passes it on after it has ended in order
        return
