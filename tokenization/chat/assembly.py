"""Rendered text to ids and mask, together: stretches in, token sequences out.

A rendered text is cut at its control tokens (placed by id) and at the edges of its targets; what lies
between are *stretches*, and every stretch of a chunk goes through one `encode_batch`. The mask of a token
is the mask of its stretch, so that ids and mask cannot disagree.

    text   <|im_start|>assistant\\n Hello <|im_end|> \\n
    parts  id 151644 | "assistant\\n" | "Hello" | id 151645 | "\\n"
    mask        0    |       0       |    1    |     1     |  0

Characters that no trained token may touch (*hidden*, see targets) do not cut a stretch, because that would change its
ids: the stretch is encoded whole, and then those of its tokens are masked that hold a hidden character.

Guarantees: a stretch that begins at a target's start is encoded by itself, as an answer is that follows a
prompt; no dummy prefix where a stretch goes on from another; the first token of a sequence is no target.
Price: about 10 ns a token beside encoding; constant stretches are encoded once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenization.chat.control import ControlTokens
from tokenization.chat.rendered import RenderedText, Span
from tokenization.chat.templates import ChatTokenizer
from tokenization.sequences import BoolArray, IntArray, TokenSequences, offsets_of, storage_dtype


@dataclass(frozen=True)
class Part:
    """One control token or one stretch of text."""

    text: str
    token: int | None  # the id of a control token; None = text
    is_target: bool
    continues: bool  # a stretch that no space may be put before


@dataclass(frozen=True)
class SpanParts:
    """One target, in parts: half-open."""

    start: int
    stop: int
    message: int


@dataclass(frozen=True)
class HiddenPart:
    """Characters of one stretch that no trained token may touch: half-open, counted in its text."""

    part: int
    start: int
    stop: int


def cut_into_parts(
    rendered: RenderedText, control: ControlTokens, *, everything: bool, prefix_scope: str
) -> tuple[list[Part], list[SpanParts], list[HiddenPart]]:
    """The parts of a rendered text, its targets in them and what of trained stretches is hidden; `everything`:
    prompts are targets too."""
    text = rendered.text
    tokens = dict(control.find(text))
    masked = rendered.untrained if everything else rendered.spans
    edges = {0, len(text), *tokens, *tokens.values()}
    edges |= {edge for span in (*rendered.spans, *masked) for edge in (span.start, span.stop)}
    places = sorted(edges)
    inside = _inside(masked)
    parts: list[Part] = []
    index: dict[int, int] = {}
    for start, stop in pairwise(places):
        index[start] = len(parts)
        piece = text[start:stop]
        token = control.ids[piece] if tokens.get(start) == stop else None
        late = bool(parts) and (prefix_scope == "first" or parts[-1].token is None)
        parts.append(Part(piece, token, inside(start) != everything, late and token is None))
    index[len(text)] = len(parts)
    hidden = _hide(parts, places, rendered.hidden)
    return parts, [SpanParts(index[s.start], index[s.stop], s.message) for s in rendered.spans], hidden


def _hide(parts: list[Part], places: Sequence[int], extents: Sequence[tuple[int, int]]) -> list[HiddenPart]:
    """Mask the parts that are control tokens or wholly hidden; what is left to be masked within others."""
    left: list[HiddenPart] = []
    for first, last in extents:
        number = max(0, bisect_right(places, first) - 1)
        while number < len(parts) and places[number] < last:
            start, stop = places[number], places[number + 1]
            if parts[number].token is not None or (first <= start and stop <= last):
                parts[number] = replace(parts[number], is_target=False)
            else:
                left.append(HiddenPart(number, max(first, start) - start, min(last, stop) - start))
            number += 1
    return [hidden for hidden in left if parts[hidden.part].is_target and hidden.start < hidden.stop]


def _inside(spans: Sequence[Span]) -> Callable[[int], bool]:
    """Whether a character lies in one of these spans, which do not overlap."""
    ordered = sorted((span.start, span.stop) for span in spans)
    starts = [start for start, _ in ordered]

    def inside(place: int) -> bool:
        number = bisect_right(starts, place) - 1
        return number >= 0 and place < ordered[number][1]

    return inside


@dataclass
class Layout:
    """The parts of a sequence as arrays; shared by every sequence of one shape."""

    source: NDArray[np.int64]  # per part: index into the pool's constants, or -1: the sequence's next text
    is_target: BoolArray  # per part
    continues: tuple[bool, ...]  # per text
    span_start: NDArray[np.int64]  # per target: its first part
    span_stop: NDArray[np.int64]  # per target: behind its last part
    span_message: NDArray[np.int32]  # per target: the message of the session


@dataclass
class ConstantPool:
    """Ids of control tokens and of stretches that are the same in many sequences."""

    tokenizer: ChatTokenizer
    _index: dict[tuple[str | int, bool], int] = field(default_factory=dict)
    _ids: list[NDArray[np.uint32]] = field(default_factory=list)
    _flat: tuple[NDArray[np.uint32], IntArray] | None = None

    def token(self, token: int) -> int:
        return self._place((token, False), lambda: np.array([token], np.uint32))

    def text(self, text: str, continues: bool) -> int:
        return self._place(
            (text, continues), lambda: self.tokenizer.encode_batch([text], [continues])[0].astype(np.uint32)
        )

    def _place(self, key: tuple[str | int, bool], make: Any) -> int:
        index = self._index.get(key)
        if index is None:
            index = self._index[key] = len(self._ids)
            self._ids.append(make())
            self._flat = None
        return index

    @property
    def flat(self) -> tuple[NDArray[np.uint32], IntArray]:
        """All constants end to end, and their offsets."""
        if self._flat is None:
            lengths = np.array([len(ids) for ids in self._ids], np.int64)
            ids = np.concatenate(self._ids) if self._ids else np.empty(0, np.uint32)
            self._flat = ids, offsets_of(lengths)
        return self._flat

    def layout(self, parts: Sequence[Part], spans: Sequence[SpanParts], fixed: Sequence[bool]) -> Layout:
        """Arrays for these parts; text parts that are not `fixed` are the sequence's own."""
        source = [
            self.token(part.token)
            if part.token is not None
            else (self.text(part.text, part.continues) if is_fixed else -1)
            for part, is_fixed in zip(parts, fixed, strict=True)
        ]
        own = [p.continues for p, place in zip(parts, source, strict=True) if place < 0]
        return Layout(
            np.array(source, np.int64),
            np.array([part.is_target for part in parts], bool),
            tuple(own),
            np.array([span.start for span in spans], np.int64),
            np.array([span.stop for span in spans], np.int64),
            np.array([span.message for span in spans], np.int32),
        )


