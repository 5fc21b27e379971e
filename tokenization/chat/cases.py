"""One session on its way to a sequence: what of it is a target, and what decides how it is rendered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenization.chat.templates import Message


@dataclass(frozen=True)
class Verdict:
    """What of a session is a target, or why it can be no example."""

    targets: tuple[int, ...] = ()
    untrained: tuple[int, ...] = ()  # messages that stay masked where prompts are trained too
    by_itself: bool = False  # its rendering needs more than its shape
    reason: str = ""
    detail: str = ""


@dataclass
class Case:
    """One sequence to render: a session, or what a policy leaves of one, and what of it is a target."""

    row: int
    messages: list[Message]
    tools: list[Any] | None
    keys: tuple[Any, ...]  # the messages' shapes
    targets: tuple[int, ...]
    untrained: tuple[int, ...] = ()
    everything: bool = False  # its prompts are trained too
    by_itself: bool = False  # no skeleton serves it
    seed: int = 0  # decides whether it is sampled
    origin: list[int] | None = None  # which message of the session each one is, where some are left out
