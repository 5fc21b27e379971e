"""The renderings of one session, as target finding asks for them.

`DirectView` renders a session's own strings, typed control tokens hidden. `SymbolicView` renders a shape:
slots in place of strings, and its renderings are shared by every session that begins alike.

Guarantees: a rendering asked for twice is made once. Price: see sandbox and symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tokenization.chat.control import FIRST_SLOT, SLOT_PATTERN, ControlTokens
from tokenization.chat.rendered import STUB, Refusal
from tokenization.chat.roles import ASSISTANT, SYSTEM
from tokenization.chat.sandbox import CompiledTemplate, TemplateFailure, Text, to_json
from tokenization.chat.symbols import Condition, Ledger, NotSymbolic, OpaqueJson, Slot, SymbolicText
from tokenization.chat.templates import BoundTemplate, Message, Prompt

MAX_CACHED_CHARACTERS = 8 << 20


@dataclass
class _View:
    """What both views share; `session` are the messages before `prepare`."""

    bound: BoundTemplate
    session: list[Message]
    tools: list[Any] | None

    def __post_init__(self) -> None:
        self.messages, self.origin = self.bound.prepare(self.session, bool(self.tools), self.as_json)
        self.roles = [SYSTEM if i < 0 else self.session[i]["role"] for i in self.origin]

    def as_json(self, value: Any) -> str:
        """A call's arguments as text, for templates that take no object."""
        return to_json(value)

    def reasoning_stub(self, place: int) -> Message | None:
        message = self.session[self.origin[place]] if self.origin[place] >= 0 else {}
        if not message.get("reasoning_content"):
            return None
        return self.bound.shown({**message, "reasoning_content": STUB}, self.as_json)

    @property
    def has_inserted_system(self) -> bool:
        """Whether a system prompt that is not the session's own stands before its first message."""
        if self.origin[:1] == [-1]:
            return True
        own = self.bound.default_system == "template" and self.roles[:1] != [SYSTEM]
        return own and bool(self.bound.inserted_system)

    def content(self, place: int) -> str:
        """This message's content; of an inserted one, nothing."""
        return self.session[self.origin[place]].get("content", "") if self.origin[place] >= 0 else ""

    def said(self, place: int, *, calls: bool, reasoning: bool) -> Iterator[tuple[str, Any]]:
        """What a message says, part by part: its name for people, and the string or object."""
        if self.origin[place] < 0:
            return
        message = self.session[self.origin[place]]
        yield CONTENT, message.get("content", "")
        if reasoning:
            yield REASONING, message.get("reasoning_content", "")
        if calls:
            for call in message.get("tool_calls") or ():
                yield CALL_NAME, call["function"]["name"]
                yield CALL_ARGUMENTS, call["function"]["arguments"]


