"""One message in, one normalised message out, whoever wrote the data set.

A normalised message is an object with these keys in this order, absent ones left out: `role`, `name`,
`content` (always a string), `reasoning_content`, `tool_calls`, `tool_call_id`, `train`, `weight`,
`train_ranges`. Tool calls are in the form that `tool_calls` gives, what is trained in that of `training_flags`.

A `<think>…</think>` that opens an assistant's content becomes `reasoning_content`; anywhere else it is
text. Roles must be declared; nothing is asserted about their order. Normalising twice is normalising once.
Price: about a microsecond for a plain message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenization.ingest.json_kinds import json_kind
from tokenization.ingest.rows import table_row_json
from tokenization.ingest.tool_calls import Refused, parse_calls
from tokenization.ingest.training_flags import ALL_KEYS, training_of

ROLE_SYNONYMS = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "observation": "tool",
    "function": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "ipython": "tool",
    "developer": "system",
}
CALL_ROLES = frozenset({"function_call", "tool_call"})  # an assistant's message whose text is the call

ROLE_KEYS = ("role", "from")
CONTENT_KEYS = ("content", "value", "text")
REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
CALLS_KEYS = ("tool_calls", "function_call")

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"

Message = dict[str, Any]


class MessageReader:
    """Normalises messages by one source's field names, role names and declared roles."""

    def __init__(
        self, fields: Mapping[str, str], role_names: Mapping[str, str], roles: frozenset[str]
    ) -> None:
        self.role_keys = _keys(fields, "role", ROLE_KEYS)
        self.content_keys = _keys(fields, "content", CONTENT_KEYS)
        self._name_keys = _keys(fields, "name", ("name",))
        self._reasoning_keys = _keys(fields, "reasoning_content", REASONING_KEYS)
        self._calls_keys = _keys(fields, "tool_calls", CALLS_KEYS)
        self._role_names = dict(role_names)
        self._declared = roles
        self._roles: dict[str, str] = {}  # as written -> normalised; filled as roles are met, calls left out

    def read_all(self, given: list[Any]) -> list[Message]:
        """The messages of a session. Raises `Refused` with the number of the one that can't be taken."""
        read: list[Message] = []
        for message in given:
            try:
                read.append(self._plain(message) or self.read(message))
            except Refused as refused:
                raise Refused(refused.reason, f"message {len(read) + 1}: {refused.detail}") from None
        return read

    def _plain(self, message: Any) -> Message | None:
        """Two keys, a role met before and a string without thinking: what nearly all messages are."""
        if type(message) is not dict or len(message) != 2:
            return None
        written, content = _first(message, self.role_keys), _first(message, self.content_keys)
        if type(written) is not str or type(content) is not str or THINK_OPEN in content:
            return None
        role = self._roles.get(written)
        return None if role is None else {"role": role, "content": content}

    def read(self, given: Any) -> Message:
        """Any message, normalised. Raises `Refused` where it can't be."""
        if not isinstance(given, dict):
            raise Refused(
                "wrong_type", f"it is {json_kind(given)} and must be an object with role and content"
            )
        written = _first(given, self.role_keys)
        if not isinstance(written, str):
            raise Refused("missing_field", _no_field("role", self.role_keys, given))
        role, is_call = self.role_of(written)
        message: Message = {"role": role}
        name = _first(given, self._name_keys)
        if isinstance(name, str) and name:
            message["name"] = name
        shift = self._read_body(given, message, is_call)
        if isinstance(given.get("tool_call_id"), str):
            message["tool_call_id"] = given["tool_call_id"]
        if not ALL_KEYS.isdisjoint(given):
            message.update(training_of(given, message["content"], shift))
        return message

    def role_of(self, written: str) -> tuple[str, bool]:
        """(normalised role, whether the content is a call); role_names come before declared roles."""
        if written in self._roles:
            return self._roles[written], False
        role = self._role_names.get(written, written)
        if role not in self._declared:
            if role.lower() in CALL_ROLES:
                return "assistant", True
            role = ROLE_SYNONYMS.get(role.lower(), role.lower() if role.lower() in self._declared else role)
        if role not in self._declared:
            raise Refused("unknown_role", _unknown_role(role))
        self._roles[written] = role
        return role, False

    def _read_body(self, given: Message, message: Message, is_call: bool) -> int:
        """Content, reasoning and tool calls, from wherever they were written; how many characters of the content
        went to the reasoning."""
        role = message["role"]
        body = _Body(_first(given, self._reasoning_keys))
        body.calls = parse_calls(_first(given, self._calls_keys))
        content = _first(given, self.content_keys)
        if content is None and not body.calls and not any(key in given for key in self.content_keys):
            if body.reasoning is None:
                raise Refused("missing_field", _no_field("content", self.content_keys, given))
        elif is_call:
            body.calls = parse_calls(content)
        else:
            body.add_content(content, as_json=role == "tool")
        whole = len(body.text)
        if role == "assistant" and body.reasoning is None:
            body.split_thinking()
        message["content"] = body.text
        if body.reasoning is not None:
            message["reasoning_content"] = body.reasoning
        if body.calls:
            message["tool_calls"] = body.calls
        return whole - len(body.text)


