"""Places in a long buffer are found whatever the size of a piece."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from tokenization.scanning import PIECE, places_where


@given(content=st.binary(max_size=200), piece=st.integers(1, 50))
@example(content=b"", piece=1)
@example(content=b"aXbX", piece=2)
def test_places_are_those_of_a_search_in_one_go(content: bytes, piece: int) -> None:
    data = np.frombuffer(content, np.uint8)
    found = places_where(data, lambda part: part == ord("X"), piece)
    assert found.tolist() == [place for place, byte in enumerate(content) if byte == ord("X")]
    assert found.dtype == np.int64


def test_a_buffer_of_several_pieces_is_searched_to_its_end() -> None:
    data = np.zeros(2 * PIECE + 2, np.uint8)
    wanted = [0, PIECE - 1, PIECE, 2 * PIECE - 1, 2 * PIECE + 1]
    data[wanted] = 1
    assert places_where(data, lambda part: part == 1).tolist() == wanted
