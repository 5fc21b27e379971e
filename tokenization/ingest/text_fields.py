"""Where a row keeps its text and its own id.

The recipe may name the fields; where it does not, the usual names are tried on the first rows of each file.
The choice depends on the file alone, so it is the same for each chunk of it, in whatever process.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenization.errors import RecipeError
from tokenization.ingest.chunks import WHOLE, Piece
from tokenization.ingest.files import InputFile
from tokenization.ingest.opening import UnreadableInput
from tokenization.ingest.rows import iter_rows
from tokenization.ingest.set_aside import SetAsideRows
from tokenization.ingest.tables import column_names

TEXT_FIELDS = ("text", "content", "body", "document")  # tried in this order where the recipe names none
ID_FIELD = "id"
HEAD_ROWS = 100  # rows of each file that are looked at to choose its text field


@dataclass(frozen=True)
class TextOptions:
    """Where a row keeps its text and its id; None takes the usual names."""

    text_field: str | None = None
    id_field: str | None = None


def own_id_text(value: Any) -> str | None:
    """A row's own id as text; only strings and integers name a row."""
    if type(value) is str:
        return (value if value.isascii() else value.encode("utf-8", "replace").decode()) or None
    return str(value) if type(value) is int else None


@functools.lru_cache(maxsize=4096)
def text_field_of(file: InputFile, options: TextOptions) -> str:
    """The field that holds this file's texts: decided by its first rows, so alike for all of its chunks."""
    if options.text_field is not None:
        return options.text_field
    names = set(head_fields(file))
    return next((name for name in TEXT_FIELDS if name in names), TEXT_FIELDS[0])


def head_fields(file: InputFile) -> list[str]:
    """The fields that the first rows of a file have, in order of appearance; none for a text file."""
    if file.format == "text":
        return []
    if file.format in ("parquet", "arrow"):
        try:
            return column_names(file)
        except UnreadableInput:
            return []
    names: dict[str, None] = {}
    seen = 0
    stop = file.size if file.format == "jsonl" and file.compression is None else WHOLE
    for batch in iter_rows(Piece(file, "", 0, stop), SetAsideRows(), batch_bytes=64 << 10):
        for row in batch.rows[: HEAD_ROWS - seen]:
            names.update(dict.fromkeys(row) if isinstance(row, dict) else {})
        seen += len(batch.rows)
        if seen >= HEAD_ROWS:
            break
    return list(names)


def check_text_fields(files: Sequence[InputFile], options: TextOptions, *, source: str) -> None:
    """Raises `RecipeError` where no file of a source has the text field; called once, before any is read."""
    wanted = TEXT_FIELDS if options.text_field is None else (options.text_field,)
    found: dict[str, None] = {}
    for file in files:
        fields = head_fields(file)
        if file.format == "text" or any(name in fields for name in wanted):
            return
        found.update(dict.fromkeys(fields))
    if found:
        raise RecipeError(
            f"source {source!r}: no row has the field {' or '.join(map(repr, wanted))}; "
            f"the rows have {', '.join(list(found)[:20])}. Name the one that holds the text with text_field:"
        )
