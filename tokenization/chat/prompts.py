"""How repetitive the prompts of a recipe are: exactly, and by template.

A prompt message is one that is not trained by its role or its own flag; its text is its content. Of all its bytes

    exact repetition      is the share that stands in a text which occurs more than once, in any message of any source
    templated repetition  is the share that stands in lines which occur in more than one session, or in an opening that
                          another session's message shares (openings of 32, 64, … 4096 bytes)

"Translate into French:" before a thousand sentences is templated where it stands on a line of its own or is long
enough for an opening; a system prompt that every session has is both. The unit is bytes of UTF-8, because this is
measured before there are tokens, where the decision is taken that crosses sources.

Price: about 0.6 µs a message to hash, in libraries that release the GIL; 20 bytes of memory a line; two sorts over all
lines.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.chat.roles import TOOL
from tokenization.plain_sessions import PlainSessions, plain_sessions
from tokenization.sequences import others_than

CODE = "2"  # of what `prompt_texts` gives
UNIT = "bytes of UTF-8"
OPENINGS = (32, 64, 128, 256, 512, 1024, 2048, 4096)  # bytes
UNIQUE_BELOW = 0.5  # a session is unique where less of its prompts than this is repeated


@dataclass(frozen=True)
class PromptTexts:
    """The prompt messages of some sessions, as hashes: of each message, of its lines and of its openings."""

    session: NDArray[np.int32]  # [num_messages]  ascending
    size: NDArray[np.int64]  # [num_messages]  bytes
    hash: NDArray[np.uint64]  # [num_messages]
    may_train: NDArray[np.bool_]  # [num_messages]  False: a tool's result or flagged off, masked in any case
    line_message: NDArray[np.int32]  # [num_lines]
    line_size: NDArray[np.int32]  # [num_lines]  with its line feed
    line_hash: NDArray[np.uint64]  # [num_lines]
    opening_message: NDArray[np.int32]  # [num_openings]
    opening_size: NDArray[np.int32]  # [num_openings]  one of OPENINGS
    opening_hash: NDArray[np.uint64]  # [num_openings]
    answers: NDArray[np.int64]  # [num_sessions]  bytes of what is trained


def prompt_texts(
    sessions: pa.ChunkedArray, trained_roles: frozenset[str], plain: PlainSessions | None = None
) -> PromptTexts:
    """The prompts of these sessions, each the JSON of its normalised messages (large_string); `plain` are those that
    are roles and texts alone, where they have been read already."""
    found = _plain_messages(plain_sessions(sessions) if plain is None else plain, trained_roles)
    others = others_than(found.rows, len(sessions))
    if len(others):
        found = _Messages.joined(found, _other_messages(sessions, others, trained_roles))
    answers = np.zeros(len(sessions), np.int64)
    sizes = pc.binary_length(found.content).to_numpy(zero_copy_only=False).astype(np.int64)
    np.add.at(answers, found.session[found.is_answer], sizes[found.is_answer])
    prompt = np.flatnonzero(~found.is_answer & (sizes > 0))
    content = found.content.take(pa.array(prompt))
    return PromptTexts(
        session=found.session[prompt].astype(np.int32),
        size=sizes[prompt],
        hash=_hashes(content),
        may_train=found.may_train[prompt],
        **_lines(content),
        **_openings(content, sizes[prompt]),
        answers=answers,
    )


@dataclass(frozen=True)
class _Messages:
    """Messages of some sessions, in their order."""

    rows: NDArray[np.int64]  # the sessions
    session: NDArray[np.int64]  # [num_messages]
    content: pa.LargeStringArray
    is_answer: NDArray[np.bool_]  # trained by its role or its own flag
    may_train: NDArray[np.bool_]  # not a tool's result, not flagged off

    @classmethod
    def joined(cls, one: _Messages, other: _Messages) -> _Messages:
        """Both, in the order of sessions."""
        session = np.concatenate([one.session, other.session])
        order = np.argsort(session, kind="stable")
        return cls(
            np.concatenate([one.rows, other.rows]),
            session[order],
            pa.concat_arrays([one.content, other.content]).take(pa.array(order)),
            np.concatenate([one.is_answer, other.is_answer])[order],
            np.concatenate([one.may_train, other.may_train])[order],
        )


def _plain_messages(plain: PlainSessions, trained_roles: frozenset[str]) -> _Messages:
    is_tool = np.array([role == TOOL for role in plain.roles], bool)[plain.role]
    trained = np.array([role in trained_roles for role in plain.roles], bool)[plain.role]
    session = np.repeat(plain.rows, np.diff(plain.offsets))
    return _Messages(plain.rows, session, plain.content.cast(pa.large_string()), trained & ~is_tool, ~is_tool)


def _other_messages(
    sessions: pa.ChunkedArray, rows: NDArray[np.int64], trained_roles: frozenset[str]
) -> _Messages:
    session: list[int] = []
    content: list[str] = []
    is_answer: list[bool] = []
    may_train: list[bool] = []
    for row, text in zip(rows.tolist(), sessions.take(pa.array(rows)).to_pylist(), strict=True):
        for message in orjson.loads(text):
            role = message["role"]
            session.append(row)
            content.append(message["content"])
            is_answer.append(role != TOOL and bool(message.get("train", role in trained_roles)))
            may_train.append(role != TOOL and bool(message.get("train", True)))
    return _Messages(
        rows,
        np.array(session, np.int64),
        pa.array(content, pa.large_string()),
        np.array(is_answer, bool),
        np.array(may_train, bool),
    )


def hashing() -> list[str]:
    """What the hashes depend on beside the texts: polars promises them within one of its versions."""
    return [CODE, _version_of("polars"), platform.machine()]


_version_of = lru_cache(version)  # a look into the package's metadata: 3 ms


def _hashes(texts: pa.Array, seed: int = 0) -> NDArray[np.uint64]:
    """A hash of each text or of its bytes, uint64."""
    import polars as pl

    return pl.Series(pl.from_arrow(texts)).hash(seed).to_numpy() if len(texts) else np.zeros(0, np.uint64)


def _lines(content: pa.LargeStringArray) -> dict[str, NDArray[Any]]:
    """Every line of these messages: its message, its size with its line feed, its hash."""
    lists = pc.split_pattern(content, "\n")
    counts = pc.list_value_length(lists).to_numpy(zero_copy_only=False).astype(np.int64)
    lines = lists.flatten()
    size = pc.binary_length(lines).to_numpy(zero_copy_only=False).astype(np.int32) + np.int32(1)
    size[np.cumsum(counts) - 1] -= 1
    message = np.repeat(np.arange(len(content), dtype=np.int32), counts)
    return {"line_message": message, "line_size": size, "line_hash": _hashes(lines)}


def _openings(content: pa.LargeStringArray, sizes: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The openings of these messages, those of a message by size."""
    messages = [np.flatnonzero(sizes >= length) for length in OPENINGS]
    data = content.cast(pa.large_binary())
    hashes = [
        _hashes(pc.binary_slice(data, 0, length).take(pa.array(own)), seed=length)
        for length, own in zip(OPENINGS, messages, strict=True)
    ]
    message = np.concatenate(messages)
    order = np.argsort(message, kind="stable")
    size = np.repeat(np.array(OPENINGS, np.int32), [len(own) for own in messages])
    return {
        "opening_message": message[order].astype(np.int32),
        "opening_size": size[order],
        "opening_hash": np.concatenate(hashes)[order],
    }


