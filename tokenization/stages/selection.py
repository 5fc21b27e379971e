"""Stage `selection`: what crosses sources, decided on hashes alone.

Exact duplicates (the first in recipe order stays; documents among documents, sessions among sessions), near
duplicates among documents where the recipe asks (see near_duplicates), what holds an evaluation set's text (see
contamination; no near duplicate is taken out for the sake of one), and the validation split (by a seeded hash of
the content, so that equal texts fall on one side and another source moves nothing). How repetitive the prompts of all
chats are is measured here (see chat.prompts), and `train_on_prompt: auto` is decided by it, session by session.
Each source gets its slice, one byte an item; a source whose slice did not change keeps its tokens.

Guarantees: independent of workers and of how files were cut; the split of an item depends on (seed, content) only.
Price: about 0.4 µs an item (one sort of 16-byte hashes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from tokenization.duplicates.near import NearDuplicates
from tokenization.duplicates.signatures import algorithm
from tokenization.hashing import file_digest, key_of
from tokenization.stages import contamination
from tokenization.stages.contamination import EVIDENCE_SCHEMA, EvaluationSets
from tokenization.stages.documents import load_index
from tokenization.stages.near_duplicates import find_near_duplicates, write_near_duplicates
from tokenization.stages.prompts import measure_prompts, trained_roles
from tokenization.stages.tables import open_table, write_table
from tokenization.stages.workspace import Workspace

DUPLICATE, TRAIN, VALIDATION, NEAR_DUPLICATE, CONTAMINATED = 0, 1, 2, 3, 4
CHOICES = {
    DUPLICATE: "exact_duplicate",
    TRAIN: "train",
    VALIDATION: "validation",
    NEAR_DUPLICATE: "near_duplicate",
    CONTAMINATED: "contaminated",
}

Hashes = NDArray[np.uint64]  # uint64 [num_items, 2]


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    documents = [workspace.find("documents", source.name) for source in workspace.recipe.sources]
    if any(result is None for result in documents):
        return None
    recipe = workspace.recipe
    return [
        [[source.name, source.kind] for source in recipe.sources],
        [result.fingerprint for result in documents if result],
        recipe.cleaning.exact_dedup,
        [recipe.cleaning.near_dedup, algorithm()] if recipe.cleaning.near_dedup else None,
        contamination.parts(workspace),
        recipe.validation,
        recipe.seed,
        [sorted(trained_roles(workspace)), recipe.chat.train_on_prompt == "auto"]
        if recipe.chat_sources
        else None,
    ]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    recipe = workspace.recipe
    slices: dict[str, NDArray[np.uint8]] = {}
    first_copies: dict[str, NDArray[np.int64]] = {}
    near: NearDuplicates | None = None
    texts = [source.name for source in recipe.text_sources]
    guard = recipe.cleaning.decontamination
    sets = EvaluationSets(workspace, guard) if guard and guard.sets else None
    evidence: dict[str, pa.Table] = {}
    for kind in ("text", "chat"):
        names = [source.name for source in recipe.sources if source.kind == kind]
        if not names:
            continue
        per_source = [hash_words(load_index(workspace, source).column("hash")) for source in names]
        hashes = np.concatenate(per_source)
        first = first_occurrence(hashes) if recipe.cleaning.exact_dedup else np.arange(len(hashes))
        choice = np.where(
            first == np.arange(len(hashes)),
            np.where(in_validation(hashes, recipe.validation, recipe.seed), VALIDATION, TRAIN),
            DUPLICATE,
        ).astype(np.uint8)
        if sets is not None:
            evidence |= {source: sets.evidence(source) for source in names}
            begins = np.cumsum([0, *map(len, per_source)])
            hit = np.concatenate(
                [
                    begin + evidence[source].column("position").to_numpy()
                    for begin, source in zip(begins, names, strict=False)
                ]
            )
            choice[hit[choice[hit] != DUPLICATE]] = CONTAMINATED
        if kind == "text" and recipe.cleaning.near_dedup:
            near = find_near_duplicates(workspace, names, recipe.cleaning.near_dedup, is_kept(choice))
            alike = (near.first != np.arange(len(first))) & is_kept(choice)
            choice[alike] = NEAR_DUPLICATE
            first = np.where(alike, near.first, first)
        begin = 0
        for source, own in zip(names, per_source, strict=True):
            slices[source] = choice[begin : begin + len(own)]
            first_copies[source] = first[begin : begin + len(own)]
            begin += len(own)
    chats = [source.name for source in recipe.chat_sources]
    measured, unique = (
        measure_prompts(workspace, chats, [is_kept(slices[source]) for source in chats])
        if chats
        else (None, [])
    )
    decides = recipe.chat.train_on_prompt == "auto"
    prompted = dict(zip(chats, unique, strict=True)) if decides else {}
    with workspace.store.writing("selection", key) as folder:
        for source, chosen in prompted.items():
            np.save(folder / f"{source}.prompted.npy", chosen)
        for source, values in slices.items():
            np.save(folder / f"{source}.npy", values)
            np.save(folder / f"{source}.first.npy", first_copies[source])
        for source, table in evidence.items():
            write_table(table, folder / f"{source}.contaminated.arrow")
        clusters = write_near_duplicates(workspace, texts, near, folder) if near is not None else 0
    kept = {source: fingerprint_of(is_kept(values)) for source, values in slices.items()}
    folder_of = workspace.store.path("selection", key)
    return {
        "fingerprint": key_of(
            kept,
            {source: fingerprint_of(values) for source, values in slices.items()},
            {source: fingerprint_of(values) for source, values in prompted.items()},
            measured,
            {source: file_digest(folder_of / f"{source}.contaminated.arrow") for source in evidence},
        ),
        "kept": kept,
        "prompted": {source: fingerprint_of(values) for source, values in prompted.items()},
        "prompts": measured,
        "slices": {source: fingerprint_of(values) for source, values in slices.items()},
        "counts": {
            source: {
                "items": len(values),
                **chosen_counts(values),
                "amounts": amounts_of(workspace, source, values),
            }
            for source, values in slices.items()
        },
        "near_duplicate_clusters": clusters,
        "evaluation_sets": sets.report(list(evidence.values())) if sets is not None else {},
    }


def chosen_counts(values: NDArray[np.uint8]) -> dict[str, int]:
    """Items by what was chosen."""
    return {name: int((values == number).sum()) for number, name in CHOICES.items()}


def amounts_of(workspace: Workspace, source: str, values: NDArray[np.uint8]) -> dict[str, dict[str, int]]:
    """Characters and bytes of a text source's documents, by what was chosen; nothing for sessions."""
    if workspace.source(source).kind == "chat":
        return {}
    index = load_index(workspace, source)
    columns = {"characters": index.column("characters").to_numpy(), "bytes": index.column("size").to_numpy()}
    return {
        unit: {name: int(sizes[values == number].sum()) for number, name in CHOICES.items()}
        for unit, sizes in columns.items()
    }


