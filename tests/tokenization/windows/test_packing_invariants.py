"""What holds of every plan of windows, whatever the lengths."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.errors import RecipeError
from tokenization.sequences import IntArray, offsets_of
from tokenization.windows.best_fit import WORTH_REFITTING
from tokenization.windows.ordering import stable_argsort
from tokenization.windows.packing import (
    WindowPlan,
    pack_best_fit,
    pack_concat,
    pack_rows,
    pretrain_targets,
    sft_targets,
    shuffle_segments,
)

windows = st.integers(1, 40)
any_lengths = st.lists(st.integers(0, 100), max_size=80)
thorough = settings(max_examples=150, deadline=None)
PACKERS: dict[str, Callable[[list[int], int], WindowPlan]] = {
    "concat": pack_concat,
    "best_fit": lambda lengths, window: pack_best_fit(lengths, window, overlong="split"),
    "rows": lambda lengths, _: pack_rows(lengths),
}
every_packer = pytest.mark.parametrize("pack", PACKERS.values(), ids=list(PACKERS))


def stream(plan: WindowPlan, lengths: list[int]) -> IntArray:
    """Where each token of the plan stands in all sequences laid end to end."""
    offsets = offsets_of(np.array(lengths, np.int64))
    pieces = [
        np.arange(offsets[s] + at, offsets[s] + at + n)
        for s, at, n in zip(plan.sequence, plan.start, plan.length, strict=True)
    ]
    return np.concatenate([np.zeros(0, np.int64), *pieces])


def same(one: WindowPlan, other: WindowPlan) -> bool:
    fields = ("sequence", "start", "length", "offsets")
    return one.window == other.window and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in fields
    )


def sequential_best_fit(lengths: list[int], window: int) -> int:
    """Best fit decreasing as a textbook has it, one sequence after another: the number of windows."""
    spaces: list[int] = []
    for length in sorted(filter(None, lengths), reverse=True):
        at = bisect_left(spaces, length)
        insort(spaces, (spaces.pop(at) if at < len(spaces) else window) - length)
    return len(spaces)


@every_packer
@thorough
@given(lengths=any_lengths, window=windows)
def test_each_token_is_placed_once(
    pack: Callable[[list[int], int], WindowPlan], lengths: list[int], window: int
) -> None:
    plan = pack(lengths, window)
    assert np.array_equal(np.sort(stream(plan, lengths)), np.arange(sum(lengths)))
    assert plan.num_tokens == sum(lengths)
    dtypes = [array.dtype.name for array in (plan.sequence, plan.start, plan.length, plan.offsets)]
    assert dtypes == ["int64", "int64", "int32", "int64"]


@pytest.mark.parametrize("how", ["concat", "best_fit"])
@thorough
@given(lengths=any_lengths, window=windows)
def test_no_window_is_empty_or_above_its_size(how: str, lengths: list[int], window: int) -> None:
    plan = PACKERS[how](lengths, window)
    tokens = plan.tokens_per_window
    assert ((tokens >= 1) & (tokens <= window)).all()
    assert plan.num_pad_tokens == plan.num_windows * window - sum(lengths)
    assert plan.fill == (sum(lengths) / (plan.num_windows * window) if plan.num_windows else 1.0)


@thorough
@given(lengths=any_lengths, window=windows)
def test_concat_is_the_stream_in_order_and_full_but_for_the_last_window(
    lengths: list[int], window: int
) -> None:
    plan = pack_concat(lengths, window)
    assert np.array_equal(stream(plan, lengths), np.arange(sum(lengths)))
    assert (plan.tokens_per_window[:-1] == window).all()
    assert plan.num_windows == -(-sum(lengths) // window)


@thorough
@given(lengths=any_lengths, window=windows, data=st.data())
def test_concat_does_not_depend_on_how_the_lengths_were_gathered(
    lengths: list[int], window: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(lengths)))
    parts = [np.array(part, np.int32) for part in (lengths[:cut], lengths[cut:])]
    whole = pack_concat(lengths, window)
    assert same(pack_concat(np.concatenate(parts), window), whole)

    # Packing up to the cut and then going on gives the same full windows: no remainder is made at a cut.
    first = pack_concat(lengths[:cut], window)
    full = sum(lengths[:cut]) // window
    assert same(first.take(np.arange(full)), whole.take(np.arange(full)))


@thorough
@given(lengths=any_lengths, window=windows)
def test_best_fit_needs_no_more_windows_than_placing_one_after_another(
    lengths: list[int], window: int
) -> None:
    fitting = [min(length, window) for length in lengths]
    plan = pack_best_fit(fitting, window, overlong="error")
    assert plan.num_windows <= sequential_best_fit(fitting, window)


@pytest.mark.parametrize("window", [64, 4096, 70_000, 2**30])
def test_best_fit_needs_the_windows_of_the_textbook_or_fewer_for_thousands_of_lengths(window: int) -> None:
    rng = np.random.default_rng(5)
    for median in (window / 40, window / 6, window / 2):
        lengths = np.clip(rng.lognormal(np.log(median), 1, 3000), 1, window).astype(np.int64)
        plan = pack_best_fit(lengths, window, overlong="error")
        textbook = sequential_best_fit(lengths.tolist(), window)
        spared = textbook - plan.num_windows
        assert spared == 0 or (spared > 0 and textbook - -(-int(lengths.sum()) // window) >= WORTH_REFITTING)
        assert np.array_equal(np.sort(plan.sequence), np.arange(3000))


@thorough
@given(lengths=any_lengths, window=windows)
def test_best_fit_cuts_only_what_is_longer_than_a_window(lengths: list[int], window: int) -> None:
    plan = pack_best_fit(lengths, window, overlong="split")
    pieces = np.bincount(plan.sequence, minlength=len(lengths))
    assert pieces.tolist() == [-(-length // window) for length in lengths]
    assert (plan.start % window == 0).all()


@thorough
@given(lengths=any_lengths, window=windows)
def test_best_fit_stands_longest_first_and_in_the_order_given(lengths: list[int], window: int) -> None:
    plan = pack_best_fit(lengths, window, overlong="split")
    for w in range(plan.num_windows):
        one = plan.take([w])
        keys = list(zip(-one.length, one.sequence, one.start, strict=True))
        assert keys == sorted(keys)


def test_best_fit_says_what_is_too_long_and_the_way_on() -> None:
    with pytest.raises(
        RecipeError, match=r"sequence 1 has 9,120 tokens, above window=8,192 \(and 1 more"
    ) as e:
        pack_best_fit([5, 9120, 9121], 8192, overlong="error")
    assert "use window: 9121" in str(e.value)


def test_best_fit_fills_windows_of_short_chats_almost_wholly() -> None:
    rng = np.random.default_rng(1)
    lengths = np.clip(rng.lognormal(np.log(95), 0.75, 200_000), 8, 4096).astype(np.int64)
    plan = pack_best_fit(lengths, 4096, overlong="error")
    assert plan.num_windows <= 1.0002 * -(-int(lengths.sum()) // 4096)


def test_rows_keep_their_own_lengths_and_have_no_padding() -> None:
    plan = pack_rows([3, 0, 7, 1])
    assert plan.sequence.tolist() == [0, 2, 3]
    assert plan.tokens_per_window.tolist() == [3, 7, 1]
    assert (plan.window, plan.num_pad_tokens, plan.fill) == (7, 0, 1.0)


@every_packer
def test_nothing_gives_no_windows(pack: Callable[[list[int], int], WindowPlan]) -> None:
    for nothing in ([], [0, 0]):
        plan = shuffle_segments(pack(nothing, 8), seed=1)
        assert (plan.num_windows, plan.num_tokens, plan.num_pad_tokens, plan.fill) == (0, 0, 0, 1.0)
        assert len(plan.tokens_per_window) == len(pretrain_targets(plan)) == len(plan.take([])) == 0


@thorough
@given(lengths=any_lengths, window=windows, data=st.data())
def test_take_gives_the_windows_asked_for_in_that_order(
    lengths: list[int], window: int, data: st.DataObject
) -> None:
    plan = pack_concat([1, *lengths], window)
    chosen = data.draw(st.lists(st.integers(0, plan.num_windows - 1), max_size=20))
    taken = plan.take(chosen)
    assert taken.num_windows == len(chosen)
    for w, origin in enumerate(chosen):
        mine = slice(taken.offsets[w], taken.offsets[w + 1])
        theirs = slice(plan.offsets[origin], plan.offsets[origin + 1])
        for name in ("sequence", "start", "length"):
            assert np.array_equal(getattr(taken, name)[mine], getattr(plan, name)[theirs])


@thorough
@given(lengths=any_lengths, window=windows, seed=st.integers(0, 99))
def test_shuffling_keeps_each_windows_segments(lengths: list[int], window: int, seed: int) -> None:
    plan = pack_best_fit(lengths, window, overlong="split")
    shuffled = shuffle_segments(plan, seed)
    assert same(shuffled, shuffle_segments(plan, seed))
    window_of = np.repeat(np.arange(plan.num_windows), plan.segments_per_window)
    segments = [sorted(zip(window_of, p.sequence, p.start, p.length, strict=True)) for p in (plan, shuffled)]
    assert segments[0] == segments[1]
    assert np.array_equal(plan.offsets, shuffled.offsets)


def test_shuffling_gives_every_order_of_a_window_its_turn() -> None:
    plan = pack_best_fit([1] * 3000, 3, overlong="error")
    shuffled = shuffle_segments(plan, seed=4)
    ranks = (shuffled.sequence - np.repeat(plan.sequence[plan.offsets[:-1]], 3)).reshape(-1, 3)
    orders, times = np.unique(ranks, axis=0, return_counts=True)
    assert len(orders) == 6
    assert times.min() > 120  # of 1,000 windows, 167 expected of each order
    assert not same(shuffled, shuffle_segments(plan, seed=5))
    assert not same(shuffled, shuffle_segments(plan, seed=4, epoch=1))


def test_the_first_token_of_each_segment_is_no_target_of_text() -> None:
    plan = pack_concat([5, 9, 2], 6)  # 00000 1 │ 111111 │ 11 22
    assert pretrain_targets(plan).tolist() == [4, 5, 2]


def test_targets_of_chats_are_those_of_the_sessions_in_the_window() -> None:
    plan = pack_best_fit([4, 3, 1, 4], 4, overlong="error")
    assert [plan.take([w]).sequence.tolist() for w in range(3)] == [[0], [3], [1, 2]]
    assert sft_targets(plan, [3, 2, 0, 1]).tolist() == [3, 1, 2]


def test_targets_of_a_cut_session_are_not_guessed() -> None:
    with pytest.raises(ValueError, match="sequence 1 is cut"):
        sft_targets(pack_concat([2, 3], 4), [1, 1])


@pytest.mark.parametrize("upper", [0, 1, 65_535, 65_536, 1 << 40])
def test_the_radix_order_is_numpys_stable_order(upper: int) -> None:
    values = np.random.default_rng(2).integers(0, upper, 5000, endpoint=True)
    values[::7] = upper
    assert np.array_equal(stable_argsort(values, upper), np.argsort(values, kind="stable"))


def test_lengths_beyond_32_bits_are_counted_right() -> None:
    lengths = [3_000_000_000, 5_000_000_000]
    window = 2_000_000_000
    for plan in (pack_concat(lengths, window), pack_best_fit(lengths, window, overlong="split")):
        assert plan.num_tokens == 8_000_000_000
        assert plan.num_windows == 4
    assert int(pack_concat(lengths, window).start.max()) == 3_000_000_000


@pytest.mark.parametrize(
    ("lengths", "window", "message"),
    [
        ([3, -1], 4, "sequence 1 has the length -1"),
        ([1.5], 4, "must be one row of integers"),
        ([[1]], 4, "must be one row of integers"),
        ([1], 0, "a window has 1 to"),
        ([1], 2**31, "a window has 1 to"),
    ],
)
def test_what_is_no_length_or_window_is_refused(lengths: list[int], window: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_concat(lengths, window)
    with pytest.raises(ValueError, match=message):
        pack_best_fit(lengths, window, overlong="split")


def broken_plan(**changes: Any) -> WindowPlan:
    good: dict[str, Any] = {
        "sequence": np.array([0, 1], np.int64),
        "start": np.zeros(2, np.int64),
        "length": np.array([3, 1], np.int32),
        "offsets": np.array([0, 2], np.int64),
        "window": 4,
    }
    return WindowPlan(**{**good, **changes})


def test_a_plan_that_breaks_its_guarantees_is_refused() -> None:
    assert broken_plan().num_windows == 1
    breaks: list[tuple[dict[str, Any], str]] = [
        ({"start": np.zeros(1, np.int64)}, "segments disagree"),
        ({"offsets": np.array([0, 1])}, "must start at 0 and end"),
        ({"offsets": np.array([0, 2, 2])}, "without a segment"),
        ({"length": np.array([3, 0], np.int32)}, "without a token"),
        ({"window": 3}, "holds 4 tokens, above 3"),
    ]
    for changes, message in breaks:
        with pytest.raises(ValueError, match=message):
            broken_plan(**changes)
    with pytest.raises(ValueError, match="taken by number"):
        broken_plan().take([True])
