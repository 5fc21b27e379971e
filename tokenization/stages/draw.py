"""Stage `draw`: which documents are encoded, where the share needs only part of the text.

A small SFT set beside a large corpus needs a few of its documents, so only those are encoded. All documents of all text
sources that may be trained on stand in one seeded order, by a hash of their content, and the shortest beginning of it
that holds enough tokens is drawn:

    enough = what the share asks for beside the chats' tokens (or targets) + a margin

The margin is a window, and at least MARGIN tokens, so the windows can come as near to the share as they would with all
the text, and the usual window lengths draw alike. How many tokens a document has is not known before it is encoded. So
the order is encoded a stretch at a time: first a sample, then as much as its tokens a byte foretell, until there is
enough. The stretches decide how much is encoded beyond what is drawn (about 3 %), never what is drawn.

Documents held out are all encoded: `validation` has no share. `encode_all: true` leaves this stage out.

Guarantees: the same recipe and inputs draw the same documents, whatever the workers, the chunks and what was built
before; another share draws a longer or shorter beginning of the same order; another seed another order. With any of
them only documents never encoded before are encoded. Price: one sort of the documents' hashes, beside the encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenization.hashing import key_of
from tokenization.stages import text_pieces
from tokenization.stages.catalogue import draws
from tokenization.stages.documents import load_index
from tokenization.stages.selection import (
    TRAIN,
    VALIDATION,
    Hashes,
    fingerprint_of,
    hash_words,
    load_slice,
    seeded_order,
)
from tokenization.stages.workspace import Workspace
from tokenization.windows.share import Share, Unit

MARGIN = 16384  # tokens: two of the larger usual windows, so that 4096 and 8192 draw the same
SAMPLE_BYTES = 1 << 20  # of the order's first documents, to learn how many tokens a byte gives
BEYOND = 1.03  # encode so much of what the sample foretells: a further stretch costs more than 3 %
STREAM = 0xD2A3  # keeps this order apart from the validation split's


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    recipe = workspace.recipe
    texts = [workspace.find("documents", source.name) for source in recipe.text_sources]
    chats = [workspace.find("tokens", source.name) for source in recipe.chat_sources]
    selection, tokenizer = workspace.find("selection"), workspace.find("tokenizer")
    if selection is None or tokenizer is None or any(result is None for result in (*texts, *chats)):
        return None
    assert recipe.mixture is not None
    return [
        text_pieces.CODE,
        [source.name for source in recipe.text_sources],
        [result.fingerprint for result in (*texts, *chats) if result],
        [selection.value["slices"][source.name] for source in recipe.sources],
        tokenizer.fingerprint,
        tokenizer.value["engine"],
        [recipe.mixture.pretrain_share, recipe.mixture.unit, recipe.window, recipe.seed],
    ]


@dataclass(frozen=True)
class Order:
    """The documents that may be drawn, in the order of drawing; parallel arrays [num_documents]."""

    source: NDArray[np.int32]  # number among the text sources
    item: NDArray[np.int64]  # row of the source's index
    size: NDArray[np.int64]  # bytes

    def chosen(self, count: int, source: int, num_items: int) -> NDArray[np.bool_]:
        """The source's documents among the first `count`, bool [num_items]."""
        chosen = np.zeros(num_items, np.bool_)
        chosen[self.item[:count][self.source[:count] == source]] = True
        return chosen


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    recipe = workspace.recipe
    names = [source.name for source in recipe.text_sources]
    slices = [load_slice(workspace, source) for source in names]
    order = order_of(workspace, names, slices)
    enough = Enough.of(workspace)
    lengths, rounds = encode_until(workspace, names, slices, order, enough)
    count = enough.reached_after(lengths) or len(order.item)
    encoded: dict[str, str] = {}
    counts: dict[str, dict[str, int]] = {}
    with workspace.store.writing("draw", key) as folder:
        for number, (source, slice_) in enumerate(zip(names, slices, strict=True)):
            drawn = order.chosen(count, number, len(slice_))
            left = (slice_ == TRAIN) & ~drawn
            chosen = drawn | (slice_ == VALIDATION)
            np.save(folder / f"{source}.npy", chosen)
            encoded[source] = fingerprint_of(chosen)
            index = load_index(workspace, source)
            counts[source] = {
                "drawn": int(drawn.sum()),
                "not_drawn": int(left.sum()),
                "not_drawn_bytes": int(index.column("size").to_numpy()[left].sum()),
                "not_drawn_characters": int(index.column("characters").to_numpy()[left].sum()),
            }
    return {
        "fingerprint": key_of(encoded),
        "encoded": encoded,
        "counts": counts,
        "enough": enough.tokens,
        "unit": enough.unit,
        "drawn_tokens": int(lengths[:count].sum(dtype=np.int64)),
        "encoded_documents": len(lengths),  # the drawn ones, and what the stretches held beyond them
        "rounds": rounds,
    }


