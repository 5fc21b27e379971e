"""Stage `documents`: a source's raw files become cleaned documents (or normalised sessions), chunk by chunk.

Each chunk is one job and one object: `rows.arrow` (the documents or sessions), `set_aside.arrow` and `meta.json`. Then
the small columns of all chunks make the source's *index*: one row an item, with its id, file, place and hash.
Decisions across sources are taken on indices alone.

Guarantees: rows read = rows in the index + set aside + over the limit, per source; ids are unique in a source; the
index is the same however the files were cut into chunks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from tokenization.engine import worker_id
from tokenization.errors import RecipeError
from tokenization.hashing import file_digest, key_of
from tokenization.ingest.amounts import Amounts, Moved, sizes_of
from tokenization.ingest.chunks import Chunk, plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import DocumentBatch, TextOptions, read_documents
from tokenization.ingest.places import ChunkCounts, absolute_places, line_offsets
from tokenization.ingest.sessions import ChatOptions, SessionBatch, read_sessions
from tokenization.ingest.set_aside import SET_ASIDE_SCHEMA
from tokenization.ingest.text_fields import check_text_fields
from tokenization.recipe.model import SourceSpec
from tokenization.stages.catalogue import CODES
from tokenization.stages.running import run_jobs
from tokenization.stages.screening import Screen, screen_of, screened
from tokenization.stages.tables import TableWriter, open_table, read_batches, write_table
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store

CHUNK_BYTES = 8 << 20  # 8 to 16 MB encode fastest, and bound a worker's memory
OBJECT = "index"
ROWS, SET_ASIDE, INDEX = "rows.arrow", "set_aside.arrow", "index.arrow"

INDEX_SCHEMA = pa.schema(
    [
        ("item", pa.string()),
        ("file", pa.string()),
        ("place", pa.int64()),
        ("hash", pa.binary(16)),
        ("size", pa.int64()),  # bytes of UTF-8
        ("characters", pa.int64()),  # null for sessions
        ("chunk", pa.int32()),
        ("row", pa.int32()),  # in its chunk
    ]
)


@dataclass(frozen=True)
class ReadJob:
    """One chunk to read."""

    store: Store
    key: str
    chunk: Chunk
    text: TextOptions | None  # one of the two
    chat: ChatOptions | None
    cleaning: CleaningOptions
    screen: Screen


def options_of(workspace: Workspace, source: SourceSpec) -> tuple[TextOptions | None, ChatOptions | None]:
    """How this source's rows are read."""
    if source.kind == "text":
        return TextOptions(source.text_field, source.fields.get("id")), None
    roles = workspace.recipe.chat.roles
    return None, ChatOptions(
        format=source.format,
        fields={ours: theirs for ours, theirs in source.fields.items() if ours != "id"},
        role_names=source.role_names,
        roles=frozenset(workspace.recipe.chat.role_names),
        id_field=source.fields.get("id"),
        trained_roles=frozenset({"assistant"})
        | frozenset(name for name, role in roles.items() if role.trained),
    )


def described(options: Any) -> Any:
    """Options as JSON-able values that are equal where the options are (sets sorted)."""
    if is_dataclass(options):
        return {field.name: described(getattr(options, field.name)) for field in fields(options)}
    if isinstance(options, (set, frozenset)):
        return sorted(options)
    return dict(options) if isinstance(options, Mapping) else options


def parts(workspace: Workspace, name: str) -> list[Any]:
    source = workspace.source(name)
    files, digests = workspace.inputs(name)
    return [
        [
            [file.relative, file.format, file.compression, digest]
            for file, digest in zip(files, digests, strict=True)
        ],
        [described(options) for options in options_of(workspace, source)],
        described(cleaning_of(workspace)),
        screen_of(workspace, name).key(),
        source.limit,
        chunk_bytes(),
    ]


def cleaning_of(workspace: Workspace) -> CleaningOptions:
    cleaning = workspace.recipe.cleaning
    return CleaningOptions(unicode=cleaning.unicode, min_characters=cleaning.min_characters)


