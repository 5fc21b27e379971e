"""The bytes of every id at once are those of each id asked alone, whatever stands in a vocabulary."""

from __future__ import annotations

import string
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.vocabulary import Vocabulary, byte_alphabet

LETTERS = st.sampled_from([*byte_alphabet(), "\0", "中", "😀", " "])
TOKENS = st.lists(st.text(LETTERS, min_size=1, max_size=6), unique=True, min_size=1, max_size=20)


def definition(vocab: dict[str, int], added: dict[str, int], decoder: dict[str, object]) -> Definition:
    return Definition(
        {
            "model": {"type": "BPE", "vocab": vocab, "merges": []},
            "added_tokens": [{"content": text, "id": number} for text, number in added.items()],
            "decoder": decoder,
        }
    )


@given(TOKENS, st.data())
def test_the_table_spells_what_each_id_spells(tokens: list[str], data: st.DataObject) -> None:
    numbers = data.draw(
        st.one_of(
            st.just(list(range(len(tokens)))),
            st.lists(st.integers(0, 60), unique=True, min_size=len(tokens), max_size=len(tokens)),
        )
    )
    added = data.draw(
        st.dictionaries(st.text(string.ascii_letters, min_size=1), st.integers(0, 70), max_size=4)
    )
    vocab = dict(zip(tokens, numbers, strict=True))
    decoder = data.draw(
        st.sampled_from([{"type": "ByteLevel"}, {"type": "Metaspace"}, {"type": "WordPiece", "prefix": "##"}])
    )
    vocabulary = Vocabulary(definition(vocab, added, decoder))
    flat, offsets = vocabulary.byte_table
    assert len(offsets) == max([*vocab.values(), *added.values()]) + 2
    spelled = [flat[a:b].tobytes() for a, b in pairwise(offsets)]
    assert spelled == [vocabulary.token_bytes(number) for number in range(len(spelled))]
    assert any(spelled)
