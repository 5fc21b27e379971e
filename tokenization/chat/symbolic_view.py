"""The renderings of a shape of session: slots in place of strings, shared by every session that begins alike.

Here too is what makes two sessions of one shape: the keys of their messages and tools.

Guarantees: sessions with equal keys have equal symbolic renderings, under the conditions that come with them.
Price: see symbols; a rendering that is in the cache costs a look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenization.chat.sandbox import CompiledTemplate, TemplateFailure, Text, to_json
from tokenization.chat.symbols import Condition, Ledger, NotSymbolic, OpaqueJson, Slot, SymbolicText
from tokenization.chat.templates import Message, Prompt
from tokenization.chat.views import View, text_class

MAX_CACHED_CHARACTERS = 8 << 20


@dataclass
class PrefixCache:
    """Symbolic renderings by what they render: sessions that begin alike share them."""

    texts: dict[Any, tuple[Text | TemplateFailure, frozenset[Condition]]] = field(default_factory=dict)
    characters: int = 0

    def get(
        self, key: Any, make: Callable[[], tuple[Text | TemplateFailure, frozenset[Condition]]]
    ) -> tuple[Text | TemplateFailure, frozenset[Condition]]:
        known = self.texts.get(key)
        if known is None:
            if self.characters > MAX_CACHED_CHARACTERS:
                self.texts.clear()
                self.characters = 0
            known = self.texts[key] = make()
            self.characters += len(known[0].text) if isinstance(known[0], Text) else 100
        return known


@dataclass
class SymbolicView(View):
    """One shape; `keys` name its messages' shapes, in order, and `tools_key` its tools'."""

    compiled: CompiledTemplate
    ledger: Ledger
    cache: PrefixCache
    keys: Sequence[Any]
    tools_key: Any
    conditions: set[Condition] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._names = tuple((i, self.keys[i] if i >= 0 else None) for i in self.origin)

    def render(self, count: int, prompt: Prompt | None = None) -> Text:
        key = (self.tools_key, self._names[:count], prompt)
        made, conditions = self.cache.get(key, lambda: self._make(self.messages[:count], prompt))
        return self._result(made, conditions)

    def as_json(self, value: Any) -> str:
        if not isinstance(value, OpaqueJson):
            return to_json(value)
        slot = Slot(value.slot.message, value.slot.path, (*value.slot.steps, ("json", ())))
        return self.ledger.text(slot)

    def render_with(self, count: int, *others: Message) -> Text:
        return self._result(*self._make([*self.messages[:count], *others], None))

    def _make(
        self, messages: Sequence[Message], prompt: Prompt | None
    ) -> tuple[Text | TemplateFailure, frozenset[Condition]]:
        try:
            made: Text | TemplateFailure = self.bound.render(messages, self.tools, prompt, self.compiled)
        except TemplateFailure as failure:
            made = failure
        return made, frozenset(self.ledger.conditions)

    def _result(self, made: Text | TemplateFailure, conditions: frozenset[Condition]) -> Text:
        self.conditions |= conditions
        if isinstance(made, TemplateFailure):
            raise made
        return made

    def contents(
        self, text: str, place: int, count: int, prompt: Prompt | None = None
    ) -> list[tuple[int, int]] | None:
        """Wherever its slots stand."""
        content = self.content(place)
        if not content:
            return []
        if not isinstance(content, SymbolicText):
            raise NotSymbolic("where white space alone stands, only the session's own rendering says")
        found = self.ledger.places_in(text, self.ledger.slot(content.plain))
        return [(start, start + 1) for start in found]

    def train_ranges(self, place: int) -> list[tuple[int, int]] | None:
        """None: sessions with ranges are rendered one by one."""
        return None

    def absent_from(self, text: str, place: int, count: int, *, calls: bool, reasoning: bool) -> str | None:
        for name, value in self.said(place, calls=calls, reasoning=reasoning):
            if isinstance(value, SymbolicText):
                slot = self.ledger.slot(value.plain)
            elif isinstance(value, OpaqueJson):
                slot = value.slot
            else:
                continue  # empty or white space
            if not self.ledger.stands_in(text, slot):
                return name
        return None


@dataclass
class StandInView(SymbolicView):
    """The same for a template that takes texts apart: it runs in the ordinary sandbox on stand-ins of one character
    that are strings like any other. What it does with them is supposed of every text."""

    def _make(
        self, messages: Sequence[Message], prompt: Prompt | None
    ) -> tuple[Text | TemplateFailure, frozenset[Condition]]:
        try:
            return self.bound.render(_as_strings(messages), None, prompt), frozenset()
        except TemplateFailure as failure:
            return failure, frozenset()


def _as_strings(value: Any) -> Any:
    """The same value, its symbolic strings as plain ones."""
    if isinstance(value, SymbolicText):
        return value.plain
    if isinstance(value, dict):
        return {key: _as_strings(item) for key, item in value.items()}
    return [_as_strings(item) for item in value] if isinstance(value, list | tuple) else value


# -- shapes -----------------------------------------------------------------------------------------------


def message_key(message: Message) -> Any:
    """What of a message decides how a template treats it, its strings left out."""
    content = message.get("content")
    kind = True if content and not content.isspace() else content
    if len(message) == 2:
        return message["role"], kind
    calls = message.get("tool_calls")
    return (
        message["role"],
        kind,
        message.get("train"),
        "train_ranges" in message,
        text_class(message.get("reasoning_content")),
        text_class(message.get("name")),
        text_class(message.get("tool_call_id")),
        None if calls is None else tuple(_call_key(call) for call in calls),
    )


def _call_key(call: Message) -> Any:
    arguments = call["function"]["arguments"]
    kind = text_class(arguments) if isinstance(arguments, str) else ("object", _json_class(arguments))
    return call.get("type"), text_class(call.get("id")), text_class(call["function"]["name"]), kind


def _json_class(value: Any) -> Any:
    """True for a JSON object that becomes a slot; else its text."""
    return True if isinstance(value, dict) and value else to_json(value)


def tools_key(tools: Sequence[Any] | None) -> Any:
    """What of the tool definitions decides how a template treats them."""
    return tuple(_json_class(tool) for tool in tools) if tools else None


def symbolic_message(place: int, message: Message, ledger: Ledger) -> Message:
    """The message with slots in place of its strings."""
    made: Message = {"role": message["role"]}
    for key in ("content", "reasoning_content", "name", "tool_call_id"):
        if key in message:
            made[key] = _symbolic(message[key], Slot(place, (key,)), ledger)
    if "tool_calls" in message:
        made["tool_calls"] = [
            _symbolic_call(Slot(place, ("tool_calls", i)), call, ledger)
            for i, call in enumerate(message["tool_calls"])
        ]
    return made


def _symbolic_call(slot: Slot, call: Message, ledger: Ledger) -> Message:
    function = call["function"]
    made: Message = {}
    for key in call:
        if key == "function":
            path = (*slot.path, "function")
            made["function"] = {
                name: _symbolic(function[name], Slot(slot.message, (*path, name)), ledger)
                for name in function
            }
        elif key == "id":
            made["id"] = _symbolic(call["id"], Slot(slot.message, (*slot.path, "id")), ledger)
        else:
            made[key] = call[key]
    return made


def symbolic_tools(tools: Sequence[Any] | None, ledger: Ledger) -> list[Any] | None:
    """Tool definitions as objects that may only be written out whole."""
    if not tools:
        return None
    return [_symbolic(tool, Slot(-1, (i,)), ledger) for i, tool in enumerate(tools)]


def _symbolic(value: Any, slot: Slot, ledger: Ledger) -> Any:
    if isinstance(value, str):
        return ledger.text(slot) if text_class(value) is True else value
    if isinstance(value, dict) and value:
        return ledger.value(slot)
    if value is None or isinstance(value, dict):
        return value
    raise NotSymbolic("a value that is neither text nor object")