@dataclass(frozen=True)
class TargetSpans:
    """Targets in tokens, relative to their sequence; of sequence i: offsets[i] to offsets[i + 1]."""

    offsets: IntArray  # int64 [num_sequences + 1]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    message: NDArray[np.int32]


@dataclass(frozen=True)
class Draft:
    """A sequence before it is encoded."""

    layout: Layout
    texts: Sequence[str]  # its own stretches
    hidden: Sequence[tuple[int, int, int]] = ()  # (stretch, first byte, behind the last): see HiddenPart


def assemble(
    drafts: Sequence[Draft],
    tokenizer: ChatTokenizer,
    constants: tuple[NDArray[np.uint32], IntArray],
    largest_id: int,
    byte_lengths: Callable[[], NDArray[np.int64]],
) -> tuple[TokenSequences, TargetSpans, list[int]]:
    """Every sequence's ids, mask and targets; texts in one batch; `constants` is a pool's `flat`, `byte_lengths` are
    those of the ids. And the sequences in which hidden characters cannot be told: their tokenizer changes the text."""
    dtype: Any = storage_dtype(largest_id)
    if not drafts:
        return *_nothing(dtype), []
    texts = [text for draft in drafts for text in draft.texts]
    late = [flag for draft in drafts for flag in draft.layout.continues]
    text_ids, text_offsets = tokenizer.encode_batch(texts, late) if texts else _no_texts()
    constant_ids, constant_offsets = constants

    layouts = [draft.layout for draft in drafts]
    source = np.concatenate([layout.source for layout in layouts])
    is_text = source < 0
    length = np.empty(len(source), np.int64)
    start = np.empty(len(source), np.int64)  # in texts and constants laid end to end
    length[is_text], start[is_text] = np.diff(text_offsets), text_offsets[:-1]
    fixed = source[~is_text]
    length[~is_text] = np.diff(constant_offsets)[fixed]
    start[~is_text] = constant_offsets[fixed] + len(text_ids)

    ends = offsets_of(length)
    small: Any = np.int32 if max(len(text_ids) + len(constant_ids), int(ends[-1])) < 1 << 31 else np.int64
    where = np.repeat((start - ends[:-1]).astype(small), length)
    where += np.arange(int(ends[-1]), dtype=small)
    ids = np.concatenate([text_ids, constant_ids])[where].astype(dtype)
    mask = np.repeat(np.concatenate([layout.is_target for layout in layouts]), length)
    unplaced = _mask_hidden(
        drafts, mask, ids, ends[np.flatnonzero(is_text)], np.diff(text_offsets), byte_lengths
    )

    part_offsets = offsets_of(np.array([len(layout.source) for layout in layouts], np.int64))
    offsets = ends[part_offsets]
    mask[offsets[:-1][offsets[:-1] < len(mask)]] = False  # nothing in the sequence predicts its first token
    return TokenSequences(ids, mask, offsets), _spans(layouts, part_offsets, ends, offsets), unplaced


