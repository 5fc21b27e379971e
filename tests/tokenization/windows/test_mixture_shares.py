"""What holds of every mixture: the share, the repetition, the order and the accounts."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tokenization.errors import RecipeError
from tokenization.windows.mixture import (
    PRETRAIN,
    SFT,
    Mixture,
    plan_mixture,
    plan_single_kind,
    stored_order,
)

thorough = settings(max_examples=150, deadline=None)
counts = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 50)), min_size=1, max_size=60)
units = st.sampled_from(["total_tokens", "target_tokens"])
shares = st.integers(0, 90).map(lambda percent: percent / 100)


def mixed(**changes: Any) -> Mixture:
    """200 full SFT windows, half of each trained, and 100 of text; a change is an argument."""
    arguments: dict[str, Any] = {
        "sft_tokens": np.full(200, 4096),
        "sft_targets": np.full(200, 2048),
        "pretrain_tokens": np.full(100, 4096),
        "pretrain_targets": np.full(100, 4090),
        "share": 0.15,
        "unit": "total_tokens",
        "max_repetition": 1.0,
        "seed": 17,
        "keep_last": None,
    }
    return plan_mixture(**{**arguments, **changes})


def drawn(mixture: Mixture) -> list[int]:
    return [int(window) for window in mixture.index[mixture.kind == PRETRAIN]]


def test_one_epoch_is_every_sft_window_once_and_the_text_that_the_share_asks_for() -> None:
    mixture = mixed()
    assert sorted(mixture.index[mixture.kind == SFT]) == list(range(200))
    assert len(drawn(mixture)) == len(set(drawn(mixture))) == 35  # 35 / 235 = 0.1489, 36 / 236 = 0.1525
    assert mixture.achieved["total_tokens"] == mixture.achieved["windows"] == 35 / 235
    assert mixture.achieved["target_tokens"] == 35 * 4090 / (35 * 4090 + 200 * 2048)
    assert mixture.report() == {
        "unit": "total_tokens",
        "asked": 0.15,
        "achieved": mixture.achieved,
        "repetition": 0.35,
        "not_drawn": {"windows": 65, "tokens": 65 * 4096, "targets": 65 * 4090},
        "repeated": {"windows": 0, "tokens": 0, "targets": 0},
    }


def test_the_same_share_of_targets_is_less_text() -> None:
    mixture = mixed(unit="target_tokens")
    assert len(drawn(mixture)) == 18  # 0.15 / 0.85 · 200 · 2048 / 4090 = 17.7
    assert abs(mixture.achieved["target_tokens"] - 0.15) < abs(mixture.achieved["total_tokens"] - 0.15)


@thorough
@given(sft=counts, text=counts, share=shares, unit=units, seed=st.integers(0, 9), data=st.data())
def test_no_other_number_of_windows_comes_nearer_to_the_share(
    sft: list[tuple[int, int]],
    text: list[tuple[int, int]],
    share: float,
    unit: str,
    seed: int,
    data: st.DataObject,
) -> None:
    column = ["total_tokens", "target_tokens"].index(unit)
    beside = sum(window[column] for window in sft)
    assume(beside and sum(window[column] for window in text))
    arguments = {
        "sft_tokens": [tokens for tokens, _ in sft],
        "sft_targets": [targets for _, targets in sft],
        "pretrain_tokens": [tokens for tokens, _ in text],
        "pretrain_targets": [targets for _, targets in text],
        "unit": unit,
        "max_repetition": 1e9,
        "seed": seed,
        "keep_last": data.draw(st.none() | st.integers(0, len(text) - 1)),
    }
    mixture = mixed(**arguments, share=share)
    chosen, more = drawn(mixture), drawn(mixed(**arguments, share=0.95))
    assert more[: len(chosen)] == chosen  # a larger share goes on where a smaller one stops

    totals = np.append(0, np.cumsum([text[w][column] for w in more])).tolist()
    misses = [abs(Fraction(total, beside + total) - Fraction(str(share))) for total in totals]
    assert misses[len(chosen)] == min(misses)
    assert mixture.achieved[unit] == totals[len(chosen)] / (totals[len(chosen)] + beside)


@thorough
@given(text=counts, share=shares)
def test_what_is_drawn_is_what_there_is_less_what_is_left_out_and_what_is_seen_again(
    text: list[tuple[int, int]], share: float
) -> None:
    mixture = mixed(
        sft_tokens=[400],
        sft_targets=[100],
        pretrain_tokens=[tokens for tokens, _ in text],
        pretrain_targets=[targets for _, targets in text],
        share=share,
        max_repetition=1e9,
    )
    rows = [(1, *text[w]) for w in drawn(mixture)]
    for column, key in enumerate(("windows", "tokens", "targets")):
        there = sum((1, *window)[column] for window in text)
        assert sum(row[column] for row in rows) == there - mixture.not_drawn[key] + mixture.repeated[key]
    assert mixture.repetition == len(rows) / len(text)


@thorough
@given(num_sft=st.integers(1, 400), num_text=st.integers(1, 400), share=shares, stretch=st.just(40))
def test_any_stretch_of_40_rows_holds_its_part_of_text_to_within_a_window(
    num_sft: int, num_text: int, share: float, stretch: int
) -> None:
    mixture = mixed(
        sft_tokens=np.ones(num_sft, np.int64),
        sft_targets=np.ones(num_sft, np.int64),
        pretrain_tokens=np.ones(num_text, np.int64),
        pretrain_targets=np.ones(num_text, np.int64),
        share=share,
        max_repetition=1e9,
    )
    running = np.append(0, np.cumsum(mixture.kind == PRETRAIN))
    rows = min(stretch, len(mixture))
    inside = running[rows:] - running[:-rows]
    assert len(inside) >= 1
    assert (np.abs(inside - rows * mixture.achieved["windows"]) < 1).all()


def test_text_is_seen_again_only_after_all_of_it_was_seen() -> None:
    mixture = mixed(
        pretrain_tokens=[4096] * 9 + [7], pretrain_targets=[4095] * 9 + [6], max_repetition=4, keep_last=9
    )
    rows = drawn(mixture)
    rounds = [rows[i : i + 10] for i in range(0, len(rows), 10)]
    assert len(rows) == 38  # 35.3 full windows, and the short one in each of the three whole rounds
    assert all(sorted(whole) == list(range(10)) for whole in rounds[:3])
    assert len({tuple(whole) for whole in rounds}) == len(rounds) == 4
    assert [whole[-1] for whole in rounds[:3]] == [9, 9, 9]  # the padded remainder is drawn last
    assert 9 not in rounds[3]
    assert mixture.repeated == {"windows": 28, "tokens": 26 * 4096 + 14, "targets": 26 * 4095 + 12}
    assert mixture.repetition == 3.8


def test_more_repetition_than_allowed_is_refused_with_the_numbers_and_the_ways_on() -> None:
    with pytest.raises(RecipeError) as error:
        mixed(pretrain_tokens=[4096] * 20, pretrain_targets=[4095] * 20)
    assert str(error.value) == (
        "mixture.pretrain_share 0.15 of total_tokens needs 144,565 total tokens of text beside 819,200 "
        "of chats, and there are 81,920 in 20 pretraining windows: each would be seen 1.75 times, above "
        "mixture.max_repetition 1; add pretraining text, lower mixture.pretrain_share to 0.09, or set "
        "mixture.max_repetition: 2"
    )


@pytest.mark.parametrize("max_repetition", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_each_way_on_that_a_refusal_names_is_one(max_repetition: float) -> None:
    rng = np.random.default_rng(6)
    refused = 0
    for num_text in range(1, 60):
        text: dict[str, Any] = {
            "pretrain_tokens": rng.integers(1, 4097, num_text),
            "pretrain_targets": rng.integers(0, 4096, num_text),
            "share": int(rng.integers(1, 50)) / 100,
        }
        try:
            mixture = mixed(**text, max_repetition=max_repetition)
        except RecipeError as error:
            refused += 1
            _, _, allowed = str(error).rpartition(" mixture.max_repetition: ")
            assert mixed(**text, max_repetition=int(allowed)).kind.any()
            lower = re.search(r"pretrain_share to ([\d.]+),", str(error))
            if lower and max_repetition >= 1:
                assert float(lower[1]) < text["share"]
                mixed(**{**text, "share": float(lower[1])}, max_repetition=max_repetition)
        else:
            assert len(drawn(mixture)) <= max_repetition * num_text
    assert 10 < refused < 59


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrain_tokens": [], "pretrain_targets": []}, "there are 0 in 0 pretraining windows: add"),
        ({"sft_tokens": [], "sft_targets": []}, "hold no total tokens; leave mixture out"),
        ({"sft_targets": [0] * 200, "unit": "target_tokens"}, "hold no target tokens"),
        ({"share": 1.0}, "fraction, from 0 to below 1"),
    ],
)
def test_a_share_that_no_text_meets_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        mixed(**changes)


def test_the_order_follows_from_seed_and_epoch_and_from_nothing_else() -> None:
    def rows(**changes: Any) -> list[tuple[int, int]]:
        mixture = mixed(**changes)
        return list(zip(mixture.kind.tolist(), mixture.index.tolist(), strict=True))

    assert rows() == rows()
    assert rows() != rows(seed=18)
    assert rows() != rows(epoch=1)
    assert sorted(rows(epoch=1))[:200] == sorted(rows())[:200]


def test_more_chats_leave_the_text_drawn_so_far_as_it_was() -> None:
    more = {"sft_tokens": np.full(230, 4096), "sft_targets": np.full(230, 2048)}
    assert drawn(mixed(**more))[:35] == drawn(mixed())
    assert len(drawn(mixed(**more))) > 35


def test_more_text_leaves_the_order_of_the_chats_as_it_was() -> None:
    more = {"pretrain_tokens": np.full(300, 1024), "pretrain_targets": np.full(300, 1000)}
    orders = [mixture.index[mixture.kind == SFT].tolist() for mixture in (mixed(), mixed(**more))]
    assert orders[0] == orders[1] != sorted(orders[0])


def test_a_share_is_the_decimal_that_people_write() -> None:
    # 17 tokens beside 323 are 0.05 and 57 are 0.15: equally near to 0.1, though not to its binary neighbour.
    mixture = mixed(
        sft_tokens=[323],
        sft_targets=[1],
        pretrain_tokens=[17, 40],
        pretrain_targets=[1, 1],
        share=0.1,
        keep_last=1,
    )
    assert drawn(mixture) == [0]


def test_one_kind_alone_is_every_window_once_in_a_seeded_order() -> None:
    for kind in (SFT, PRETRAIN):
        rows = plan_single_kind(50, seed=3, kind=kind)
        assert (rows.kind == kind).all()
        assert sorted(rows.index) == list(range(50)) != rows.index.tolist()
        assert np.array_equal(rows.index, plan_single_kind(50, seed=3, kind=kind).index)
        assert not np.array_equal(rows.index, plan_single_kind(50, seed=3, kind=kind, epoch=1).index)
    assert len(plan_single_kind(0, seed=3, kind=SFT)) == 0


def test_validation_rows_stand_as_stored_with_text_first() -> None:
    rows = stored_order(num_pretrain=2, num_sft=3)
    assert list(zip(rows.kind, rows.index, strict=True)) == [(1, 0), (1, 1), (0, 0), (0, 1), (0, 2)]
    assert rows.kind.dtype == np.int8
