"""Bytes become the text that was meant, in whatever encoding they were saved."""

from __future__ import annotations

import os

import pytest

from tokenization.ingest.decoding import UndecodableText, decode_text

CHINESE = "满纸荒唐言，一把辛酸泪！都云作者痴，谁解其中味？\n此开卷第一回也。"
FRENCH = "Où êtes-vous allée cet été, chère Hélène ? À la forêt, près du château, où l'on déjeune.\n"
RUSSIAN = "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy, a přece se město tváří, že nic neslyší. Děti běží domů.\n"


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-32", "utf-32"),
        ("plain words", "utf-16-le", "utf-16-le"),
        ("plain words", "utf-16-be", "utf-16-be"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE * 50 + "𠀀", "gb18030", "gb18030"),
        ("诗经。", "gbk", "gb18030"),
        (FRENCH, "latin-1", "latin-1"),
        (FRENCH * 100, "latin-1", "latin-1"),
        ("café", "latin-1", "latin-1"),
        ("“Smart quotes” — and naïve é", "cp1252", "cp1252"),
        ("Größe, Übermut, weiß\n", "latin-1", "latin-1"),
        (RUSSIAN * 20, "cp1251", "cp1251"),
    ],
)
def test_each_encoding_is_told(text: str, encoding: str, name: str) -> None:
    assert decode_text(text.encode(encoding)) == (text, name)


@pytest.mark.parametrize(("text", "encoding"), [(RUSSIAN * 20, "koi8-r"), (CZECH * 20, "cp1250")])
def test_other_legacy_text_is_left_to_statistics(text: str, encoding: str) -> None:
    assert decode_text(text.encode(encoding))[0] == text


def test_line_ends_become_line_feeds_and_a_leading_mark_goes() -> None:
    assert decode_text("\ufeffa\r\nb\rc\n\r\nd".encode()) == ("a\nb\nc\n\nd", "utf-8")


def test_a_character_cut_at_the_end_does_not_make_utf8_something_else() -> None:
    text, encoding = decode_text((CHINESE * 3).encode()[:-1])
    assert text.startswith(CHINESE) and text.endswith("\ufffd")
    assert encoding == "utf-8 (damaged)"


def test_nothing_is_still_text() -> None:
    assert decode_text(b"") == ("", "utf-8")


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 40, b"\x89PNG\r\n\x1a\n\x00\x00" + b"\xff\x00\xd8" * 500]
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(UndecodableText, match="convert the file to UTF-8"):
        decode_text(data)


def test_random_bytes_are_refused_or_decoded_but_never_crash() -> None:
    refused = 0
    for _ in range(20):
        try:
            decode_text(os.urandom(3000))
        except UndecodableText:
            refused += 1
    assert refused >= 15
