"""Sessions from a file, rendered outside a build: what `render` and `replay` share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from tokenization.chat.outcome import Rendered
from tokenization.chat.rendering import Renderer
from tokenization.chat.report import check_stop
from tokenization.chat.templates import ChatTemplate
from tokenization.hashing import content_digest, key_of
from tokenization.ingest.chunks import Chunk, Piece
from tokenization.ingest.files import InputFile
from tokenization.ingest.sessions import ChatOptions as ReadOptions
from tokenization.ingest.sessions import read_sessions
from tokenization.recipe.model import ChatSpec, TokenizerSpec
from tokenization.stages.chat_tools import options_of
from tokenization.store import Store
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.identity import choose_engine
from tokenization.tokenizer.prepare import prepare_tokenizer


@dataclass(frozen=True)
class Outcome:
    """What became of one session, or of one cut of it."""

    id: str
    place: int
    input_ids: Any = None  # int array [num_tokens], or None where it was set aside
    loss_mask: Any = None  # bool array [num_tokens]
    reason: str = ""
    detail: str = ""


def prepared(spec: TokenizerSpec, base: Path, store: Store) -> PreparedTokenizer:
    """A tokenizer by itself, prepared once and kept in the store."""
    path = base / (spec.path or "")
    key = key_of("alone", spec.model_dump(mode="json"), str(path), content_digest(path))
    if not store.has("tokenizer", key):
        with store.writing("tokenizer", key) as folder:
            prepare_tokenizer(spec, base, folder)
            choose_engine(folder)
    return open_tokenizer(store.path("tokenizer", key))


def renderer_for(chat: ChatSpec, tokenizer: PreparedTokenizer, folder: Path) -> Renderer:
    """A renderer that is known to end its answers."""
    options = options_of(chat)
    template = ChatTemplate.load(chat.template, tokenizer, roles=options.roles, folder=folder)
    renderer = Renderer(template, tokenizer, options)
    check_stop(renderer)
    return renderer


def outcomes(
    file: InputFile, read: ReadOptions, renderer: Renderer, window: int | None, label: str
) -> Iterator[Outcome]:
    """Every row of the file in order: its sequences, or why there are none."""
    chunk = Chunk((Piece(file, "", 0, -1),))
    for batch in read_sessions(chunk, read):
        found = [*rendered_rows(batch.sessions, renderer, window, label)]
        for row in batch.set_aside.to_pylist():
            name = row["own_id"] or place_name(label, row["place"])
            found.append(Outcome(name, row["place"], reason=row["reason"], detail=row["detail"]))
        yield from sorted(found, key=lambda each: each.place)


def rendered_rows(
    sessions: pa.Table, renderer: Renderer, window: int | None, label: str
) -> Iterator[Outcome]:
    """The sessions of a table, rendered; a session cut into several gives ID#0, ID#1, …"""
    if not len(sessions):
        return
    rendered: Rendered = renderer.render(sessions)
    if window is not None:
        rendered = renderer.fit(sessions, rendered, window)
    own, places = sessions.column("own_id").to_pylist(), sessions.column("place").to_pylist()
    names = [name or place_name(label, place) for name, place in zip(own, places, strict=True)]
    offsets = rendered.sequences.offsets
    for number, row in enumerate(rendered.session.tolist()):
        cut = int(rendered.cut[number])
        tokens = slice(int(offsets[number]), int(offsets[number + 1]))
        yield Outcome(
            names[row] if cut < 0 else f"{names[row]}#{cut}",
            places[row],
            rendered.sequences.input_ids[tokens],
            rendered.sequences.loss_mask[tokens],
        )
    for entry in rendered.set_aside:
        yield Outcome(names[entry.row], places[entry.row], reason=entry.reason, detail=entry.detail)


def place_name(label: str, place: int) -> str:
    return f"{label}:{place}" if place else label
