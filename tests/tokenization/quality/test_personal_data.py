"""Personal data is replaced and counted; everything else stays byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tokenization.quality.personal_data import PATTERNS, PersonalDataSpec, Replaced, replace_personal_data

SPEC = PersonalDataSpec()


def _replaced(*texts: str, spec: PersonalDataSpec = SPEC) -> Replaced:
    return replace_personal_data(pa.array(texts, pa.large_string()), spec)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("mail a.b+c@x.example.com.", "mail [email]."),
        ("<q@z.co>,r@z.co", "<[email]>,[email]"),
        ("邮箱zhang@qq.com吗", "邮箱[email]吗"),
        ("ping 8.8.8.8.", "ping [IP address]."),
        ("1.1.1.1 9.9.9.9 5.5.5.5,6.6.6.6", "[IP address] [IP address] [IP address],[IP address]"),
        ("http://93.184.216.34:80/", "http://[IP address]:80/"),
        ("from 2001:db8::1.", "from [IP address]."),
        ("[2001:0db8:85a3:0000:0000:8a2e:0370:7334]:80", "[[IP address]]:80"),
        ("call +1 (415) 555-2671.", "call [phone number]."),
        ("+44 20 7946 0958, +33-1-23-45-67-89", "[phone number], [phone number]"),
        ("电话13812345678联系", "电话[phone number]联系"),
        ("+86 138 1234 5678 0086-13812345678", "[phone number] [phone number]"),
    ],
)
def test_personal_data_is_replaced(text: str, clean: str) -> None:
    found = _replaced("before", text, "behind")
    assert found.texts.to_pylist() == ["before", clean, "behind"]
    assert sum(found.counts.values()) == sum(
        clean.count(each) for each in ("[email]", "[IP address]", "[phone number]")
    )
    assert found.documents == 1


@pytest.mark.parametrize(
    "text",
    [
        *("user@localhost", "@decorator", "a @ b.com", "pkg@1.2.3", "x@y.c"),
        *("127.0.0.1", "192.168.1.1", "10.0.0.1", "172.16.0.1", "169.254.1.1", "0.0.0.0", "255.255.255.255"),
        *("v1.2.3.4", "lib-1.2.3.4.tar", "1.2.3.4.5", "1.2.3.256", "1.2.3", "1.2.3.4a"),
        *("std::vector", "dead::beef", "12:34:56", "::1", "fe80::1", "a:b:c:d"),
        *("+1 234", "+123456789", "1+2345678901234", ")+1099511627776*", "x+1234567890"),
        *("138123456789", "0.13812345678", "12812345678", "a13812345678", "13812345678.5"),
    ],
)
def test_what_comes_near_stays(text: str) -> None:
    column = pa.array(["before", text], pa.large_string())
    found = replace_personal_data(column, SPEC)
    assert found.texts is column
    assert found.counts == {"email": 0, "ip": 0, "phone": 0}


_PIECES = (
    *("a@b.co", "x.y@z.org", "8.8.8.8", "1.2.3.4", "2001:db8::1", "13812345678", "+14155552671", "86", "+"),
    *(" ", ".", ",", "@", ":", "-", "1", "a", "中", "\n", "(", "[email]", "$1", "é"),
)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(_PIECES), max_size=10).map("".join), max_size=5))
def test_a_text_without_a_match_is_unchanged_and_the_rest_is_counted(texts: list[str]) -> None:
    found = _replaced(*texts)
    expected = [re.compile(pattern.found, re.A) for pattern in PATTERNS]
    changed = 0
    for before, after in zip(texts, found.texts.to_pylist(), strict=True):
        has_some = any(pattern.search(before) for pattern in expected)
        assert has_some == (before != after), before
        changed += has_some
    assert found.documents == changed
    assert (sum(found.counts.values()) > 0) == (changed > 0)


@settings(max_examples=100, deadline=None)
@given(
    text=st.lists(st.sampled_from([" ", ", ", "a@b.co", "8.8.8.8", "13812345678", "+14155552671"])).map(
        "".join
    )
)
def test_replacing_twice_is_replacing_once(text: str) -> None:
    once = _replaced(text)
    assert _replaced(*once.texts.to_pylist()).documents == 0


def test_a_kind_can_be_left_as_it_is_and_replacements_are_taken_literally() -> None:
    spec = PersonalDataSpec(email="${1}$$", ip=None)
    found = _replaced("a@b.co 8.8.8.8 +14155552671", spec=spec)
    assert found.texts.to_pylist() == ["${1}$$ 8.8.8.8 [phone number]"]
    assert found.counts == {"email": 1, "phone": 1}


def test_a_replacement_that_would_be_replaced_is_refused() -> None:
    with pytest.raises(ValidationError, match="is email itself"):
        PersonalDataSpec(email="email@example.com")


def test_each_pattern_has_a_hint_that_finds_all_it_finds() -> None:
    assert len(PATTERNS) == 5
    matches = ("a@b.co", "1.2.3.4", "2001:db8::1", "+8613812345678", "+14155552671")
    for pattern, text in zip(PATTERNS, matches, strict=True):
        assert re.search(pattern.found, text) and re.search(pattern.hint, text)


@pytest.mark.shared
def test_no_tokenizer_has_a_special_token_in_the_replacements(shared: Path) -> None:
    files = sorted((shared / "data/tokenizers").rglob("tokenizer.json"))
    assert files
    for file in files:
        for token in json.loads(file.read_text("utf-8"))["added_tokens"]:
            assert all(token["content"] not in text for text in SPEC.model_dump().values()), file
