"""A loopback server that plays the Hugging Face hub for one dataset, over real HTTP.

It answers what `datasets.load_dataset` asks: the repository's description, its tree, paths, and the files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _tree(entries: list[dict[str, Any]], folder: str, *, recursive: bool) -> list[dict[str, Any]]:
    """What lies in `folder`: files, and folders as entries of their own."""
    prefix = f"{folder}/" if folder else ""
    below = [entry for entry in entries if entry["path"].startswith(prefix)]
    folders = sorted({entry["path"].rpartition("/")[0] for entry in below} - {"", folder})
    listed = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in folders] + below
    return [entry for entry in listed if recursive or "/" not in entry["path"].removeprefix(prefix)]


def _handler(name: str, files: dict[str, bytes], asked: list[str]) -> type[BaseHTTPRequestHandler]:
    entries = [
        {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
        for path, data in sorted(files.items())
    ]
    info = {
        "id": name, "_id": "0", "author": name.split("/")[0], "sha": COMMIT, "private": False, "gated": False,
        "disabled": False, "tags": [], "downloads": 0, "likes": 0, "lastModified": "2024-01-01T00:00:00.000Z",
        "createdAt": "2024-01-01T00:00:00.000Z", "siblings": [{"rfilename": path} for path in sorted(files)],
    }  # fmt: skip

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            asked.append(f"{self.command} {self.path}")

        def _answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _json(self, value: Any) -> None:
            self._answer(200, json.dumps(value).encode(), Content_Type="application/json")

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            api = f"/api/datasets/{name}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                self._json(info)
            elif path.startswith(f"{api}/tree/"):
                folder = path.removeprefix(f"{api}/tree/").partition("/")[2]
                self._json(_tree(entries, folder, recursive="recursive=true" in self.path.lower()))
            elif path.startswith(f"/datasets/{name}/resolve/"):
                file = path.removeprefix(f"/datasets/{name}/resolve/").partition("/")[2]
                self._file(file)
            else:
                self._missing("RepoNotFound")

        do_HEAD = do_GET

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if "/paths-info/" in self.path:
                wanted = json.loads(body).get("paths", []) if body.startswith(b"{") else []
                self._json([entry for entry in entries if entry["path"] in wanted])
            else:
                self._missing("RepoNotFound")

        def _file(self, file: str) -> None:
            data = files.get(file)
            if data is None:
                self._missing("EntryNotFound")
            else:
                tag = f'"{hashlib.sha1(data).hexdigest()}"'
                self._answer(200, data, ETag=tag, X_Repo_Commit=COMMIT, Accept_Ranges="bytes")

        def _missing(self, code: str) -> None:
            self._answer(404, b"{}", X_Error_Code=code, Content_Type="application/json")

    return Hub


@contextlib.contextmanager
def hub(name: str, files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """(endpoint, requests so far) of a hub that has one dataset with these files."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(name, files, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
