"""SHA-256 of inputs, remembered so that an unchanged file is not read again.

The memory is a small SQLite file: (path, size, modification time, inode) -> digest, the way git's index
does it. Several processes may use it at once; if it is damaged it is started afresh, since it holds nothing
that cannot be had by reading the files.

Guarantees: a file modified within two seconds of being recorded is not trusted later ("racily clean": it
may have changed again within the resolution of its time stamp). A file that changes while it is hashed is
not recorded. Price: a look-up for a remembered file, one reading for any other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from tokenization.ingest.files import InputFile, as_text
from tokenization.object_store import filesystem, is_url

RACY_NS = 2_000_000_000  # the coarsest time stamps in use (FAT) have two seconds
BUSY_TIMEOUT_S = 30.0

_SCHEMA = """CREATE TABLE IF NOT EXISTS digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, recorded_ns INTEGER, sha256 TEXT
) WITHOUT ROWID"""


class InputDigests:
    """The digests of inputs, with the memory in `store_file`."""

    def __init__(self, store_file: Path) -> None:
        self._store = Path(store_file)

    def digest(self, file: InputFile, rehash: bool = False) -> str:
        """64 hex digits that name this file's stored bytes; `rehash` reads them whatever is remembered."""
        return self.digests([file], rehash)[0]

    def digests(self, files: Iterable[InputFile], rehash: bool = False) -> list[str]:
        """`digest` of each, with one look at the memory for all of them."""
        listed = list(files)
        with contextlib.closing(self._connect()) as memory:
            known = {} if rehash else _remembered(memory)
            found = [_digest(file, known) for file in listed]
            fresh = [
                (as_text(file.path), file.size, file.mtime_ns, file.inode, recorded, sha256)
                for file, (sha256, recorded) in zip(listed, found, strict=True)
                if recorded is not None
            ]
            with memory:
                memory.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?, ?)", fresh)
        return [sha256 for sha256, _ in found]

    def _connect(self) -> sqlite3.Connection:
        self._store.parent.mkdir(parents=True, exist_ok=True)
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, no room, no permission
                raise
            self._store.unlink(missing_ok=True)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._store, timeout=BUSY_TIMEOUT_S)
        try:
            connection.execute(_SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection


_Known = dict[tuple[str, int, int, int], str]


def _remembered(memory: sqlite3.Connection) -> _Known:
    rows = memory.execute(
        "SELECT path, size, mtime_ns, inode, sha256 FROM digests WHERE mtime_ns < recorded_ns - ?", (RACY_NS,)
    )
    return {(path, size, mtime_ns, inode): sha256 for path, size, mtime_ns, inode, sha256 in rows}


def _digest(file: InputFile, known: _Known) -> tuple[str, int | None]:
    """(digest, when it was taken), the time None where there is nothing new to remember."""
    if is_url(file.path):
        return _url_digest(file), None
    remembered = known.get((as_text(file.path), file.size, file.mtime_ns, file.inode))
    if remembered is not None:
        return remembered, None
    began = time.time_ns()
    with open(file.path, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        status = os.fstat(stream.fileno())
    unchanged = (status.st_size, status.st_mtime_ns, status.st_ino) == (file.size, file.mtime_ns, file.inode)
    return sha256, began if unchanged else None


def _url_digest(file: InputFile) -> str:
    """Of the storage's own content tag and the size where it keeps one, else of the bytes."""
    system, path = filesystem(file.path)
    info = system.info(path)
    tag = next((info[key] for key in ("ETag", "etag", "md5Hash", "content_md5") if info.get(key)), None)
    if tag is not None and not str(tag).startswith("W/"):
        return hashlib.sha256(f"{tag} {file.size}".encode()).hexdigest()
    with system.open(path, "rb") as stream:
        sha256 = hashlib.sha256()
        while block := stream.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()
