"""Chunks cover the source once, in order, and stay where they were when a file comes or goes."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.ingest.chunks import Chunk, plan_chunks
from tokenization.ingest.files import InputFile


def _file(relative: str, size: int, format: str = "text", compression: str | None = None) -> InputFile:
    return InputFile(f"/data/{relative}", relative, size, 0, 0, format, compression)


_files = st.lists(
    st.tuples(st.integers(0, 2000), st.sampled_from(["text", "jsonl"]), st.sampled_from([None, "gz"])),
    max_size=30,
).map(lambda rows: [_file(f"{n:03}", *row) for n, row in enumerate(rows)])


@given(files=_files, chunk_bytes=st.integers(1, 900), group_bytes=st.integers(0, 900))
def test_chunks_cover_each_file_once_and_in_order(
    files: list[InputFile], chunk_bytes: int, group_bytes: int
) -> None:
    chunks = plan_chunks(files, [file.relative for file in files], chunk_bytes, group_bytes)
    pieces = [piece for chunk in chunks for piece in chunk.pieces]
    assert all(piece.digest == piece.file.relative for piece in pieces)
    assert list(dict.fromkeys(piece.file for piece in pieces)) == files
    for file in files:
        ranges = [(piece.start, piece.stop) for piece in pieces if piece.file is file]
        if file.format == "jsonl" and file.compression is None:
            assert ranges[0][0] == 0 and ranges[-1][1] == file.size
            assert all(first[1] == second[0] for first, second in pairwise(ranges))
            sizes = [stop - start for start, stop in ranges]
            assert max(sizes) <= chunk_bytes and max(sizes) - min(sizes) <= 1, "no worker gets the most of it"
            least = max(1, -(-file.size // chunk_bytes))
            assert len(sizes) == (least + least % 2 if 1 < least < file.size else least), "of two, none waits"
        else:
            assert ranges == [(0, -1)]
    for chunk in chunks:
        if len(chunk.pieces) > 1:
            assert sum(piece.file.size for piece in chunk.pieces) <= group_bytes
            assert all(piece.start == 0 for piece in chunk.pieces), "a part of a larger file is alone"
    assert pickle.loads(pickle.dumps(chunks)) == chunks


def test_a_new_file_regroups_its_neighbours_and_not_the_source() -> None:
    files = [_file(f"docs/page-{n:04}.md", 3000 + n % 7 * 500) for n in range(1000)]
    before = set(plan_chunks(files, ["x"] * 1000))
    assert 20 < len(before) < 200, "small files are grouped"
    files.insert(3, _file("docs/page-0002a.md", 4000))
    after: list[Chunk] = plan_chunks(files, ["x"] * 1001)
    assert sum(chunk not in before for chunk in after) <= 5


@pytest.mark.parametrize("limits", [{"chunk_bytes": 0}, {"group_bytes": -1}])
def test_impossible_sizes_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        plan_chunks([], [], **limits)
