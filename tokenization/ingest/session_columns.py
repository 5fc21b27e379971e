"""Rows of plain chats to sessions, column by column: no Python object for a row or a message.

A block of raw JSON rows goes through Arrow's parser under the form of its first row (a list of role and text, or
Alpaca's fields). Rows that hold anything else worth reading, and whole blocks that Arrow refuses or reads differently
from JSON (other types, other formats), are left to the general reader (`sessions`).

Guarantees: a row read here becomes exactly the session that the general reader makes of it.
Price: about 5 µs a row of 470 bytes, a quarter of the general reader's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tokenization.ingest.chat_formats import COMPLETION_KEYS, LIST_KEYS, ChatOptions
from tokenization.ingest.json_blocks import line_edges
from tokenization.ingest.messages import THINK_OPEN, MessageReader
from tokenization.ingest.rows import RawBlock
from tokenization.ingest.text_fields import own_id_text
from tokenization.ingest.tool_calls import Refused
from tokenization.ingest.training_flags import ALL_KEYS
from tokenization.plain_sessions import MESSAGE, messages_json
from tokenization.sequences import BoolArray
from tokenization.texts import containing, joined

# What the general reader looks at in a row, beside the list of messages: such rows are its own.
_MEANT = (
    *LIST_KEYS,
    *COMPLETION_KEYS,
    "prompt",
    "instruction",
    "input",
    "output",
    "history",
    "system",
    "tools",
)
_PREFERENCES = frozenset({"chosen", "rejected", "label"})  # there the key alone says something
_FEWEST = 0.5  # of a block's rows; where columns serve fewer, the general reader takes them all


@dataclass(frozen=True)
class ColumnSessions:
    """A block's sessions, and which rows they are."""

    is_read: BoolArray  # [num_rows]
    own_ids: list[str | None]  # of the rows read
    messages: pa.LargeStringArray  # JSON, of the rows read
    turns: pa.ListArray  # the same as plain_sessions.TURNS


@dataclass(frozen=True)
class _Turns:
    """Each row's messages as they were written."""

    ready: BoolArray  # [num_rows]  rows of which nothing else needs reading
    offsets: pa.Array  # int32 [num_rows + 1]
    role: pa.Array  # string [num_messages], null where there is none
    content: pa.Array


