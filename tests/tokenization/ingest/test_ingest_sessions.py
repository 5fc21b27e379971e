"""Sessions come out of every chat format alike; the rest is set aside with a reason that helps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ingest_sources import ANY_CHAT, lines, read_chat, write

from tokenization.errors import RecipeError
from tokenization.ingest.messages import ROLE_SYNONYMS
from tokenization.ingest.sessions import BUILT_IN_ROLES, ChatOptions

QUESTION = {"role": "user", "content": "Why?"}
ANSWER = {"role": "assistant", "content": "Because."}
PLAIN = [QUESTION, ANSWER]
_ROW_KEYS = ("messages", "conversations", "instruction", "input", "output", "history", "prompt", "completion")
_MESSAGE_KEYS = (
    "role",
    "from",
    "content",
    "value",
    "loss",
    "weight",
    "reasoning_content",
    "tool_calls",
    "id",
)
KEYS = (*_ROW_KEYS, *_MESSAGE_KEYS, "system", "tools", "function", "name", "arguments", "type", "text")
DEEP: dict[str, Any] = {"name": "f", "arguments": {}}
for _ in range(300):
    DEEP["arguments"] = {"deeper": DEEP["arguments"]}
ARGUMENTS = '{"z": 1, "a": "北京"}'
NAMED = f'{{"name": "look", "arguments": {ARGUMENTS}}}'
TYPED = [{"type": "text", "text": "Wh"}, {"type": "text", "value": "y?"}]
CALL = {"type": "function", "function": {"name": "look", "arguments": {"z": 1, "a": "北京"}}}


def messages_of(tmp_path: Path, row: Any, options: ChatOptions = ANY_CHAT) -> list[dict[str, Any]]:
    read = read_chat(write(tmp_path / "row.jsonl", lines(row)), options)
    assert not read.set_aside, read.set_aside
    return read.sessions[0]


def refusal_of(tmp_path: Path, row: Any, options: ChatOptions = ANY_CHAT) -> tuple[str, str]:
    read = read_chat(write(tmp_path / "row.jsonl", lines(row)), options)
    assert not read.rows and read.set_aside[0]["place"] == 1
    assert read.set_aside[0]["row"] == (row if isinstance(row, bytes) else orjson.dumps(row))
    return read.set_aside[0]["reason"], read.set_aside[0]["detail"]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": PLAIN},
        PLAIN,
        {"messages": [{"role": "user", "content": "Why?", "name": None}, ANSWER], "tools": None},
        {"messages": [{"role": "User", "content": ["Why?"]}, {"role": "model", "content": "Because."}]},
        {"messages": [{"role": "user", "content": TYPED}, ANSWER]},
        {"conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]},
        {"conversations": PLAIN, "tools": "[]"},
        {"instruction": "Why?", "input": "", "output": "Because."},
        {"instruction": "Why?", "output": "Because."},
        {"prompt": "Why?", "completion": "Because."},
        {"prompt": "Why?", "response": "Because."},
        {"prompt": [QUESTION], "completion": [ANSWER]},
    ],
)
def test_each_chat_format_gives_the_same_session(row: Any, tmp_path: Path) -> None:
    assert messages_of(tmp_path, row) == PLAIN


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.jsonl.gz", "a.jsonl.zst", "a.json.gz", "lines.json", "array.jsonl"]
)
def test_arrays_and_lines_are_told_apart_whatever_the_ending(name: str, tmp_path: Path) -> None:
    rows = [{"id": n, "messages": PLAIN} for n in range(3)]
    as_lines = name.startswith("lines") or ("array" not in name and ".jsonl" in name)
    path = write(tmp_path / name, lines(*rows) if as_lines else json.dumps(rows, indent=1))
    read = read_chat(path)
    assert read.sessions == [PLAIN] * 3
    assert [(row["own_id"], row["place"]) for row in read.rows] == [("0", 1), ("1", 2), ("2", 3)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_line_that_is_a_bare_list_is_one_session(name: str, tmp_path: Path) -> None:
    assert read_chat(write(tmp_path / name, lines(PLAIN))).sessions == [PLAIN]
    assert read_chat(write(tmp_path / name, lines(PLAIN, PLAIN))).sessions == [PLAIN, PLAIN]
    assert read_chat(write(tmp_path / name, lines([PLAIN, PLAIN, PLAIN]))).sessions == [PLAIN] * 3


def test_alpaca_takes_input_system_and_history(tmp_path: Path) -> None:
    row = {
        "instruction": "And this:",
        "input": "more?",
        "output": "Yes.",
        "system": "Be brief.",
        "history": [["Why?", "Because."]],
    }
    last = [{"role": "user", "content": "And this:\nmore?"}, {"role": "assistant", "content": "Yes."}]
    assert messages_of(tmp_path, row) == [{"role": "system", "content": "Be brief."}, *PLAIN, *last]


def test_fields_and_role_names_map_what_a_source_calls_otherwise(tmp_path: Path) -> None:
    options = ChatOptions(
        fields={
            "messages": "dialog",
            "role": "speaker",
            "content": "text",
            "id": "key",
            "tools": "functions_",
        },
        role_names={"client": "user", "counselor": "assistant"},
    )
    row = {
        "key": "k1",
        "functions_": [{"name": "f"}],
        "dialog": [{"speaker": "client", "text": "Why?"}, {"speaker": "counselor", "text": "Because."}],
    }
    read = read_chat(write(tmp_path / "row.jsonl", lines(row)), options)
    assert read.sessions == [PLAIN] and read.rows[0]["own_id"] == "k1"
    assert read.rows[0]["tools"] == '[{"name":"f"}]'


def test_each_synonym_names_a_built_in_role_unless_the_recipe_declares_it(tmp_path: Path) -> None:
    for written, role in ROLE_SYNONYMS.items():
        row = {"messages": [{"role": written, "content": "x"}, ANSWER]}
        assert messages_of(tmp_path, row)[0]["role"] == role
        declared = ChatOptions(roles=BUILT_IN_ROLES | {written})
        assert messages_of(tmp_path, row, declared)[0]["role"] == written
    assert messages_of(tmp_path, {"messages": [QUESTION, ANSWER]}) == PLAIN


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": ARGUMENTS}}]},
        {"role": "assistant", "content": "", "tool_calls": f"[{NAMED}]"},
        {"role": "assistant", "content": None, "function_call": {"name": "look", "arguments": ARGUMENTS}},
        {"from": "function_call", "value": NAMED},
        {"role": "assistant", "content": [{"type": "tool_call", "value": NAMED}]},
    ],
)
def test_tool_calls_in_every_form_become_one_with_their_key_order(message: Any, tmp_path: Path) -> None:
    read = messages_of(tmp_path, {"messages": [QUESTION, message]})
    assert read[1] == {"role": "assistant", "content": "", "tool_calls": [CALL]}
    assert list(read[1]["tool_calls"][0]["function"]["arguments"]) == ["z", "a"]


def test_tools_keep_their_key_order_whether_a_list_or_a_string(tmp_path: Path) -> None:
    tools = [{"type": "function", "function": {"parameters": {"z": 1, "a": 2}, "name": "f"}}]
    rows = [{"messages": PLAIN, "tools": tools}, {"messages": PLAIN, "tools": json.dumps(tools)}]
    read = read_chat(write(tmp_path / "rows.jsonl", lines(*rows)))
    assert [orjson.dumps(tools).decode()] * 2 == [row["tools"] for row in read.rows]
    assert read.rows[0]["hash"] == read.rows[1]["hash"]


@pytest.mark.parametrize(
    ("content", "reasoning", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nYes.\n", "Hm.", "Yes.\n"),
        ("<think>\n\n</think>\n\nYes.", "", "Yes."),
        ("  <think>Hm.</think>Yes.", "Hm.", "Yes."),
        ("<think>a</think><think>b</think>", "a", "<think>b</think>"),
        ("Say <think>Hm.</think>", None, "Say <think>Hm.</think>"),
        ("<think>never closed", None, "<think>never closed"),
        ("closed</think>only", None, "closed</think>only"),
    ],
)
def test_thinking_that_opens_an_answer_is_structure_and_elsewhere_is_text(
    content: str, reasoning: str | None, answer: str, tmp_path: Path
) -> None:
    row = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": content}]}
    user, assistant = messages_of(tmp_path, row)
    assert user["content"] == content, "only an assistant thinks"
    assert (assistant.get("reasoning_content"), assistant["content"]) == (reasoning, answer)


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        ({"loss": False}, {"train": False}),
        ({"train": True}, {"train": True}),
        ({"training": False}, {"train": False}),
        ({"weight": 0}, {"train": False}),
        ({"weight": 1}, {}),
        ({"loss_weight": 0.5}, {"weight": 0.5}),
    ],
)
def test_training_flags_and_weights_are_kept(flag: Any, expected: Any, tmp_path: Path) -> None:
    row = {"messages": [QUESTION, ANSWER | flag, ANSWER]}
    assert messages_of(tmp_path, row)[1] == ANSWER | expected


def test_nothing_is_asserted_about_the_order_of_roles(tmp_path: Path) -> None:
    row = [ANSWER, ANSWER, QUESTION, QUESTION, ANSWER, {"role": "system", "content": "s"}]
    assert messages_of(tmp_path, row) == row


BAD = {
    "unknown_role": (
        {"messages": [{"role": "narrator", "content": "x"}, ANSWER]},
        'message 1.*chat.roles.narrator: .header: "narrator", trained: false',
    ),
    "empty": ({"messages": []}, "no messages"),
    "no_target": ({"messages": [QUESTION]}, "no message of assistant; the roles are user"),
    "no_target flagged": ({"messages": [QUESTION, ANSWER | {"loss": False}]}, "not to be trained"),
    "not_a_session preference": ({"prompt": "x", "chosen": "a", "rejected": "b"}, "preference"),
    "not_a_session kto": ({"prompt": "x", "completion": "a", "label": False}, "preference"),
    "not_a_session unknown": ({"id": 1, "story": "x"}, "id, story"),
    "wrong_type row": (5, "a number"),
    "wrong_type messages": ({"messages": "hello"}, "a string"),
    "wrong_type message": ({"messages": ["hello"]}, "message 1: it is a string"),
    "wrong_type content": ({"messages": [{"role": "user", "content": 5}, ANSWER]}, "a number"),
    "wrong_type flag": ({"messages": [QUESTION, ANSWER | {"train": "yes"}]}, "train is a string"),
    "missing_field role": ({"messages": [{"content": "x"}]}, "fields: .role: …"),
    "missing_field content": ({"messages": [{"role": "user", "says": "x"}, ANSWER]}, "it has role, says"),
    "unsupported_content": (
        {"messages": [{"role": "user", "content": [{"type": "image", "image": "x.png"}]}, ANSWER]},
        "'image'",
    ),
    "invalid_tools": ({"messages": PLAIN, "tools": "[{broken"}, "isn't JSON"),
    "invalid_tools call": ({"messages": [QUESTION, {"role": "function_call", "content": "look!"}]}, "look!"),
    "invalid_json": (b'{"messages": [', "not valid JSON"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_is_no_session_is_set_aside_with_its_reason(case: str, tmp_path: Path) -> None:
    row, detail = BAD[case]
    reason, said = refusal_of(tmp_path, row)
    assert reason == case.split()[0]
    assert re.search(detail, said)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(row=_anything)
@example(row={"messages": [QUESTION, ANSWER | {"tool_calls": [DEEP]}]})
@example(row={"messages": [{"role": "a\ud800", "content": "x"}]})
@example(row={"messages": [{"role": "user", "content": "a\ud800"}, ANSWER], "tools": [{"\ud800": 2**70}]})
def test_anything_at_all_becomes_a_session_or_is_set_aside(
    tmp_path_factory: pytest.TempPathFactory, row: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "anything.jsonl"
    read = read_chat(write(path, lines(json.dumps(row).encode(), {"messages": PLAIN})))
    assert read.sessions[-1] == PLAIN
    assert len(read.rows) + len(read.set_aside) == 2


def test_trained_roles_decide_what_is_a_target(tmp_path: Path) -> None:
    row = {"messages": [{"role": "character", "name": "Lear", "content": "Howl!"}]}
    options = ChatOptions(roles=BUILT_IN_ROLES | {"character"}, trained_roles=frozenset({"character"}))
    assert messages_of(tmp_path, row, options) == [{"role": "character", "name": "Lear", "content": "Howl!"}]


def test_unknown_formats_and_fields_are_refused_at_once() -> None:
    with pytest.raises(RecipeError, match="it can be auto, messages"):
        ChatOptions(format="chatlm")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="fields has 'mesages'"):
        ChatOptions(fields={"mesages": "x"})


def test_parquet_rows_lose_the_nulls_that_arrow_adds(tmp_path: Path) -> None:
    calls = [{"function": {"name": "look", "arguments": {"city": "北京"}}}]
    other = [{"function": {"name": "add", "arguments": {"x": 1}}}]
    rows = [
        {"id": "p", "messages": [QUESTION, {"role": "assistant", "content": None, "tool_calls": calls}]},
        {"id": "q", "messages": [QUESTION, {"role": "assistant", "content": None, "tool_calls": other}]},
        {"id": "r", "messages": PLAIN},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    read = read_chat(tmp_path / "rows.parquet")
    arguments = [m["tool_calls"][0]["function"]["arguments"] for _, m in read.sessions[:2]]
    assert arguments == [{"city": "北京"}, {"x": 1}]
    assert read.sessions[2] == PLAIN and [row["own_id"] for row in read.rows] == ["p", "q", "r"]
    as_lines = read_chat(write(tmp_path / "rows.jsonl", lines(*rows)))
    assert read.rows == [row | {"file": "rows.parquet"} for row in as_lines.rows]


_words = st.text(st.sampled_from('ab "\\[]{},\n红<think></think>'), max_size=12)
_messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "human"]), "content": _words}
    ),
    max_size=4,
)


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(_messages, min_size=1, max_size=12), chunk_bytes=st.integers(1, 300))
def test_chunks_of_any_size_give_the_same_sessions(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], chunk_bytes: int
) -> None:
    path = write(
        tmp_path_factory.mktemp("rows") / "rows.jsonl",
        lines({"messages": PLAIN}, *({"messages": r} for r in rows)),
    )
    whole = read_chat(path)
    cut = read_chat(path, chunk_bytes=chunk_bytes, group_bytes=0)
    assert cut.rows == whole.rows and cut.set_aside == whole.set_aside
    assert len(whole.rows) + len(whole.set_aside) == len(rows) + 1
    again = read_chat(write(path.parent / "again.jsonl", lines(*({"messages": s} for s in whole.sessions))))
    assert again.sessions == whole.sessions, "normalising twice is normalising once"
