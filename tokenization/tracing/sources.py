"""A document's text read again from its source, if what is there is still the text that was built.

The build names a file and a place in it; the recipe, which the manifest holds, says how rows are read and cleaned. A
manifest knows no folders, so paths are tried against several; a text whose content hash is another is never used.

Price: of JSON Lines the bytes up to the line, of Parquet one row group; other files are read up to the row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenization.errors import TokenmillError
from tokenization.ingest.chunks import Chunk, Piece
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import InputFile, resolve_files
from tokenization.object_store import is_url
from tokenization.recipe.model import CleaningSpec, SourceSpec

BLOCK = 8 << 20
State = Literal["agrees", "changed", "missing", "remote"]


@dataclass(frozen=True)
class Found:
    """What became of a document's source: `text` where it still is what was built."""

    state: State
    path: str | None  # the file that was looked into
    text: str | None = None
    is_text_file: bool = False  # the document is a plain text file, or a part of a long one


def text_again(recipe: dict[str, Any], item: dict[str, Any], folders: Iterable[Path]) -> Found:
    """The text of a document of items.parquet, looked for below these folders."""
    source = SourceSpec.model_validate(
        next(each for each in recipe["sources"] if each["name"] == item["source"])
    )
    if is_url(source.path) and not source.path.startswith(("file://", "local://")):
        return Found("remote", source.path)
    state: State = "missing"
    seen: str | None = None
    for folder in folders:
        file = _file_of(source, item["file"], folder)
        if file is None:
            continue
        text = _text(file, item, source, CleaningSpec.model_validate(recipe["cleaning"]))
        if text is not None:
            return Found("agrees", file.path, text, file.format == "text")
        state, seen = "changed", file.path
    return Found(state, seen)


def _file_of(source: SourceSpec, relative: str, folder: Path) -> InputFile | None:
    try:
        files = resolve_files(source.path, folder, source=source.name, split=source.split)
    except (TokenmillError, OSError):
        return None
    return next((file for file in files if file.relative == relative), None)


def _text(file: InputFile, item: dict[str, Any], source: SourceSpec, spec: CleaningSpec) -> str | None:
    """The text at the item's place, cleaned as the build cleaned it, where its hash is the item's."""
    from tokenization.stages.screening import Screen, screened

    options = TextOptions(source.text_field, source.fields.get("id"))
    cleaning = CleaningOptions(unicode=spec.unicode, min_characters=spec.min_characters)
    screen = Screen(personal_data=spec.personal_data)
    piece, place = piece_at(file, item["place"])
    if piece is None:
        return None
    try:
        for batch in read_documents(Chunk((piece,)), options, cleaning):
            rows = screened(batch.documents, screen).rows
            for number, here in enumerate(rows.column("place").to_pylist()):
                if here == place:
                    same = rows.column("hash")[number].as_py().hex() == item["content_hash"]
                    return str(rows.column("text")[number].as_py()) if same else None
    except (TokenmillError, OSError):
        return None
    return None


def piece_at(file: InputFile, place: int) -> tuple[Piece | None, int]:
    """The least piece that holds the row or line `place`, and its place as that piece counts; None past the end."""
    if file.compression is None and file.format == "jsonl" and place:
        begin = line_begin(file.path, place)
        return (None, 0) if begin is None else (Piece(file, "", begin, begin + 1), 1)
    if file.compression is None and file.format == "parquet" and place:
        return Piece(file, "", *group_of(file.path, place)), place
    return Piece(file, "", 0, -1), place


def line_begin(path: str, line: int) -> int | None:
    """The byte at which line `line` (from 1) begins; None where there is none."""
    before, position = line - 1, 0
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            here = block.count(b"\n")
            if before <= here:
                place = 0
                for _ in range(before):
                    place = block.index(b"\n", place) + 1
                return position + place
            before -= here
            position += len(block)
    return None


def group_of(path: str, row: int) -> tuple[int, int]:
    """The row group that holds row `row` (from 1), as a range of one; all of them where there is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            rows = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    except (pa.ArrowException, OSError):
        return 0, -1
    return _holding(rows, row)


def _holding(rows: Sequence[int], row: int) -> tuple[int, int]:
    seen = 0
    for number, count in enumerate(rows):
        seen += count
        if row <= seen:
            return number, number + 1
    return 0, -1
