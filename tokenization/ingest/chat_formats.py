"""Which chat format a row is in, and the messages that it holds.

| format | a row |
|---|---|
| `messages` | `{"messages": [...]}`, or a bare list of messages |
| `sharegpt` | `{"conversations": [{"from", "value"}, ...], "system"?, "tools"?}` |
| `alpaca` | `{"instruction", "input"?, "output", "system"?, "history"?}` |
| `prompt_completion` | `{"prompt", "completion"}`, each a string or a list of messages |

`auto` decides row by row, on the keys alone; so a row's fate doesn't depend on its neighbours. Preference
rows and rows in no known format raise `Refused`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tokenization.errors import RecipeError
from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.tool_calls import Refused

ChatFormat = Literal["auto", "messages", "sharegpt", "alpaca", "prompt_completion"]

LIST_KEYS = ("messages", "conversations", "conversation", "dialog", "dialogue")
COMPLETION_KEYS = ("completion", "response")
_MESSAGE_FIELDS = ("messages", "role", "content", "name", "reasoning_content", "tool_calls")
_ROW_FIELDS = ("id", "tools", "system", "instruction", "input", "output", "history", "prompt", "completion")
FIELDS = frozenset(_MESSAGE_FIELDS + _ROW_FIELDS)
BUILT_IN_ROLES = frozenset({"system", "user", "assistant", "tool"})


@dataclass(frozen=True)
class ChatOptions:
    """How a source writes its sessions; every field has the usual value."""

    format: ChatFormat = "auto"
    fields: Mapping[str, str] = field(default_factory=dict)  # our name -> the source's name
    role_names: Mapping[str, str] = field(default_factory=dict)  # the source's role -> ours
    roles: frozenset[str] = BUILT_IN_ROLES  # all declared roles
    id_field: str | None = None  # None: "id"
    trained_roles: frozenset[str] = frozenset({"assistant"})

    def __post_init__(self) -> None:
        if self.format not in get_args(ChatFormat):
            raise RecipeError(f"format is {self.format!r}; it can be {', '.join(get_args(ChatFormat))}")
        unknown = sorted(set(self.fields) - FIELDS)
        if unknown:
            raise RecipeError(f"fields has {unknown[0]!r}; it can have {', '.join(sorted(FIELDS))}")


@dataclass(frozen=True)
class RawSession:
    """A row's messages as they were written, with what stands beside them."""

    messages: list[Any]
    tools: Any = None


def raw_session(row: Any, options: ChatOptions) -> RawSession:
    """The messages of a row. Raises `Refused` where it holds none that can be found."""
    if isinstance(row, list):
        return RawSession(row)
    if not isinstance(row, dict):
        raise Refused(
            "wrong_type", f"the row is {json_kind(row)} and must be an object or a list of messages"
        )
    _refuse_preferences(row)
    fields = options.fields
    kind = _detected(row, fields) if options.format == "auto" else options.format
    messages = _MESSAGES_OF[kind](row, fields)
    tools = row.get(fields.get("tools", "tools"))
    if tools is None and "tools" not in fields:
        tools = row.get("functions")
    return RawSession(
        _with_system(row, fields, messages), _tools_of_first(messages) if tools is None else tools
    )


def _refuse_preferences(row: Mapping[str, Any]) -> None:
    if "chosen" in row and "rejected" in row:
        raise Refused("not_a_session", "a preference row (chosen and rejected) is no session to train on")
    if isinstance(row.get("label"), bool) and "completion" in row:
        raise Refused("not_a_session", "a preference row (completion with a label) is no session to train on")


def _detected(row: Mapping[str, Any], fields: Mapping[str, str]) -> str:
    if fields.get("messages") in row or any(key in row for key in LIST_KEYS):
        return "messages"
    if fields.get("instruction", "instruction") in row and fields.get("output", "output") in row:
        return "alpaca"
    if fields.get("prompt", "prompt") in row and any(key in row for key in _completion_keys(fields)):
        return "prompt_completion"
    names = ", ".join(map(str, list(row)[:12])) or "no field at all"
    raise Refused(
        "not_a_session",
        f"no chat format has these fields: {names}. Name the list of messages with fields: {{messages: …}}",
    )


def _listed(row: Mapping[str, Any], fields: Mapping[str, str]) -> list[Any]:
    keys = (fields["messages"],) if "messages" in fields else LIST_KEYS
    key = next((key for key in keys if key in row), None)
    if key is None:
        names = ", ".join(map(str, list(row)[:12])) or "no field at all"
        raise Refused("missing_field", f"no field {' or '.join(keys)}; the row has {names}")
    if row[key] is None:
        return []
    if not isinstance(row[key], list):
        raise Refused("wrong_type", f"{key!r} is {json_kind(row[key])} and must be a list of messages")
    return list(row[key])


def _alpaca(row: Mapping[str, Any], fields: Mapping[str, str]) -> list[Any]:
    messages: list[Any] = []
    history = _field(row, fields, "history") or []
    for turn in history if isinstance(history, list) else [history]:
        if not isinstance(turn, list | tuple) or len(turn) != 2:
            raise Refused("wrong_type", "history must be a list of [question, answer] pairs")
        messages += _pair(*turn)
    question = [_text(row, fields, "instruction"), _text(row, fields, "input")]
    return messages + _pair("\n".join(part for part in question if part), _text(row, fields, "output"))


def _prompt_completion(row: Mapping[str, Any], fields: Mapping[str, str]) -> list[Any]:
    key = next((key for key in _completion_keys(fields) if key in row), "completion")
    question = _turns(row.get(fields.get("prompt", "prompt")), "user", "prompt")
    return question + _turns(row.get(key), "assistant", key)


def _turns(value: Any, role: str, name: str) -> list[Any]:
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    if isinstance(value, list):
        return list(value)
    raise Refused("wrong_type", f"{name!r} is {json_kind(value)} and must be a string or a list of messages")


_MESSAGES_OF = {
    "messages": _listed,
    "sharegpt": _listed,
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
}


def _pair(question: Any, answer: Any) -> list[Any]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _field(row: Mapping[str, Any], fields: Mapping[str, str], name: str) -> Any:
    return row.get(fields.get(name, name))


def _text(row: Mapping[str, Any], fields: Mapping[str, str], name: str) -> str:
    value = _field(row, fields, name)
    if value is None and name == "input":
        return ""
    if not isinstance(value, str):
        key = fields.get(name, name)
        reason = "missing_field" if key not in row else "empty" if value is None else "wrong_type"
        raise Refused(
            reason, f"{key!r} is {'missing' if key not in row else json_kind(value)} and must be a string"
        )
    return value


def _completion_keys(fields: Mapping[str, str]) -> tuple[str, ...]:
    return (fields["completion"],) if "completion" in fields else COMPLETION_KEYS


def _with_system(row: Mapping[str, Any], fields: Mapping[str, str], messages: list[Any]) -> list[Any]:
    """A row's own `system` text stands before its messages, unless they begin with that text."""
    system = _field(row, fields, "system")
    if not isinstance(system, str) or not system:
        return messages
    first = messages[0] if messages and isinstance(messages[0], dict) else {}
    if system in (first.get("content"), first.get("value")):
        return messages
    role_key, content_key = fields.get("role", "role"), fields.get("content", "content")
    return [{role_key: "system", content_key: system}, *messages]


def _tools_of_first(messages: list[Any]) -> Any:
    """Some sets keep the tools in the first message."""
    return messages[0].get("tools") if messages and isinstance(messages[0], dict) else None
