"""What the proof of targets works on: the demands of a recipe, and a session as its template sees it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from tokenization.build.proof_template import (
    ASSISTANT,
    TOOL,
    Message,
    Prompt,
    ServedTemplate,
)
from tokenization.chat.sandbox import TemplateFailure, Text


class Unprovable(Exception):
    """There can be no proof for this session; the text says why."""


@dataclass(frozen=True)
class Demands:
    """What a recipe asks of masks."""

    trained_roles: frozenset[str] = frozenset({ASSISTANT})
    loss_on: str = "all_answers"  # all_answers | last_answer
    train_on_prompt: bool | str = False  # auto: the prompts of those sessions whose actions say so
    history: str = "cut"  # cut | last | error
    reasoning: str = "trained"  # trained | masked
    around_answers: str = "masked"  # trained: think tags that serving supplies, and the stop's line break

    def targets(self, messages: Sequence[Message]) -> list[int]:
        """The messages that must be trained: those of trained roles and those that say so; never a tool's."""
        answers = [
            place
            for place, message in enumerate(messages)
            if message["role"] in self.trained_roles
            or (message.get("train") is True and message["role"] != TOOL)
        ]
        if self.loss_on == "last_answer":
            answers = answers[-1:]
        return [place for place in answers if messages[place].get("train", True)]

    def untrained(self, messages: Sequence[Message]) -> list[int]:
        """The answers that stay masked even where prompts are trained."""
        return [
            place
            for place, message in enumerate(messages)
            if self.is_answer(message) and not message.get("train", True)
        ]

    def is_answer(self, message: Message) -> bool:
        """Whether the model is to write such messages, trained or not."""
        return message["role"] == ASSISTANT or message["role"] in self.trained_roles

    def everything(self, actions: Sequence[str]) -> bool:
        """Whether the prompts of a session with these actions are trained too."""
        if self.train_on_prompt == "auto":
            return "train_on_prompt" in actions
        return bool(self.train_on_prompt)


@dataclass(frozen=True)
class ExpectedText:
    """One sequence as text: what must be trained in it (half-open characters), message by message."""

    text: str
    spans: tuple[tuple[int, int, int], ...]  # start, stop, message of the session
    masked: tuple[tuple[int, int], ...]  # flagged messages, where everything else is trained
    origin: tuple[int, ...]  # the session's messages that it holds
    hidden: tuple[tuple[int, int], ...] = ()  # characters that no trained token may touch

    def only(self, message: int) -> ExpectedText:
        """The same with this message's targets only."""
        return replace(self, spans=tuple(span for span in self.spans if span[2] == message))


@dataclass(frozen=True)
class ControlText:
    """Control tokens by their text: what of a rendering is structure."""

    ids: Mapping[str, int]
    pattern: re.Pattern[str]

    @classmethod
    def of(cls, ids: Mapping[str, int]) -> ControlText:
        longest_first = sorted((text for text in ids if text), key=len, reverse=True)
        return cls(ids, re.compile("|".join(map(re.escape, longest_first)) or "(?!)"))

    def find(self, text: str) -> Iterator[re.Match[str]]:
        return self.pattern.finditer(text)


@dataclass
class View:
    """One session as the template sees it: its strings, or stand-ins for them."""

    template: ServedTemplate
    session: Sequence[Message]
    tools: Sequence[Any] | None
    names: Sequence[Any] | None = None  # names[i]: equal names, equal messages; None = nothing is shared
    shared: dict[Any, Text | TemplateFailure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.messages, self.origin = self.template.shown(self.session, bool(self.tools))
        self.place_of = {place: number for number, place in enumerate(self.origin)}

    def render(self, count: int, prompt: Prompt | None = None) -> Text:
        """The first `count` shown messages."""
        names = (
            tuple(self.origin[:count])
            if self.names is None
            else tuple((place, self.names[place] if place >= 0 else None) for place in self.origin[:count])
        )
        key = (names, prompt)
        if key not in self.shared:
            try:
                self.shared[key] = self.template.render(self.messages[:count], self.tools, prompt)
            except TemplateFailure as failure:
                self.shared[key] = failure
        made = self.shared[key]
        if isinstance(made, TemplateFailure):
            raise made
        return made

    def first(self, count: int) -> View:
        """The same with its first `count` shown messages only."""
        made = copy(self)
        made.messages, made.origin = self.messages[:count], self.origin[:count]
        return made

    def probed(self, place: int, count: int, prompt: Prompt | None, probe: str) -> str:
        """The same with a probe as the content of the message at `place`."""
        message = {**self.session[self.origin[place]], "content": probe}
        made = [*self.messages[:count]]
        made[place] = self.template.shown([message], True)[0][-1]
        return self.template.render(made, self.tools, prompt).text

    def render_with(self, count: int, *others: Message) -> Text:
        return self.template.render([*self.messages[:count], *others], self.tools)
