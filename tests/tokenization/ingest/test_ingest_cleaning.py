"""Cleaning a column is cleaning each text, once or twice alike."""

from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tokenization.errors import RecipeError
from tokenization.hashing import text_hashes
from tokenization.ingest.amounts import READ
from tokenization.ingest.cleaning import CleaningOptions, clean_text, clean_texts, not_surely_nfc
from tokenization.ingest.corpus import hash_column

NFC, RAW = CleaningOptions(), CleaningOptions(unicode="none")
UNSURE = not_surely_nfc()
clean_texts(["warm"], NFC)  # what is made once a process is made here, not within a test's deadline
_text = st.text(
    st.one_of(st.characters(), st.sampled_from("\r\n\t\f\x00\x0b\ufeffe\u0301\ud800 ，")), max_size=20
)


@given(texts=st.lists(_text, max_size=12), options=st.sampled_from([NFC, RAW]))
@example(texts=["a\r\x00\nb", "\x00\ufeffc", "", "plain"], options=NFC)
def test_a_column_is_cleaned_as_its_texts_are(texts: list[str], options: CleaningOptions) -> None:
    changes: Counter[str] = Counter()
    expected = [clean_text(text, options, changes) for text in texts]
    cleaned = clean_texts(texts, options)
    assert cleaned.texts.to_pylist() == expected
    assert cleaned.changes == +changes
    assert [clean_text(text, options) for text in expected] == expected, "cleaning twice is cleaning once"
    given = [text.encode("utf-8", "surrogatepass") for text in texts]
    stay = [text for row, text in enumerate(expected) if row not in cleaned.left_out]
    characters, size = cleaned.amounts["characters"], cleaned.amounts["bytes"]
    assert characters.get(READ, 0) == sum(map(len, texts)) and size.get(READ, 0) == sum(map(len, given))
    assert sum(characters.values()) == sum(map(len, stay)), "read + what each step added = what stays"
    assert sum(size.values()) == sum(len(text.encode()) for text in stay)
    assert set(cleaned.left_out) == {row for row, text in enumerate(expected) if not text.strip()}
    assert hash_column(cleaned.texts).to_pylist() == text_hashes(expected)
    for text in expected:
        text.encode()
        assert not any(character < " " and character not in "\t\n\f" for character in text)
        assert not text.startswith("\ufeff")
        assert options is RAW or unicodedata.is_normalized("NFC", text)


def test_the_characters_that_need_a_look_are_all_there_are() -> None:
    assert set(not_surely_nfc(0x110000)) == set(UNSURE) and 1500 < len(UNSURE) < 6000
    sure = set(range(0x110000)).difference(UNSURE, range(0xD800, 0xE000))
    assert unicodedata.is_normalized("NFC", "".join(map(chr, sorted(sure))))
    assert unicodedata.is_normalized("NFC", "".join(map(chr, sorted(sure, reverse=True))))


@given(st.text(st.sampled_from([chr(point) for point in UNSURE]) | st.sampled_from("aeoက가ᄀா "), max_size=8))
def test_a_text_that_is_not_in_nfc_never_passes_unseen(text: str) -> None:
    assert clean_texts([text], NFC).texts.to_pylist() == [clean_text(text, NFC)]


@pytest.mark.parametrize(
    ("text", "clean", "change"),
    [
        ("a\r\nb\rc", "a\nb\nc", "newlines_normalised"),
        ("a\x00b\x1bc", "abc", "controls_removed"),
        ("\ufeffa", "a", "byte_order_mark_removed"),
        ("e\u0301", "é", "unicode_normalised"),
        ("a\ud800", "a\ufffd", "surrogates_replaced"),
    ],
)
def test_each_change_is_made_and_counted(text: str, clean: str, change: str) -> None:
    cleaned = clean_texts(["same", text], NFC)
    assert cleaned.texts.to_pylist() == ["same", clean]
    assert cleaned.changes == {change: 1}


@pytest.mark.parametrize("text", ["tab\there\n\n form\ffeed ", "（全角）ＡＢＣ，。ﬁ", "a\ufeffb", " spaces "])
def test_what_means_something_stays(text: str) -> None:
    cleaned = clean_texts([text], NFC)
    assert cleaned.texts.to_pylist() == [text] and not cleaned.changes


def test_short_and_empty_texts_are_left_out_by_their_cleaned_length() -> None:
    cleaned = clean_texts(
        ["\x00\x00\x00", "ab\x00\x00", "红楼梦", " \n\u3000"], CleaningOptions(min_characters=3)
    )
    assert {row: reason for row, (reason, _) in cleaned.left_out.items()} == {
        0: "empty", 1: "too_short", 3: "empty",
    }  # fmt: skip


def test_options_outside_their_limits_are_refused() -> None:
    with pytest.raises(RecipeError, match="nfc or none"):
        CleaningOptions(unicode="nfkc")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="negative"):
        CleaningOptions(min_characters=-1)


def test_hashes_do_not_depend_on_where_a_column_was_cut() -> None:
    column = clean_texts(["one", "two", "三"], NFC).texts
    assert hash_column(column.slice(1)).to_pylist() == text_hashes(["two", "三"])
    assert hash_column(column.slice(0, 0)).to_pylist() == []
    assert np.ndim(hash_column(column)) == 1
