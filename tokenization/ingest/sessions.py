"""Raw chats in, normalised sessions out: the first stage of every chat source.

Each row becomes one session, whatever its format (`chat_formats`) and whoever wrote its messages
(`messages`), or is set aside with file, place and reason, so that rows read = sessions + rows set aside,
batch by batch.

Guarantees: a row's fate depends on the row and the options alone, so chunks of any size give the same
sessions; every role is a declared one; every session has a message that can be trained; the messages' JSON
keeps the order of keys in tool calls, arguments and tools. Bounded batches. Price: about 15 µs a session where columns
serve (see session_columns), else about 36 µs, of which `orjson` takes a third.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from tokenization.ingest.chat_formats import BUILT_IN_ROLES, ChatFormat, ChatOptions, raw_session
from tokenization.ingest.chunks import Chunk, Piece
from tokenization.ingest.cleaning import replace_surrogates
from tokenization.ingest.messages import Message, MessageReader
from tokenization.ingest.rows import (
    BATCH_BYTES,
    RawBlock,
    RowBatch,
    iter_rows,
    parsed_block,
    raw_blocks,
    unreadable_rows,
)
from tokenization.ingest.session_columns import ColumnReader, ColumnSessions
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.ingest.text_fields import ID_FIELD, own_id_text
from tokenization.ingest.tool_calls import Refused, parse_tools, without_nulls
from tokenization.plain_sessions import TURNS, plain_sessions
from tokenization.texts import edges_of

__all__ = ["BUILT_IN_ROLES", "ChatFormat", "ChatOptions", "SessionBatch", "read_sessions", "session_hash"]

SESSION_SCHEMA = pa.schema(
    [
        pa.field("own_id", pa.string()),  # the row's own id, as text
        pa.field("place", pa.int64(), nullable=False),  # 1-based line, element or row
        pa.field("file", pa.string(), nullable=False),  # relative path
        pa.field("hash", pa.binary(16), nullable=False),  # session_hash
        pa.field("messages", pa.large_string(), nullable=False),  # JSON list of normalised messages
        pa.field("tools", pa.large_string()),  # JSON list of tool definitions, key order kept
        pa.field("turns", TURNS),  # the messages again, of sessions that are roles and texts alone; else null
    ]
)
_ROW_BY_ROW = pa.schema([field for field in SESSION_SCHEMA if field.name != "turns"])


def with_turns(sessions: pa.Table) -> pa.Table:
    """Sessions with the column `turns` as their messages' JSON says it, in place of the one that they may have."""
    messages = sessions.column("messages")
    others = sessions.select(_ROW_BY_ROW.names)
    return others.append_column(SESSION_SCHEMA.field("turns"), plain_sessions(messages).turns(len(sessions)))


@dataclass(frozen=True)
class SessionBatch:
    """Some sessions of a chunk, and what was set aside on the way to them."""

    sessions: pa.Table  # SESSION_SCHEMA
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    rows_read: int  # = sessions + set aside
    lines_read: tuple[int, ...]  # one for each piece of the chunk
    piece: int  # index of the piece that the first row is from
    changes: dict[str, int] = field(default_factory=dict)  # what was done -> strings it was done to


def session_hash(messages: bytes | memoryview, tools: bytes | None) -> bytes:
    """16 bytes that name a session: of its messages' JSON and its tools'."""
    return xxhash.xxh3_128_digest(messages if tools is None else b"\n".join((messages, tools)))


def read_sessions(chunk: Chunk, options: ChatOptions) -> Iterator[SessionBatch]:
    """The sessions of a chunk, in order, in bounded batches."""
    collected = _Collected(len(chunk.pieces), options)
    for index, piece in enumerate(chunk.pieces):
        for _ in collected.reading(index, piece):
            if collected.is_full:
                yield collected.take()
    yield collected.take()


def normalised_session(
    row: Any, options: ChatOptions, reader: MessageReader, changes: Counter[str] | None = None
) -> tuple[bytes, bytes | None]:
    """(messages, tools) as JSON; `changes` counts the strings whose lone surrogates were replaced. Raises `Refused`."""
    counted = Counter[str]() if changes is None else changes
    raw = raw_session(row, options)
    messages = reader.read_all(raw.messages)
    if not messages:
        raise Refused("empty", "the session has no messages")
    if not any(_is_target(message, options.trained_roles) for message in messages):
        raise Refused("no_target", _no_target(messages, options.trained_roles))
    tools = parse_tools(raw.tools)
    return _json(messages, counted), None if tools is None else _json(tools, counted)


def _is_target(message: Message, trained_roles: frozenset[str]) -> bool:
    """Whether some of it is trained: by its role or its own flag; what a tool returned never is."""
    return message["role"] != "tool" and bool(message.get("train", message["role"] in trained_roles))


def _no_target(messages: list[Message], trained_roles: frozenset[str]) -> str:
    roles = ", ".join(dict.fromkeys(message["role"] for message in messages))
    trained = " or ".join(sorted(trained_roles))
    if any(message["role"] in trained_roles for message in messages):
        return f"every {trained} message says that it is not to be trained"
    return f"no message of {trained}; the roles are {roles}. Train another role with trained: true"


def _json(value: Any, changes: Counter[str]) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate, which JSON text cannot hold, or an integer above 64 bits
        pass
    try:
        return orjson.dumps(_writable(value, changes))
    except (TypeError, RecursionError) as error:
        raise Refused("wrong_type", f"it cannot be written as JSON: {error}") from None


