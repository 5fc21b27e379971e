"""Token bytes in, text that is safe to show out: whole characters, and nothing that acts on the viewer.

A token is not a character: "你" is three tokens for one vocabulary and half of one for another. So bytes
are gathered until they are valid UTF-8, and tokens that share a character (or one emoji, or a letter
and its accents) form one `Group`.

Guarantees: the groups tile the sequence in order; a special token is always a group of its own; text that
comes out of `visible` holds no control character but "\\n", nothing that turns the writing direction and
nothing invisible, so it may go to a terminal, an SVG or a page. Bytes that are no UTF-8 show as ⟨0xFF⟩.
Price: about 8 µs a token.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tokenization.preview.model import PreviewSequence

NEWLINE = "⏎"
LONGEST_CLUSTER = 24  # tokens; a tower of accents must not swallow a page

_JOINER = "\u200d"
_SHOWN_AS_THEY_ARE = frozenset(
    "\n\u3000"
)  # a line break is laid out, an ideographic space is wide enough to see
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")  # letters by name, nothing to the eye
_SKIN_TONES = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS = range(0x1F1E6, 0x1F200)
_HIDDEN_SELECTORS = range(0xE0100, 0xE01F0)
_DOUBTFUL = re.compile(f"[{_JOINER}{''.join(sorted(_BLANK_LETTERS))}\U000e0100-\U000e01ef]")
_CONTROLS = re.findall(  # what ISO 646 calls 0x00 to 0x1F
    r"\w+",
    "NUL SOH STX ETX EOT ENQ ACK BEL BS HT LF VT FF CR SO SI "
    "DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US",
)


class Group(NamedTuple):
    """The tokens [start, stop) that only together spell `text`; nearly always one token."""

    start: int
    stop: int
    text: str  # visible, "\n" kept
    special: bool


def visible(text: str) -> str:
    """The text with everything unseen or active spelled out; "\\n" stays a line break."""
    if _all_harmless(text):
        return text
    around = zip(" " + text, text, text[1:] + " ", strict=False)
    return "".join(char if _harmless(before, char, after) else _spell(char) for before, char, after in around)


def one_line(text: str) -> str:
    """`visible`, with line breaks as a sign instead of a break."""
    return visible(text).replace("\n", NEWLINE)


def decode(token: bytes) -> str:
    """One token's bytes by themselves, for a detail view: broken characters show as their bytes."""
    return visible(token.decode("utf-8", "surrogateescape"))


def character_groups(seq: PreviewSequence) -> list[Group]:
    """The sequence as the fewest tokens at a time that end on a character's end."""
    merged: list[Group] = []
    for group in _byte_groups(seq):
        last = merged[-1] if merged else None
        if last and _continues(last, group):
            merged[-1] = Group(last.start, group.stop, last.text + group.text, False)
        else:
            merged.append(group)
    return [Group(group.start, group.stop, visible(group.text), group.special) for group in merged]


def shared_characters(seq: PreviewSequence) -> list[Group]:
    """The groups of more than one token; ASCII tokens that stand among their like are none, and are not looked at."""
    beyond = np.array([not (token and token.isascii()) for token in seq.token_bytes], bool)
    around = np.concatenate([[False], beyond, [False]])
    # An accent's letter stands before it, what is read with bytes that break off stands behind.
    looked = around[:-2] | beyond | around[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], looked.astype(np.int8), [0]])))
    found: list[Group] = []
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        part = replace(
            seq,
            input_ids=seq.input_ids[first:last],
            loss_mask=seq.loss_mask[first:last],
            token_bytes=seq.token_bytes[first:last],
            special=seq.special[first:last],
            roles=[],
        )
        found += [
            group._replace(start=group.start + first, stop=group.stop + first)
            for group in character_groups(part)
            if group.stop - group.start > 1
        ]
    return found


def _byte_groups(seq: PreviewSequence) -> list[Group]:
    """Groups by UTF-8 alone, their text raw (undecodable bytes as lone surrogates)."""
    groups: list[Group] = []
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    start, text = 0, ""
    for i, (token, special) in enumerate(zip(seq.token_bytes, seq.special, strict=True)):
        if special:
            text += decoder.decode(b"", final=True)
            if start < i:
                groups.append(Group(start, i, text, False))
            groups.append(Group(i, i + 1, token.decode("utf-8", "surrogateescape"), True))
            decoder.reset()
            start, text = i + 1, ""
            continue
        text += decoder.decode(token)
        if not decoder.getstate()[0]:
            groups.append(Group(start, i + 1, text, False))
            start, text = i + 1, ""
    if start < len(seq):
        groups.append(Group(start, len(seq), text + decoder.decode(b"", final=True), False))
    return groups


def _continues(last: Group, group: Group) -> bool:
    """Whether the eye would take the beginning of `group` for part of the last character."""
    if last.special or group.special or not last.text or not group.text:
        return False
    if group.stop - last.start > LONGEST_CLUSTER or last.text[-1].isspace():
        return False
    before, first = last.text[-1], group.text[0]
    if ord(before) in _FLAG_LETTERS and ord(first) in _FLAG_LETTERS:
        letters = len(last.text) - len(last.text.rstrip("".join(map(chr, _FLAG_LETTERS))))
        return letters % 2 == 1
    if _JOINER in (before, first):
        return not (before.isascii() or first.isascii())
    return ord(first) in _SKIN_TONES or unicodedata.category(first).startswith("M")


def _all_harmless(text: str) -> bool:
    """Whether every character is one that `_harmless` lets pass wherever it stands: nearly every text."""
    for char in _SHOWN_AS_THEY_ARE:
        text = text.replace(char, "")
    return text.isprintable() and not _DOUBTFUL.search(text)


def _harmless(before: str, char: str, after: str) -> bool:
    if char == _JOINER:  # legitimate inside an emoji or an Indic syllable only
        return not (before.isascii() or after.isascii())
    if ord(char) in _HIDDEN_SELECTORS or char in _BLANK_LETTERS:
        return False
    return char.isprintable() or char in _SHOWN_AS_THEY_ARE


def _spell(char: str) -> str:
    code = ord(char)
    if char == "\t":
        return "⇥"
    if code < 0x20:
        return f"⟨{_CONTROLS[code]}⟩"
    if code == 0x7F:
        return "⟨DEL⟩"
    if 0xDC80 <= code <= 0xDCFF:
        return f"⟨0x{code - 0xDC00:02X}⟩"
    return f"⟨U+{code:04X}⟩"
