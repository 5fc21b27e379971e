"""What a chat template does, found by probing it once: for people, manifests and refusals.

`check_stop` refuses a template whose answers do not end in one token of the tokenizer; `report_on` says
which method finds the targets, what is inserted, which fields are known and what to look at.

Guarantees: nothing here changes a rendering. Price: some twenty small renderings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tokenization.chat.rendered import STUB, Refusal
from tokenization.chat.rendering import Renderer
from tokenization.chat.roles import ASSISTANT, SYSTEM, TOOL, USER
from tokenization.chat.sandbox import TemplateFailure
from tokenization.chat.stops import StopRule
from tokenization.chat.templates import BoundTemplate, Message
from tokenization.chat.views import DirectView
from tokenization.errors import RecipeError

_MARKER = re.compile(r"<\|[^|<>\s]+\|>|<｜[^｜<>\s]+｜>|</?[A-Za-z_][\w-]*>|\[/?[A-Z_]+\]")
_QUESTION: Message = {"role": USER, "content": "qzquestion"}
_ANSWER: Message = {"role": ASSISTANT, "content": "qzanswer"}


@dataclass(frozen=True)
class TemplateReport:
    """What probing found of one bound template."""

    name: str
    fingerprint: str
    method: str  # generation = the author's {% generation %} marks | prefix = renderings compared
    prefix_stable: bool  # False: earlier answers are rendered otherwise once later messages follow
    inserted_system: str  # what stands before the first turn of a session without a system message
    stop_tokens: tuple[str, ...]
    fields: tuple[str, ...]  # the message fields it shows, beside role and content
    reasoning_field: str | None  # None: reasoning is written into the content
    shows_tools: bool
    generation_prompt: str | None
    unknown_markers: tuple[str, ...]  # what looks like a special token and is none of the tokenizer's
    notes: tuple[str, ...]

    def as_json(self) -> Mapping[str, Any]:
        """For manifests."""
        return asdict(self)


def check_stop(renderer: Renderer) -> tuple[str, ...]:
    """The stop tokens of the trained roles' answers; a RecipeError where one does not end in one token."""
    trained = [role for role, policy in renderer.policy.items() if policy.trained]
    rules = {role: _stop_of(renderer, role) for role in trained}
    for role, rule in rules.items():
        if role == ASSISTANT and (not rule.stop or _passes_a_marker(renderer, rule)):
            raise RecipeError(_no_stop(renderer, rule))
    return tuple(dict.fromkeys(rule.stop for rule in rules.values() if rule.stop))


def _stop_of(renderer: Renderer, role: str) -> StopRule:
    return renderer.finder.stopping.rule(renderer.bound.shown({"role": role, "content": STUB}))


def _passes_a_marker(renderer: Renderer, rule: StopRule) -> bool:
    """Whether the answer is followed by a marker that is no token, before whatever stops it: its own stop is lost."""
    before = rule.behind.removesuffix(rule.tail) + rule.appended.removesuffix(rule.stop)
    return any(match[0] not in renderer.control.ids for match in _MARKER.finditer(before))


def _no_stop(renderer: Renderer, rule: StopRule) -> str:
    name = renderer.template.name
    try:
        renderer.bound.render([_QUESTION, _ANSWER])
    except TemplateFailure as failure:
        return f"chat.template {name} cannot render a question and its answer: {failure}"
    marker = next((m for m in _MARKER.finditer(rule.behind) if m[0] not in renderer.control.ids), None)
    if marker:
        return (
            f"chat.template {name} ends answers in {marker[0]}, which is not a token of this tokenizer; add "
            f'tokenizer.add_special_tokens: ["{marker[0]}"] or choose a template whose stop it has'
        )
    return (
        f"chat.template {name} ends answers in {rule.behind[:40]!r}, and no one token of the tokenizer stops "
        "them; choose a template that ends answers in a special token, such as chatml"
    )


def report_on(renderer: Renderer) -> TemplateReport:
    """Everything probing finds."""
    bound = renderer.bound
    template = renderer.template
    return TemplateReport(
        name=template.name,
        fingerprint=template.fingerprint,
        method="generation" if template.has_generation_marks else "prefix",
        prefix_stable=_is_prefix_stable(renderer),
        inserted_system=bound.inserted_system,
        stop_tokens=check_stop(renderer),
        fields=tuple(field for field, probe in _FIELDS.items() if _shows(bound, probe)),
        reasoning_field=bound.reasoning_field,
        shows_tools="qztool" in bound.probe([_QUESTION], [_TOOL]),
        generation_prompt=renderer.finder.constant_prompt(),
        unknown_markers=tuple(renderer.control.unknown_markers(template.constants)),
        notes=tuple(sorted(renderer.finder.notes | _asked(renderer) | _rewritten(bound))),
    )


def _asked(renderer: Renderer) -> set[str]:
    """What the recipe asks of targets that serving does not: a note wherever the report is read."""
    if renderer.options.around_answers == "masked":
        return set()
    return {"around_answers: the prompt's think tags and the line break behind the stop are trained"}


def _rewritten(bound: BoundTemplate) -> set[str]:
    """How the template writes other text than a session says, as serving then does too."""
    notes = set()
    written = bound.probe(_FIELDS["tool_calls"])
    if "qzshown" in written and ("&#34;" in written or "&quot;" in written):
        notes.add("writes the quotes of tool calls as HTML escapes (&#34;)")
    padded = [{**message, "content": f" \t{message['content']}\t "} for message in (_QUESTION, _ANSWER)]
    shown = bound.probe(padded)
    trimmed = [m for m in padded if m["content"].strip() in shown and m["content"] not in shown]
    if trimmed:
        notes.add(f"trims the white space around what {' and '.join(m['role'] for m in trimmed)} say")
    return notes


_TOOL = {
    "type": "function",
    "function": {"name": "qztool", "description": "", "parameters": {"type": "object", "properties": {}}},
}
_CALL = {"type": "function", "id": "qzcall123", "function": {"name": "qzshown", "arguments": {"a": "b"}}}
_FIELDS: Mapping[str, list[Message]] = {
    "name": [{**_QUESTION, "name": "qzshown"}],
    "reasoning_content": [_QUESTION, {**_ANSWER, "reasoning_content": "qzshown"}],
    "thinking": [_QUESTION, {**_ANSWER, "thinking": "qzshown"}],
    "tool_calls": [_QUESTION, {**_ANSWER, "content": "", "tool_calls": [_CALL]}],
    "tool": [
        _QUESTION,
        {**_ANSWER, "content": "", "tool_calls": [_CALL]},
        {"role": TOOL, "content": "qzshown tool", "tool_call_id": "qzcall123"},
    ],
    "system": [{"role": SYSTEM, "content": "qzshown"}, _QUESTION],
}


def _shows(bound: BoundTemplate, messages: list[Message]) -> bool:
    sought = "qzshown tool" if messages[-1]["role"] == TOOL else "qzshown"
    return sought in bound.probe(messages)


def _is_prefix_stable(renderer: Renderer) -> bool:
    """Whether two answers, with reasoning and without, keep their rendering once a question follows."""
    for more in ({}, {"reasoning_content": "qzreason"}):
        answer = {**_ANSWER, **more}
        view = DirectView(renderer.bound, [_QUESTION, answer, _QUESTION, answer], None)
        first = 1 + view.origin.index(0)
        try:
            sequences, _ = renderer.finder.find(view, [first, first + 2])
        except Refusal as refusal:
            if refusal.reason == "history_rewritten":
                return False
            continue
        if len(sequences) > 1 or len({span.message for span in sequences[0].spans}) < 2:
            return False
    return True
