"""A session as text with its targets, and what target finding asks of a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tokenization.chat.sandbox import Text
from tokenization.chat.templates import Message, Prompt

STUB = "\U0010fff2"  # stands for an answer's text in probes; escaped content never holds it


class Refusal(Exception):
    """A session that cannot be rendered with exact targets: `reason` is counted, `detail` explains."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Span:
    """One target in a rendered text: half-open characters, and the message it belongs to."""

    start: int
    stop: int
    message: int


Extent = tuple[int, int]  # half-open characters of a text


@dataclass(frozen=True)
class RenderedText:
    """One sequence as text, with its targets."""

    text: str
    spans: tuple[Span, ...]
    untrained: tuple[Span, ...] = ()  # messages that stay masked where prompts are trained too
    messages: int = 0  # how many messages of the view it holds
    hidden: tuple[Extent, ...] = ()  # characters that no trained token may touch
    is_spliced: bool = False  # what serving supplies, then the answer: no one rendering of the template


class View(Protocol):
    """The renderings of one session (or of one shape of sessions) that target finding asks for."""

    @property
    def messages(self) -> Sequence[Message]:
        """The messages as the template takes them, strings escaped or symbolic."""
        ...

    @property
    def roles(self) -> Sequence[str]:
        """Their roles in the recipe's words."""
        ...

    @property
    def tools(self) -> Sequence[Any] | None: ...

    def render(self, count: int, prompt: Prompt | None = None) -> Text:
        """The first `count` messages, with a generation prompt where one is asked for."""
        ...

    def render_with(self, count: int, *others: Message) -> Text:
        """The first `count` messages, then others."""
        ...

    def reasoning_stub(self, place: int) -> Message | None:
        """This message with STUB as its reasoning, or None where it has none."""
        ...

    def absent_from(self, text: str, place: int, count: int, *, calls: bool, reasoning: bool) -> str | None:
        """Which part of this message (its content, and its calls and reasoning where asked for) is not in this text,
        a part of the rendering of the first `count` messages."""
        ...

    @property
    def has_inserted_system(self) -> bool:
        """Whether a system prompt that is not the session's own stands before its first message."""
        ...

    def content(self, place: int) -> str:
        """This message's content, in the view's characters."""
        ...

    def contents(
        self, text: str, place: int, count: int, prompt: Prompt | None = None
    ) -> list[Extent] | None:
        """Where this message's content stands in the rendering of the first `count` messages, with which `text`
        begins: as often as it does; None where that cannot be told."""
        ...

    def train_ranges(self, place: int) -> list[Extent] | None:
        """The trained ranges of this message's content, in the view's characters; None: all of it is trained."""
        ...
