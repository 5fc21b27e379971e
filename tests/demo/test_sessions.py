"""The written sessions: well formed, varied, and each of the kinds a visitor should meet."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import demo

Session = dict[str, Any]
STORY_ROLES = {"背景", "旁白", "事件"}
ROLES = {"system", "user", "assistant", "tool", *STORY_ROLES}
OPENING = 12  # characters: two sessions whose user turns begin alike this far share a frame


def load() -> list[Session]:
    path = Path(demo.__file__).parent / "sessions.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


SESSIONS = load()


def turns(session: Session, role: str) -> list[str]:
    return [message["content"] or "" for message in session["messages"] if message["role"] == role]


def shared_openings(sessions: list[Session]) -> list[str]:
    """Openings of user turns that more than one place uses."""
    seen = Counter(text[:OPENING] for session in sessions for text in turns(session, "user"))
    return [opening for opening, times in seen.items() if times > 1]


def tool_faults(session: Session) -> Iterator[str]:
    """What a reader of tool calls would stumble over."""
    declared = {tool["function"]["name"]: tool["function"] for tool in session.get("tools", [])}
    open_calls: set[str] = set()
    for message in session["messages"]:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                yield f"a result for no call: {message['tool_call_id']}"
            open_calls.discard(message["tool_call_id"])
            json.loads(message["content"])
        elif open_calls:
            yield f"no result for {sorted(open_calls)}"
        for call in message.get("tool_calls", ()):
            open_calls.add(call["id"])
            function = declared.get(call["function"]["name"])
            if function is None:
                yield f"undeclared tool {call['function']['name']}"
                continue
            arguments = json.loads(call["function"]["arguments"])
            missing = set(function["parameters"]["required"]) - set(arguments)
            unknown = set(arguments) - set(function["parameters"]["properties"])
            if missing or unknown:
                yield f"arguments of {call['id']}: {missing or unknown}"


def has_reasoning(session: Session) -> bool:
    return any("reasoning_content" in message for message in session["messages"]) or any(
        text.startswith("<think>") for text in turns(session, "assistant")
    )


def test_there_are_forty_eight_sessions_with_ids_of_their_own() -> None:
    assert len(SESSIONS) == 48
    assert len({session["id"] for session in SESSIONS}) == 48


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: str(session["id"]))
def test_a_session_is_well_formed(session: Session) -> None:
    messages = session["messages"]
    assert set(session) <= {"id", "messages", "tools"}
    assert 3 <= len(messages) <= 9
    assert {message["role"] for message in messages} <= ROLES
    assert messages[-1]["role"] == "assistant"
    assert messages[-1]["content"], "the last word is an answer and not a call"
    for message in messages:
        assert message["content"] or message.get("tool_calls"), "a message says something or calls something"
        assert message["content"] is None or message["content"] == message["content"].strip()
    assert all(role != "system" for role in [message["role"] for message in messages][1:])


@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: str(session["id"]))
def test_every_think_block_leads_its_answer_and_closes(session: Session) -> None:
    for text in turns(session, "assistant"):
        assert text.count("<think>") == text.count("</think>") == int(text.startswith("<think>"))
        assert text.rpartition("</think>")[2].strip() or not text


def test_no_two_user_turns_open_alike() -> None:
    assert sum(len(turns(session, "user")) for session in SESSIONS) > 96
    assert shared_openings(SESSIONS) == []
    assert shared_openings([SESSIONS[0], SESSIONS[0]]) != [], "the check sees a repeated frame"


def test_every_system_prompt_is_its_own() -> None:
    prompts = [text for session in SESSIONS for text in turns(session, "system")]
    assert len(prompts) >= 16
    assert len(set(prompts)) == len(prompts)


def test_every_tool_call_is_declared_valid_and_answered() -> None:
    with_tools = [session for session in SESSIONS if "tools" in session]
    assert len(with_tools) >= 5
    assert all(any("tool_calls" in message for message in session["messages"]) for session in with_tools)
    assert {
        session["id"]: list(tool_faults(session)) for session in SESSIONS if list(tool_faults(session))
    } == {}


def test_the_tool_check_sees_a_lost_result() -> None:
    session = next(session for session in SESSIONS if "tools" in session)
    broken = session | {"messages": [message for message in session["messages"] if message["role"] != "tool"]}
    assert list(tool_faults(broken))


def test_reasoning_comes_in_both_forms() -> None:
    fields = [s for s in SESSIONS if any("reasoning_content" in message for message in s["messages"])]
    blocks = [s for s in SESSIONS if has_reasoning(s) and s not in fields]
    assert len(fields) + len(blocks) >= 5
    assert fields
    assert blocks


def test_stories_use_the_three_roles_in_both_languages() -> None:
    stories = [s for s in SESSIONS if any(message["role"] in STORY_ROLES for message in s["messages"])]
    used = Counter(message["role"] for story in stories for message in story["messages"])
    assert len(stories) >= 10
    assert all(used[role] >= 10 for role in STORY_ROLES)
    chinese = [story for story in stories if is_chinese(story)]
    assert 4 <= len(chinese) <= len(stories) - 4


def test_about_half_of_the_sessions_are_chinese() -> None:
    chinese = sum(is_chinese(session) for session in SESSIONS)
    assert 0.4 <= chinese / len(SESSIONS) <= 0.6


def is_chinese(session: Session) -> bool:
    text = "".join(turns(session, "user") + turns(session, "assistant"))
    return sum("一" <= character <= "鿿" for character in text) > len(text) / 3


def test_the_recipe_declares_every_role_of_the_stories() -> None:
    import yaml

    recipe = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "demo.yaml").read_text("utf-8"))
    roles = recipe["chat"]["roles"]
    assert set(roles) == STORY_ROLES
    assert {role["header"] for role in roles.values()} == set(recipe["tokenizer"]["add_special_tokens"])
    assert not any(role["trained"] for role in roles.values())
