"""Dagster's SQLite databases, held open while they are written to.

Dagster opens a database anew for each thing that it notes, and closes it again. Whoever closes the last connection
moves the write-ahead log into the file and deletes it, which waits for the disk four times: 1,400 waits in a build of
a megabyte, 0.2 to 0.4 s of its 2.8 where a wait takes 0.2 ms, and the more the slower the disk. One idle connection
beside Dagster's keeps the log where it is; 90 waits are left.

Guarantees: other processes read and write the same databases meanwhile, for an idle connection locks nothing. When the
block ends everything is on the disk. If the power fails before that, the last events may be missing, and what was new
may be unreadable: the log of the run that had begun, or an instance that was being laid out; older databases are whole.
Nothing fails for not being held. Other databases than SQLite's are left alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def held_databases() -> Iterator[None]:
    """Keep every SQLite database that SQLAlchemy opens in this block open until its end."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    held = _Held()
    event.listen(Engine, "connect", held.opened)
    try:
        yield
    finally:
        event.remove(Engine, "connect", held.opened)
        held.close()


class _Held:
    """One idle connection for each database file, from when it has a write-ahead log."""

    def __init__(self) -> None:
        self._connections: dict[str, sqlite3.Connection] = {}
        self._new: set[str] = set()
        self._lock = threading.Lock()

    def opened(self, connection: Any, _record: Any) -> None:
        """SQLAlchemy opened this connection."""
        if not isinstance(connection, sqlite3.Connection):
            return
        path = connection.execute("PRAGMA database_list").fetchone()[2]
        if not path:  # in memory
            return
        with self._lock:
            if not os.path.getsize(path):  # its hundred statements wait for the disk once, in `close`
                self._new.add(path)
                connection.execute("PRAGMA synchronous=OFF")
                return
            connection.execute("PRAGMA synchronous=NORMAL")
            if path not in self._connections and _has_log(connection):
                with suppress(
                    sqlite3.OperationalError
                ):  # somebody has it to himself: at the next opening, then
                    self._connections[path] = _idle(path)

    def close(self) -> None:
        """Let go of all; what was written is on the disk then."""
        with self._lock:
            for connection in self._connections.values():
                connection.close()
            for path in self._new:
                _to_disk(Path(path))
            self._connections.clear()
            self._new.clear()


def _has_log(connection: sqlite3.Connection) -> bool:
    """Whether the database keeps a write-ahead log; what reads it before it does counts for nothing later."""
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _idle(path: str) -> sqlite3.Connection:
    """A connection that has read something, which is what makes it count among a log's users."""
    connection = sqlite3.connect(path, timeout=0, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        raise
    return connection


def _to_disk(path: Path) -> None:
    # Closing a file takes its process's locks on it away: here nobody of this process is within a transaction any more.
    if path.exists():  # the log of a run that was deleted meanwhile is not
        with path.open("rb") as file:
            os.fsync(file.fileno())
