"""Stage `leaks`: what is kept apart and meets after all; only where the recipe has `cleaning.decontamination`.

Two questions, each asked of one index: of the validation items, and of the answers of the training sessions. The
training documents (those drawn, where some are) are looked up in both, the training sessions in the first. A guarded
item is *touched* by one n-gram in common and *leaks* where one training item holds `leak_threshold` of its n-grams;
leaks are written out (`leaks.parquet`), touches only counted. Nothing is set aside here: licences and quotations touch
everywhere.

Guarantees: independent of chunks and workers. An index holds at most MOST_NGRAMS; above that it keeps a part that the
hashes choose, `part` says which, and shares are estimates. Price: about 50 ns a word of training text, again whenever
what is guarded changes; 0.3 GiB.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tokenization.duplicates import overlap
from tokenization.duplicates.overlap import NgramIndex
from tokenization.hashing import key_of
from tokenization.recipe.cleaning import DecontaminationSpec
from tokenization.stages import overlaps
from tokenization.stages.catalogue import draws
from tokenization.stages.documents import ROWS, load_index
from tokenization.stages.draw import load_encoded
from tokenization.stages.overlaps import chunk_texts, look_up_chunks
from tokenization.stages.selection import TRAIN, VALIDATION, load_slice
from tokenization.stages.session_texts import session_texts
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import Workspace

NAME = "leaks.parquet"
MOST_NGRAMS = 4 << 20
LEAK_SCHEMA = pa.schema(
    [
        ("question", pa.string()),  # "validation" | "answers"
        ("source", pa.string()),
        ("item", pa.string()),
        ("share", pa.float64()),  # of its n-grams, in the training item that holds most
        ("train_source", pa.string()),
        ("train_item", pa.string()),
        ("ngram", pa.large_string()),
    ]
)
Masks = Mapping[str, NDArray[np.bool_]]  # of each source's index, bool [num_items]


@dataclass(frozen=True)
class Items:
    """Some items of some sources, chunk by chunk."""

    workspace: Workspace
    chosen: Masks

    def chunks(self) -> Iterator[tuple[str, str, NDArray[np.int32], NDArray[np.int64]]]:
        """(source, chunk, the chosen rows of it, their positions in the source's index), where there are any."""
        for name, mask in self.chosen.items():
            index = load_index(self.workspace, name)
            chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
            for number, chunk in enumerate(self.workspace.result("documents", name).value["chunks"]):
                first, last = np.searchsorted(chunk_of, [number, number + 1])
                positions = first + np.flatnonzero(mask[first:last])
                if len(positions):
                    yield name, chunk, np.ascontiguousarray(row_of[positions]), positions

    def __len__(self) -> int:
        return int(sum(mask.sum() for mask in self.chosen.values()))

    def names(self) -> tuple[list[str], list[str]]:
        """(sources, items) of all of them, in order."""
        sources: list[str] = []
        items: list[str] = []
        for name, mask in self.chosen.items():
            own = load_index(self.workspace, name).column("item").filter(pa.array(mask)).to_pylist()
            sources += [name] * len(own)
            items += own
        return sources, items


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    recipe = workspace.recipe
    documents = [workspace.find("documents", source.name) for source in recipe.sources]
    selection = workspace.find("selection")
    drawn = workspace.find("draw") if draws(recipe) else None
    if selection is None or any(each is None for each in documents) or (draws(recipe) and drawn is None):
        return None
    return [
        overlap.CODE,
        overlaps.CODE,
        spec_of(workspace).model_dump(mode="json", exclude={"sets", "threshold"}),
        [[each.fingerprint for each in documents if each], selection.value["slices"]],
        drawn.fingerprint if drawn else None,
        answering_roles(workspace),
    ]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    """The figures of both questions; the leaks themselves are the stage's object."""
    spec = spec_of(workspace)
    slices = {source.name: load_slice(workspace, source.name) for source in workspace.recipe.sources}
    train = {source: slice_ == TRAIN for source, slice_ in slices.items()}
    texts = [source.name for source in workspace.recipe.text_sources]
    if draws(workspace.recipe):
        train |= {source: train[source] & load_encoded(workspace, source) for source in texts}
    held = Items(workspace, {source: slice_ == VALIDATION for source, slice_ in slices.items()})
    documents = Items(workspace, {source: train[source] for source in texts})
    sessions = Items(workspace, {source: mask for source, mask in train.items() if source not in texts})
    rows: list[dict[str, Any]] = []
    roles = answering_roles(workspace)
    measured = {
        "validation": measured_leaks("validation", held, Items(workspace, train), spec, None, rows),
        "answers": measured_leaks("answers", sessions, documents, spec, roles, rows),
    }
    with workspace.store.writing("leaks", key) as folder:
        pq.write_table(pa.Table.from_pylist(rows, LEAK_SCHEMA), folder / NAME, compression="zstd")
    return {
        "fingerprint": key_of(measured, rows),
        "threshold": spec.leak_threshold,
        "limit": spec.leak_limit,
        **measured,
    }


def spec_of(workspace: Workspace) -> DecontaminationSpec:
    spec = workspace.recipe.cleaning.decontamination
    assert spec is not None, "nodes() has this stage only where the recipe asks for it"
    return spec


def answering_roles(workspace: Workspace) -> list[str]:
    """The roles whose messages are answers."""
    roles = workspace.recipe.chat.roles
    return sorted({"assistant"} | {name for name, role in roles.items() if role.trained})


def measured_leaks(
    question: str,
    guarded: Items,
    train: Items,
    spec: DecontaminationSpec,
    roles: list[str] | None,
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """How many guarded items are touched and leak; the leaks go to `rows`."""
    workspace = guarded.workspace
    key = guarded_index(guarded, spec, roles)
    sizes = np.load(workspace.store.path("guarded", key) / "ngrams.npy")
    looked_up = list(train.chunks()) if len(guarded) else []
    size = sum(workspace.result("documents", name).value["text_bytes"] for name in train.chosen)
    paths = look_up_chunks(
        workspace,
        [(chunk, own) for _, chunk, own, _ in looked_up],
        key,
        "guarded",
        size,
        f"leaks: {question}",
    )
    share = np.zeros(len(sizes))  # of each guarded item, in the training item that holds most of it
    where: dict[int, tuple[str, int, str]] = {}
    for (name, _, own, positions), path in zip(looked_up, paths, strict=True):
        table = open_table(path)
        found = [table.column(column).to_numpy() for column in ("guarded", "share", "row")]
        for number, (item, part, row) in enumerate(zip(*(each.tolist() for each in found), strict=True)):
            if part > share[item]:
                share[item] = part
                if part >= spec.leak_threshold:
                    position = int(positions[np.searchsorted(own, row)])
                    where[item] = (name, position, table.column("ngram")[number].as_py())
    sources, items = guarded.names()
    indices = {name: load_index(workspace, name).column("item") for name in train.chosen}
    for item, (name, position, ngram) in sorted(where.items()):
        rows.append(
            {
                "question": question,
                "source": sources[item],
                "item": items[item],
                "share": float(share[item]),
                "train_source": name,
                "train_item": indices[name][position].as_py(),
                "ngram": ngram,
            }
        )
    return {
        "items": len(sizes),
        "looked_for": int((sizes > 0).sum()),
        "touched": int((share > 0).sum()),
        "leaked": len(where),
    }


def guarded_index(guarded: Items, spec: DecontaminationSpec, roles: list[str] | None) -> str:
    """The key of the index of these items' texts, made where the store has none; of these roles' messages only, where
    some are named."""
    store = guarded.workspace.store
    chunks = list(guarded.chunks())
    key = key_of(
        "leaks",
        overlap.CODE,
        spec.ngram,
        spec.shortest,
        MOST_NGRAMS,
        roles,
        [[chunk, rows.tobytes().hex()] for _, chunk, rows, _ in chunks],
    )
    if guarded.workspace.keep("guarded", key):
        return key

    def texts() -> Iterator[Any]:
        for _, chunk, rows, _ in chunks:
            if roles is None:
                yield chunk_texts(store, chunk, rows)
            else:
                messages = (
                    open_table(store.path("rows", chunk) / ROWS).column("messages").take(pa.array(rows))
                )
                yield session_texts(messages, only=roles)

    with store.writing("guarded", key) as folder:
        NgramIndex.build(texts(), spec.ngram, spec.shortest, MOST_NGRAMS).save(folder)
    guarded.workspace.keep("guarded", key)
    return key