DTYPES: dict[str, Any] = {
    "session": np.int32,
    "size": np.int64,
    "hash": np.uint64,
    "may_train": np.bool_,
    "line_message": np.int32,
    "line_size": np.int32,
    "line_hash": np.uint64,
    "opening_message": np.int32,
    "opening_size": np.int32,
    "opening_hash": np.uint64,
    "answers": np.int64,
}


def joined(parts: Sequence[PromptTexts]) -> PromptTexts:
    """The sessions of all parts, numbered through."""
    sessions = messages = 0
    columns: dict[str, list[NDArray[Any]]] = {name: [np.empty(0, dtype)] for name, dtype in DTYPES.items()}
    for part in parts:
        for name, column in columns.items():
            shift = sessions if name == "session" else messages if name.endswith("_message") else 0
            values = getattr(part, name)
            column.append(values + DTYPES[name](shift) if shift else values)
        sessions += len(part.answers)
        messages += len(part.session)
    return PromptTexts(**{name: np.concatenate(column) for name, column in columns.items()})


@dataclass(frozen=True)
class Repetition:
    """What of each prompt message is repeated, in bytes, among the sessions that count."""

    texts: PromptTexts
    size: NDArray[np.int64]  # [num_messages]  0 for sessions that do not count
    exact: NDArray[np.int64]
    templated: NDArray[np.int64]
    either: NDArray[np.int64]

    def shares(self, sessions: slice = slice(None)) -> dict[str, Any]:
        """The shares of these sessions' prompts."""
        first, last = np.searchsorted(self.texts.session, sessions.indices(len(self.texts.answers))[:2])
        own = slice(int(first), int(last))
        size = int(self.size[own].sum())
        return {
            "bytes": size,
            "exact_repetition": _share(self.exact[own], size),
            "templated_repetition": _share(self.templated[own], size),
        }

    def unique_sessions(self) -> NDArray[np.bool_]:
        """The sessions less of whose prompts is repeated than UNIQUE_BELOW, of what may be trained of them."""
        texts = self.texts
        count = len(texts.answers)
        whole, repeated = (
            np.bincount(texts.session[texts.may_train], weights=values[texts.may_train], minlength=count)
            for values in (self.size, self.either)
        )
        unique: NDArray[np.bool_] = (whole > 0) & (repeated < UNIQUE_BELOW * whole)
        return unique