def _mask_hidden(
    drafts: Sequence[Draft],
    mask: BoolArray,
    ids: NDArray[Any],
    begins: IntArray,
    counts: IntArray,
    byte_lengths: Callable[[], NDArray[np.int64]],
) -> list[int]:
    """Mask the tokens that hold a hidden byte; stretch i of all is `counts[i]` tokens from `begins[i]` on."""
    unplaced: list[int] = []
    stretch = 0
    for number, draft in enumerate(drafts):
        for own, first, last in draft.hidden:
            begin, count = int(begins[stretch + own]), int(counts[stretch + own])
            edges = offsets_of(byte_lengths()[ids[begin : begin + count]])
            added = int(edges[-1]) - len(draft.texts[own].encode())
            if added not in (0, 1):  # 1: the space that SentencePiece puts before a text
                unplaced.append(number)
                break
            touched = (edges[:-1] < last + added) & (edges[1:] > first + added)
            mask[begin : begin + count][touched] = False
        stretch += len(draft.texts)
    return unplaced


def _spans(
    layouts: Sequence[Layout], part_offsets: IntArray, ends: IntArray, offsets: IntArray
) -> TargetSpans:
    counts = np.array([len(layout.span_start) for layout in layouts], np.int64)
    first_part = np.repeat(part_offsets[:-1], counts)
    first_token = np.repeat(offsets[:-1], counts)
    start = ends[np.concatenate([layout.span_start for layout in layouts]) + first_part] - first_token
    stop = ends[np.concatenate([layout.span_stop for layout in layouts]) + first_part] - first_token
    message = np.concatenate([layout.span_message for layout in layouts])
    return TargetSpans(offsets_of(counts), start.astype(np.int32), stop.astype(np.int32), message)


def _nothing(dtype: Any) -> tuple[TokenSequences, TargetSpans]:
    none = np.empty(0, np.int32)
    empty = TokenSequences(np.empty(0, dtype), np.empty(0, bool), np.zeros(1, np.int64))
    return empty, TargetSpans(np.zeros(1, np.int64), none, none, none)


def _no_texts() -> tuple[NDArray[np.uint32], IntArray]:
    return np.empty(0, np.uint32), np.zeros(1, np.int64)
