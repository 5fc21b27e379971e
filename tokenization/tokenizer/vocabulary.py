"""From ids back to bytes: what each token stands for, and text out of a run of ids.

One character may span several tokens, so text is made from the joined bytes of a run, never token by
token. Byte-level vocabularies spell bytes as letters, SentencePiece ones spell a space as U+2581 and a
byte as <0xAB>; markers stand for their own text. Lookups are made on first use and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import offsets_of
from tokenization.tokenizer.definition import Definition, Json

_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACE_PIECE = "\u2581"


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """The letter with which byte-level vocabularies spell each byte (GPT-2's table)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(shown)]
    alphabet = {chr(byte): byte for byte in shown}
    return alphabet | {chr(256 + place): byte for place, byte in enumerate(hidden)}


@lru_cache(maxsize=2)
def vocabulary_of(definition: Definition) -> Vocabulary:
    """One for all who ask for the same definition: its table of bytes is made in 25 ms for 150,000 tokens."""
    return Vocabulary(definition)


class Vocabulary:
    """The tokens of a definition by id."""

    def __init__(self, definition: Definition) -> None:
        self._definition = definition
        kinds = set(_decoder_kinds(definition.document))
        self._byte_level = "ByteLevel" in kinds
        self._pieces = not self._byte_level and bool(kinds & {"ByteFallback", "Metaspace", "Replace"})
        self._bytes: dict[int, bytes] = {}

    @cached_property
    def _tokens(self) -> dict[int, str]:
        return {index: token for token, index in self._definition.model_vocab.items()}

    @cached_property
    def _added(self) -> dict[int, str]:
        return {index: token for token, index in self._definition.added_tokens.items()}

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a marker's are its text, an id without a token has none."""
        found = self._bytes.get(token_id)
        if found is None:
            found = self._bytes[token_id] = self._spell(token_id)
        return found

    @cached_property
    def byte_table(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of every id laid end to end, and where each one's begin, int64 [num_ids + 1]."""
        numbers = np.fromiter(self._definition.model_vocab.values(), np.int64)
        most = max([-1, int(numbers.max(initial=-1)), *self._added]) + 1
        if self._byte_level:
            texts = _in_order(self._definition.model_vocab, numbers, most)
            own = {token_id: self.token_bytes(token_id) for token_id in self._added}
            flat = _as_bytes(_without(texts, own))
            if (flat < 0).any():
                own |= {token_id: self.token_bytes(token_id) for token_id in _odd_places(texts)}
                flat = _as_bytes(_without(texts, own))
            offsets = offsets_of(np.fromiter(map(len, texts), np.int64, most))
            return _replaced(flat.astype(np.uint8), offsets, own)
        every = [self._spell(token_id) for token_id in range(most)]
        lengths = np.array([len(text) for text in every], np.int64)
        return np.frombuffer(b"".join(every), np.uint8), offsets_of(lengths)

    def decode(self, ids: Iterable[int], *, continuing: bool = False) -> str:
        """The text of a run of ids, markers as their text; broken UTF-8 at its ends shows as U+FFFD.

        The space that SentencePiece puts before a string is taken off again, unless `continuing`.
        """
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        strips = not continuing and self._definition.prefix_scope != "never"
        return text.removeprefix(" ") if strips else text

    def _spell(self, token_id: int) -> bytes:
        added = self._added.get(token_id)
        if added is not None:
            return added.encode()
        token = self._tokens.get(token_id, "")
        if self._byte_level:
            alphabet = byte_alphabet()
            if all(letter in alphabet for letter in token):
                return bytes(alphabet[letter] for letter in token)
            return token.encode()
        if self._pieces:
            byte = _BYTE_PIECE.fullmatch(token)
            return bytes([int(byte[1], 16)]) if byte else token.replace(_SPACE_PIECE, " ").encode()
        return self._spell_word(token)

    def _spell_word(self, token: str) -> bytes:
        """WordPiece and the like: a word's first piece brings a space, its continuations do not."""
        mark = self._definition.model.get("continuing_subword_prefix") or "##"
        return token.removeprefix(mark).encode() if token.startswith(mark) else b" " + token.encode()


def _in_order(tokens: Mapping[str, int], numbers: NDArray[np.int64], most: int) -> list[str]:
    """Every token below `most` in the order of their ids; "" where an id has no token."""
    texts = list(tokens)
    if (numbers == np.arange(len(texts))).all():
        return texts + [""] * (most - len(texts))
    texts = [""] * most
    for token, number in tokens.items():
        texts[number] = token
    return texts


def _without(texts: list[str], places: Iterable[int]) -> list[str]:
    """The texts, nothing standing at these places any more."""
    for place in places:
        texts[place] = ""
    return texts


def _odd_places(texts: Sequence[str]) -> set[int]:
    """Which of these hold a letter that stands for no byte."""
    is_odd = re.compile(f"[^{re.escape(''.join(byte_alphabet()))}]").search
    return {place for place, text in enumerate(texts) if is_odd(text)}


def _as_bytes(texts: Sequence[str]) -> NDArray[np.int16]:
    """The byte that each letter of these texts stands for, or -1."""
    byte_of = np.full(1 << 16, -1, np.int16)
    for letter, byte in byte_alphabet().items():
        byte_of[ord(letter)] = byte
    return byte_of[np.frombuffer("".join(texts).encode("utf-16-le"), np.uint16)]


def _replaced(
    flat: NDArray[np.uint8], offsets: NDArray[np.int64], own: dict[int, bytes]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The table with other bytes for some ids."""
    pieces: list[bytes] = []
    lengths = np.diff(offsets)
    read = 0
    data = flat.tobytes()
    for token_id in sorted(own):
        pieces += [data[read : offsets[token_id]], own[token_id]]
        read = int(offsets[token_id + 1])
        lengths[token_id] = len(own[token_id])
    pieces.append(data[read:])
    return np.frombuffer(b"".join(pieces), np.uint8), offsets_of(lengths)


def _decoder_kinds(document: Json) -> list[str]:
    kinds: list[str] = []
    for part in ("decoder", "pre_tokenizer"):
        step = document.get(part)
        if step:
            inner = step.get("decoders") or step.get("pretokenizers") or [step]
            kinds += [s["type"] for s in inner]
    return kinds
