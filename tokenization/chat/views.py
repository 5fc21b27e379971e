"""The renderings of one session, as target finding asks for them.

`DirectView` renders a session's own strings, typed control tokens hidden; see symbolic_view for the renderings of a
whole shape.

Guarantees: a rendering asked for twice is made once. Price: see sandbox and symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tokenization.chat.control import FIRST_SLOT, SLOT_PATTERN, ControlTokens
from tokenization.chat.rendered import STUB, Refusal
from tokenization.chat.roles import ASSISTANT, SYSTEM
from tokenization.chat.sandbox import TemplateFailure, Text, to_json
from tokenization.chat.templates import BoundTemplate, Message, Prompt

MAX_LOOKS = 20_000  # shapes of sessions of which it is remembered what the template shows


@dataclass
class View:
    """What this view and the symbolic one share; `session` are the messages before `prepare`."""

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
class DirectView(View):
    """One session's own strings; `control` has hidden what was typed."""

    control: ControlTokens | None = None
    _rendered: dict[tuple[int, Prompt | None], Text] = field(default_factory=dict)
    looks: dict[Any, set[Part] | None] = field(default_factory=dict)  # shared by views of one template
    _shown: dict[int, set[Part] | None] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bound: BoundTemplate,
        control: ControlTokens,
        messages: list[Message],
        tools: list[Any] | None,
        looks: dict[Any, set[Part] | None] | None = None,
    ) -> DirectView:
        return cls(
            bound,
            control.escape(messages),
            control.escape(tools),
            control,
            looks={} if looks is None else looks,
        )

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
        if not self.content(place):
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
        """What of the first `count` messages the template shows, found by rendering stubs in their place: once for
        all sessions that are the same but for what the stubs stand for."""
        if count not in self._shown:
            names: list[Part] = []
            stubbed = [_stubbed(self.session[i], i, names) for i in self.origin[:count] if i >= 0]
            key = tuple(self.origin[:count]), orjson.dumps([stubbed, self.tools])
            if key not in self.looks:
                if len(self.looks) >= MAX_LOOKS:
                    self.looks.clear()
                self.looks[key] = self._look(stubbed, names, self.roles[count - 1] == ASSISTANT)
            self._shown[count] = self.looks[key]
        return self._shown[count]

    def _look(self, stubbed: list[Message], names: list[Part], ends_in_answer: bool) -> set[Part] | None:
        try:
            prepared, _ = self.bound.prepare(stubbed, bool(self.tools), self.as_json)
            text = self.bound.render(prepared, self.tools).text
            if ends_in_answer:  # what is served may hold what the rendering drops
                text += self._served(prepared[:-1])
        except TemplateFailure:
            return None
        return {names[ord(c) - FIRST_SLOT] for c in SLOT_PATTERN.findall(text)}

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


def text_class(text: str | None) -> Any:
    """True for a string that becomes a slot; else the string itself (empty or white space) or None."""
    return True if text and not text.isspace() else text
