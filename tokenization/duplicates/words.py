"""A column of texts in, the hash and place of every word out.

Texts are read in blocks of 128 kB, straight from Arrow's buffers. In a block, a word's hash is the
polynomial Σ code[i]·Bⁱ of its lower-cased code points modulo 2⁶⁴, taken for all words at once as the difference of
two prefix sums and moved to a common origin by the inverse of Bⁱ (B is odd, so it has one), then mixed.

Guarantees: the words of a text depend on that text alone, not on its neighbours, nor on how texts were cut into
columns or blocks. Two words are equal when their hashes are (a chance of about 2⁻⁶⁰ a pair aside). A document
longer than a block is cut at white space; a run of 16 kB without any is cut where it stands, counted from the
document's beginning. Price: 10 to 17 ns a byte on a busy machine, 24 bytes a word kept, 4 MB of working space.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.duplicates.characters import (
    KIND_SHIFT,
    LAST,
    SPACED,
    UNSPACED,
    ascii_kinds,
    kinds_and_lower_cases,
)

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

BLOCK = 128 << 10  # bytes: the working arrays of a block stay in the caches; 512 kB takes twice as long
LOOK_BACK = 16 << 10  # bytes searched for white space to cut a long document at
BASE = 0xD1B54A32D192ED03  # odd
INVERSE = pow(BASE, -1, 2**64)
WHITE = np.isin(np.arange(256), list(b" \t\n\r"))


@dataclass(frozen=True)
class Words:
    """The words of some texts, in order."""

    hashes: Hashes  # uint64 [num_words]
    begins: Places  # int64 [num_words]  in characters from the text's beginning
    ends: Places  # int64 [num_words]  exclusive
    offsets: Places  # int64 [num_texts + 1]  text i has words offsets[i]:offsets[i+1]


def words_of(texts: pa.Array | pa.ChunkedArray) -> Words:
    """The words of each text; null has none."""
    data, offsets = text_buffers(texts)
    found: list[_BlockWords] = []
    counts = np.zeros(len(offsets) - 1, np.int64)
    for block in _blocks(data, offsets):
        continued = bool(found) and offsets[block.first] < block.start
        words = _block_words(data, offsets, block, found[-1].characters if continued else 0)
        counts[block.first : block.last] += words.counts
        found.append(words)
    return Words(
        np.concatenate([np.zeros(0, np.uint64), *(words.hashes for words in found)]),
        np.concatenate([np.zeros(0, np.int64), *(words.begins for words in found)]),
        np.concatenate([np.zeros(0, np.int64), *(words.ends for words in found)]),
        np.concatenate([[0], np.cumsum(counts)]),
    )


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[NDArray[np.uint8], Places]:
    """The bytes of all texts and where each begins, uint8 [bytes] and int64 [num_texts + 1]."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    if not len(texts):
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    _, places, values = texts.buffers()
    offsets = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(values, np.uint8) if values is not None else np.zeros(0, np.uint8)
    return data[offsets[0] : offsets[-1]], offsets - offsets[0]


@dataclass(frozen=True)
class _Block:
    """Bytes start:stop of the data; whole texts first:last, or a part of text `first`."""

    start: int
    stop: int
    first: int
    last: int


def _blocks(data: NDArray[np.uint8], offsets: Places) -> Iterator[_Block]:
    text, num_texts = 0, len(offsets) - 1
    while text < num_texts:
        start = int(offsets[text])
        last = int(np.searchsorted(offsets, start + BLOCK, "right")) - 1
        if last > text:
            yield _Block(start, int(offsets[last]), text, last)
            text = last
            continue
        end = int(offsets[text + 1])
        while start < end:
            stop = end if end - start <= BLOCK else _cut(data, start + BLOCK)
            yield _Block(start, stop, text, text + 1)
            start = stop
        text += 1


def _cut(data: NDArray[np.uint8], stop: int) -> int:
    """A place at or before `stop` behind white space, else the beginning of a character."""
    white = np.flatnonzero(WHITE[data[stop - LOOK_BACK : stop]])
    if len(white):
        return stop - LOOK_BACK + int(white[-1]) + 1
    while data[stop] & 0xC0 == 0x80:
        stop -= 1
    return stop


@dataclass(frozen=True)
class _BlockWords:
    hashes: Hashes
    begins: Places
    ends: Places
    counts: Places  # int64 [texts in the block]
    characters: int  # from the beginning of the block's last text to the block's end


def _block_words(data: NDArray[np.uint8], offsets: Places, block: _Block, before: int) -> _BlockWords:
    """The words of a block; `before` characters of its first text stand in earlier blocks."""
    part = data[block.start : block.stop]
    borders = np.clip(offsets[block.first : block.last] - block.start, 0, None)  # where texts begin, in bytes
    raw = part.tobytes()
    if raw.isascii():
        kinds = np.frombuffer(raw.translate(ascii_kinds()), np.uint8)
        codes = np.frombuffer(raw.lower(), np.uint8).astype(np.uint64)
    else:
        characters_before = np.concatenate([[0], np.cumsum(part & 0xC0 != 0x80)])
        borders = characters_before[borders]
        kinds, codes = _decoded(raw)
    begins, ends = _runs(kinds, borders[borders < len(codes)])
    counts = np.diff(np.searchsorted(begins, np.append(borders, len(codes))))
    hashes = _polynomials(codes, begins, ends)
    origin = np.repeat(borders, counts) - before
    characters = len(codes) - int(borders[-1]) + before
    return _BlockWords(hashes, begins - origin, ends - origin, counts, characters)


def _decoded(raw: bytes) -> tuple[NDArray[np.uint8], Hashes]:
    """The kind and the lower case of each character of UTF-8."""
    text = raw.decode("utf-8", "surrogatepass").encode("utf-32-le", "surrogatepass")
    both = kinds_and_lower_cases()[np.minimum(np.frombuffer(text, np.uint32), np.uint32(LAST))]
    return (both >> np.uint32(KIND_SHIFT)).astype(np.uint8), (both & np.uint32((1 << KIND_SHIFT) - 1)).astype(
        np.uint64
    )


def _runs(kinds: NDArray[np.uint8], borders: Places) -> tuple[Places, Places]:
    """Where words begin and end: runs of SPACED that cross no border, and each UNSPACED character."""
    inside = kinds == SPACED
    begins, ends = inside.copy(), inside.copy()
    begins[1:] &= ~inside[:-1]
    ends[:-1] &= ~inside[1:]
    begins[borders] = inside[borders]
    before = borders[borders > 0] - 1
    ends[before] = inside[before]
    alone = kinds == UNSPACED
    begins |= alone
    ends |= alone
    return np.flatnonzero(begins), np.flatnonzero(ends) + 1


def _polynomials(codes: Hashes, begins: Places, ends: Places) -> Hashes:
    """The hash of codes[begins[i]:ends[i]] for each i, uint64 [num_words]."""
    powers, inverses = _powers(BLOCK)
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * powers[: len(codes)], out=sums[1:])
    return mixed((sums[ends] - sums[begins]) * inverses[begins])


@lru_cache(1)
def _powers(number: int) -> tuple[Hashes, Hashes]:
    """B⁰, B¹, … and their inverses, as many as a block has bytes; uint64 [number] each."""
    return tuple(  # type: ignore[return-value]
        np.cumprod(np.append(np.uint64(1), np.full(number - 1, base, np.uint64)), dtype=np.uint64)
        for base in (BASE, INVERSE)
    )


def mixed(values: Hashes) -> Hashes:
    """The SplitMix64 finaliser (Steele, Lea and Flood 2014), in place where it can: bits become independent."""
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