def is_kept(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which items of a slice go on, bool [num_items]."""
    kept: NDArray[np.bool_] = (values == TRAIN) | (values == VALIDATION)
    return kept


def load_slice(workspace: Workspace, source: str) -> NDArray[np.uint8]:
    """What was chosen (DUPLICATE, TRAIN, …) for each row of the source's index, uint8 [num_items]."""
    key = workspace.result("selection").key
    values: NDArray[np.uint8] = np.load(workspace.store.path("selection", key) / f"{source}.npy")
    return values


def load_contaminated(workspace: Workspace, source: str) -> pa.Table:
    """What the source's items hold of evaluation sets (contamination.EVIDENCE_SCHEMA); none where none are named."""
    key = workspace.result("selection").key
    path = workspace.store.path("selection", key) / f"{source}.contaminated.arrow"
    return open_table(path) if path.exists() else EVIDENCE_SCHEMA.empty_table()


def load_prompted(workspace: Workspace, source: str) -> NDArray[np.bool_] | None:
    """For each row of the source's index whether its prompts are trained, bool [num_items]; None where the recipe says
    so for all alike."""
    result = workspace.result("selection")
    if source not in result.value["prompted"]:
        return None
    values: NDArray[np.bool_] = np.load(
        workspace.store.path("selection", result.key) / f"{source}.prompted.npy"
    )
    return values


def load_first_copies(workspace: Workspace, source: str) -> NDArray[np.int64]:
    """For each item, where its first copy stands among all items of its kind in recipe order, int64 [num_items]."""
    key = workspace.result("selection").key
    values: NDArray[np.int64] = np.load(workspace.store.path("selection", key) / f"{source}.first.npy")
    return values


def hash_words(column: pa.ChunkedArray) -> Hashes:
    """binary(16) as two words, uint64 [num_items, 2]."""
    array = column.combine_chunks()
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros((0, 2), np.uint64)
    return np.frombuffer(buffer, np.uint64).reshape(-1, 2)[array.offset : array.offset + len(array)]


def first_occurrence(hashes: Hashes) -> NDArray[np.int64]:
    """For each item the position of its first equal, int64 [num_items]; its own where it is the first."""
    first = np.arange(len(hashes))
    order = np.argsort(
        hashes[:, 0]
    )  # the fast, unstable one: only the few that share a word are sorted again
    words = hashes[order, 0]
    shares = np.flatnonzero(words[1:] == words[:-1])
    some = np.unique(order[np.concatenate([shares, shares + 1])])
    own = hashes[some]
    again = np.lexsort((own[:, 1], own[:, 0]))  # stable: equal hashes stay in order
    starts = np.ones(len(again), bool)
    starts[1:] = (own[again][1:] != own[again][:-1]).any(axis=1)
    heads = again[np.maximum.accumulate(np.where(starts, np.arange(len(again)), 0))]
    first[some[again]] = some[heads]
    return first


def in_validation(hashes: Hashes, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which items the seeded hash sends to validation, bool [num_items]; about `fraction` of them."""
    if fraction <= 0:
        return np.zeros(len(hashes), bool)
    return seeded(hashes, seed) < np.uint64(min(int(fraction * 2**64), 2**64 - 1))


def seeded_order(hashes: Hashes, seed: int) -> NDArray[np.int64]:
    """An order of items that depends on (seed, content) alone, equal contents as they stood: int64 [num_items]."""
    order: NDArray[np.int64] = np.argsort(seeded(hashes, seed), kind="stable")
    return order


def seeded(hashes: Hashes, seed: int) -> NDArray[np.uint64]:
    """A number for each content and this seed, as good as chance: uint64 [num_items]."""
    mixed = (
        hashes[:, 0] ^ (hashes[:, 1] * np.uint64(0x9E3779B97F4A7C15)) ^ splitmix(np.array([seed], np.uint64))
    )
    return splitmix(mixed)


def splitmix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The SplitMix64 finaliser (Steele, Lea and Flood 2014): every input bit moves every output bit."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def fingerprint_of(values: NDArray[Any]) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(values).tobytes())