def order_of(workspace: Workspace, names: list[str], slices: list[NDArray[np.uint8]]) -> Order:
    """Every document that may be trained on, in the seeded order."""
    source, item, size = [], [], []
    hashes: list[Hashes] = []
    for number, (name, slice_) in enumerate(zip(names, slices, strict=True)):
        index = load_index(workspace, name)
        rows = np.flatnonzero(slice_ == TRAIN)
        source.append(np.full(len(rows), number, np.int32))
        item.append(rows)
        size.append(index.column("size").to_numpy()[rows])
        hashes.append(hash_words(index.column("hash"))[rows])
    order = seeded_order(np.concatenate(hashes), workspace.recipe.seed ^ STREAM << 32)
    return Order(np.concatenate(source)[order], np.concatenate(item)[order], np.concatenate(size)[order])


@dataclass(frozen=True)
class Enough:
    """How much text the share can need."""

    tokens: int  # or targets: what the drawn documents must hold
    unit: Unit
    window: int

    @classmethod
    def of(cls, workspace: Workspace) -> Enough:
        recipe = workspace.recipe
        assert recipe.mixture is not None
        share = Share.of(
            recipe.mixture.pretrain_share, recipe.mixture.unit, chat_total(workspace, recipe.mixture.unit)
        )
        return cls(ceil(share.needed) + max(recipe.window, MARGIN), share.unit, recipe.window)

    def reached_after(self, lengths: NDArray[np.int64]) -> int | None:
        """The fewest first documents that hold enough; None where all of them do not."""
        held = np.cumsum(lengths)
        if (
            self.unit == "target_tokens"
        ):  # a segment's first token is no target: one a document, one a cut at most
            held = held - np.arange(1, len(held) + 1) - -(-held // self.window)
        reached = np.flatnonzero(held >= self.tokens)
        return int(reached[0]) + 1 if len(reached) else None


def chat_total(workspace: Workspace, unit: Unit) -> int:
    """Tokens or targets of all sessions that are trained on."""
    from tokenization.stages.tokens import load_sequences

    column = "length" if unit == "total_tokens" else "targets"
    total = 0
    for source in workspace.recipe.chat_sources:
        table = load_sequences(workspace, source.name)
        trained = load_slice(workspace, source.name)[table.column("item").to_numpy()] == TRAIN
        total += int(table.column(column).to_numpy()[trained].sum(dtype=np.int64))
    return total


def encode_until(
    workspace: Workspace, names: list[str], slices: list[NDArray[np.uint8]], order: Order, enough: Enough
) -> tuple[NDArray[np.int64], int]:
    """Encode the order's beginning until it holds enough; the lengths of its documents, and the stretches it took."""
    bytes_before = np.append(0, np.cumsum(order.size))
    lengths = np.zeros(0, np.int64)
    rounds = 0
    while len(lengths) < len(order.item) and enough.reached_after(lengths) is None:
        held = int(lengths.sum())
        if held:
            rate = int(bytes_before[len(lengths)]) / held
            stretch = max(ceil((enough.tokens - held) * rate * BEYOND), SAMPLE_BYTES // 16)
        else:
            stretch = min(SAMPLE_BYTES, 3 * enough.tokens)  # bytes; less than the usual four a token
        wanted = int(bytes_before[len(lengths)]) + stretch
        count = min(int(np.searchsorted(bytes_before, wanted)), len(order.item))
        lengths = lengths_of(workspace, names, slices, order, max(count, len(lengths) + 1))
        rounds += 1
    return lengths, rounds


def lengths_of(
    workspace: Workspace, names: list[str], slices: list[NDArray[np.uint8]], order: Order, count: int
) -> NDArray[np.int64]:
    """Tokens of the order's first `count` documents, int64; encoded where they are not yet."""
    lengths = np.zeros(count, np.int64)
    for number, (name, slice_) in enumerate(zip(names, slices, strict=True)):
        chosen = order.chosen(count, number, len(slice_)) | (
            slice_ == VALIDATION
        )  # needed anyway: one piece less
        made = text_pieces.encode(workspace, name, chosen)
        pieces = list(zip(made.pieces, made.chunks, strict=True))
        found = text_pieces.places(workspace, name, chosen, pieces)
        by_item = np.zeros(len(slice_), np.int64)
        by_item[found.item] = found.length
        own = np.flatnonzero(order.source[:count] == number)
        lengths[own] = by_item[order.item[own]]
    return lengths


def load_encoded(workspace: Workspace, source: str) -> NDArray[np.bool_]:
    """Which of a text source's documents are encoded (drawn, or held out), bool, one a row of its index."""
    key = workspace.result("draw").key
    chosen: NDArray[np.bool_] = np.load(workspace.store.path("draw", key) / f"{source}.npy")
    return chosen


def not_drawn(workspace: Workspace) -> dict[str, int]:
    """What stays unencoded of all text sources: documents and bytes; zeros where the recipe draws no documents."""
    counts = workspace.result("draw").value["counts"].values() if draws(workspace.recipe) else ()
    return {
        "documents": sum(count["not_drawn"] for count in counts),
        "bytes": sum(count["not_drawn_bytes"] for count in counts),
    }
