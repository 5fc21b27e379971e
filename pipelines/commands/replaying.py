"""`tokenmill replay`: the quarantined rows of a build, tried again after a fix of the recipe or of tokenmill."""

from __future__ import annotations

import base64
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson

from pipelines.commands.chats import outcomes, prepared, renderer_for
from tokenization.build.layout import read_manifest
from tokenization.defaults import default_store
from tokenization.errors import RecipeError
from tokenization.ingest.chunks import Chunk, Piece
from tokenization.ingest.corpus import read_documents
from tokenization.ingest.files import resolve_files
from tokenization.recipe.load import load_recipe, recipe_from_mapping
from tokenization.recipe.model import Recipe, SourceSpec, TokenizerSpec
from tokenization.stages.documents import cleaning_of, options_of
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

Row = dict[str, Any]
SELECTED = ("exact_duplicate", "near_duplicate", "contaminated")  # mended in the sources, not by trying again


def replay_quarantine(
    directory: Path, *, recipe: Path | None, overrides: tuple[str, ...], store: Path | None, as_json: bool
) -> None:
    """Say of each quarantined row what becomes of it now."""
    manifest = read_manifest(directory)
    if recipe is not None:
        mended = load_recipe(recipe, overrides)
    else:
        mended = recipe_from_mapping(
            manifest["recipe"], directory, overrides, label=f"{directory}/manifest.json"
        )
    kept = Store((store or default_store()).absolute())
    counts: Counter[str] = Counter()
    for row, outcome, detail in replayed(directory, mended, kept, manifest):
        counts[outcome] += 1
        if as_json:
            line = {name: row[name] for name in ("source", "file", "place", "item")}
            click.echo(
                orjson.dumps({**line, "was": row["reason"], "now": outcome, "detail": detail}).decode()
            )
        else:
            where = f"{row['source']} {row['file']}:{row['place']}"
            click.echo(f"{where}: was {row['reason']}, now {outcome}{': ' + detail if detail else ''}")
    if not as_json:
        told = (
            ", ".join(f"{count:,} {outcome}" for outcome, count in counts.most_common())
            or "nothing was set aside"
        )
        click.echo(f"{told}; recovered rows come into the next tokenmill build")


def replayed(directory: Path, recipe: Recipe, store: Store, manifest: Row) -> Iterator[tuple[Row, str, str]]:
    """(row, what it is now, detail) of every quarantined row."""
    for path in sorted((directory / "quarantine").glob("*.jsonl")):
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        known = {source.name: source for source in recipe.sources}
        source = known.get(path.stem)
        if source is None:
            yield from ((row, "left_out", "the recipe no longer has this source") for row in rows)
            continue
        for row in rows:
            if row["reason"] in SELECTED:
                yield row, row["reason"], row["detail"]
        tried = [row for row in rows if row["reason"] not in SELECTED]
        if tried:
            yield from tried_again(tried, source, recipe, directory, store, manifest)


def tried_again(
    rows: list[Row], source: SourceSpec, recipe: Recipe, directory: Path, store: Store, manifest: Row
) -> Iterator[tuple[Row, str, str]]:
    """The rows through reading and, for chats, rendering."""
    workspace = Workspace(recipe, store, directory)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        path.write_bytes(b"".join(one_line(row) + b"\n" for row in rows))
        file = replace(resolve_files(str(path), path.parent, source=source.name)[0], format="jsonl")
        text, chat = options_of(workspace, source)
        if text is not None:
            now: dict[int, tuple[str, str]] = {}
            for batch in read_documents(Chunk((Piece(file, "", 0, -1),)), text, cleaning_of(workspace)):
                now |= dict.fromkeys(batch.documents.column("place").to_pylist(), ("recovered", ""))
                now |= {row["place"]: (row["reason"], row["detail"]) for row in batch.set_aside.to_pylist()}
        else:
            assert chat is not None
            spec = TokenizerSpec(
                path=str((directory / "tokenizer").absolute()), document_end=document_end(directory, manifest)
            )
            tokenizer = prepared(spec, directory, store)
            # the build's tokenizer carries the template that rendered it; a mended recipe may name another
            renderer = renderer_for(recipe.chat, tokenizer, recipe.directory)
            now = {}
            for outcome in outcomes(file, chat, renderer, recipe.window, "row"):
                now[outcome.place] = (outcome.reason or "recovered", outcome.detail)
        for place, row in enumerate(rows, 1):
            yield row, *now.get(place, ("invalid_row", "the row could not be read at all"))


def document_end(directory: Path, manifest: Row) -> str:
    """The build's document end, as text."""
    from tokenization.tokenizer.definition import Definition

    wanted = manifest["tokenizer"]["document_end_token_id"]
    tokens = Definition.read(directory / "tokenizer" / "tokenizer.json").added_tokens
    for token, number in tokens.items():
        if number == wanted:
            return token
    raise RecipeError(f"{directory}/tokenizer has no added token of id {wanted}, the build's document end")


def one_line(row: Row) -> bytes:
    """The row as one line of JSON where it is JSON, else its bytes without line ends."""
    raw = row["row"].encode() if "row" in row else base64.b64decode(row["row_base64"])
    try:
        return orjson.dumps(orjson.loads(raw))
    except orjson.JSONDecodeError:
        return bytes(raw.replace(b"\n", b" ").replace(b"\r", b" ")) or b"{}"
