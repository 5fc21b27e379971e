"""Personal data in sessions: replaced where it is said, and what is trained stays what was trained."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.quality.personal_data import PersonalDataSpec, replace_personal_data
from tokenization.quality.private_messages import ReplacedSessions, replace_in_sessions

SPEC = PersonalDataSpec(email="<mail>")
PARTS = ["write ", "a.b@example.com", " or ", "8.8.8.8", "\n", '"', "\\", "电话13812345678", "!", "x"]


def column(*sessions: list[dict[str, Any]]) -> pa.LargeStringArray:
    return pa.array([orjson.dumps(session).decode() for session in sessions], pa.large_string())


def replaced(*sessions: list[dict[str, Any]]) -> tuple[list[list[dict[str, Any]]], ReplacedSessions]:
    """The sessions as they are afterwards."""
    found = replace_in_sessions(column(*sessions), SPEC)
    return [orjson.loads(found.messages.get(row, orjson.dumps(s))) for row, s in enumerate(sessions)], found


def plain(text: str) -> str:
    return str(replace_personal_data(pa.array([text], pa.large_string()), SPEC).texts[0].as_py())


def test_what_is_said_thought_and_called_is_replaced_and_everything_else_stays() -> None:
    untouched = [{"role": "user", "name": "me@example.com", "content": "no address here"}]
    call = {
        "type": "function",
        "id": "c",
        "function": {"name": "send", "arguments": {"to": ["q@x.org"], "n": 3}},
    }
    told = [
        {"role": "user", "content": 'say "\na@x.org"'},
        {"role": "assistant", "content": "", "reasoning_content": "to 8.8.8.8", "tool_calls": [call]},
        {"role": "tool", "content": "sent to q@x.org", "tool_call_id": "c"},
    ]
    (first, second), found = replaced(untouched, told)
    assert first == untouched and list(found.messages) == [1]
    assert second[0]["content"] == 'say "\n<mail>"'
    assert second[1]["reasoning_content"] == "to [IP address]"
    assert second[1]["tool_calls"][0]["function"]["arguments"] == {"to": ["<mail>"], "n": 3}
    assert second[2] == {"role": "tool", "content": "sent to <mail>", "tool_call_id": "c"}
    assert found.counts == {"email": 3, "ip": 1, "phone": 0}


@given(st.lists(st.lists(st.sampled_from(PARTS), max_size=6).map("".join), min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_trained_range_holds_the_same_words_replaced(texts: list[str]) -> None:
    """Every other text is a trained range of one message."""
    ends = [len("".join(texts[: number + 1])) for number in range(len(texts))]
    begins = [0, *ends[:-1]]
    ranges = [[begins[n], ends[n]] for n in range(0, len(texts), 2) if begins[n] < ends[n]]
    ranges = [r for n, r in enumerate(ranges) if n == 0 or ranges[n - 1][1] < r[0]]
    content = "".join(texts)
    message = {"role": "assistant", "content": content, "train_ranges": ranges}
    ((after,),), _ = replaced([message])
    held = [after["content"][begin:end] for begin, end in after["train_ranges"]]
    assert held == [plain(content[begin:end]) for begin, end in ranges]
    if not ranges:
        assert after["content"] == plain(content)


def test_no_personal_data_and_no_sessions_change_nothing() -> None:
    assert replace_in_sessions(column(), SPEC).messages == {}
    _, found = replaced([{"role": "user", "content": "@ 1.2.3"}])
    assert found == ReplacedSessions({}, {"email": 0, "ip": 0, "phone": 0})
