"""`make ui`: the Dagster page on loopback, and beside it a server for the HTML pages that it links to.

Dagster renders http links and not file ones, so what a build's preview and a gallery are is served from here: HTML and
SVG files below the folder this was started in, to this machine alone, nothing else. The address travels in
`TOKENMILL_PAGES`, which `assets.links` reads, and is remembered in the instance's folder for the next start.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from assets.links import PAGES, remember, remembered
from pipelines.home import dagster_home

HERE = "127.0.0.1"
SHOWN = (".html", ".svg")
WORKSPACE = Path(__file__).resolve().parents[1] / "workspace.yaml"


class Pages(SimpleHTTPRequestHandler):
    """HTML and SVG files below one folder, links within it followed."""

    def send_head(self) -> Any:
        wanted = Path(self.translate_path(self.path))
        inside = wanted.resolve().is_relative_to(Path(self.directory).resolve())
        if not inside or wanted.suffix not in SHOWN or not wanted.is_file():
            self.send_error(HTTPStatus.NOT_FOUND, "no such page")
            return None
        return super().send_head()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: Dagster's own words are enough."""


def serve_pages(folder: Path, port: int = 0, wish: int = 0) -> ThreadingHTTPServer:
    """The server, at work in a thread; port 0 takes the one wished for, or any where that is taken."""
    handler = partial(Pages, directory=str(folder))
    try:
        server = ThreadingHTTPServer((HERE, port or wish), handler)
    except OSError:
        if port:
            raise
        server = ThreadingHTTPServer((HERE, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@click.command()
@click.option("--port", default=3000, help="Of the page.", show_default=True)
@click.option(
    "--pages-port", default=0, help="Of the HTML pages; 0 takes the last time's, else any that is free."
)
def main(port: int, pages_port: int) -> None:
    """The Dagster page, until Ctrl-C."""
    home = dagster_home()
    last = remembered(home)
    server = serve_pages(Path.cwd(), pages_port, int(last.rpartition(":")[2]) if last else 0)
    address = f"http://{HERE}:{server.server_port}"
    remember(home, address)
    command = [
        *(sys.executable, "-m", "dagster", "dev"),
        *("-w", str(WORKSPACE), "-h", HERE, "-p", str(port)),
    ]
    child: subprocess.Popen[bytes] | None = None

    def end(*_: object) -> None:
        if child is not None:
            child.send_signal(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(
            number, end
        )  # before the child starts: a shell's background jobs ignore SIGINT, and so would it
    child = subprocess.Popen(command, env={**os.environ, PAGES: address})
    sys.exit(child.wait())


if __name__ == "__main__":
    main()