def chunk_bytes() -> int:
    """The size of a chunk; TOKENMILL_CHUNK_BYTES overrides it. The build is the same whatever it is."""
    return int(os.environ.get("TOKENMILL_CHUNK_BYTES", CHUNK_BYTES))


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    source = workspace.source(name)
    files, digests = workspace.inputs(name)
    text, chat = options_of(workspace, source)
    if text is not None:
        check_text_fields(files, text, source=name)
    cleaning = cleaning_of(workspace)
    screen = screen_of(workspace, name)
    jobs = [
        ReadJob(
            workspace.store,
            key_of(
                "rows",
                CODES["documents"],
                [describe(p) for p in chunk.pieces],
                described(text or chat),
                described(cleaning),
                *screen.key(),
            ),
            chunk,
            text,
            chat,
            cleaning,
            screen,
        )
        for chunk in plan_chunks(files, digests, chunk_bytes=chunk_bytes())
    ]
    metas, workers = run_jobs(
        workspace,
        "rows",
        read_chunk,
        jobs,
        sum(file.size for file in files),
        name,
        threads=True,
    )
    refuse_unreadable(source, metas)
    counted = [ChunkCounts(meta["rows_read"], meta["lines"]) for meta in metas]
    lines_before = line_offsets([job.chunk for job in jobs], counted)
    index, counts = build_index(workspace.store, [job.key for job in jobs], metas, lines_before, source.limit)
    with workspace.store.writing("index", key) as folder:
        write_table(index, folder / INDEX)
        digest = file_digest(folder / INDEX)
    return {
        "fingerprint": key_of(digest, [job.key for job in jobs]),
        "kind": source.kind,
        "chunks": [job.key for job in jobs],
        "lines_before": lines_before,
        "files": len(files),
        "workers": workers,
        "bytes": sum(file.size for file in files),
        **counts,
    }


def describe(piece: Any) -> list[Any]:
    """A piece by content, not by where its file lies."""
    file = piece.file
    return [file.relative, file.format, file.compression, piece.digest, piece.start, piece.stop]


def read_chunk(job: ReadJob) -> int:
    """Read, clean and store one chunk; the worker's number."""
    with job.store.writing("rows", job.key) as folder:
        batches = (
            read_documents(job.chunk, job.text, job.cleaning)
            if job.text is not None
            else read_sessions(job.chunk, job.chat or ChatOptions())
        )
        meta = write_rows(folder, batches, job.screen, pieces=len(job.chunk.pieces))
        (folder / META).write_bytes(orjson.dumps(meta))
    return worker_id()


def write_rows(
    folder: Path, batches: Iterable[DocumentBatch | SessionBatch], screen: Screen, *, pieces: int
) -> dict[str, Any]:
    """Write a chunk's batches as they come, holding one at a time; the chunk's counts."""
    lines = np.zeros(pieces, np.int64)
    counts: Counter[str] = Counter()
    changed: Counter[str] = Counter()
    set_aside: Counter[str] = Counter()
    would_remove: Counter[str] = Counter()
    personal_data: Counter[str] = Counter()
    moved = Moved()
    with TableWriter(folder / ROWS) as rows_file, TableWriter(folder / SET_ASIDE) as set_aside_file:
        for batch in batches:
            kept = screened(batch.documents if isinstance(batch, DocumentBatch) else batch.sessions, screen)
            rows, aside = kept.rows, pa.concat_tables([batch.set_aside, kept.set_aside])
            would_remove.update(kept.would_remove)
            personal_data.update(kept.personal_data)
            moved.merge((getattr(batch, "amounts", {}), kept.amounts))
            rows_file.write(with_characters(rows))
            set_aside_file.write(aside)
            lines += batch.lines_read
            counts.update(rows_read=batch.rows_read, kept=len(rows))
            set_aside.update(aside.column("reason").to_pylist())
            changed.update(getattr(batch, "changes", {}))
    return {
        **counts,
        "lines": lines.tolist(),
        "set_aside": dict(set_aside),
        "changed": dict(changed),
        "would_remove": dict(would_remove),
        "personal_data": dict(personal_data),
        "amounts": moved.amounts(),
    }


def with_characters(rows: pa.Table) -> pa.Table:
    """The rows with how many characters each text has; sessions have none."""
    counts = (
        sizes_of(rows.column("text"))[0] if "text" in rows.column_names else pa.nulls(len(rows), pa.int64())
    )
    return rows.append_column("characters", pa.array(counts, pa.int64()))


def refuse_unreadable(source: SourceSpec, metas: list[dict[str, Any]]) -> None:
    """A source of which nothing at all can be read is a mistake in the recipe, not a set-aside."""
    reasons = Counter(summed(metas, "set_aside"))
    if not sum(meta["kept"] for meta in metas):
        found = (
            ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "the files are empty"
        )
        raise RecipeError(
            f"source {source.name!r}: no {'document' if source.kind == 'text' else 'session'} could be read from "
            f"{source.path}: {found}; look at the file, or set the source's format and fields"
        )


