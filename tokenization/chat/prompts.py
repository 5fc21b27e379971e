"""How repetitive the prompts of a recipe are: exactly, and by template.

A prompt message is one that is not trained by its role or its own flag; its text is its content. Of all its bytes

    exact repetition      is the share that stands in a text which occurs more than once, in any message of any source
    templated repetition  is the share that stands in lines which occur in more than one session, or in an opening that
                          another session's message shares (openings of 32, 64, … 4096 bytes)

"Translate into French:" before a thousand sentences is templated where it stands on a line of its own or is long
enough for an opening; a system prompt that every session has is both. The unit is bytes of UTF-8, because this is
measured before there are tokens, where the decision is taken that crosses sources.

Price: about 1 µs a message and 0.2 µs a line to hash; 20 bytes of memory a line; two sorts over all lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
import xxhash
from numpy.typing import NDArray

from tokenization.chat.roles import TOOL

CODE = "1"  # of what `prompt_texts` gives
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


def prompt_texts(sessions: Iterable[str | bytes], trained_roles: frozenset[str]) -> PromptTexts:
    """The prompts of these sessions, each the JSON of its normalised messages."""
    digest: Callable[..., int] = xxhash.xxh3_64_intdigest
    columns: dict[str, list[Any]] = {field.name: [] for field in fields(PromptTexts)}
    session, size, hashes, may_train = (columns[n] for n in ("session", "size", "hash", "may_train"))
    line_message, line_size, line_hash = (columns[f"line_{n}"] for n in ("message", "size", "hash"))
    opening = tuple(columns[f"opening_{n}"] for n in ("message", "size", "hash"))
    for number, text in enumerate(sessions):
        answers = 0
        for message in orjson.loads(text):
            role, content = message["role"], message["content"].encode("utf-8", "surrogatepass")
            if role != TOOL and message.get("train", role in trained_roles):
                answers += len(content)
                continue
            if not content:
                continue
            place = len(session)
            session.append(number)
            size.append(len(content))
            hashes.append(digest(content))
            may_train.append(role != TOOL and message.get("train", True))
            lines = content.split(b"\n")
            line_message.extend([place] * len(lines))
            line_size.extend([len(line) + 1 for line in lines])
            line_size[-1] -= 1
            line_hash.extend(map(digest, lines))
            for length in OPENINGS:
                if length > len(content):
                    break
                for column, value in zip(
                    opening, (place, length, digest(content[:length], seed=length)), strict=True
                ):
                    column.append(value)
        columns["answers"].append(answers)
    return PromptTexts(**{name: np.array(values, DTYPES[name]) for name, values in columns.items()})


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
    """Which of these occur in more than one session; `session` ascends."""
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.diff(hashes[order], prepend=~hashes[order][:1]))
    stops = np.append(starts[1:], len(order))[: len(starts)]
    differ = session[order[starts]] != session[order[stops - 1]]
    shared = np.zeros(len(hashes), bool)
    shared[order] = np.repeat(differ, stops - starts)
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
