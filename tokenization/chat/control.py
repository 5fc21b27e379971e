"""Typed special tokens: text that looks like structure, kept apart from structure.

`<|im_end|>` typed by a user is text; `<|im_end|>` written by the template is a control token. Before a
session is rendered, every control token's text inside it becomes one private-use character; what the
rendered string still holds of control tokens is therefore the template's own. Afterwards the characters
become text again, inside stretches that are encoded as plain text.

Guarantees: `unescape(escape(x)) == x` for every string; an escaped string holds no control token's text.
Price: one regular expression a distinct first character, about 0.3 ns a character where nothing matches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import BoolArray

# Private-use planes: slots of skeletons in 15, stand-ins for typed tokens and marks in 16.
FIRST_SLOT, LAST_SLOT = 0xF0000, 0xFFFFD
FIRST_TYPED, LAST_TYPED = 0x100000, 0x10FFEF
GENERATION_START, GENERATION_STOP = "\U0010fff0", "\U0010fff1"
RESERVED = "\U000f0000-\U0010ffff"
FIRST_OF_PRIVATE_PLANES = 0xF3  # of characters from U+C0000 on this or a higher byte is the first in UTF-8
SLOT_PATTERN = re.compile("[\U000f0000-\U000ffffd]")

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"  # structure in every template, a token in some tokenizers
_MARKER_LIKE = re.compile(r"<\|[^|<>{}\s]{1,40}\|>|<｜[^｜<>{}\s]{1,40}｜>")


_KEYS = frozenset({"role", "content", "reasoning_content", "name", "train", "tool_calls", "tool_call_id"})


class ControlTokens:
    """The control tokens of one tokenizer: where they stand in a text, and how typed ones are hidden."""

    def __init__(self, ids: Mapping[str, int]) -> None:
        self.ids = {text: token for text, token in ids.items() if text and not re.search(r"\s", text)}
        self._protected = tuple({*self.ids, THINK_OPEN, THINK_CLOSE})
        self._pattern = re.compile(_any_of(self.ids) or "(?!)")
        self._typed = [re.compile(part) for part in _by_first_character(self._protected)]
        self._firsts = tuple({token[0] for token in self._protected})
        self._typed_or_reserved = re.compile(f"{_any_of(self._protected)}|[{RESERVED}]")
        self._stand_in: dict[str, str] = {}
        self._original: dict[str, str] = {}

    @classmethod
    def of(cls, tokenizer: Any) -> ControlTokens:
        """Those added tokens that are structure (`special_ids` where the tokenizer says which)."""
        structural = getattr(tokenizer, "special_ids", None)
        added: Mapping[str, int] = tokenizer.added_tokens
        return cls({text: i for text, i in added.items() if structural is None or i in structural})

    def find(self, text: str) -> list[tuple[int, int]]:
        """(start, stop) of every control token in this text, left to right, the longest first."""
        return [match.span() for match in self._pattern.finditer(text)]

    def protects(self, text: str) -> bool:
        """Whether this text holds something that escaped content can never hold."""
        return any(token in text for token in self._protected)

    def is_typed_in(self, text: str) -> bool:
        """Whether `escape` would change this text."""
        if text.isascii() and not any(map(text.__contains__, self._firsts)):
            return False  # nearly every text; a search of each pattern takes eight times as long
        for pattern in self._typed:  # noqa: SIM110  (a generator takes twice as long)
            if pattern.search(text):
                return True
        return False

    def may_be_typed(self, plain: PlainSessions) -> BoolArray:
        """Where `escape` may change a text: bool [num_messages]. It is sure to leave the others as they are."""
        found = np.zeros(len(plain.content), bool)
        for first in sorted(set(self._firsts)):
            found |= plain.containing(first)
        return found | plain.containing_byte_from(FIRST_OF_PRIVATE_PLANES)

    def escape(self, value: Any) -> Any:
        """The same JSON value with typed control tokens hidden, in keys as in values."""
        if isinstance(value, str):
            if not value or not self.is_typed_in(value):
                return value
            return self._typed_or_reserved.sub(self._hide, value)
        if isinstance(value, dict):
            return {
                key if key in _KEYS else self.escape(key): self.escape(item) for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.escape(item) for item in value]
        return value

    def unescape(self, text: str) -> str:
        """What stands behind the stand-ins."""
        if not self._original or text.isascii():
            return text
        return re.sub(f"[{RESERVED}]", lambda match: self._original.get(match[0], match[0]), text)

    def _hide(self, match: re.Match[str]) -> str:
        text = match[0]
        stand_in = self._stand_in.get(text)
        if stand_in is None:
            if FIRST_TYPED + len(self._original) > LAST_TYPED:
                raise OverflowError("more distinct private-use characters than there are stand-ins")
            stand_in = chr(FIRST_TYPED + len(self._original))
            self._stand_in[text], self._original[stand_in] = stand_in, text
        return stand_in

    def unknown_markers(self, texts: Iterable[str]) -> list[str]:
        """What looks like a special token (`<|…|>`) in these texts and is none, in order."""
        found = {match: None for text in texts for match in _MARKER_LIKE.findall(text)}
        return [marker for marker in found if marker not in self.ids]


def _any_of(tokens: Iterable[str]) -> str:
    return "|".join(re.escape(token) for token in sorted(tokens, key=lambda t: (-len(t), t)))


def _by_first_character(tokens: Iterable[str]) -> list[str]:
    """One pattern a first character (a literal prefix is searched at memory speed) and one for reserved."""
    groups: dict[str, list[str]] = {}
    for token in tokens:
        groups.setdefault(token[0], []).append(token[1:])
    patterns = [f"{re.escape(first)}(?:{_any_of(rest)})" for first, rest in sorted(groups.items())]
    return [*patterns, f"[{RESERVED}]"]
