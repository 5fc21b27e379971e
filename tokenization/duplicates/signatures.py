"""A column of texts in, one MinHash signature a text out: texts that share most 5-grams of words agree in most places.

The share of equal places in two signatures estimates the Jaccard similarity of their sets of 5-grams, with a
standard deviation of at most 0.5/√num_perm (0.044 for 128 places; 0.035 at a similarity of 0.8).

Guarantees: a pure function of each text, `num_perm` and `seed`, on any machine, for any cut of the texts into columns;
so a chunk's signatures can be stored under the hash of the chunk, the two parameters and `algorithm()`. A text too
short for a 5-gram has the hash of the whole text as its only member: it agrees with its exact copies alone.
Price: 35 to 50 MB/s on one core of a busy machine, at least 10 µs a text; 4·num_perm bytes a text, and while it works
some 30 bytes a word.
"""

from __future__ import annotations

import unicodedata
from itertools import chain

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from tokenization.duplicates.ngrams import ngrams
from tokenization.duplicates.words import Hashes, Places, text_buffers, words_of

Signatures = NDArray[np.uint32]  # uint32 [num_texts, num_perm]

NGRAM = 5  # words: few enough to outlive an edit, enough not to be common (Lee et al. 2022, arXiv:2107.06499)
NUM_PERM = 128
BATCH = 512  # texts: rensa hands signatures over as Python integers, which must not pile up


def algorithm() -> str:
    """What a stored signature depends on beside the text and the parameters."""
    import rensa

    return f"1:rensa{rensa.RMinHash.ALGORITHM_VERSION}:unicode{unicodedata.unidata_version}"


def signatures(
    texts: pa.Array | pa.ChunkedArray, num_perm: int = NUM_PERM, seed: int = 0, ngram: int = NGRAM
) -> Signatures:
    """The MinHash signature of each text's set of word n-grams, uint32 [num_texts, num_perm]."""
    if num_perm < 1:
        raise ValueError(f"num_perm={num_perm}: a signature has at least one place")
    members, offsets = shingles(texts, ngram)
    result = np.empty((len(offsets) - 1, num_perm), np.uint32)
    for first in range(0, len(result), BATCH):
        part = slice(first, min(first + BATCH, len(result)))
        result[part] = _batch(members, offsets[part.start : part.stop + 1], num_perm, seed)
    return result


def shingles(texts: pa.Array | pa.ChunkedArray, ngram: int = NGRAM) -> tuple[Hashes, Places]:
    """The members of each text's set, repeated ones included; at least one a text."""
    members, offsets = ngrams(words_of(texts), ngram)
    short = np.flatnonzero(np.diff(offsets) == 0)
    if not len(short):
        return members, offsets
    data, places = text_buffers(texts)
    whole = [xxhash.xxh3_64_intdigest(data[places[text] : places[text + 1]].tobytes()) for text in short]
    members = np.insert(members, offsets[short], np.array(whole, np.uint64))
    counts = np.maximum(np.diff(offsets), 1)
    return members, np.concatenate([[0], np.cumsum(counts)])


def _batch(members: Hashes, offsets: Places, num_perm: int, seed: int) -> Signatures:
    import rensa

    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        members[offsets[0] : offsets[-1]], (offsets - offsets[0]).astype(np.uint64), num_perm, seed
    )
    places = chain.from_iterable(matrix.to_rows())
    return np.fromiter(places, np.uint32, (len(offsets) - 1) * num_perm).reshape(-1, num_perm)
