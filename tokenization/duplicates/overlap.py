"""Which texts repeat other texts word for word, where, and how much of them: n-grams in common.

`NgramIndex.build` takes the texts to guard (an evaluation set, the answers, the validation split): put the smaller side
there. `look_up` streams the other side past it and gives *pairs*: this text holds that share of that guarded text's
n-grams, and the first of them stands here.

13 words are the usual length (Brown et al. 2020, arXiv:2005.14165, appendix C, which also goes down to 8 for short
items): a guarded text of `shortest` to n-1 words counts as one n-gram of its own length; shorter ones cannot be told
from common phrases and are counted in `too_short`. A Chinese character is a word.

Guarantees: every n-gram in common is found, wherever it begins; case, spaces and punctuation don't matter; the result
for a text doesn't depend on its neighbours; the chance of a false n-gram is below 2⁻³⁰ a million on either side. An
n-gram that more than MOST_OWNERS guarded texts have is put down to the first of them only. With `most`, an index that
would hold more n-grams keeps a part of them that their hashes choose, and shares are estimates.
Price: about 40 ns a word looked up; the index takes 20 bytes a different n-gram and up to 64 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.duplicates.ngrams import ngrams, ngrams_at_words
from tokenization.duplicates.words import Hashes, Places, Words, text_buffers, words_of
from tokenization.windows.plan import ranges

CODE = "1"  # of the hashes and of what an index holds
NGRAM = 13
SHORTEST = 8
MOST_SLOTS_BITS = 26
MOST_OWNERS = 32
PIECE_BYTES = 1 << 20  # of texts looked up at once: every word of it may have MOST_OWNERS owners


@dataclass(frozen=True)
class HashSet:
    """Different hashes in order, and which of their leading bits occur: most look-ups end at the bits."""

    hashes: Hashes  # uint64 [num_hashes], ascending
    leading: NDArray[np.bool_]  # bool [2**k]
    shift: np.uint64

    @classmethod
    def of(cls, hashes: Hashes) -> HashSet:
        """`hashes` ascending, each once."""
        bits = min(max(4, len(hashes).bit_length() + 4), MOST_SLOTS_BITS)  # one slot in 16 is taken
        shift = np.uint64(64 - bits)
        leading = np.zeros(1 << bits, bool)
        leading[hashes >> shift] = True
        return cls(hashes, leading, shift)

    def find(self, hashes: Hashes) -> tuple[Places, Places]:
        """Which of these are in the set, and where there; int64, int64, of equal length."""
        maybe = np.flatnonzero(self.leading[hashes >> self.shift])
        at = np.searchsorted(self.hashes, hashes[maybe])
        at[at == len(self.hashes)] = 0
        found = self.hashes[at] == hashes[maybe] if len(self.hashes) else np.zeros(0, bool)
        return maybe[found], at[found]


@dataclass(frozen=True)
class Postings:
    """Which guarded texts have which n-grams of one length."""

    members: HashSet
    offsets: Places  # int64 [num_hashes + 1]  hash i is in owners[offsets[i]:offsets[i + 1]]
    owners: NDArray[np.int32]  # guarded texts, ascending, at most MOST_OWNERS a hash

    @classmethod
    def of(cls, hashes: Hashes, owners: NDArray[np.int32]) -> Postings:
        """Of pairs in any order, each once."""
        order = np.lexsort((owners, hashes))
        hashes, owners = hashes[order], owners[order]
        begins = np.flatnonzero(np.concatenate([[True], hashes[1:] != hashes[:-1]])) if len(hashes) else order
        counts = np.diff(np.append(begins, len(hashes)))
        few = np.arange(len(hashes)) - np.repeat(begins, counts) < MOST_OWNERS
        offsets = np.concatenate([[0], np.cumsum(np.minimum(counts, MOST_OWNERS))]).astype(np.int64)
        return cls(HashSet.of(hashes[begins]), offsets, owners[few])


@dataclass(frozen=True)
class Overlap:
    """Pairs of a text and a guarded text that have n-grams in common, by text, then by guarded text."""

    text: Places  # int64 [num_pairs]
    guarded: Places  # int64 [num_pairs]
    ngrams: Places  # int64 [num_pairs]  different ones in common
    share: NDArray[np.float64]  # [num_pairs]  of the guarded text's different n-grams
    begins: Places  # int64 [num_pairs]  the first in common, in characters from the text's beginning
    ends: Places  # int64 [num_pairs]

    def __len__(self) -> int:
        return len(self.text)

    def at(self, pairs: NDArray[np.int64] | NDArray[np.bool_]) -> Overlap:
        """Some of the pairs."""
        return Overlap(*(getattr(self, field.name)[pairs] for field in fields(self)))

    def best(self, by: Places) -> Overlap:
        """For each value of `by` (`text` or `guarded`) the pair of the largest share, the first of equal ones."""
        order = np.lexsort((np.arange(len(self)), -self.share, by))
        return self.at(order[np.concatenate([[True], np.diff(by[order]) != 0])] if len(self) else order)

    @classmethod
    def joined(cls, parts: list[Overlap]) -> Overlap:
        """One after another; no pairs where there are no parts."""
        kinds = {"share": np.float64}
        return cls(
            *(
                np.concatenate(
                    [
                        np.zeros(0, kinds.get(field.name, np.int64)),
                        *(getattr(part, field.name) for part in parts),
                    ]
                )
                for field in fields(cls)
            )
        )


@dataclass(frozen=True)
class NgramIndex:
    """The n-grams of the guarded texts, by length."""

    n: int
    postings: dict[int, Postings]  # words an n-gram → who has it; n, and the lengths of shorter texts
    ngrams: Places  # int64 [num_guarded]  different n-grams that are looked for; 0 where it is too short
    part: float  # of the n-grams that the index holds; 1 without `most`

    @property
    def num_texts(self) -> int:
        return len(self.ngrams)

    @property
    def too_short(self) -> int:
        """Guarded texts that nothing is looked for of."""
        return int((self.ngrams == 0).sum())

    @classmethod
    def build(
        cls,
        texts: Iterable[pa.Array | pa.ChunkedArray],
        n: int = NGRAM,
        shortest: int = SHORTEST,
        most: int | None = None,
    ) -> NgramIndex:
        """Index texts that come in columns."""
        if n < 1 or shortest < 1:
            raise ValueError(f"n={n}, shortest={shortest}: an n-gram has at least one word")
        gathered = _Gathered(n, min(shortest, n), most)
        for column in texts:
            gathered.add(column)
        return gathered.index()

    def look_up(self, texts: pa.Array | pa.ChunkedArray) -> Overlap:
        """What each text has in common with each guarded one; null has nothing."""
        parts = []
        first = 0
        for piece in _pieces(texts):
            found = self._look_up(words_of(piece))
            parts.append(Overlap(found.text + first, *(getattr(found, f.name) for f in fields(found)[1:])))
            first += len(piece)
        return Overlap.joined(parts)

    def _look_up(self, words: Words) -> Overlap:
        parts = [
            self._pairs(words, length, *postings_hits(words, length, postings))
            for length, postings in self.postings.items()
        ]
        joined = Overlap.joined(parts)
        return joined.at(np.lexsort((joined.guarded, joined.text)))

    def _pairs(self, words: Words, length: int, word: Places, ngram: Places, guarded: Places) -> Overlap:
        """Hits (word, n-gram, owner) gathered into pairs of text and guarded text."""
        text = np.searchsorted(words.offsets, word, "right") - 1
        order = np.lexsort((word, ngram, guarded, text))
        word, ngram, guarded, text = word[order], ngram[order], guarded[order], text[order]
        new_pair = np.ones(len(word), bool)
        new_pair[1:] = (np.diff(text) != 0) | (np.diff(guarded) != 0)
        different = new_pair.copy()
        different[1:] |= np.diff(ngram) != 0
        begins = np.flatnonzero(new_pair)
        if not len(begins):
            return Overlap.joined([])
        count = np.add.reduceat(different.astype(np.int64), begins)
        first = np.minimum.reduceat(word, begins)
        owner = guarded[begins]
        return Overlap(
            text[begins],
            owner,
            count,
            count / self.ngrams[owner],
            words.begins[first],
            words.ends[first + length - 1],
        )

    def save(self, folder: Path) -> None:
        """Files in an existing folder, which `load` maps."""
        np.save(folder / "ngrams.npy", self.ngrams)
        for length, postings in self.postings.items():
            np.save(folder / f"hashes-{length}.npy", postings.members.hashes)
            np.save(folder / f"offsets-{length}.npy", postings.offsets)
            np.save(folder / f"owners-{length}.npy", postings.owners)
        about = {"n": self.n, "lengths": list(self.postings), "part": self.part}
        (folder / "index.json").write_bytes(orjson.dumps(about))

    @classmethod
    def load(cls, folder: Path) -> NgramIndex:
        about = orjson.loads((folder / "index.json").read_bytes())
        postings = {
            length: Postings(
                HashSet.of(np.load(folder / f"hashes-{length}.npy")),
                np.load(folder / f"offsets-{length}.npy", mmap_mode="r"),
                np.load(folder / f"owners-{length}.npy", mmap_mode="r"),
            )
            for length in about["lengths"]
        }
        return cls(about["n"], postings, np.load(folder / "ngrams.npy"), about["part"])


def postings_hits(words: Words, length: int, postings: Postings) -> tuple[Places, Places, Places]:
    """(word where it begins, number of the n-gram, guarded text) of every n-gram in common, int64 each."""
    hashes, whole = ngrams_at_words(words, length)
    whole_at = np.flatnonzero(whole)
    hit, ngram = postings.members.find(hashes[whole_at])
    counts = postings.offsets[ngram + 1] - postings.offsets[ngram]
    owners = postings.owners[ranges(postings.offsets[ngram], counts)].astype(np.int64)
    return np.repeat(whole_at[hit], counts), np.repeat(ngram, counts), owners


class _Gathered:
    """Pairs of n-gram and guarded text as they are gathered; above `most` of them, a smaller part is kept."""

    def __init__(self, n: int, shortest: int, most: int | None) -> None:
        self.n, self.shortest, self.most = n, shortest, most
        self.pairs: dict[int, list[tuple[Hashes, NDArray[np.int32]]]] = {n: []}
        self.bar = np.uint64(2**64 - 1)  # hashes above it are not kept, of n-grams of n words
        self.num_texts = 0

    def add(self, column: pa.Array | pa.ChunkedArray) -> None:
        words = words_of(column)
        counts = np.diff(words.offsets)
        hashes, offsets = ngrams(words, self.n)
        self._keep(self.n, hashes, np.repeat(np.arange(len(counts)), np.diff(offsets)))
        for length in np.unique(counts[(counts >= self.shortest) & (counts < self.n)]).tolist():
            short = np.flatnonzero(counts == length)
            self._keep(length, ngrams_at_words(words, length)[0][words.offsets[:-1][short]], short)
        self.num_texts += len(counts)

    def _keep(self, length: int, hashes: Hashes, owners: Places) -> None:
        if length == self.n:
            owners, hashes = owners[hashes <= self.bar], hashes[hashes <= self.bar]
        order = np.lexsort((hashes, owners))
        hashes, owners = hashes[order], owners[order]
        new = np.ones(len(hashes), bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (np.diff(owners) != 0)
        self.pairs.setdefault(length, []).append(
            (hashes[new], (owners[new] + self.num_texts).astype(np.int32))
        )
        while self.most is not None and sum(len(part[0]) for part in self.pairs[self.n]) > self.most:
            self.bar >>= np.uint64(1)
            self.pairs[self.n] = [(h[h <= self.bar], o[h <= self.bar]) for h, o in self.pairs[self.n]]

    def index(self) -> NgramIndex:
        ngrams_of = np.zeros(self.num_texts, np.int64)
        postings = {}
        for length, parts in sorted(self.pairs.items()):
            hashes = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
            owners = np.concatenate([np.zeros(0, np.int32), *(part[1] for part in parts)])
            ngrams_of += np.bincount(owners, minlength=self.num_texts)
            postings[length] = Postings.of(hashes, owners)
        return NgramIndex(self.n, postings, ngrams_of, (int(self.bar) + 1) / 2**64)


def _pieces(texts: pa.Array | pa.ChunkedArray) -> Iterator[pa.Array | pa.ChunkedArray]:
    """The texts in slices of PIECE_BYTES, or of one text that is longer."""
    _, offsets = text_buffers(texts)
    begin = 0
    while begin < len(texts):
        end = int(np.searchsorted(offsets, offsets[begin] + PIECE_BYTES, "right")) - 1
        end = min(max(end, begin + 1), len(texts))
        yield texts.slice(begin, end - begin)
        begin = end
