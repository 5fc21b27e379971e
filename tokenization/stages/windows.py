"""Stage `windows`: which tokens stand in which window, in which order. No token is touched here.

All sources' sequences become one table; texts are concatenated into full windows and sessions packed best fit,
train and validation apart; the mixture decides which pretraining windows are drawn and in which order the rows
stand. The result is a plan: for every row of the dataset its segments, each a range of some sequence. Where the tokens
of a sequence lie is looked up when they are moved, so the plan is the same whatever was built before.

A segment's loss weight is its sequence's times its source's; where all are 1 the plan has none, nor has the dataset.

Guarantees: one remainder a kind and split for the whole recipe; every kept token is planned, not drawn, or repeated,
and counted as such. Price: about 0.3 µs a sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.hashing import file_digest, key_of
from tokenization.recipe.parts import MixtureSpec
from tokenization.stages.catalogue import draws
from tokenization.stages.draw import not_drawn
from tokenization.stages.selection import VALIDATION, load_slice
from tokenization.stages.tables import open_table, write_table
from tokenization.stages.tokens import load_sequences
from tokenization.stages.workspace import Workspace
from tokenization.windows.mixture import PRETRAIN, SFT, Mixture, plan_mixture, plan_single_kind, stored_order
from tokenization.windows.packing import (
    pack_best_fit,
    pack_concat,
    pack_rows,
    pretrain_targets,
    sft_targets,
    shuffle_segments,
)
from tokenization.windows.plan import WindowPlan

SEQUENCE_COLUMNS = ("length", "targets", "item", "cut", "weight")  # what planning needs of them
KINDS = ("sft", "pretrain")
SPLITS = ("train", "validation")


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    recipe = workspace.recipe
    tokens = [workspace.find("tokens", source.name) for source in recipe.sources]
    selection = workspace.find("selection")
    drawn = workspace.find("draw") if draws(recipe) else None
    if selection is None or any(result is None for result in tokens):
        return None
    return [
        drawn.fingerprint if drawn else None,
        [[source.name, source.kind, source.weight] for source in recipe.sources],
        [result.fingerprint for result in tokens if result],
        selection.fingerprint,
        recipe.window,
        recipe.seed,
        recipe.pretrain.model_dump(mode="json"),
        recipe.sft.model_dump(mode="json"),
        recipe.mixture.model_dump(mode="json") if recipe.mixture else None,
    ]


@dataclass(frozen=True)
class Sequences:
    """The sequences of one kind and split, in recipe order; parallel arrays of length num_sequences."""

    source: NDArray[np.int32]  # number of the source in the recipe
    sequence: NDArray[np.int32]  # its row of the source's sequences (tokens.load_sequences)
    length: NDArray[np.int64]
    targets: NDArray[np.int64]
    item: NDArray[np.int64]  # row of the source's index
    cut: NDArray[np.int32]  # -1 where the session was not cut
    weight: NDArray[np.float64]  # of its targets in the loss

    @property
    def is_weighed(self) -> bool:
        """Whether any of them counts otherwise than another would by itself."""
        return bool((self.weight != 1).any())


def gather_sequences(workspace: Workspace, kind: str) -> dict[str, Sequences]:
    """Each split's sequences of the sources of this kind."""
    columns: dict[str, dict[str, list[NDArray[Any]]]] = {split: {} for split in SPLITS}
    for number, source in enumerate(workspace.recipe.sources):
        if source.kind != kind:
            continue
        table = load_sequences(workspace, source.name)
        values = {name: table.column(name).to_numpy() for name in SEQUENCE_COLUMNS}
        values["sequence"] = np.arange(len(table), dtype=np.int32)
        values["source"] = np.full(len(table), number, np.int32)
        values["weight"] = values["weight"] * source.weight
        held_out = load_slice(workspace, source.name)[values["item"]] == VALIDATION
        for split, rows in (("train", ~held_out), ("validation", held_out)):
            for name, column in values.items():
                columns[split].setdefault(name, []).append(column[rows])
    return {split: joined(lists) for split, lists in columns.items()}