class ColumnReader:
    """Reads blocks of rows under one source's options."""

    def __init__(self, options: ChatOptions, reader: MessageReader, id_field: str) -> None:
        self._options, self._reader, self._id_field = options, reader, id_field
        named = options.fields.get("messages")
        self._list_keys = LIST_KEYS if named is None else (named,)
        self._meant = {*_MEANT, "functions", *options.fields.values()}

    def read(self, block: RawBlock) -> ColumnSessions | None:
        """The sessions of these rows; None where columns do not serve them."""
        schema = self._schema(block.first)
        if schema is None:
            return None
        table = _parsed(block, schema)
        if table is None or not _PREFERENCES.isdisjoint(table.column_names):
            return None
        own_ids = self._own_ids(table)
        turns = self._listed(table, schema) if len(schema) == 1 else self._alpaca(table, schema)
        if own_ids is None or turns is None:
            return None
        return self._sessions(table, schema, turns, own_ids)

    # -- what a block holds -----------------------------------------------------------------------------

    def _schema(self, raw: bytes) -> pa.Schema | None:
        """The columns that a block with this first row is read into."""
        try:
            row = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return None
        if type(row) is not dict:
            return None
        form = self._options.format
        key = next((key for key in self._list_keys if key in row), None)
        if key is not None and form in ("auto", "messages", "sharegpt"):
            first = row[key][0] if type(row[key]) is list and row[key] else None
            role = next((k for k in self._reader.role_keys if type(first) is dict and k in first), None)
            content = next((k for k in self._reader.content_keys if type(first) is dict and k in first), None)
            if role is None or content is None:
                return None
            message = pa.struct([(role, pa.string()), (content, pa.string())])
            return pa.schema([(key, pa.list_(message))])
        names = [self._options.fields.get(name, name) for name in ("instruction", "input", "output")]
        if key is None and form in ("auto", "alpaca") and names[0] in row and names[2] in row:
            return pa.schema([(name, pa.string()) for name in names])
        return None

    def _own_ids(self, table: pa.Table) -> list[str | None] | None:
        """The rows' own ids; None where Arrow may have read them otherwise than JSON does."""
        if self._id_field not in table.column_names:
            return [None] * len(table)
        column = table.column(self._id_field)
        if column.type not in (pa.string(), pa.int64(), pa.null()):
            return None
        return [own_id_text(value) for value in column.to_pylist()]

    def _listed(self, table: pa.Table, schema: pa.Schema) -> _Turns | None:
        lists = table.column(schema.names[0]).combine_chunks()
        flat = lists.values
        role_key, content_key = (field.name for field in schema.field(0).type.value_type)
        others = [field.name for field in flat.type if field.name not in (role_key, content_key)]
        if not ALL_KEYS.isdisjoint(others):
            return None
        ready = pc.is_valid(lists).to_numpy(zero_copy_only=False)
        if others or flat.null_count:
            said = pc.is_null(flat).to_numpy(zero_copy_only=False)
            for name in others:
                said = said | pc.is_valid(flat.field(name)).to_numpy(zero_copy_only=False)
            ready &= ~_any_in(said, lists.offsets)
        return _Turns(ready, lists.offsets, flat.field(role_key), flat.field(content_key))

    def _alpaca(self, table: pa.Table, schema: pa.Schema) -> _Turns | None:
        instruction, given, output = (table.column(name).combine_chunks() for name in schema.names)
        given = pc.fill_null(given, "")
        large = [each.cast(pa.large_string()) for each in (instruction, given, output)]
        question = pc.if_else(
            pc.equal(given, ""),
            large[0],
            pc.if_else(pc.equal(instruction, ""), large[1], joined(large[0], "\n", large[1])),
        )
        size = len(table)
        places = np.arange(2 * size).reshape(2, size).T.ravel()
        content = pa.concat_arrays([question, large[2]]).take(pa.array(places))
        role = pa.array(["user", "assistant"]).take(pa.array(np.arange(2 * size) % 2))
        offsets = pa.array(np.arange(0, 2 * size + 1, 2, dtype=np.int32))
        return _Turns(np.ones(size, bool), offsets, role, content)

    # -- sessions ---------------------------------------------------------------------------------------

    def _sessions(
        self, table: pa.Table, schema: pa.Schema, turns: _Turns, own_ids: list[str | None]
    ) -> ColumnSessions | None:
        ready = turns.ready.copy()
        for name in table.column_names:
            if name in self._meant and name not in schema.names and name != self._id_field:
                ready &= pc.is_null(table.column(name)).to_numpy()
        role, is_trained, is_known = self._roles(turns.role)
        fine = is_known & ~containing(turns.content, THINK_OPEN)
        ready &= ~_any_in(~fine, turns.offsets) & _any_in(is_trained, turns.offsets)
        messages = messages_json(turns.offsets, role, turns.content)
        ready &= pc.is_valid(messages).to_numpy(zero_copy_only=False)
        if ready.sum() < _FEWEST * len(ready):
            return None
        kept = messages.filter(pa.array(ready))
        try:
            kept.validate(full=True)
        except pa.ArrowInvalid:
            return None
        turned = pa.ListArray.from_arrays(
            turns.offsets,
            pa.StructArray.from_arrays([role, turns.content.cast(pa.string())], fields=list(MESSAGE)),
        ).filter(pa.array(ready))
        own = [own_ids[row] for row in np.flatnonzero(ready).tolist()]
        return ColumnSessions(ready, own, kept, turned)

    def _roles(self, written: pa.Array) -> tuple[pa.Array, BoolArray, BoolArray]:
        """Each message's role, whether it may be trained, and whether it is a declared one that writes no call."""
        encoded = pc.dictionary_encode(written)
        names: list[str] = []
        known: list[bool] = []
        for name in encoded.dictionary.to_pylist():
            try:
                role, is_call = self._reader.role_of(name)
            except Refused:
                role, is_call = name, True
            names.append(role)
            known.append(not is_call)
        trained = [name != "tool" and name in self._options.trained_roles for name in names]
        there = pc.is_valid(encoded.indices).to_numpy(zero_copy_only=False)
        places = pc.fill_null(encoded.indices, 0).to_numpy(zero_copy_only=False)
        if not names:
            return written, there, there
        role = pa.array(names, pa.string()).take(encoded.indices)
        return role, there & np.array(trained)[places], there & np.array(known)[places]


def _any_in(flags: BoolArray, offsets: pa.Array) -> BoolArray:
    """Whether any message of each row is flagged: bool [num_rows]."""
    ones = np.concatenate([[0], np.cumsum(flags)])
    edges = offsets.to_numpy()
    found: BoolArray = ones[edges[1:]] > ones[edges[:-1]]
    return found


def _parsed(block: RawBlock, schema: pa.Schema) -> pa.Table | None:
    """The rows in columns, those of the schema with its types; None where Arrow cannot, or sees other rows."""
    import pyarrow.json

    if block.values is None and line_edges(block.lines) is None:
        return None  # a line that is no object: two on one line and a blank one would come out even
    data = block.joined
    try:
        table = pyarrow.json.read_json(
            pa.BufferReader(data),
            read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=schema, newlines_in_values=True, unexpected_field_behavior="infer"
            ),
        )
    except pa.ArrowInvalid:
        return None
    return table if len(table) == len(block.places) else None