def build_index(
    store: Store, keys: list[str], metas: list[dict[str, Any]], lines_before: list[int], limit: int | None
) -> tuple[pa.Table, dict[str, Any]]:
    """One row an item of the whole source, in file order, and the source's counts."""
    tables = []
    for chunk, (key, before) in enumerate(zip(keys, lines_before, strict=True)):
        table = absolute_places(open_table(store.path("rows", key) / ROWS), before)
        body = table.column("text" if "text" in table.column_names else "messages")
        tables.append(
            pa.table(
                {
                    **{name: table.column(name) for name in ("own_id", "file", "place", "hash")},
                    "size": pc.cast(pc.binary_length(body), pa.int64()),
                    "characters": table.column("characters"),
                    "chunk": pa.array(np.full(len(table), chunk, np.int32)),
                    "row": pa.array(np.arange(len(table), dtype=np.int32)),
                }
            )
        )
    whole = pa.concat_tables(tables).combine_chunks()
    over = max(0, len(whole) - limit) if limit is not None else 0
    beyond, whole = whole.slice(len(whole) - over), whole.slice(0, len(whole) - over)
    columns = {"item": item_ids(whole), **{name: whole.column(name) for name in INDEX_SCHEMA.names[1:]}}
    index = pa.table(columns).cast(INDEX_SCHEMA)
    return index, {
        "rows_read": sum(meta["rows_read"] for meta in metas),
        "items": len(index),
        "text_bytes": total(index, "size"),
        "text_characters": total(index, "characters"),
        "amounts": amounts_of(metas, beyond),
        "set_aside": summed(metas, "set_aside"),
        "over_limit": over,
        "changed": summed(metas, "changed"),
        "personal_data": summed(metas, "personal_data"),
        "rules_would_remove": summed(metas, "would_remove"),
    }


def total(table: pa.Table, column: str) -> int:
    return int(pc.sum(table.column(column)).as_py() or 0)


def amounts_of(metas: list[dict[str, Any]], beyond: pa.Table) -> Amounts:
    """What was read of a text source and what became of it, up to the index; `beyond` is over the source's limit."""
    moved = Moved()
    moved.merge(meta["amounts"] for meta in metas)
    moved.add("over_limit", -total(beyond, "characters"), -total(beyond, "size"))
    return moved.amounts()


def summed(metas: list[dict[str, Any]], field: str) -> dict[str, int]:
    """The chunks' counts of one kind together."""
    total: Counter[str] = Counter()
    for meta in metas:
        total.update(meta[field])
    return dict(sorted(total.items()))


def item_ids(table: pa.Table) -> pa.Array:
    """The row's own id where it is unique in its source, else `file:place` (the file alone for a whole file)."""
    import polars as pl

    frame = pl.DataFrame(
        {name: pl.from_arrow(table.column(name)) for name in ("own_id", "file", "place")},
        schema_overrides={"own_id": pl.String},
    )
    fallback = (
        pl.when(pl.col("place") > 0)
        .then(pl.concat_str(pl.col("file"), pl.lit(":"), pl.col("place").cast(pl.String)))
        .otherwise(pl.col("file"))
    )
    frame = frame.with_columns(fallback=fallback)
    own = (
        pl.col("own_id").is_not_null()
        & pl.col("own_id").is_unique()
        & ~pl.col("own_id").is_in(frame["fallback"].implode())
    )
    return (
        frame.select(pl.when(own).then(pl.col("own_id")).otherwise(pl.col("fallback"))).to_series().to_arrow()
    )


def load_index(workspace: Workspace, name: str) -> pa.Table:
    """The source's index, memory-mapped."""
    result = workspace.result("documents", name)
    return open_table(workspace.store.path("index", result.key) / INDEX)


def read_set_aside(workspace: Workspace, name: str) -> Iterator[pa.Table]:
    """What was set aside while reading (SET_ASIDE_SCHEMA), with absolute places; a stored batch at a time, for rules
    may have rejected nearly all of a source."""
    value = workspace.result("documents", name).value
    for key, before in zip(value["chunks"], value["lines_before"], strict=True):
        path = workspace.store.path("rows", key) / SET_ASIDE
        for batch in read_batches(path, SET_ASIDE_SCHEMA.names):
            yield absolute_places(pa.Table.from_batches([batch]), before)
