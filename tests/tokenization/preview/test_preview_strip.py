"""The strip is a real PNG and says what the mask says."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from preview_samples import window

from tokenization.preview.strip import (
    BORDER,
    HEIGHT,
    MASKED,
    PADDING,
    PALETTE,
    RULER,
    TRAINED,
    WIDTH,
    strip_markdown,
    strip_png,
    window_strip,
)


def decoded(png: bytes) -> NDArray[np.uint8]:
    """The palette indices of an indexed PNG, read by the book: signature, chunks, checksums, filters."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + length
    width, height, bits, colour, *_ = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (width, height, bits, colour) == (WIDTH, HEIGHT, 2, 3)
    assert chunks[b"PLTE"] == bytes(part for rgb in PALETTE for part in rgb)
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width // 4)
    assert not lines[:, 0].any()
    return (lines[:, 1:, None] >> np.array([6, 4, 2, 0], np.uint8) & 3).reshape(height, width)


@given(st.lists(st.booleans(), min_size=1, max_size=WIDTH), st.data())
def test_up_to_512_tokens_decode_back_to_the_mask(mask: list[bool], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(mask) - 1))
    lengths = [length for length in (cut, len(mask) - cut) if length]
    rows = decoded(strip_png(np.array(mask), lengths, [False] * len(lengths)))
    columns = np.arange(WIDTH) * len(mask) // WIDTH
    assert (rows[RULER:] == np.where(np.array(mask)[columns], TRAINED, MASKED)).all()
    assert (rows[:RULER] == BORDER).any() == (len(lengths) > 1)


def test_each_of_the_four_things_has_its_own_colour_at_its_own_place() -> None:
    win = window([2048, 1024], padding=1024)
    rows = decoded(strip_png(win.loss_mask, win.seq_lens, win.is_padding))
    assert (rows[RULER:, 1:256] == TRAINED).all() and (rows[RULER:, 385:] == PADDING).all()
    assert np.flatnonzero(rows[0] == BORDER).tolist() == [256, 384]
    assert len(set(PALETTE)) == 4


@pytest.mark.parametrize("trained", range(9))
def test_a_column_is_filled_by_its_trained_share_and_never_rounds_a_token_away(trained: int) -> None:
    mask = np.tile(np.arange(8) < trained, WIDTH)
    column = decoded(strip_png(mask, [len(mask)], [False]))[RULER:, 100]
    filled = int((column == TRAINED).sum())
    assert abs(filled / len(column) - trained / 8) <= 1 / len(column)
    assert (filled > 0) == (trained > 0) and (filled < len(column)) == (trained < 8)


def test_a_window_of_many_short_segments_still_fits_inline() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.multinomial(4000, np.full(60, 1 / 60)).tolist()
    win = window(lengths, padding=96, mask=(rng.random(4096) < 0.5).tolist())
    usual = window(lengths, padding=96)
    assert len(window_strip(usual)) < 1000
    assert len(strip_png(win.loss_mask, win.seq_lens, win.is_padding)) < 2_000  # noise: the worst there is


def test_the_alternative_text_gives_the_numbers() -> None:
    text = strip_markdown(np.array([False, True, True, False]), [3, 1], [False, True])
    assert text.startswith("![2 of 4 tokens trained, 1 segments, 1 padding](data:image/png;base64,")
    assert base64.b64decode(text.split("base64,")[1].rstrip(")")).startswith(b"\x89PNG")


def test_segments_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="for a mask of 4"):
        strip_png(np.zeros(4, bool), [3], [False])
