"""Dagster's databases are held open while a build writes to them, and whole and closed when it has ended."""

from __future__ import annotations

import sqlite3
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from pipelines import databases
from pipelines.databases import held_databases


def laid_out(path: Path) -> sa.Engine:
    """An engine used as Dagster uses its own: a connection for each thing to do, a write-ahead log."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE events (number INTEGER)"))
    note(engine, 0)
    with engine.connect() as connection:
        connection.execute(sa.text("PRAGMA journal_mode=WAL"))
    return engine


def note(engine: sa.Engine, number: int) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("INSERT INTO events VALUES (:number)"), {"number": number})


def numbers_in(path: Path) -> list[int]:
    """What somebody else reads, as another process would."""
    with closing(sqlite3.connect(path)) as other:
        return [number for (number,) in other.execute("SELECT number FROM events ORDER BY number")]


def log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


@pytest.mark.parametrize("hold", [held_databases, nullcontext])
def test_a_held_log_outlives_the_connections_that_wrote_it_until_the_block_ends(
    tmp_path: Path, hold: Any
) -> None:
    path = tmp_path / "events.db"
    with hold():
        engine = laid_out(path)
        note(engine, 1)
        assert log_of(path).exists() == (hold is held_databases), "unheld, each connection takes it away"
        note(engine, 2)
        assert numbers_in(path) == [0, 1, 2], "others read what was written, at once"
    assert not log_of(path).exists() and numbers_in(path) == [0, 1, 2]


def test_others_write_between_what_is_written_in_the_block(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with held_databases():
        engine = laid_out(path)
        for number in (1, 3):
            note(engine, number)
            with closing(sqlite3.connect(path, timeout=0)) as other, other:
                other.execute("INSERT INTO events VALUES (?)", (number + 1,))
    assert numbers_in(path) == [0, 1, 2, 3, 4]


def test_connections_are_told_to_wait_less_within_the_block_and_as_ever_after_it(tmp_path: Path) -> None:
    def told() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("PRAGMA synchronous")).scalar_one())

    with held_databases():
        engine = laid_out(tmp_path / "events.db")
        assert told() == 1
    assert told() == 2


def test_a_database_that_is_gone_or_in_memory_does_no_harm(tmp_path: Path) -> None:
    with held_databases():
        laid_out(tmp_path / "events.db")
        (tmp_path / "events.db").unlink()
        with sa.create_engine("sqlite://").connect() as connection:
            assert connection.execute(sa.text("SELECT 1")).scalar_one() == 1


def test_what_breaks_the_block_leaves_nothing_held(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with pytest.raises(KeyboardInterrupt), held_databases():
        engine = laid_out(path)
        note(engine, 1)
        raise KeyboardInterrupt
    assert not log_of(path).exists() and numbers_in(path) == [0, 1]


def test_a_database_that_cannot_be_held_yet_is_held_at_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, refusals, idle = tmp_path / "events.db", [1], databases._idle

    def refused_once(of: str) -> sqlite3.Connection:
        if refusals.pop() if refusals else 0:
            raise sqlite3.OperationalError("database is locked")
        return idle(of)

    monkeypatch.setattr(databases, "_idle", refused_once)
    with held_databases():
        engine = laid_out(path)
        note(engine, 1)
        assert not refusals and not log_of(path).exists()
        note(engine, 2)
        assert log_of(path).exists()
    assert numbers_in(path) == [0, 1, 2]


def test_a_database_that_somebody_has_to_himself_is_refused_at_once_and_left_as_it_was(
    tmp_path: Path,
) -> None:
    path = tmp_path / "events.db"
    laid_out(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("INSERT INTO events VALUES (1)")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            databases._idle(str(path))
        other.commit()
    assert numbers_in(path) == [0, 1] and not log_of(path).exists()
