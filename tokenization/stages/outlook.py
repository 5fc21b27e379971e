"""What a recipe would give, before it is built: windows, fill, cuts, repetition and steps, for each window and packing.

Sources are read and selected, and sessions rendered, as a build does and into the same store, so nothing of it is lost.
Texts are not encoded but for a sample: a document's tokens are its bytes at the rate of its source's sample, so figures
of texts are estimates; those of chats are exact. The windows are then packed and mixed by the functions that a build
uses, on these lengths.

Price: reading and rendering, SAMPLE_BYTES of encoding a source, and a packing of all lengths for each case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tokenization.errors import RecipeError
from tokenization.recipe.model import PretrainSpec, Recipe
from tokenization.stages import text_pieces
from tokenization.stages.documents import load_index
from tokenization.stages.selection import TRAIN, hash_words, load_slice, seeded_order
from tokenization.stages.tokens import load_sequences
from tokenization.stages.windows import mixture_of, pack_sessions, pack_texts
from tokenization.stages.workspace import Workspace

SAMPLE_BYTES = 1 << 20  # of each text source
USUAL_WINDOWS = (4096, 8192)
PACKINGS: tuple[Literal["concat", "best_fit"], ...] = ("concat", "best_fit")
BATCH_WINDOWS = 8  # the trainer's own, where the recipe says nothing


@dataclass(frozen=True)
class Case:
    """One window length and packing of texts, and what they would give; JSON-able."""

    window: int
    packing: str
    figures: dict[str, Any]


@dataclass(frozen=True)
class Texts:
    """The training documents' lengths, some of them counted and the others foretold."""

    lengths: NDArray[np.int64]
    sampled: int  # documents encoded
    bytes_a_token: dict[str, float]  # by source


@dataclass(frozen=True)
class Chats:
    """The training sequences of chats at one window."""

    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]
    set_aside: dict[str, int]
    actions: dict[str, int]  # what the overlong policy and others did


def outlook(workspace: Workspace) -> tuple[Texts, list[Case]]:
    """Every case of a recipe: its own window, 4096 and 8192, each with each packing that its texts may have."""
    recipe = workspace.recipe
    for stage, name in workspace.nodes():
        if stage in ("documents", "tokenizer", "selection"):
            workspace.run(stage, name)
    texts = text_lengths(workspace)
    cases = []
    for window in sorted({recipe.window, *USUAL_WINDOWS}):
        at = workspace.recipe.model_copy(update={"window": window}).at(recipe.directory)
        chats = chat_lengths(
            Workspace(at, workspace.store, workspace.out, workspace.engine, say=workspace.say)
        )
        for packing in PACKINGS if recipe.text_sources else (recipe.pretrain.packing,):
            chosen = at.model_copy(update={"pretrain": PretrainSpec(packing=packing)})
            cases.append(Case(window, packing, figures_of(chosen.at(recipe.directory), texts, chats)))
    return texts, cases


def text_lengths(workspace: Workspace) -> Texts:
    """Tokens of every training document: counted in the sample, at the sample's rate elsewhere."""
    lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    sampled = 0
    rates = {}
    for source in workspace.recipe.text_sources:
        index, slice_ = load_index(workspace, source.name), load_slice(workspace, source.name)
        sizes = index.column("size").to_numpy()
        trained = np.flatnonzero(slice_ == TRAIN)
        order = trained[seeded_order(hash_words(index.column("hash"))[trained], workspace.recipe.seed)]
        chosen = np.zeros(len(index), np.bool_)
        chosen[order[: int(np.searchsorted(np.cumsum(sizes[order]), SAMPLE_BYTES)) + 1]] = True
        made = text_pieces.encode(workspace, source.name, chosen)
        found = text_pieces.places(
            workspace, source.name, chosen, list(zip(made.pieces, made.chunks, strict=True))
        )
        tokens = int(found.length.sum(dtype=np.int64)) - len(found.length)  # without the document ends
        rate = float(sizes[found.item].sum()) / max(1, tokens)
        estimate = np.rint(sizes / rate).astype(np.int64) + 1
        estimate[found.item] = found.length
        lengths.append(estimate[trained])
        sampled += len(found.item)
        rates[source.name] = round(rate, 3)
    return Texts(np.concatenate(lengths), sampled, rates)


def chat_lengths(workspace: Workspace) -> Chats:
    """Every training session, rendered for the workspace's window."""
    lengths: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    targets: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    set_aside: dict[str, int] = {}
    actions: dict[str, int] = {}
    for source in workspace.recipe.chat_sources:
        value = workspace.run("tokens", source.name).value
        table = load_sequences(workspace, source.name)
        trained = load_slice(workspace, source.name)[table.column("item").to_numpy()] == TRAIN
        lengths.append(table.column("length").to_numpy()[trained].astype(np.int64))
        targets.append(table.column("targets").to_numpy()[trained].astype(np.int64))
        for counts, more in ((set_aside, value["set_aside"]), (actions, value["actions"])):
            for reason, count in more.items():
                counts[reason] = counts.get(reason, 0) + count
    return Chats(np.concatenate(lengths), np.concatenate(targets), set_aside, actions)


def figures_of(recipe: Recipe, texts: Texts, chats: Chats) -> dict[str, Any]:
    """One case in numbers."""
    pretrain, sft = pack_texts(recipe, texts.lengths), pack_sessions(recipe, chats.lengths)
    shown = {"pretrain": pretrain.num_windows, "sft": sft.num_windows}
    mixture: dict[str, Any] | None = None
    problem = None
    if recipe.mixture is not None:
        try:
            mixture = mixture_of(recipe.mixture, recipe.seed, pretrain, sft, chats.targets).report()
            shown["pretrain"] = round(mixture["repetition"] * pretrain.num_windows)
        except RecipeError as error:
            problem = str(error)
    train = recipe.train
    batch = (train.batch_windows if train else None) or BATCH_WINDOWS
    batch *= (train.accumulate if train else None) or 1
    rows = sum(shown.values())
    return {
        "windows": rows,
        "pretrain_windows": shown["pretrain"],
        "sft_windows": shown["sft"],
        "fill": {"pretrain": pretrain.fill, "sft": sft.fill},
        "documents_cut": int((np.bincount(pretrain.sequence, minlength=1) > 1).sum()),
        "sessions_set_aside": chats.set_aside,
        "session_actions": chats.actions,
        "share": mixture["achieved"] if mixture else None,
        "repetition": mixture["repetition"] if mixture else None,
        "problem": problem,
        "tokens_computed": rows * recipe.window
        if sft.padded
        else int(sft.num_tokens) + pretrain.num_windows * recipe.window,
        "batch_windows": batch,
        "steps_an_epoch": -(-rows // batch),
    }
