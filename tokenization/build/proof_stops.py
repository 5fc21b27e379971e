"""Where an answer ends: the token that stops it, found by rendering probes in its place.

What a template writes behind an answer is compared with and without a turn behind it: the last control token that is
there either way stops the answer; where none is, the next turn's marker does.

Price: two renderings for each kind of message, kept; three for an answer that ends otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokenization.build.proof_template import (
    FOLLOWING,
    PROBE,
    TOOL,
    USER,
    Message,
    ServedTemplate,
    with_text_arguments,
)
from tokenization.build.proof_view import ControlText, Unprovable, View
from tokenization.chat.sandbox import TemplateFailure, Text


@dataclass(frozen=True)
class _Stop:
    """What ends an answer: its rendering ends with `closing`, whose first `length` characters are the stop."""

    closing: str
    length: int  # 0: the next turn's marker stops


@dataclass(frozen=True)
class Stops:
    """Finds where answers end; keeps what it learnt."""

    template: ServedTemplate
    control: ControlText
    _stops: dict[Any, _Stop | None] = field(default_factory=dict)

    def stopped(self, view: View, place: int, text: str) -> tuple[str, int]:
        """The answer's rendering through its stop, and where the stop ends."""
        message = view.messages[place]
        stop = self._usual_stop(message)
        if stop is None or not text.endswith(stop.closing):
            stop = self._learn_stop(message, lambda *others: view.render_with(place, *others))
        if stop is None or not text.endswith(stop.closing):
            raise Unprovable(f"message {view.origin[place]}: no control token ends the answer")
        if stop.length:
            return text, len(text) - len(stop.closing) + stop.length
        marker = self._next_marker(view, place, text)
        return text + marker, len(text) + len(marker)

    def _usual_stop(self, message: Message) -> _Stop | None:
        """What ends answers of this kind behind a user's turn."""
        kind = (message["role"], bool(message.get("content")), bool(message.get("tool_calls")))
        if kind not in self._stops:
            user: Message = {"role": USER, "content": PROBE}
            self._stops[kind] = self._learn_stop(
                message, lambda *others: self.template.render([user, *others])
            )
        return self._stops[kind]

    def _learn_stop(self, message: Message, render: Callable[..., Text]) -> _Stop | None:
        """The last control token behind an answer that is there whatever follows."""
        if message.get("tool_calls"):
            plain = self._usual_stop({"role": message["role"], "content": PROBE})
            if plain is not None and not plain.length:
                return plain
        probe = self._probe_of(message)
        try:
            tail = _behind_probe(render(probe).text)
        except TemplateFailure:
            return None
        try:
            later = _behind_probe(render(probe, _following(message)).text)
        except TemplateFailure:
            later = tail
        kept = common(tail, later)
        found = [match.span() for match in self.control.find(tail)]
        if not found:
            return None if tail.strip() else _Stop("", 0)
        lasting = [span for span in found if span[1] <= kept]
        start, end = lasting[-1] if lasting else found[0]
        return _Stop(tail[start:], end - start)

    def _probe_of(self, message: Message) -> Message:
        """A message of the same kind that says nothing but probes."""
        calls = message.get("tool_calls")
        probe: Message = {
            "role": message["role"],
            "content": PROBE if message.get("content") or not calls else "",
        }
        if calls:
            call = {"name": PROBE, "arguments": {"probe": PROBE}}
            probe["tool_calls"] = [{"type": "function", "id": "probe0001", "function": call}]
            if self.template.wants_arguments_as_text:
                probe["tool_calls"] = [with_text_arguments(made) for made in probe["tool_calls"]]
        return probe

    def _next_marker(self, view: View, place: int, text: str) -> str:
        """The control token that opens the next turn, with the white space before it."""
        if place < len(view.messages) - 1:
            marker = self._marker_behind(text, view.render(place + 2).text)
            if marker is not None:
                return marker
        message = view.messages[place]
        probe = self._probe_of(message)
        alone = _behind_probe(view.render_with(place, probe).text)
        followed = _behind_probe(view.render_with(place, probe, _following(message)).text)
        marker = self._marker_behind(alone, followed)
        if marker is None:
            raise Unprovable(f"message {view.origin[place]}: no control token ends the answer")
        return marker

    def _marker_behind(self, text: str, longer: str) -> str | None:
        found = next(self.control.find(longer[len(text) :]), None) if longer.startswith(text) else None
        if found is None or longer[len(text) : len(text) + found.start()].strip():
            return None
        return longer[len(text) : len(text) + found.end()]


def _following(message: Message) -> Message:
    if message.get("tool_calls"):
        return {"role": TOOL, "content": FOLLOWING, "tool_call_id": "probe0001"}
    return {"role": USER, "content": FOLLOWING}


def common(one: str, other: str) -> int:
    """Length of what both begin with."""
    if other.startswith(one):
        return len(one)
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(other))


def _behind_probe(text: str) -> str:
    return text[text.rfind(PROBE) + len(PROBE) :] if PROBE in text else text
