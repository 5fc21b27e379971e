"""Sessions by shape: what decides how a template treats a session, and the strings that do not.

A string that a template looks into (see `Looks`) belongs to the shape; every other one is a *value*, which the shape
leaves out. Values are numbered in order: those of the tool definitions, then message by message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.build.proof_layout import rewritten
from tokenization.build.proof_template import Looks, Message
from tokenization.plain_sessions import PlainSessions
from tokenization.texts import containing

_FIELDS = ("content", "reasoning_content", "name", "tool_calls", "tool_call_id")
_FLAGS = ("role", "train")
SHORT = 64  # characters: no longer text is compared with what a template names
_HIDING = 0x100000  # stand-ins are taken from plane 16, where the sandbox keeps them whole in escaped JSON
_MARKS = "\U0010fff0", "\U0010fff1"  # what the sandbox marks {% generation %} with


class NoShape(Exception):
    """This session must be rendered by itself."""


class Shapes:
    """Splits sessions into shape and values."""

    def __init__(self, looks: Looks, protected: Iterable[str]) -> None:
        wanted = sorted({*protected, "<think>", "</think>", *_MARKS}, key=len, reverse=True)
        self._protected = re.compile("|".join(map(re.escape, wanted)))
        # What is protected never shows in a string, so looking for it finds nothing.
        self._parts = [part for part in looks.parts if not self._protected.search(part)]
        self._wholes = looks.wholes
        self.usable = looks.opaque

    def split(
        self, messages: Sequence[Message], tools: Sequence[Any] | None
    ) -> tuple[Any, tuple[Any, ...], list[str]]:
        """(the tools' key, a key for each message, the values)."""
        values: list[str] = []
        tools_key = self._kind(list(tools), values) if tools else None
        keys: list[tuple[Any, ...]] = []
        for message in messages:
            content = message.get("content")
            if len(message) == 2 and type(content) is str:
                keys.append((message["role"], self._string(content, values)))
            else:
                if "train_ranges" in message:
                    raise NoShape
                keys.append(
                    tuple(
                        (name, value if name in _FLAGS else self._kind(value, values))
                        for name, value in message.items()
                        if name in _FLAGS or name in _FIELDS
                    )
                )
        return tools_key, tuple(keys), values

    def _string(self, text: str, values: list[str]) -> Any:
        if not text or text.isspace():
            return text
        for part in self._parts:
            if part in text:
                return self._literal(text)
        if not self._is_no_whole(text):
            return self._literal(text)
        values.append(text)
        return True

    def are_values(self, plain: PlainSessions) -> NDArray[np.bool_]:
        """Which messages' texts are values, of which the template sees no more than that they are there:
        bool [num_messages]."""
        found = plain.says_something.copy()
        for part in self._parts:
            found &= ~plain.containing(part)
        short = np.flatnonzero(found & (plain.sizes < 4 * SHORT))
        texts = plain.content.take(pa.array(short))
        holding = np.zeros(len(short), bool)
        for whole in filter(str.strip, self._wholes):  # no text that is a value is blank
            holding |= containing(texts, whole.strip())
        likely = np.flatnonzero(holding)
        found[short[likely]] = [self._is_no_whole(text) for text in texts.take(pa.array(likely)).to_pylist()]
        return found

    def _is_no_whole(self, text: str) -> bool:
        return len(text) >= SHORT or (text not in self._wholes and text.strip() not in self._wholes)

    def _literal(self, text: str) -> tuple[str]:
        if self._protected.search(text):
            raise NoShape
        return (text,)

    def _kind(self, value: Any, values: list[str]) -> Any:
        if type(value) is str:
            return self._string(value, values)
        if type(value) is dict:
            return "{}", tuple((self._literal(key), self._kind(item, values)) for key, item in value.items())
        if type(value) is list:
            return "[]", tuple(self._kind(item, values) for item in value)
        return "=", repr(value)

    def with_markers(
        self, messages: Sequence[Message], tools: Sequence[Any] | None, marker: Callable[[int], str]
    ) -> tuple[list[Message], list[Any] | None]:
        """The session with a marker in place of every value."""
        numbers = iter(range(1 << 30))

        def change(text: str) -> str:
            return marker(next(numbers)) if self._string(text, []) is True else text

        made_tools = rewritten(list(tools), change) if tools else None
        made = [
            {name: rewritten(value, change) if name in _FIELDS else value for name, value in message.items()}
            for message in messages
        ]
        return made, made_tools

    # -- what was typed -----------------------------------------------------------------------------------

    def hidden(
        self, messages: Sequence[Message], tools: Sequence[Any] | None
    ) -> tuple[list[Message], list[Any] | None, dict[str, str]]:
        """The session with a private character for everything typed that looks like structure."""
        texts = [text for value in ([*messages], tools) for text in _every_string(value)]
        typed = sorted({match[0] for text in texts for match in self._protected.finditer(text)})
        if not typed:
            return list(messages), list(tools) if tools else None, {}
        used = {character for text in texts for character in text if ord(character) >= _HIDING}
        free = (chr(code) for code in range(_HIDING, 0x10FFF0) if chr(code) not in used)
        stand_in = {text: next(free) for text in typed}

        def hide(value: Any) -> Any:
            if isinstance(value, str):
                return self._protected.sub(lambda match: stand_in[match[0]], value)
            if isinstance(value, dict):
                return {hide(key): hide(item) for key, item in value.items()}
            return [hide(item) for item in value] if isinstance(value, list) else value

        hidden = [
            {name: hide(value) if name in _FIELDS else value for name, value in message.items()}
            for message in messages
        ]
        return hidden, hide(list(tools)) if tools else None, {mark: text for text, mark in stand_in.items()}


def _every_string(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _every_string(item)
    elif isinstance(value, list):
        for item in value:
            yield from _every_string(item)
