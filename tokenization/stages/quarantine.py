"""`quarantine/`: what was set aside, as it came, with its source, place and reason; one JSON Lines file a source.

`row` is the row's own text; where its bytes are no UTF-8 they stand in `row_base64`. `tokenmill replay` reads these
files again after a fix. What a line says of the row stands before the row (see build.quarantined). Price: streamed,
`HELD` rows in memory at a time.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.stages.documents import ROWS, load_index, read_set_aside
from tokenization.stages.selection import (
    CONTAMINATED,
    DUPLICATE,
    NEAR_DUPLICATE,
    is_kept,
    load_contaminated,
    load_first_copies,
    load_slice,
)
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import Workspace

REASONS = {DUPLICATE: "exact_duplicate", NEAR_DUPLICATE: "near_duplicate", CONTAMINATED: "contaminated"}
HELD = 256  # rows in memory at a time
DESCRIBED = 8192  # of those that the selection left out, names and places in memory at a time
OVERLAP = ("set", "item", "share", "character", "ngram")


def write_quarantine(workspace: Workspace, folder: Path) -> None:
    """Every source's set-asides: those of reading, of deduplication, of rendering."""
    folder.mkdir(parents=True, exist_ok=True)
    for source in workspace.recipe.sources:
        with open(folder / f"{source.name}.jsonl", "wb") as sink:
            for row in quarantined(workspace, source.name):
                sink.write(orjson.dumps({"source": source.name, **row}) + b"\n")


def quarantined(workspace: Workspace, name: str) -> Iterator[dict[str, Any]]:
    """A source's set-asides in the order of the stages."""
    parts = (
        part for table in read_set_aside(workspace, name) for part in table.to_batches(max_chunksize=HELD)
    )
    for row in (row for part in parts for row in part.to_pylist()):
        yield {
            "file": row["file"],
            "place": row["place"],
            "item": row["own_id"],
            "stage": "ingest",
            "reason": row["reason"],
            "detail": row["detail"],
            **readable(row["row"]),
        }
    yield from unselected(workspace, name)
    yield from unrendered(workspace, name)


def readable(row: bytes) -> dict[str, str]:
    """The row as text where it is text."""
    try:
        return {"row": row.decode()}
    except UnicodeDecodeError:
        return {"row_base64": base64.b64encode(row).decode()}


def unselected(workspace: Workspace, name: str) -> Iterator[dict[str, Any]]:
    """Items of which an equal one, or one nearly the same, stands earlier in the recipe, with the name of that one; and
    those that hold an evaluation set's text, with the item and the n-gram."""
    chosen = load_slice(workspace, name)
    rows = np.flatnonzero(~is_kept(chosen))
    if not len(rows):
        return
    first = load_first_copies(workspace, name)
    overlaps = {row["position"]: row for row in load_contaminated(workspace, name).to_pylist()}
    for begin in range(0, len(rows), DESCRIBED):
        part = rows[begin : begin + DESCRIBED]
        yield from described(workspace, name, part, first[part], chosen[part], overlaps)


def described(
    workspace: Workspace,
    name: str,
    rows: NDArray[np.int64],
    first: NDArray[np.int64],
    chosen: NDArray[np.uint8],
    overlaps: dict[int, dict[str, Any]],
) -> Iterator[dict[str, Any]]:
    """These items of the source, which the selection left out."""
    originals = names_of(workspace, workspace.source(name).kind, first)
    columns = ["item", "file", "place", "chunk", "row"]
    entries = load_index(workspace, name).take(pa.array(rows)).select(columns).to_pylist()
    places = [np.array([entry[column] for entry in entries], np.int64) for column in ("chunk", "row")]
    texts = row_texts(workspace, name, *places)
    for row, entry, original, choice, text in zip(
        rows.tolist(), entries, originals, chosen.tolist(), texts, strict=True
    ):
        reason = REASONS[choice]
        overlap = overlaps[row] if choice == CONTAMINATED else None
        yield {
            "file": entry["file"],
            "place": entry["place"],
            "item": entry["item"],
            "stage": "select",
            "reason": reason,
            "detail": held(overlap) if overlap else repeats(reason, *original),
            "row": text,
            **({"overlap": {key: overlap[key] for key in OVERLAP}} if overlap else {}),
        }


