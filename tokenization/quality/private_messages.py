"""Personal data in sessions: what messages say, what they reason and what tools are called with.

Replaced are the strings of `content`, `reasoning_content` and of the arguments of tool calls; roles, names, ids and the
definitions of tools stay. `train_ranges` are moved with the characters behind a replacement: a text is replaced between
the borders of its ranges, so that what was trained is trained and nothing else.

Guarantees: sessions without a match are the same bytes. Price: a look over the JSON, and one parse of the sessions that
may hold some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson
import pyarrow as pa

from tokenization.quality.personal_data import Kind, PersonalDataSpec, may_hold, replace_personal_data

Message = dict[str, Any]
SAID = ("content", "reasoning_content")


@dataclass(frozen=True)
class ReplacedSessions:
    """Sessions without their personal data."""

    messages: dict[int, bytes]  # row -> the messages' JSON, of the sessions that changed
    counts: dict[Kind, int]  # replacements


def replace_in_sessions(messages: pa.LargeStringArray, spec: PersonalDataSpec) -> ReplacedSessions:
    """The sessions that change and how; `messages` has one JSON list of messages a row."""
    rows = may_hold(messages, spec)
    sessions = [orjson.loads(messages[row].as_py()) for row in rows]
    strings = [piece for session in sessions for text in strings_of(session) for piece in text]
    replaced = replace_personal_data(pa.array(strings, pa.large_string()), spec)
    if not replaced.documents:
        return ReplacedSessions({}, replaced.counts)
    after = iter(replaced.texts.to_pylist())
    changed: dict[int, bytes] = {}
    for row, session in zip(rows, sessions, strict=True):
        before = orjson.dumps(session)
        put_back(session, lambda: next(after))
        written = orjson.dumps(session)
        if written != before:
            changed[row] = written
    return ReplacedSessions(changed, replaced.counts)


def strings_of(session: list[Message]) -> Iterator[list[str]]:
    """Every string that may be replaced, in pieces between the borders of its trained ranges, in order."""
    for message in session:
        for key in SAID:
            if key in message:
                yield pieces(message, key)
        for call in message.get("tool_calls", ()):
            yield from ([text] for text in _inner(call["function"]["arguments"]))


def pieces(message: Message, key: str) -> list[str]:
    """The text, cut where a trained range begins or ends."""
    text = message[key]
    ranges = message.get("train_ranges", ()) if key == "content" else ()
    borders = [0, *(place for pair in ranges for place in pair), len(text)]
    return [text[begin:end] for begin, end in pairwise(borders)]


def put_back(session: list[Message], take: Callable[[], str]) -> None:
    """Set every string anew, `take` giving the pieces of `strings_of` in its order."""
    for message in session:
        for key in SAID:
            if key not in message:
                continue
            given = [take() for _ in pieces(message, key)]
            message[key] = "".join(given)
            if key == "content" and "train_ranges" in message:
                ends = [len("".join(given[: number + 1])) for number in range(len(given))]
                message["train_ranges"] = [list(pair) for pair in list(pairwise(ends))[::2]]
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = _set(call["function"]["arguments"], take)


def _inner(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _inner(each)


def _set(value: Any, take: Callable[[], str]) -> Any:
    if isinstance(value, str):
        return take()
    if isinstance(value, dict):
        return {key: _set(each, take) for key, each in value.items()}
    return [_set(each, take) for each in value] if isinstance(value, list) else value