class _Body:
    """What a message says, gathered from a string or from typed parts."""

    def __init__(self, reasoning: Any) -> None:
        if reasoning is not None and not isinstance(reasoning, str):
            raise Refused("wrong_type", f"the reasoning is {json_kind(reasoning)} and must be a string")
        self.text = ""
        self.reasoning: str | None = reasoning
        self.calls: list[Message] = []

    def add_content(self, content: Any, *, as_json: bool) -> None:
        if content is None:
            return
        if isinstance(content, str):
            self.text += content
        elif isinstance(content, list) and all(isinstance(p, str) or _is_part(p) for p in content):
            for part in content:
                self._add_part({"type": "text", "text": part} if isinstance(part, str) else part)
        elif as_json:  # a tool's result as it was returned
            self.text += table_row_json(content).decode()
        else:
            raise Refused(
                "wrong_type",
                f"the content is {json_kind(content)} and must be a string or a list of typed parts",
            )

    def _add_part(self, part: Message) -> None:
        kind = part["type"]
        value = next(
            (part[key] for key in (kind, "value", "text", "content") if part.get(key) is not None), None
        )
        if kind in ("tool_call", "tool_calls", "function_call"):
            self.calls += parse_calls(part if value is None else value)
        elif not isinstance(value, str) or kind not in _TEXT_PARTS:
            raise Refused("unsupported_content", f"a part of type {kind!r} is not text")
        elif _TEXT_PARTS[kind]:
            self.reasoning = (self.reasoning or "") + value
        else:
            self.text += value

    def split_thinking(self) -> None:
        """Thinking that opens the content goes to `reasoning`; line feeds around both are the template's."""
        opened = self.text.lstrip()
        if not opened.startswith(THINK_OPEN):
            return
        thinking, closed, answer = opened[len(THINK_OPEN) :].partition(THINK_CLOSE)
        if closed:
            self.reasoning, self.text = thinking.strip("\n"), answer.lstrip("\n")


# type of a part -> whether it is reasoning
_TEXT_PARTS = {"text": False, "input_text": False, "output_text": False, "reasoning": True, "thinking": True}


def _is_part(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("type"), str)


def _keys(fields: Mapping[str, str], field: str, usual: tuple[str, ...]) -> tuple[str, ...]:
    return (fields[field],) if field in fields else usual


def _first(given: Message, keys: tuple[str, ...]) -> Any:
    """The value of the first of these keys that has one."""
    for key in keys:
        value = given.get(key)
        if value is not None:
            return value
    return None


def _no_field(what: str, keys: tuple[str, ...], given: Message) -> str:
    names = ", ".join(map(str, list(given)[:12])) or "nothing"
    return f"no {' or '.join(keys)}; it has {names}. Name the {what} with fields: {{{what}: …}}"


def _unknown_role(role: str) -> str:
    return (
        f"role {role!r} is not declared; add to the recipe "
        f'chat.roles.{role}: {{header: "{role}", trained: false}}; or map it, role_names: {{{role}: user}}'
    )
