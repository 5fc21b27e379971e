"""A stream of JSON is cut exactly between its values, wherever the blocks end."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.ingest.json_values import iter_values

_text = st.text(st.sampled_from('ab"\\[]{},: \n红'), max_size=8)
_key = st.text(st.sampled_from('k"\\]'), max_size=3)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_key, inner, max_size=3),
    max_leaves=8,
)


def _bare(data: bytes) -> bytes:
    """Without what may stand between values."""
    return data.removeprefix(b"\xef\xbb\xbf").translate(None, b" \t\r\n,[]")


def _cut(data: bytes, block_bytes: int) -> list[bytes]:
    return [value for values in iter_values(io.BytesIO(data), block_bytes) for value in values]


@given(
    values=st.lists(_json, max_size=8), block_bytes=st.integers(1, 60), indent=st.sampled_from([None, 0, 2])
)
def test_an_array_gives_its_elements(values: list[object], block_bytes: int, indent: int | None) -> None:
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
    assert [json.loads(raw) for raw in _cut(data, block_bytes)] == values


@given(
    values=st.lists(st.dictionaries(st.text(max_size=3), _json, max_size=3), max_size=6),
    block_bytes=st.integers(1, 60),
)
def test_values_one_after_another_are_told_apart(values: list[object], block_bytes: int) -> None:
    data = "\n".join(json.dumps(value, indent=1) for value in values).encode()
    assert [json.loads(raw) for raw in _cut(data, block_bytes)] == values


@given(
    data=st.binary(max_size=200) | st.text('[]{}",:\\ 1a', max_size=60).map(str.encode),
    block_bytes=st.integers(1, 40),
)
def test_anything_at_all_is_cut_without_end_or_loss(data: bytes, block_bytes: int) -> None:
    for size in (block_bytes, 1 << 20):
        assert _bare(b"".join(_cut(data, size))) == _bare(data)


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", []),
        (b"[]", []),
        (b"[ ]\n", []),
        (b'[1, "a,b", [2]]', [b"1", b'"a,b"', b"[2]"]),
        (b"[1, 2,]", [b"1", b"2"]),
        (b"[1, 2", [b"1", b"2"]),
        (b'[1, {"open": ', [b"1", b'{"open":']),
        (b"[1] and more", [b"1", b"and more"]),
        (b'{"a": 1}{"b": 2}', [b'{"a": 1}', b'{"b": 2}']),
        (b'{"a": 1} rest', [b'{"a": 1}', b"rest"]),
        (b'\xef\xbb\xbf[{"a": "\\\\"}, {"b": "\\\\\\""}]', [b'{"a": "\\\\"}', b'{"b": "\\\\\\""}']),
    ],
)
def test_odd_streams_give_what_can_be_told(data: bytes, values: list[bytes]) -> None:
    for block_bytes in (1, 3, 1000):
        assert _cut(data, block_bytes) == values