def _share(values: NDArray[np.int64], of: int) -> float:
    return round(int(values.sum()) / of, 6) if of else 0.0


def measure(texts: PromptTexts, counts: NDArray[np.bool_]) -> Repetition:
    """The repetition among the sessions that count, bool [num_sessions]: the others are no part of the dataset."""
    kept = counts[texts.session]
    size = np.where(kept, texts.size, 0)
    exact = np.zeros(len(size), np.int64)
    exact[kept] = np.where(_occurs_again(texts.hash[kept]), size[kept], 0)

    opening = np.zeros(len(size), np.int64)
    own = np.flatnonzero(kept[texts.opening_message])
    message = texts.opening_message[own]
    shared = _in_other_sessions(texts.opening_hash[own], texts.session[message])
    np.maximum.at(opening, message[shared], texts.opening_size[own][shared])

    lines = np.flatnonzero(kept[texts.line_message])
    message, length = texts.line_message[lines], texts.line_size[lines].astype(np.int64)
    ends = np.cumsum(length)
    heads = np.flatnonzero(np.diff(message, prepend=-1))
    begins = ends - length
    begins = begins - np.repeat(begins[heads], np.diff(np.append(heads, len(message))))
    shared = _in_other_sessions(texts.line_hash[lines], texts.session[message])
    covered = np.where(shared, length, np.clip(opening[message] - begins, 0, length))
    templated = np.bincount(message, weights=covered, minlength=len(size)).astype(np.int64)
    return Repetition(texts, size, exact, templated, np.maximum(exact, templated))


def _occurs_again(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which of these occur more than once."""
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    again: NDArray[np.bool_] = counts[inverse] > 1
    return again


def _in_other_sessions(hashes: NDArray[np.uint64], session: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of these occur in more than one session."""
    order = np.argsort(
        hashes
    )  # the fast, unstable one: of a hash's sessions the least and the greatest are asked for
    starts = np.flatnonzero(np.diff(hashes[order], prepend=~hashes[order][:1]))
    own = session[order]
    least, greatest = (
        (np.minimum.reduceat(own, starts), np.maximum.reduceat(own, starts)) if len(own) else (own, own)
    )
    shared = np.zeros(len(hashes), bool)
    shared[order] = np.repeat(least != greatest, np.diff(np.append(starts, len(order))))
    return shared


def report(repetition: Repetition, sources: dict[str, slice], counts: NDArray[np.bool_]) -> dict[str, Any]:
    """What the manifest says of the prompts, whole and source by source, and what it suggests."""
    whole = repetition.shares()
    answers = int(repetition.texts.answers[counts].sum())
    repeated = _share(repetition.either, whole["bytes"])
    return {
        "unit": UNIT,
        **whole,
        "answer_bytes": answers,
        "sources": {name: repetition.shares(own) for name, own in sources.items()},
        "unique_below": UNIQUE_BELOW,
        "unique_sessions": int(repetition.unique_sessions().sum()),
        "suggests": suggestion(whole["bytes"], repeated, answers),
    }


def suggestion(size: int, repeated: float, answers: int) -> str:
    """One sentence for people."""
    if not size:
        return "There is no prompt text."
    if repeated >= UNIQUE_BELOW:
        return (
            f"{repeated:.0%} of the prompt text is repeated: keep prompts masked (chat.train_on_prompt: false); "
            "trained, the model would learn them by heart."
        )
    if size >= answers:
        return (
            f"Only {repeated:.0%} of the prompt text is repeated, and prompts are longer than answers: training on "
            "them may help, most of all with few sessions (Instruction Tuning With Loss Over Instructions, "
            "arXiv:2405.14394); try chat.train_on_prompt: auto."
        )
    return (
        f"Only {repeated:.0%} of the prompt text is repeated, but answers are longer than prompts: there is little to "
        "gain from training on prompts (see arXiv:2405.14394); keep them masked."
    )
