"""What messages say of their own training, as it is found in the wild, comes out in one form."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.ingest.chat_formats import BUILT_IN_ROLES, ChatOptions
from tokenization.ingest.messages import MessageReader
from tokenization.ingest.sessions import normalised_session
from tokenization.ingest.tool_calls import Refused
from tokenization.ingest.training_flags import ALL_KEYS

READER = MessageReader({}, {}, BUILT_IN_ROLES)


def read(content: str = "Hello world", role: str = "assistant", **said: Any) -> dict[str, Any]:
    """What is normalised of a message that says this beside its role and content."""
    found = READER.read_all([{"role": role, "content": content, **said}])[0]
    return {key: value for key, value in found.items() if key not in ("role", "content")}


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ({"train": False}, {"train": False}),
        ({"training": True}, {"train": True}),
        ({"loss": False}, {"train": False}),
        ({"loss": 0}, {"train": False}),
        ({"loss": 1.0}, {}),
        ({"weight": 0}, {"train": False}),
        ({"weight": 1}, {}),
        ({"weight": 0.25}, {"weight": 0.25}),
        ({"loss_weight": 2}, {"weight": 2.0}),
        ({"weight": 2, "loss_weight": 2.0}, {"weight": 2.0}),
        ({"train": True, "weight": 0}, {"train": False}),
        ({"weight": 0, "train": True, "loss": True}, {"train": False}),
        ({"train": None, "weight": None}, {}),
        ({"train_ranges": [[0, 5]]}, {"train": True, "train_ranges": [[0, 5]]}),
        ({"train_ranges": [[6, 11], [0, 3], [2, 4]]}, {"train": True, "train_ranges": [[0, 4], [6, 11]]}),
        ({"train_ranges": [[3, 3]]}, {"train": False}),
        ({"train_ranges": []}, {"train": False}),
        ({"train_ranges": [[0, 5]], "loss": False}, {"train": False}),
        (
            {"train_ranges": [[0, 5]], "weight": 0.5},
            {"train": True, "weight": 0.5, "train_ranges": [[0, 5]]},
        ),
    ],
)
def test_flags_of_every_kind_come_out_in_one_form(said: dict[str, Any], normal: dict[str, Any]) -> None:
    assert read(**said) == normal


def detail(*entries: tuple[int, int, bool]) -> list[dict[str, Any]]:
    return [{"begin_offset": begin, "end_offset": end, "train": yes} for begin, end, yes in entries]


@pytest.mark.parametrize("key", ["train_detail", "training_detail"])
def test_details_name_their_last_character_and_what_none_names_is_not_trained(key: str) -> None:
    assert read(**{key: detail((0, 4, True))}) == {"train": True, "train_ranges": [[0, 5]]}
    both = detail((0, 3, False), (4, 6, True), (7, 10, False))
    assert read(**{key: both})["train_ranges"] == [[4, 7]]
    assert read(**{key: detail((0, 10, True), (2, 4, False))})["train_ranges"] == [[0, 2], [5, 11]]
    assert read(**{key: detail((0, 10, False))}) == {"train": False}
    assert read(role="user", **{key: detail((0, 10, True))}) == {"train": True, "train_ranges": [[0, 11]]}


def test_ranges_move_with_the_content_when_thinking_is_taken_off_it() -> None:
    content = "<think>\nhm\n</think>\n\nHello"
    hello = content.index("Hello")
    assert read(content, train_ranges=[[hello, hello + 2]]) == {
        "reasoning_content": "hm",
        "train": True,
        "train_ranges": [[0, 2]],
    }
    with pytest.raises(Refused, match="thinking") as refused:
        read(content, train_ranges=[[0, hello + 2]])
    assert refused.value.reason == "unsupported_content"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"weight": -1}, "weight is -1"),
        ({"weight": float("nan")}, "weight is nan"),
        ({"loss_weight": float("inf")}, "loss_weight is inf"),
        ({"train": "yes"}, "train is a string"),
        ({"weight": 2, "loss_weight": 3}, "two weights"),
        ({"train_ranges": "0-5"}, "must be a list"),
        ({"train_ranges": [[0, 12]]}, "the content has 11"),
        ({"train_ranges": [[-1, 2]]}, "the content has 11"),
        ({"train_ranges": [[5, 2]]}, "the content has 11"),
        ({"train_ranges": [[0]]}, r"\[start, stop\]"),
        ({"train_ranges": [[0, True]]}, r"\[start, stop\]"),
        ({"train_detail": [{"begin_offset": 0}]}, "begin_offset, end_offset"),
        ({"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": 1}]}, "must be true or false"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_it_found(said: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        read(**said)
    assert refused.value.reason == "wrong_type"


RANGES = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).map(sorted), max_size=4)


@given(RANGES, st.sampled_from([{}, {"train": True}, {"weight": 0.5}, {"loss": False}]))
def test_normalising_twice_is_normalising_once_and_ranges_hold_the_same_characters(
    ranges: list[list[int]], more: dict[str, Any]
) -> None:
    once = READER.read_all([{"role": "assistant", "content": "Hello world", "train_ranges": ranges, **more}])
    assert READER.read_all(once) == once
    own = once[0].get("train_ranges", [])
    said = {place for start, stop in ranges for place in range(start, stop)}
    assert more.get("loss") is False or {p for start, stop in own for p in range(start, stop)} == said
    assert all(a[1] < b[0] for a, b in pairwise(own))
    assert list(once[0])[2:] == [k for k in ("train", "weight", "train_ranges") if k in once[0]]
    assert set(once[0]) <= ALL_KEYS | {"role", "content"}


def test_a_session_needs_a_message_that_may_be_trained_and_a_tool_never_may() -> None:
    asked = {"role": "user", "content": "q"}

    def session(*messages: dict[str, Any]) -> bytes:
        return normalised_session({"messages": list(messages)}, ChatOptions(), READER)[0]

    assert session({**asked, "train": True})
    for silent in ([asked], [asked, {"role": "tool", "content": "42", "train": True}]):
        with pytest.raises(Refused) as refused:
            session(*silent)
        assert refused.value.reason == "no_target"
