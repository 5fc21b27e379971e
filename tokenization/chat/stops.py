"""What ends an answer, for any chat template: the last control token behind it that stays whatever follows.

Found by rendering an answer with and without a turn behind it. Where no control token closes an answer, the next turn's
marker stops it (GLM), and where a call may be followed by a tool's result, the marker that follows in this session.

Guarantees: a stop is one control token. Price: two renderings for each kind of answer, then none.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tokenization.chat.control import RESERVED, ControlTokens
from tokenization.chat.rendered import STUB, Refusal, View
from tokenization.chat.roles import TOOL, USER
from tokenization.chat.sandbox import TemplateFailure, Text
from tokenization.chat.templates import BoundTemplate, Message

FOLLOWING_STUB = "\U0010fff3"
_PRIVATE = re.compile(f"[{RESERVED}]")


@dataclass(frozen=True)
class StopRule:
    """What ends an answer of one kind: `tail` ends its rendering, `appended` is the next turn's marker."""

    stop: str = ""  # the control token; "" = none was found
    tail: str = ""  # from the stop to the end of the rendering
    appended: str = ""  # where the stop is the next turn's marker, what lies between included
    behind: str = ""  # the text behind an answer, for messages to people


@dataclass
class Stops:
    """Finds stops under one bound template; keeps what it learnt."""

    bound: BoundTemplate
    control: ControlTokens
    _rules: dict[tuple[Any, ...], StopRule] = field(default_factory=dict)

    def find(self, view: View, place: int, text: str) -> tuple[str, int, StopRule]:
        """The text with its stop in it, where the stop ends, and what it is."""
        message = view.messages[place]
        rule = self.rule(message)
        if not rule.stop or not text.endswith(rule.tail):
            rule = self._probed_rule(message, lambda *others: view.render_with(place, *others))
        if not rule.stop or not text.endswith(rule.tail):
            raise Refusal("no_stop", f"message {place} ends in {end_of(text)}: no one token stops it")
        if rule.appended:
            marker = self._next_marker(view, place, text) or rule.appended
            return (
                text + marker,
                len(text) + len(marker),
                replace(rule, stop=marker.lstrip(), appended=marker),
            )
        return text, len(text) - len(rule.tail) + len(rule.stop), rule

    def _next_marker(self, view: View, place: int, text: str) -> str:
        """The control token that opens the turn which follows in this session, and the white space before it."""
        if place + 1 == len(view.messages):
            return ""
        longer = view.render(place + 2).text
        rest = longer[len(text) :] if longer.startswith(text) else ""
        start, stop = next(iter(self.control.find(rest)), (0, 0))
        return "" if rest[:start].strip() else rest[:stop]

    def rule(self, message: Message) -> StopRule:
        """What ends answers like this one, probed behind a user's turn."""
        kind = (message["role"], bool(message.get("content")), bool(message.get("tool_calls")))
        if kind not in self._rules:
            user: Message = {"role": USER, "content": STUB}
            self._rules[kind] = self._probed_rule(message, lambda *others: self.bound.render([user, *others]))
        return self._rules[kind]

    def _probed_rule(self, message: Message, render: Callable[..., Text]) -> StopRule:
        """The stop is the last control token behind the answer that stays whatever follows."""
        answer = self._stub_of(message)
        try:
            behind = _behind_stub(render(answer).text)
        except TemplateFailure:
            return StopRule()
        try:
            following = _behind_stub(
                render(answer, self._following(message)).text.replace(FOLLOWING_STUB, "")
            )
        except TemplateFailure:
            following = behind
        shared = common_length(behind, following)
        tokens = [] if self._stops_at_markers(message) else self.control.find(behind)
        lasting = [span for span in tokens if span[1] <= shared]
        if tokens:
            start, stop = lasting[-1] if lasting else tokens[0]
            return StopRule(behind[start:stop], behind[start:], "", behind)
        rest = following[len(behind) :] if following.startswith(behind) else ""
        marker = next(iter(self.control.find(rest)), None)
        if marker and not rest[: marker[0]].strip():
            return StopRule(rest[marker[0] : marker[1]], "", rest[: marker[1]], behind)
        return StopRule(behind=behind or following)

    def _stops_at_markers(self, message: Message) -> bool:
        """Whether plain answers end at the next turn's marker; calls then do, whatever closes them."""
        if not message.get("tool_calls"):
            return False
        return bool(self.rule({"role": message["role"], "content": STUB}).appended)

    def _stub_of(self, message: Message) -> Message:
        says = message.get("content") or not message.get("tool_calls")
        stub: Message = {"role": message["role"], "content": STUB if says else ""}
        if message.get("tool_calls"):
            as_text = self.bound.takes_arguments_as_text
            arguments = f'{{"stub": "{STUB}"}}' if as_text else {"stub": STUB}
            function = {"name": STUB, "arguments": arguments}
            stub["tool_calls"] = [{"type": "function", "id": "stubstub1", "function": function}]
        return stub

    @staticmethod
    def _following(message: Message) -> Message:
        if message.get("tool_calls"):
            return {"role": TOOL, "content": FOLLOWING_STUB, "tool_call_id": "stubstub1"}
        return {"role": USER, "content": FOLLOWING_STUB}


def _behind_stub(text: str) -> str:
    """What stands behind the last stub; everything where there is none."""
    return text[text.rfind(STUB) + 1 :]


def common_length(a: str, b: str) -> int:
    """Length of the longest common prefix."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def end_of(text: str) -> str:
    """The constant end of a text, for people."""
    return repr(_PRIVATE.split(text)[-1][-40:])