def names_of(workspace: Workspace, kind: str, places: NDArray[np.int64]) -> list[tuple[str, str]]:
    """(source, item) of positions among all items of one kind, in recipe order."""
    sources = [source.name for source in workspace.recipe.sources if source.kind == kind]
    indices = [load_index(workspace, source) for source in sources]
    begins = np.cumsum([0, *map(len, indices)])
    owners = np.searchsorted(begins[1:], places, side="right")
    found = [("", "")] * len(places)
    for owner in np.unique(owners).tolist():
        own = np.flatnonzero(owners == owner)
        items = indices[owner].column("item").take(pa.array(places[own] - begins[owner])).to_pylist()
        for number, item in zip(own.tolist(), items, strict=True):
            found[number] = sources[owner], item
    return found


def repeats(reason: str, source: str, item: str) -> str:
    how = "equal to" if reason == "exact_duplicate" else "nearly the same as"
    return f"{how} {item!r} of source {source!r}, which stands earlier in the recipe"


def held(overlap: dict[str, Any]) -> str:
    return (
        f"holds {overlap['share']:.0%} of item {overlap['item']!r} of evaluation set {overlap['set']!r}, "
        f"from character {overlap['character']} on: {overlap['ngram']!r}"
    )


def unrendered(workspace: Workspace, name: str) -> Iterator[dict[str, Any]]:
    """Sessions that could not be rendered, masked or proved."""
    if workspace.source(name).kind == "text":
        return
    index = load_index(workspace, name)
    chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
    result = workspace.result("tokens", name).value
    for key, chunk in zip(result["objects"], result["chunks"], strict=True):
        first, last = np.searchsorted(chunk_of, [chunk, chunk + 1])
        aside = open_table(workspace.store.path("tokens", key) / "set_aside.arrow")
        own = aside.column("row").to_numpy()
        texts = row_texts(workspace, name, np.full(len(own), chunk), own)
        for entry, text in zip(aside.to_pylist(), texts, strict=True):
            position = int(first + np.searchsorted(row_of[first:last], entry["row"]))
            item = {column: index.column(column)[position].as_py() for column in ("item", "file", "place")}
            yield {
                "file": item["file"],
                "place": item["place"],
                "item": item["item"],
                "stage": "render",
                "reason": entry["reason"],
                "detail": entry["detail"],
                "row": text,
            }


def row_texts(
    workspace: Workspace, name: str, chunks: NDArray[np.integer], rows: NDArray[np.integer]
) -> Iterator[str]:
    """Stored documents or sessions, by chunk (ascending) and row, as the JSON rows that would give them again."""
    keys = workspace.result("documents", name).value["chunks"]
    for chunk in np.unique(chunks).tolist():
        stored = open_table(workspace.store.path("rows", keys[chunk]) / ROWS)
        wanted = [
            column for column in ("own_id", "text", "messages", "tools") if column in stored.column_names
        ]
        own = rows[chunks == chunk]
        for first in range(0, len(own), HELD):
            for row in stored.select(wanted).take(pa.array(own[first : first + HELD])).to_pylist():
                yield as_row(row)


def as_row(stored: dict[str, Any]) -> str:
    """A stored document or session as JSON."""
    value: dict[str, Any] = {} if stored["own_id"] is None else {"id": stored["own_id"]}
    if "text" in stored:
        value["text"] = stored["text"]
    else:
        value["messages"] = orjson.loads(stored["messages"])
        if stored["tools"] is not None:
            value["tools"] = orjson.loads(stored["tools"])
    return orjson.dumps(value).decode()