def joined(lists: dict[str, list[NDArray[Any]]]) -> Sequences:
    """The sources' columns end to end; no rows where there is no such source."""
    types = {**dict.fromkeys(("length", "targets", "item"), np.int64), "weight": np.float64}
    columns: dict[str, Any] = {
        name: (np.concatenate(lists[name]) if lists else np.zeros(0)).astype(types.get(name, np.int32))
        for name in Sequences.__dataclass_fields__
    }
    return Sequences(**columns)


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    recipe = workspace.recipe
    texts, chats = gather_sequences(workspace, "text"), gather_sequences(workspace, "chat")
    weights = any(sequences.is_weighed for kind in (texts, chats) for sequences in kind.values())
    summary: dict[str, Any] = {"splits": {}, "pack": [], "mixture": None, "loss_weights": weights}
    with workspace.store.writing("windows", key) as folder:
        for split in SPLITS:
            pretrain = pack_texts(recipe, texts[split].length)
            sft = pack_sessions(recipe, chats[split].length)
            for kind, plan, sequences in (("pretrain", pretrain, texts[split]), ("sft", sft, chats[split])):
                summary["pack"].append(packing_summary(kind, split, plan, sequences))
            kinds, index, mixture = order_rows(recipe, split, sft, pretrain, chats[split])
            if mixture is not None:
                mixture["not_drawn"] |= not_drawn(workspace)
                summary["mixture"] = mixture
            rows = Rows.assemble(kinds, index, sft, pretrain, chats[split], texts[split], weights)
            rows.save(folder, split)
            summary["splits"][split] = rows.summary()
            summary["splits"][split]["not_drawn"] = left_over(kinds, index, sft, pretrain)
        (folder / "meta.json").write_bytes(orjson.dumps(summary, option=orjson.OPT_SERIALIZE_NUMPY))
        fingerprint = key_of(summary, [rows_digest(folder, split) for split in SPLITS])
    return {"fingerprint": fingerprint, **summary}


def pack_texts(recipe: Any, lengths: NDArray[np.int64]) -> WindowPlan:
    if recipe.pretrain.packing == "best_fit":
        return shuffle_segments(pack_best_fit(lengths, recipe.window, overlong="split"), recipe.seed)
    return pack_concat(lengths, recipe.window)


def pack_sessions(recipe: Any, lengths: NDArray[np.int64]) -> WindowPlan:
    if recipe.sft.layout == "rows":
        return pack_rows(lengths)
    return shuffle_segments(pack_best_fit(lengths, recipe.window, overlong="error"), recipe.seed)


def packing_summary(kind: str, split: str, plan: WindowPlan, sequences: Sequences) -> dict[str, Any]:
    return {
        "kind": kind,
        "split": split,
        "sequences": len(sequences.length),
        "segments": len(plan.sequence),
        "windows": plan.num_windows,
        "tokens": int(sequences.length.sum()),
        "padding": plan.num_pad_tokens,
        "fill": plan.fill,
    }


def order_rows(
    recipe: Any, split: str, sft: WindowPlan, pretrain: WindowPlan, chats: Sequences
) -> tuple[NDArray[np.int8], NDArray[np.int64], dict[str, Any] | None]:
    """The kind of each row and its window's number within the kind; and what the mixture came to."""
    if split == "validation":  # no share: texts, then sessions, as they are
        stored = stored_order(num_pretrain=pretrain.num_windows, num_sft=sft.num_windows)
        return stored.kind, stored.index, None
    if recipe.mixture is None:
        plan, kind = (sft, SFT) if recipe.chat_sources else (pretrain, PRETRAIN)
        order = plan_single_kind(plan.num_windows, recipe.seed, kind=kind)
        return order.kind, order.index, None
    mixed = mixture_of(recipe.mixture, recipe.seed, pretrain, sft, chats.targets)
    return mixed.kind, mixed.index, mixed.report()


def mixture_of(
    mixture: MixtureSpec, seed: int, pretrain: WindowPlan, sft: WindowPlan, targets: NDArray[np.int64]
) -> Mixture:
    """The rows of training, and what the share comes to; `targets` are those of each chat sequence."""
    return plan_mixture(
        sft_tokens=sft.tokens_per_window,
        sft_targets=sft_targets(sft, targets),
        pretrain_tokens=pretrain.tokens_per_window,
        pretrain_targets=pretrain_targets(pretrain),
        share=mixture.pretrain_share,
        unit=mixture.unit,
        max_repetition=mixture.max_repetition,
        seed=seed,
        keep_last=last_partial(pretrain),
    )


def last_partial(plan: WindowPlan) -> int | None:
    """The padded remainder, if there is one: it is drawn only when every full window is."""
    short = np.flatnonzero(plan.tokens_per_window < plan.window)
    return int(short[-1]) if len(short) == 1 else None


