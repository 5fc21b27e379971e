"""Tokens from objects to windows: every segment stands where it belongs, whichever way it is fetched."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenization.errors import BuildError
from tokenization.stages import token_runs
from tokenization.stages.candidate import shard_borders
from tokenization.stages.token_runs import Runs, fill
from tokenization.stages.windows import Rows

OBJECTS, TOKENS = 4, 40


def write_object(folder: Path, number: int, dtype: str, with_mask: bool) -> Path:
    """An object whose ids tell the object and the place."""
    path = folder / f"{number}"
    path.mkdir()
    (1000 * number + np.arange(TOKENS)).astype(dtype).tofile(path / "ids.bin")
    if with_mask:
        (np.arange(TOKENS) % 3 == number % 3).tofile(path / "mask.bin")
    (path / "meta.json").write_text(json.dumps({"dtype": dtype}))
    return path


segment = st.tuples(st.integers(0, OBJECTS - 1), st.integers(0, TOKENS - 1), st.integers(1, 12)).map(
    lambda s: (s[0], s[1], min(s[2], TOKENS - s[1]))
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    segments=st.lists(segment, min_size=1, max_size=40),
    gaps=st.lists(st.integers(0, 2), min_size=40, max_size=40),
    long_run=st.integers(1, 12),
    masked=st.sets(st.integers(0, OBJECTS - 1)),
    in_turn=st.booleans(),
)
def test_segments_stand_where_they_belong_and_nothing_else_is_touched(
    tmp_path_factory: pytest.TempPathFactory,
    segments: list[tuple[int, int, int]],
    gaps: list[int],
    long_run: int,
    masked: set[int],
    in_turn: bool,
) -> None:
    folder = tmp_path_factory.mktemp("objects")
    paths = [write_object(folder, number, "uint16", number in masked) for number in range(OBJECTS)]
    segments = sorted(segments) if in_turn else segments  # in turn, some follow each other and are one run
    place, expected_ids, expected_mask = 0, [], []
    places = []
    for (number, begin, length), gap in zip(segments, gaps, strict=False):
        places.append(place + gap)
        own = np.arange(begin, begin + length)
        expected_ids += [7] * gap + (1000 * number + own).tolist()
        in_mask = (own % 3 == number % 3).tolist() if number in masked else [True] * length
        expected_mask += [True] * gap + in_mask
        place += gap + length
    ids, mask = np.full(place, 7, np.uint16), np.ones(place, np.bool_)
    number_of, begin, length = (np.array(column, np.int64) for column in zip(*segments, strict=True))
    with patch.object(token_runs, "LONG_RUN", long_run):
        fill(
            lambda number: paths[number],
            number_of,
            Runs(begin, np.array(places, np.int64), length),
            ids,
            mask,
        )
    assert ids.tolist() == expected_ids
    assert mask.tolist() == expected_mask


def test_segments_that_follow_each_other_are_read_at_once(tmp_path: Path) -> None:
    path = write_object(tmp_path, 1, "uint32", with_mask=False)
    ids, mask = np.zeros(20, np.uint32), np.ones(20, np.bool_)
    segments = Runs(np.array([0, 5, 9]), np.array([0, 5, 9]), np.array([5, 4, 11]))
    with patch("os.preadv", wraps=os.preadv) as reads, patch.object(token_runs, "LONG_RUN", 1):
        fill(lambda _: path, np.zeros(3, np.int64), segments, ids, mask)
    assert reads.call_count == 1
    assert ids.tolist() == [1000 + place for place in range(20)]


def test_an_object_that_ends_early_is_named(tmp_path: Path) -> None:
    path = write_object(tmp_path, 0, "uint16", with_mask=False)
    ids, mask = np.zeros(20, np.uint16), np.ones(20, np.bool_)
    segments = Runs(np.array([30]), np.array([0]), np.array([20]))
    with patch.object(token_runs, "LONG_RUN", 1), pytest.raises(BuildError, match="ends before token 50"):
        fill(lambda _: path, np.zeros(1, np.int64), segments, ids, mask)


@pytest.mark.parametrize(
    ("tokens", "shards"), [(0, 1), (99, 1), (100, 1), (101, 2), (201, 4), (400, 4), (401, 6)]
)
def test_a_split_makes_one_shard_or_an_even_number(tokens: int, shards: int) -> None:
    width = np.ones(tokens, np.int64)
    rows = Rows(np.zeros(tokens, np.int8), np.arange(tokens + 1), width, {})
    with patch("tokenization.shards.SHARD_TOKENS", 100):
        borders = shard_borders(rows)
    assert len(borders) == shards + 1
    assert borders[0] == 0 and borders[-1] == tokens
    assert all(0 <= later - earlier <= 100 for earlier, later in pairwise(borders))