def _writable(value: Any, changes: Counter[str]) -> Any:
    if isinstance(value, str):
        sound = replace_surrogates(value)
        changes["surrogates_replaced"] += sound != value
        return sound
    if isinstance(value, dict):
        return {_writable(str(key), changes): _writable(each, changes) for key, each in value.items()}
    if isinstance(value, list):
        return [_writable(each, changes) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


class _Collected:
    """What has been read since the last batch was given."""

    def __init__(self, num_pieces: int, options: ChatOptions) -> None:
        self.set_aside = SetAsideRows()
        self._options = options
        self._reader = MessageReader(options.fields, options.role_names, options.roles)
        self._id_field = options.id_field or options.fields.get("id", ID_FIELD)
        self._column_reader = ColumnReader(options, self._reader, self._id_field)
        self._num_pieces = num_pieces
        self._clear()

    def _clear(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in _ROW_BY_ROW.names}
        self._tables: list[pa.Table] = []
        self._bytes = 0
        self._rows = 0
        self._lines = [0] * self._num_pieces
        self._piece: int | None = None
        self._changes: Counter[str] = Counter()

    @property
    def is_full(self) -> bool:
        return self._bytes >= BATCH_BYTES

    def take(self) -> SessionBatch:
        self._finish_rows()
        batch = SessionBatch(
            pa.concat_tables([*self._tables, SESSION_SCHEMA.empty_table()]),
            self.set_aside.take(),
            self._rows,
            tuple(self._lines),
            self._piece or 0,
            dict(+self._changes),
        )
        self._clear()
        return batch

    def _finish_rows(self) -> None:
        """Put the sessions that were added one by one behind those that came in columns."""
        if self._columns["place"]:
            columns = [pa.array(self._columns[field.name], field.type) for field in _ROW_BY_ROW]
            self._tables.append(with_turns(pa.Table.from_arrays(columns, schema=_ROW_BY_ROW)))
            self._columns = {name: [] for name in _ROW_BY_ROW.names}

    def reading(self, index: int, piece: Piece) -> Iterator[None]:
        """Add the rows of a piece, block by block: in columns where they serve, else one by one."""
        if piece.file.format not in ("jsonl", "json"):
            for rows in iter_rows(piece, self.set_aside):
                self.add_rows(index, piece, rows)
                yield
            return
        for block in unreadable_rows(piece, self.set_aside, raw_blocks(piece)):
            columns = None if isinstance(block, RowBatch) else self._column_reader.read(block)
            if isinstance(block, RowBatch):
                self.add_rows(index, piece, block)
            elif columns is None:
                self.add_rows(index, piece, parsed_block(piece, block, self.set_aside))
            else:
                self.add_columns(index, piece, block, columns)
            yield

    def add_columns(self, index: int, piece: Piece, block: RawBlock, columns: ColumnSessions) -> None:
        """A block that columns served: its sessions, and its other rows one by one, in the order of rows."""
        self._finish_rows()
        places = np.array(block.places, np.int64)
        others = np.flatnonzero(~columns.is_read).tolist()
        raws = [block.raws[i] for i in others] if others else []
        rest = RawBlock([block.places[i] for i in others], block.lines_read, raws)
        self.add_rows(index, piece, parsed_block(piece, rest, self.set_aside))
        self._rows += len(columns.messages)
        self._bytes += columns.messages.nbytes
        made = column_table(piece.file.relative, places[columns.is_read], columns)
        earlier = len(self._tables)
        self._finish_rows()
        if len(self._tables) > earlier:
            made = pa.concat_tables([made, self._tables.pop()]).sort_by("place")
        self._tables.append(made)

    def add_rows(self, index: int, piece: Piece, batch: RowBatch) -> None:
        """Each row becomes a session or is set aside."""
        if self._piece is None:
            self._piece = index
        self._rows += len(batch.rows) + batch.broken
        self._lines[index] += batch.lines_read
        relative = piece.file.relative
        for number, row in enumerate(batch.rows):
            own_id = own_id_text(row.get(self._id_field)) if type(row) is dict else None
            try:
                given = _without_struct_nulls(row) if batch.from_table else row
                messages, tools = normalised_session(given, self._options, self._reader, self._changes)
            except Refused as refused:
                place = batch.places[number]
                self.set_aside.add(relative, place, refused.reason, refused.detail, batch.raw(number), own_id)
                continue
            self._add(own_id, batch.places[number], relative, messages, tools)

    def _add(
        self, own_id: str | None, place: int, relative: str, messages: bytes, tools: bytes | None
    ) -> None:
        values = (own_id, place, relative, session_hash(messages, tools), messages, tools)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)
        self._bytes += len(messages) + len(tools or b"")


def column_table(file: str, places: NDArray[np.int64], columns: ColumnSessions) -> pa.Table:
    """SESSION_SCHEMA of sessions in columns."""
    size = len(places)
    data, edges = memoryview(columns.messages.buffers()[2] or b""), edges_of(columns.messages).tolist()
    hashes = b"".join([session_hash(data[begin:end], None) for begin, end in pairwise(edges)])
    arrays = [
        pa.array(columns.own_ids, pa.string()),
        pa.array(places),
        pa.repeat(file, size),
        pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), size, [None, pa.py_buffer(hashes)]),
        columns.messages,
        pa.nulls(size, pa.large_string()),
        columns.turns,
    ]
    return pa.Table.from_arrays(arrays, schema=SESSION_SCHEMA)


def _without_struct_nulls(row: Any) -> Any:
    """Of a table's row, the nulls inside tools, tool calls and parts go: Arrow cannot leave a field out.

    The fields of a message itself may be null, as they may in JSON.
    """
    return {key: _sound(value, whole=key in ("tools", "functions")) for key, value in row.items()}


def _sound(value: Any, *, whole: bool) -> Any:
    if whole or not isinstance(value, list):
        return without_nulls(value) if whole else value
    return [
        {key: without_nulls(each) for key, each in item.items()} if isinstance(item, dict) else item
        for item in value
    ]
