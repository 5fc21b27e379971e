"""Labels, positions and the order of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.builds import Segment, document, padded, session, write_build
from training.batches import (
    IGNORED,
    Loader,
    Position,
    collate,
    held_out_rows,
    in_order,
    restart_positions,
    shift_labels,
)
from training.dataset import Build, Row, open_build


def row_of(segments: list[Segment], weights: bool = False) -> Row:
    return Row(
        input_ids=np.array([t for s in segments for t in s.input_ids], np.int32),
        loss_mask=np.array([m for s in segments for m in s.loss_mask], np.bool_),
        seq_lens=np.array([len(s.input_ids) for s in segments], np.int32),
        loss_weights=np.array([s.weight for s in segments], np.float32) if weights else None,
        kind="sft",
        num_pad_tokens=0,
    )


def test_the_picture_in_the_docstring_of_shift_labels_is_true() -> None:
    a, b, c, d, w, x, y, z = range(10, 18)
    labels = shift_labels(
        np.array([a, b, c, d, w, x, y, z], np.int32), np.array([0, 0, 1, 1, 0, 1, 1, 1], np.bool_)
    )
    no = IGNORED
    assert labels.tolist() == [no, c, d, no, x, y, z, no]


segments_of_any_length = st.lists(
    st.lists(st.booleans(), min_size=1, max_size=6).map(lambda mask: [False, *mask[1:]]), min_size=1
)


@given(segments_of_any_length)
def test_every_target_is_predicted_once_from_the_token_before_it_in_its_segment(
    masks: list[list[bool]],
) -> None:
    ids = iter(range(1, 10_000))
    segments = [Segment([next(ids) for _ in mask], mask) for mask in masks]
    batch = collate([row_of(segments)])
    flat = batch.input_ids[0].tolist()
    ends = set(np.cumsum(batch.seq_lens) - 1)
    predicted = {
        place: label for place, label in enumerate(batch.labels.tolist()) if label != IGNORED
    }  # ids are unique: a label names its place
    assert sorted(predicted.values()) == [t for s in segments for t, m in zip(s.input_ids, s.loss_mask) if m]  # noqa: B905
    for place, label in predicted.items():
        assert place not in ends and flat[place + 1] == label
    assert batch.num_target_tokens == len(predicted)


def test_the_first_token_of_a_segment_is_never_a_label() -> None:
    batch = collate(
        [row_of([session([3, 4], [5]), document([6, 7]), document([8])]), row_of([document([9])])]
    )
    labels = set(batch.labels.tolist()) - {IGNORED}
    assert labels == {5, 7}
    assert labels.isdisjoint({3, 6, 8, 9})


def test_a_mask_on_a_first_token_would_leak_which_is_why_opening_refuses_it() -> None:
    """The shift itself trusts the mask: here document 2's first token is predicted from document 1."""
    labels = shift_labels(np.array([1, 2, 8, 9], np.int32), np.array([0, 1, 1, 1], np.bool_))
    assert labels.tolist() == [2, 8, 9, IGNORED]


def test_positions_restart_in_each_segment_and_row() -> None:
    assert restart_positions(np.array([3, 1, 2], np.int32)).tolist() == [0, 1, 2, 0, 0, 1]
    batch = collate([row_of([document([1, 2])]), row_of([document([3, 4, 5])])])
    assert batch.position_ids.tolist() == [[0, 1, 0, 1, 2]]
    assert batch.seq_lens == (2, 3)


def test_weights_follow_their_segment() -> None:
    half = Segment([1, 2], [False, True], weight=0.5)
    batch = collate([row_of([half, document([3, 4, 5])], weights=True), row_of([document([6])])])
    assert batch.weights is not None
    assert batch.weights.tolist() == [0.5, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert collate([row_of([document([1, 2])])]).weights is None


@pytest.fixture
def ten(tmp_path: Path) -> Build:
    """Ten windows of four tokens; window n holds only the id n."""
    rows = [[document([number] * 4)] for number in range(10)]
    return open_build(write_build(tmp_path / "ten", rows, window=4, vocab_size=10))


def taken(loader: Loader, batches: int) -> list[list[int]]:
    return [loader.take().input_ids[0, ::4].tolist() for _ in range(batches)]


def epoch_of(loader: Loader) -> list[int]:
    return [window for batch in taken(loader, 5) for window in batch]


def test_epoch_0_is_the_stored_order_and_each_epoch_has_every_row_once(ten: Build) -> None:
    loader = Loader(ten.train, 7, 8)
    first, second, third = epoch_of(loader), epoch_of(loader), epoch_of(loader)
    assert first == list(range(10))
    assert sorted(second) == sorted(third) == first
    assert first != second != third
    other_seed = Loader(ten.train, 8, 8, Position(1, 0))
    assert epoch_of(other_seed) != second


def test_a_loader_put_at_a_position_goes_on_as_if_never_stopped(ten: Build) -> None:
    through = Loader(ten.train, 7, 12)
    taken(through, 5)  # 15 windows: into epoch 1
    assert through.position == Position(1, 5)
    resumed = Loader(ten.train, 7, 12, through.position)
    assert taken(through, 8) == taken(resumed, 8)
    elsewhere = Loader(ten.train, 7, 12, Position(1, 4))
    assert taken(elsewhere, 1) != taken(Loader(ten.train, 7, 12, Position(1, 5)), 1)


def test_rows_of_differing_length_fill_a_token_budget(tmp_path: Path) -> None:
    lengths = [3, 4, 2, 9, 1, 12]
    rows = [[document(range(1, length + 1))] for length in lengths]
    build = open_build(write_build(tmp_path, rows, window=8, vocab_size=16))
    loader = Loader(build.train, 0, 8)
    assert [loader.take().seq_lens for _ in range(5)] == [(3, 4), (2,), (9,), (1,), (12,)]


def test_held_out_rows_are_spread_over_the_split() -> None:
    assert held_out_rows(3, 8) == [0, 1, 2]
    assert held_out_rows(0, 8) == []
    spread = held_out_rows(101, 5)
    assert spread == [0, 25, 50, 75, 100]


def test_in_order_hands_out_each_row_once(ten: Build) -> None:
    batches = list(in_order(ten.train, [0, 3, 9], 8))
    assert [batch.input_ids[0, ::4].tolist() for batch in batches] == [[0, 3], [9]]


def test_padding_is_no_token_of_a_batch(tmp_path: Path) -> None:
    build = open_build(write_build(tmp_path, [padded([document([1, 2, 3])], 8)], window=8, vocab_size=8))
    batch = Loader(build.train, 0, 8).take()
    assert (batch.num_tokens, batch.num_target_tokens, batch.seq_lens) == (3, 2, (3, 5))