@dataclass
class DirectView(_View):
    """One session's own strings; `control` has hidden what was typed."""

    control: ControlTokens | None = None
    _rendered: dict[tuple[int, Prompt | None], Text] = field(default_factory=dict)
    _shown: dict[int, set[Part] | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls, bound: BoundTemplate, control: ControlTokens, messages: list[Message], tools: list[Any] | None
    ) -> DirectView:
        return cls(bound, control.escape(messages), control.escape(tools), control)

    def render(self, count: int, prompt: Prompt | None = None) -> Text:
        key = (count, prompt)
        if key not in self._rendered:
            self._rendered[key] = self.bound.render(self.messages[:count], self.tools, prompt)
        return self._rendered[key]

    def render_with(self, count: int, *others: Message) -> Text:
        return self.bound.render([*self.messages[:count], *others], self.tools)

    def absent_from(self, text: str, place: int, count: int, *, calls: bool, reasoning: bool) -> str | None:
        """Two looks: the string itself must be there, and so must a stub in its place (a short answer may
        stand in a text by chance)."""
        shown = self._shown_stubs(count)
        parts: Counter[str] = Counter()
        for name, value in self.said(place, calls=calls, reasoning=reasoning):
            parts[name] += 1
            leaves = list(_leaves(value))
            if any(not _is_written(leaf, text) for leaf in leaves):
                return name
            says = bool(leaves) or (bool(value) and not isinstance(value, str))
            if says and shown is not None and (self.origin[place], name, parts[name]) not in shown:
                return name
        return None

    def contents(
        self, text: str, place: int, count: int, prompt: Prompt | None = None
    ) -> list[tuple[int, int]] | None:
        """Found by rendering a stub in the content's place: what stands around it must be what stands here."""
        content = self.content(place)
        if not content.strip():
            return []
        base = self.render(count, prompt).text
        stub = self.bound.shown({**self.session[self.origin[place]], "content": STUB}, self.as_json)
        try:
            stubbed = self.bound.render(
                [*self.messages[:place], stub, *self.messages[place + 1 : count]], self.tools, prompt
            )
        except TemplateFailure:
            return None
        around = stubbed.text.split(STUB)
        found = filled(base, around)
        return found if found is not None and text.startswith(base) else None

    def train_ranges(self, place: int) -> list[tuple[int, int]] | None:
        """In characters of the escaped content; a range may not end within a typed control token."""
        message = self.session[self.origin[place]] if self.origin[place] >= 0 else {}
        ranges = message.get("train_ranges")
        if ranges is None or self.control is None:
            return None
        place_of = {0: 0}
        read = 0
        for number, character in enumerate(message["content"], 1):
            read += len(self.control.unescape(character))
            place_of[read] = number
        try:
            return [(place_of[start], place_of[stop]) for start, stop in ranges]
        except KeyError:
            raise Refusal(
                "ranges_not_placed", "a range of train_ranges begins or ends within a typed control token"
            ) from None

    def _shown_stubs(self, count: int) -> set[Part] | None:
        """What of the first `count` messages the template shows, found by rendering stubs in their place."""
        if count not in self._shown:
            names: list[Part] = []
            stubbed = [_stubbed(self.session[i], i, names) for i in self.origin[:count] if i >= 0]
            try:
                prepared, _ = self.bound.prepare(stubbed, bool(self.tools), self.as_json)
                text = self.bound.render(prepared, self.tools).text
                if self.roles[count - 1] == ASSISTANT:  # what is served may hold what the rendering drops
                    text += self._served(prepared[:-1])
            except TemplateFailure:
                self._shown[count] = None
            else:
                self._shown[count] = {names[ord(c) - FIRST_SLOT] for c in SLOT_PATTERN.findall(text)}
        return self._shown[count]

    def _served(self, prepared: Sequence[Message]) -> str:
        try:
            return self.bound.render(prepared, self.tools, Prompt()).text
        except TemplateFailure:
            return ""


Part = tuple[int, str, int]  # a message, what of it, and which one: a message may call twice
CONTENT, REASONING = "the content", "the reasoning"
CALL_NAME, CALL_ARGUMENTS = "the name of a tool call", "the arguments of a tool call"


def _stubbed(message: Message, place: int, names: list[Part]) -> Message:
    """The message with one character for each thing it says; `names` says what each stands for."""
    parts: Counter[str] = Counter()

    def stub(name: str) -> str:
        parts[name] += 1
        names.append((place, name, parts[name]))
        return chr(FIRST_SLOT + len(names) - 1)

    made = dict(message)
    for key, name in (("content", CONTENT), ("reasoning_content", REASONING)):
        if text_class(message.get(key)) is True:
            made[key] = stub(name)
    if message.get("tool_calls"):
        made["tool_calls"] = [
            {**call, "function": {"name": stub(CALL_NAME), "arguments": {"stub": stub(CALL_ARGUMENTS)}}}
            for call in message["tool_calls"]
        ]
    return made


def filled(text: str, around: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where in a text one string stands between these pieces, each time the same; None where it is not so made."""
    times = len(around) - 1
    if times == 0:
        return []
    size, rest = divmod(len(text) - sum(map(len, around)), times)
    start = len(around[0])
    string = text[start : start + size]
    if rest or size < 0 or string.join(around) != text:
        return None
    found = []
    for piece in around[1:]:
        found.append((start, start + size))
        start += size + len(piece)
    return found


def _leaves(value: Any) -> Iterator[str]:
    """The strings of a JSON value that are more than white space."""
    if isinstance(value, str):
        if value.strip():
            yield value.strip()
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)


def _is_written(leaf: str, text: str) -> bool:
    """Whether a string stands in the text, as it is or inside JSON."""
    return leaf in text or any(
        to_json(leaf, ensure_ascii=ascii_only)[1:-1] in text for ascii_only in (False, True)
    )


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
class SymbolicView(_View):
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
        if not isinstance(content, SymbolicText):
            return []
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


# -- shapes -----------------------------------------------------------------------------------------------


def text_class(text: str | None) -> Any:
    """True for a string that becomes a slot; else the string itself (empty or white space) or None."""
    return True if text and not text.isspace() else text


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
