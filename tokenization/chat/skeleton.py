"""Skeletons: a template runs once for each shape of session, then sessions are filled in.

A session's shape is what a template can branch on: roles, which fields are there or empty, how many tools.
Its skeleton is the finished plan for every session of that shape: the parts with their ids and mask, and
the stretches with slots. Filling one is joining a few strings.

Guarantees: the plan comes from the same target finding that single sessions go through; where the template
looks into strings, the plan holds under conditions that each session is checked against; where it measures them or
takes them apart, each session is rendered once and compared; a session that fails, or a template that resists, is
rendered by itself (`plan` is None), which takes some four renderings.
Price: a few milliseconds a shape; about 1 µs a message to fill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tokenization.chat.assembly import ConstantPool, Layout, cut_into_parts
from tokenization.chat.control import SLOT_PATTERN, ControlTokens
from tokenization.chat.rendered import Refusal, RenderedText, Span
from tokenization.chat.symbolic_environment import SymbolicEnvironment
from tokenization.chat.symbolic_view import (
    PrefixCache,
    StandInView,
    SymbolicView,
    symbolic_message,
    symbolic_tools,
)
from tokenization.chat.symbols import Condition, Ledger, NotSymbolic, Slot, SymbolicText, constant_parts
from tokenization.chat.targets import TargetFinder
from tokenization.chat.templates import BoundTemplate, Message

MAX_PLANS = 20_000


# What a text is made of: constants and indices of slots in turn, a constant first and last.
Stretch = tuple[str | int, ...]


@dataclass(frozen=True)
class SequencePlan:
    """One sequence of a shape: where its parts go, and how its stretches are filled."""

    layout: Layout
    stretches: tuple[Stretch, ...]  # one for each text of its own
    whole: Stretch  # the whole text: what the sample is compared with
    count: int  # messages of the view
    is_spliced: bool
    hidden: tuple[
        tuple[int, Stretch, Stretch], ...
    ] = ()  # (stretch, what stands before, that and the hidden)


@dataclass(frozen=True)
class Plan:
    """A shape's finished plan, or the reason why no session of this shape can be rendered."""

    sequences: tuple[SequencePlan, ...] = ()
    slots: tuple[Slot, ...] = ()
    conditions: tuple[tuple[Condition, Slot, Slot | None], ...] = ()
    refusal: Refusal | None = None
    was_cut: bool = False

    def fill(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> list[list[str]] | None:
        """The stretches of each sequence, or None where a condition fails."""
        for condition, slot, other in self.conditions:
            beside = value_of(other, messages, tools) if other else ""
            if not condition.holds(value_of(slot, messages, tools), beside):
                return None
        values = self._values(messages, tools)
        return [[_joined(pieces, values) for pieces in s.stretches] for s in self.sequences]

    def _values(self, messages: Sequence[Message], tools: Sequence[Any] | None) -> list[str]:
        if self.is_plain:
            return [messages[slot.message][slot.path[0]] for slot in self.slots]  # type: ignore[index]
        return [value_of(slot, messages, tools) for slot in self.slots]

    def hidden(
        self, sequence: int, messages: Sequence[Message], tools: Sequence[Any] | None
    ) -> list[tuple[int, int, int]]:
        """What of the stretches of one sequence no trained token may touch: (stretch, first byte, behind the last)."""
        extents = self.sequences[sequence].hidden
        if not extents:
            return []
        values = self._values(messages, tools)
        return [
            (own, len(_joined(before, values).encode()), len(_joined(through, values).encode()))
            for own, before, through in extents
        ]

    @cached_property
    def is_supposed(self) -> bool:
        """Whether only its own rendering tells that the plan holds for a session."""
        return any(condition.kind == "supposed" for condition, _, _ in self.conditions)

    @cached_property
    def is_plain(self) -> bool:
        """Whether every slot is a field of a message, as it is."""
        return all(s.message >= 0 and len(s.path) == 1 and not s.steps for s in self.slots)

    def text(self, sequence: int, messages: Sequence[Message], tools: Sequence[Any] | None) -> str:
        """The whole text of one sequence."""
        values = self._values(messages, tools)
        return _joined(self.sequences[sequence].whole, values)


def _joined(pieces: Stretch, values: Sequence[str]) -> str:
    if len(pieces) == 3:
        before, slot, after = pieces
        return f"{before}{values[slot]}{after}"  # type: ignore[index]
    return "".join([values[piece] if isinstance(piece, int) else piece for piece in pieces])


def value_of(slot: Slot, messages: Sequence[Message], tools: Sequence[Any] | None) -> str:
    """What fills this slot for this session."""
    value: Any = messages[slot.message] if slot.message >= 0 else tools
    for key in slot.path:
        value = value[key]
    if not slot.steps:
        text: str = value
        return text
    return slot.fill(value)


@dataclass
class Planner:
    """Plans by shape, for one bound template and one way of choosing targets."""

    bound: BoundTemplate
    control: ControlTokens
    finder: TargetFinder
    pool: ConstantPool
    prefix_scope: str
    plans: dict[Any, Plan | None] = field(default_factory=dict)
    cache: PrefixCache = field(default_factory=PrefixCache)
    stood_in: PrefixCache = field(default_factory=PrefixCache)  # the renderings of stand-ins
    direct_reasons: dict[str, int] = field(default_factory=dict)  # why shapes are rendered one by one

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.control.protects)

    @cached_property
    def _compiled(self) -> Any:
        return self.bound.template.compile(SymbolicEnvironment(self.bound.template.date, self.ledger))

    def plan(self, shape: Any, messages: Sequence[Message], tools: Sequence[Any] | None) -> Plan | None:
        """The plan of this shape, made from one session that has it; None: render one by one."""
        if shape in self.plans:
            return self.plans[shape]
        if len(self.plans) >= MAX_PLANS:
            self.plans.clear()
        plan = self._made(shape, messages, tools)
        self.plans[shape] = plan
        return plan

    def _made(self, shape: Any, messages: Sequence[Message], tools: Sequence[Any] | None) -> Plan | None:
        keys, key_of_tools, *_ = shape
        self.ledger.example = lambda slot: self.control.escape(value_of(slot, messages, tools))
        try:
            symbolic = [symbolic_message(place, m, self.ledger) for place, m in enumerate(messages)]
            objects = symbolic_tools(tools, self.ledger)
            view = SymbolicView(
                self.bound, symbolic, objects, self._compiled, self.ledger, self.cache, keys, key_of_tools
            )
            plan = self._planned(shape, view)
            if not (plan.refusal and plan.is_supposed):
                return plan
            reason = (
                "the template writes a part of a text"  # of one session's; the others' are not lost for that
            )
        except NotSymbolic as refused:
            reason = str(refused)
        if not tools and not any("tool_calls" in message for message in messages):
            return self._with_stand_ins(shape, symbolic)
        self.direct_reasons[reason] = self.direct_reasons.get(reason, 0) + 1
        return None

    def _with_stand_ins(self, shape: Any, symbolic: list[Message]) -> Plan | None:
        """What holds for every text that the template treats as it treats a stand-in."""
        view = StandInView(
            self.bound, symbolic, None, self.bound.compiled, self.ledger, self.stood_in, shape[0], None
        )
        view.conditions = {
            Condition("supposed", self.ledger.slot(value.plain))
            for message in symbolic
            for value in message.values()
            if isinstance(value, SymbolicText)
        }
        try:
            plan = self._planned(shape, view)
        except NotSymbolic:  # where white space alone stands
            return None
        return None if plan.refusal else plan

    def _planned(self, shape: Any, view: SymbolicView) -> Plan:
        _, _, targets, untrained, everything = shape
        try:
            rendered, was_cut = find_for(self.finder, view, targets, untrained, everything)
        except Refusal as refusal:
            return Plan((), (), self._conditions(view), refusal)
        used: dict[str, int] = {}
        sequences = tuple(self._sequence(text, used, everything) for text in rendered)
        slots = tuple(self.ledger.slot(character) for character in used)
        return Plan(sequences, slots, self._conditions(view), None, was_cut)

    def _conditions(self, view: SymbolicView) -> tuple[tuple[Condition, Slot, Slot | None], ...]:
        ordered = sorted(view.conditions, key=repr)
        return tuple((condition, condition.slot, condition.other) for condition in ordered)

    def _sequence(self, rendered: RenderedText, used: dict[str, int], everything: bool) -> SequencePlan:
        parts, spans, hidden = cut_into_parts(
            rendered, self.control, everything=everything, prefix_scope=self.prefix_scope
        )
        broken = {extent.part for extent in hidden}
        fixed = [i not in broken and not SLOT_PATTERN.search(part.text) for i, part in enumerate(parts)]
        layout = self.pool.layout(parts, spans, fixed)
        own = [i for i, part in enumerate(parts) if part.token is None and not fixed[i]]
        return SequencePlan(
            layout,
            tuple(self._pieces(parts[i].text, used) for i in own),
            self._pieces(rendered.text, used),
            rendered.messages,
            rendered.is_spliced,
            tuple(
                (
                    own.index(extent.part),
                    self._pieces(parts[extent.part].text[: extent.start], used),
                    self._pieces(parts[extent.part].text[: extent.stop], used),
                )
                for extent in hidden
            ),
        )

    @staticmethod
    def _pieces(text: str, used: dict[str, int]) -> Stretch:
        return tuple(
            used.setdefault(piece, len(used)) if place % 2 else piece
            for place, piece in enumerate(constant_parts(text))
        )


def find_for(
    finder: TargetFinder, view: Any, targets: Sequence[int], untrained: Sequence[int], everything: bool
) -> tuple[list[RenderedText], bool]:
    """Target finding in the session's own numbering: `targets` and the spans found count its messages."""
    places = {origin: place for place, origin in enumerate(view.origin)}
    wanted = [places[i] for i in targets if i in places]
    if not wanted:
        raise Refusal("no_target", "no message that is trained is visible in generation")
    off = [places[i] for i in untrained if i in places]
    rendered, was_cut = finder.find(view, wanted, off, everything=everything)
    return [
        replace(
            text,
            spans=_renumbered(text.spans, view.origin),
            untrained=_renumbered(text.untrained, view.origin),
        )
        for text in rendered
    ], was_cut


def _renumbered(spans: Sequence[Span], origin: Sequence[int]) -> tuple[Span, ...]:
    return tuple(Span(span.start, span.stop, origin[span.message]) for span in spans)
