"""Columns of plain sessions are exactly the sessions whose JSON they write."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.plain_sessions import TURNS, messages_json, of_turns, plain_sessions

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
plain_message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "背景", 'a"b', "x\\"]), "content": text}
)
rich_message = st.one_of(
    plain_message.map(lambda m: {**m, "train": False}),
    plain_message.map(lambda m: {"content": m["content"], "role": m["role"]}),
    st.just({"role": "user", "content": None}),
    st.just({"role": "user", "content": [{"type": "text", "text": "x"}]}),
    st.just({"role": "user"}),
)
sessions_strategy = st.lists(
    st.lists(st.one_of(plain_message, rich_message), min_size=1, max_size=4), max_size=6
)


def table(sessions: list[Any]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([orjson.dumps(s).decode() for s in sessions], pa.large_string())])


def is_rare(message: dict[str, Any]) -> bool:
    return any(c < " " and c not in "\n\r\t" for c in message["role"] + message["content"])


def is_plain(session: list[dict[str, Any]]) -> bool:
    return all(set(m) == {"role", "content"} and type(m["content"]) is str for m in session) and not any(
        map(is_rare, session)
    )


@settings(max_examples=200, deadline=None)
@given(sessions_strategy)
def test_plain_sessions_are_those_with_roles_and_texts_alone_and_come_back_whole(sessions: list[Any]) -> None:
    found = plain_sessions(table(sessions))
    back = {row: found.messages(i) for i, row in enumerate(found.rows.tolist())}
    assert all(back[row] == sessions[row] for row in back)
    if all(
        type(m.get("content", "")) is str for s in sessions for m in s
    ):  # else Arrow may refuse all of them
        assert set(back) == {row for row, s in enumerate(sessions) if is_plain(s)}


def test_a_table_of_plain_sessions_is_plain_whole() -> None:
    sessions = [
        [{"role": "user", "content": f'你好 "{i}"\n\t\\'}, {"role": "assistant", "content": "🏳️‍🌈"}]
        for i in range(50)
    ]
    found = plain_sessions(table(sessions))
    assert found.rows.tolist() == list(range(50)) and found.messages(7) == sessions[7]
    assert found.roles_of(3) == ["user", "assistant"]
    (group,) = found.by_roles().values()
    assert group.tolist() == list(range(50))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=3), max_size=30),
    st.sampled_from([1, 3, 40]),
    st.sampled_from([0, 12]),
)
def test_sessions_are_grouped_by_their_roles_however_many_there_are(
    rows: list[list[int]], spread: int, longer: int
) -> None:
    # 97 roles in 14 messages are more sequences than 64 bits number.
    named = [[f"role {number * spread}" for number in row + [0] * longer] for row in rows]
    known = [[f"role {number}" for number in range(97)]]
    sessions = [[{"role": role, "content": "x"} for role in roles] for roles in known + named]
    found = plain_sessions(table(sessions))
    groups = found.by_roles().values()
    expected: dict[tuple[str, ...], list[int]] = {}
    for number, roles in enumerate(known + named):
        expected.setdefault(tuple(roles), []).append(number)
    assert sorted(group.tolist() for group in groups) == sorted(expected.values())


def test_chosen_sessions_are_the_same_sessions() -> None:
    sessions = [[{"role": "user", "content": f"{i}{j}"} for j in range(i + 1)] for i in range(6)]
    found = plain_sessions(table(sessions))
    some = found.chosen(np.array([1, 4]))
    assert some.rows.tolist() == [1, 4]
    assert [some.messages(i) for i in range(2)] == [sessions[1], sessions[4]]


def test_only_eligible_rows_are_looked_at() -> None:
    sessions = [[{"role": "user", "content": str(i)}] for i in range(4)]
    found = plain_sessions(table(sessions), np.array([False, True, False, True]))
    assert found.rows.tolist() == [1, 3] and found.messages(1) == sessions[3]


@settings(max_examples=200, deadline=None)
@given(sessions_strategy)
def test_turns_are_the_plain_sessions_of_their_rows_and_null_in_the_others(sessions: list[Any]) -> None:
    found = plain_sessions(table(sessions))
    turns = found.turns(len(sessions))
    assert len(turns) == len(sessions)
    plain = dict(zip(found.rows.tolist(), map(found.messages, range(len(found))), strict=True))
    assert turns.to_pylist() == [plain.get(row) for row in range(len(sessions))]
    again = of_turns(pa.chunked_array([turns]))
    assert again.rows.tolist() == found.rows.tolist()
    assert [again.messages(i) for i in range(len(again))] == [plain[row] for row in again.rows.tolist()]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(plain_message, max_size=4), max_size=6))
def test_messages_json_is_what_json_writes_and_null_with_rare_control_characters(sessions: list[Any]) -> None:
    flat = [message for session in sessions for message in session]
    offsets = pa.array(np.cumsum([0, *map(len, sessions)]), pa.int32())
    columns = [pa.array([message[name] for message in flat], pa.string()) for name in ("role", "content")]
    written = messages_json(offsets, *columns).to_pylist()
    assert written == [
        None
        if any(map(is_rare, session))
        else orjson.dumps([{"role": m["role"], "content": m["content"]} for m in session]).decode()
        for session in sessions
    ]


def test_messages_json_is_null_where_a_message_lacks_its_text() -> None:
    made = messages_json(
        pa.array([0, 1, 2], pa.int32()), pa.array(["user", "user"]), pa.array(["x", None], pa.string())
    )
    assert made.to_pylist() == ['[{"role":"user","content":"x"}]', None]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text(max_size=3) | st.sampled_from([" ", "\u3000", "\x85x", "\x1f", "\u200b", "é", "。"]),
        max_size=8,
    )
)
def test_messages_say_something_where_python_finds_more_than_white_space(texts: list[str]) -> None:
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    plain = of_turns(pa.array([[{"role": "user", "content": text}] for text in texts], TURNS))
    assert plain.says_something.tolist() == [bool(text.strip()) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("abé", max_size=6), max_size=8), st.text("abé", min_size=1, max_size=3))
def test_containing_finds_a_text_within_messages_and_never_across_two(texts: list[str], part: str) -> None:
    plain = of_turns(pa.array([[{"role": "user", "content": text}] for text in texts], TURNS))
    assert plain.containing(part).tolist() == [part in text for text in texts]
    some = plain.chosen(np.arange(0, len(texts), 2))
    assert some.containing(part).tolist() == [part in text for text in texts[::2]]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(plain_message, max_size=3), max_size=8))
def test_every_session_is_in_the_group_of_its_roles(sessions: list[Any]) -> None:
    plain = of_turns(pa.array(sessions, TURNS))
    groups = plain.by_roles()
    assert sorted(np.concatenate([*groups.values(), []]).tolist()) == list(range(len(sessions)))
    told = [{tuple(plain.roles_of(i)) for i in own.tolist()} for own in groups.values()]
    assert all(len(roles) == 1 for roles in told) and len({next(iter(r)) for r in told}) == len(told)


@pytest.mark.parametrize(
    "disguised",
    [
        '[{"xxxx":"","content":"x"}]',
        '[{"role":"user","xxxxxxx":""}]',
        '[{"role":"user","content":"x"},{"xxxx":"","content":"x"}]',
        '[{"role":null,"content":""}]',
    ],
)
def test_another_field_of_the_same_length_in_place_of_role_or_content_shows(disguised: str) -> None:
    sound = '[{"role":"user","content":"x"}]'
    found = plain_sessions(pa.chunked_array([pa.array([sound, disguised, sound], pa.large_string())]))
    assert found.rows.tolist() == [0, 2]


def test_more_roles_than_sixteen_bits_can_count_stay_apart() -> None:
    """A build's own roles are few; what `verify` is given may hold any."""
    sessions = [[{"role": f"r{i}", "content": "x"}] for i in range(70_000)]
    found = plain_sessions(table(sessions))
    assert len(found.by_roles()) == 70_000 and found.roles_of(66_000) == ["r66000"]
