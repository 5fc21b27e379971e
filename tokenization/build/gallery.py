"""A gallery: the items of a build that somebody asks for, by source, by name, by a text in them.

Reads the build directory alone. Price: one pass over the messages of items.parquet, and one over the segments' names.
"""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization.build.layout import read_manifest
from tokenization.build.showing import collect, facts, item_rows, words_of
from tokenization.errors import RecipeError
from tokenization.preview import MOST_IN_A_GALLERY as MOST
from tokenization.preview.model import PreviewPage


def gallery_of(build: Path, *, source: str, items: list[str], text: str, count: int) -> PreviewPage:
    """The first `count` items that fit all that is asked; what is left empty asks for nothing."""
    manifest = read_manifest(build)
    if not 1 <= count <= MOST:
        raise RecipeError(f"count: is {count}; a gallery shows 1 to {MOST} items")
    if source and source not in manifest["sources"]:
        raise RecipeError(
            f"source: {source!r} is none of the build's, which are {', '.join(manifest['sources'])}"
        )
    table = pq.read_table(build / "items.parquet", columns=["source", "item", "messages"])
    found = fitting(table, source, items, text)
    if not len(found):
        asked = (
            [f"source {source!r}"] * bool(source)
            + [f"items {items}"] * bool(items)
            + [f"text {text!r}"] * bool(text)
        )
        raise RecipeError(
            f"none of the build's {len(table):,} items fits {' and '.join(asked)}; ask for less"
        )
    shown = found.slice(0, count)
    wanted = set(zip(shown.column("source").to_pylist(), shown.column("item").to_pylist(), strict=True))
    sequences, _ = collect(build, manifest, words_of(build, manifest), item_rows(build, wanted))
    told = [("found", f"{len(found):,} items, {len(shown):,} shown"), *facts(manifest)]
    return PreviewPage(f"{manifest['recipe']['name']}: a gallery", told, sequences)


def fitting(table: pa.Table, source: str, items: list[str], text: str) -> pa.Table:
    """The rows of items.parquet that fit; a session's name stands for its cuts too."""
    if source:
        table = table.filter(pc.equal(table.column("source"), source))
    if items:
        whole = pc.replace_substring_regex(table.column("item"), r"#\d+$", "")
        names = pa.array(items, pa.string())
        table = table.filter(pc.or_(pc.is_in(table.column("item"), names), pc.is_in(whole, names)))
    if text:
        written = json.dumps(text, ensure_ascii=False)[1:-1]  # as it stands in the messages' JSON
        table = table.filter(pc.fill_null(pc.match_substring(table.column("messages"), written), False))
    return table
