"""Sessions read in columns are the sessions that the general reader makes, whatever stands among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ingest_sources import Read, read_chat, write

from tokenization.ingest.session_columns import ColumnReader
from tokenization.ingest.sessions import ChatOptions

DATE = "2024-05-06T07:08:09"
said = st.one_of(
    st.text(max_size=8), st.sampled_from(["", " ", DATE, "<think>x</think>y", "a\x01b", "\ud800", "\udc00"])
)
roles = st.sampled_from(
    ["user", "assistant", "system", "human", "gpt", "tool", "观察", "function_call", "Assistant"]
)
odd = st.one_of(
    st.none(), st.integers(), st.booleans(), st.just([{"type": "text", "text": "x"}]), st.just({})
)


@st.composite
def messages(draw: Any, role: str, content: str) -> list[Any]:
    made: list[Any] = []
    for _ in range(draw(st.integers(0, 4))):
        message = {role: draw(roles), content: draw(said)}
        if draw(st.integers(0, 9)) == 0:
            message[draw(st.sampled_from([role, content]))] = draw(odd)
        if draw(st.integers(0, 9)) == 0:
            message[draw(st.sampled_from(["train", "loss", "weight", "name", "tool_calls", "other"]))] = draw(
                odd
            )
        made.append(draw(odd) if draw(st.integers(0, 19)) == 0 else message)
    return made


@st.composite
def row(draw: Any, form: str) -> Any:
    if form == "alpaca":
        made: dict[str, Any] = {name: draw(said) for name in ("instruction", "input", "output")}
        if draw(st.integers(0, 4)) == 0:
            del made[draw(st.sampled_from(["instruction", "input", "output"]))]
    elif form == "sharegpt":
        made = {"conversations": draw(messages("from", "value"))}
    else:
        made = {"messages": draw(messages("role", "content"))}
    for key in ("system", "tools", "history", "id", "source", "chosen", "label", "functions", "input"):
        if draw(st.integers(0, 15)) == 0:
            made[key] = draw(st.one_of(odd, said))
    return draw(odd) if draw(st.integers(0, 29)) == 0 else made


@st.composite
def lines(draw: Any) -> bytes:
    form = draw(st.sampled_from(["messages", "sharegpt", "alpaca"]))
    if form == "alpaca":
        plain: dict[str, Any] = {"instruction": "Say", "input": "", "output": "yes", "id": 3}
    else:
        role, content = ("from", "value") if form == "sharegpt" else ("role", "content")
        turns = [{role: "user", content: "Say"}, {role: "assistant", content: "yes"}]
        plain = {
            "conversations" if form == "sharegpt" else "messages": turns,
            "id": draw(st.sampled_from([DATE, "x"])),
        }
    rows = draw(st.lists(st.one_of(row(form), st.just(plain)), max_size=8))
    raws = [json.dumps(each, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace") for each in rows]
    for odd_line in draw(st.lists(st.sampled_from([b"", b"{", b"\xff", b'{"messages": [1,]}']), max_size=1)):
        raws.insert(draw(st.integers(0, len(raws))), odd_line)
    return b"".join(raw + b"\n" for raw in [json.dumps(plain).encode(), *raws])


def both_ways(path: Path, options: ChatOptions) -> tuple[Read, Read, int]:
    """In columns, by the general reader, and how many sessions columns served."""
    served = 0
    ours = ColumnReader.read

    def counted(self: ColumnReader, raws: Any) -> Any:
        nonlocal served
        made = ours(self, raws)
        served += 0 if made is None else len(made.messages)
        return made

    with patch.object(ColumnReader, "read", counted):
        fast = read_chat(path, options)
    with patch.object(ColumnReader, "read", lambda self, raws: None):
        return fast, read_chat(path, options), served


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines())
def test_columns_and_the_general_reader_make_the_same_of_any_rows(tmp_path: Path, data: bytes) -> None:
    fast, slow, _ = both_ways(
        write(tmp_path / "rows.jsonl", data), ChatOptions(trained_roles=frozenset({"assistant"}))
    )
    assert fast.rows == slow.rows
    assert fast.set_aside == slow.set_aside
    assert fast.rows_read == slow.rows_read


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
@pytest.mark.parametrize(
    "rows",
    [
        [
            {"messages": [{"role": "user", "content": f"q{i}"}, {"content": "a\n", "role": "assistant"}]}
            for i in range(9)
        ],
        [
            {"id": i, "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "好"}]}
            for i in range(9)
        ],
        [{"instruction": "Say", "input": "x" * (i % 2), "output": f"{i}", "topic": i} for i in range(9)],
    ],
)
def test_plain_rows_of_each_form_are_served_by_columns(tmp_path: Path, rows: list[Any], name: str) -> None:
    text = "\n".join(map(json.dumps, rows)) if name.endswith("jsonl") else json.dumps(rows, indent=1)
    fast, slow, served = both_ways(write(tmp_path / name, text), ChatOptions())
    assert served == len(rows) == len(fast.rows)
    assert fast.rows == slow.rows


def test_one_rich_row_among_plain_ones_leaves_the_others_in_columns(tmp_path: Path) -> None:
    plain = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"a{i}"}]}
        for i in range(9)
    ]
    rich = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "name": "Ann"}]
    }
    text = "\n".join(map(json.dumps, [*plain[:4], rich, *plain[4:]]))
    fast, slow, served = both_ways(write(tmp_path / "rows.jsonl", text), ChatOptions())
    assert served == 9 and len(fast.rows) == 10
    assert fast.rows == slow.rows and fast.sessions[4][1]["name"] == "Ann"


def test_mapped_roles_and_named_fields_are_served_by_columns(tmp_path: Path) -> None:
    rows = [
        {"dialog": [{"speaker": "client", "said": "q"}, {"speaker": "counselor", "said": f"a{i}"}]}
        for i in range(5)
    ]
    options = ChatOptions(
        fields={"messages": "dialog", "role": "speaker", "content": "said"},
        role_names={"client": "user", "counselor": "assistant"},
    )
    fast, slow, served = both_ways(write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows))), options)
    assert served == 5 and fast.rows == slow.rows
    assert [m["role"] for m in fast.sessions[0]] == ["user", "assistant"]


def test_two_rows_on_one_line_are_no_row_though_a_blank_line_makes_up_for_them(tmp_path: Path) -> None:
    one = b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}'
    path = tmp_path / "rows.jsonl"
    path.write_bytes(one + one + b"\n\n" + one + b"\n")
    ours, general, _ = both_ways(path, ChatOptions())
    assert ours == general
    path.write_bytes(one + b"\n" + one + b"\r\n" + one)
    ours, general, in_columns = both_ways(path, ChatOptions())
    assert ours == general and in_columns == 3