def left_over(
    kinds: NDArray[np.int8], index: NDArray[np.int64], sft: WindowPlan, pretrain: WindowPlan
) -> dict[str, dict[str, int]]:
    """Windows and tokens of each kind that no row shows, and that more than one shows."""
    counts = {}
    for kind, plan in ((SFT, sft), (PRETRAIN, pretrain)):
        shown = np.bincount(index[kinds == kind], minlength=plan.num_windows)
        tokens = plan.tokens_per_window
        padding = plan.window - tokens if plan.padded else np.zeros_like(tokens)
        counts[KINDS[kind]] = {
            "windows": int((shown == 0).sum()),
            "tokens": int(tokens[shown == 0].sum()),
            "padding": int(padding[shown == 0].sum()),
            "repeated_windows": int((shown - 1).clip(0).sum()),
            "repeated_tokens": int((tokens * (shown - 1).clip(0)).sum()),
            "repeated_padding": int((padding * (shown - 1).clip(0)).sum()),
        }
    return counts


@dataclass(frozen=True)
class Rows:
    """The dataset's rows of one split; row r holds segments `offsets[r]:offsets[r + 1]`."""

    kind: NDArray[np.int8]  # int8 [num_rows]  SFT or PRETRAIN
    offsets: NDArray[np.int64]  # int64 [num_rows + 1]
    width: NDArray[np.int64]  # int64 [num_rows]  tokens of the row, padding included
    segments: dict[
        str, NDArray[Any]
    ]  # [num_segments]  source, sequence, start, length, item, cut, whole, maybe weight

    @classmethod
    def assemble(
        cls,
        kinds: NDArray[np.int8],
        index: NDArray[np.int64],
        sft: WindowPlan,
        pretrain: WindowPlan,
        chats: Sequences,
        texts: Sequences,
        weights: bool,
    ) -> Rows:
        """Both kinds' windows in the order of the rows."""
        taken = {SFT: sft.take(index[kinds == SFT]), PRETRAIN: pretrain.take(index[kinds == PRETRAIN])}
        counts = np.zeros(len(kinds), np.int64)
        width = np.zeros(len(kinds), np.int64)
        for kind, plan in taken.items():
            counts[kinds == kind] = np.diff(plan.offsets)
            width[kinds == kind] = plan.window if plan.padded else plan.tokens_per_window
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        of_kind = np.repeat(kinds, counts)
        columns: dict[str, NDArray[Any]] = {}
        for kind, plan, sequences in ((SFT, taken[SFT], chats), (PRETRAIN, taken[PRETRAIN], texts)):
            where = of_kind == kind
            chosen: dict[str, NDArray[Any]] = {
                "source": sequences.source[plan.sequence],
                "sequence": sequences.sequence[plan.sequence],
                "start": plan.start,
                "length": plan.length,
                "item": sequences.item[plan.sequence],
                "cut": sequences.cut[plan.sequence],
                "whole": sequences.length[plan.sequence],
            }
            if weights:
                chosen["weight"] = sequences.weight[plan.sequence].astype(np.float32)
            for name, values in chosen.items():
                target = columns.setdefault(name, np.zeros(len(of_kind), values.dtype))
                target[where] = values
        return cls(kinds, offsets, width, columns)

    def save(self, folder: Path, split: str) -> None:
        rows = pa.table(
            {"kind": self.kind, "begin": self.offsets[:-1], "end": self.offsets[1:], "width": self.width}
        )
        write_table(rows, folder / f"{split}.rows.arrow")
        write_table(pa.table(self.segments), folder / f"{split}.segments.arrow")

    @classmethod
    def load(cls, folder: Path, split: str) -> Rows:
        rows = open_table(folder / f"{split}.rows.arrow")
        segments = open_table(folder / f"{split}.segments.arrow")
        return cls(
            rows.column("kind").to_numpy(),
            np.concatenate([[0], rows.column("end").to_numpy()]).astype(np.int64),
            rows.column("width").to_numpy(),
            {name: segments.column(name).to_numpy() for name in segments.column_names},
        )

    def summary(self) -> dict[str, int]:
        tokens = int(self.segments["length"].sum())
        return {
            "windows": len(self.kind),
            "sft_windows": int((self.kind == SFT).sum()),
            "pretrain_windows": int((self.kind == PRETRAIN).sum()),
            "segments": len(self.segments["length"]),
            "tokens": tokens,
            "padding": int(self.width.sum()) - tokens,
        }


def rows_digest(folder: Path, split: str) -> list[str]:
    return [file_digest(folder / f"{split}.{part}.arrow") for part in ("rows", "segments")]
