"""Prove loss masks: that a session's tokens are its rendering, and its trained tokens exactly its targets.

    prover = Prover(template, tokenizer, demands)
    problems = prover.prove_many(claims, sequences)     # None = proven; else a sentence with the place

The proof goes over bytes. What the tokens spell must be, byte for byte, what the served template writes for the
session; control tokens must stand exactly where the template writes them and nowhere else; the runs of the mask, and
the recorded spans, must be exactly the targets that the served template implies (see proof_targets). None of it
shares code with the rendering that it judges.

Guarantees: a sequence is proven only if ids, mask and spans are all exactly as they must be. Doubt is a problem.
Price: about 20 µs for a plain session of a shape that is learnt (see proof_columns), more for others; about 1 ms for
one that must be rendered by itself (one of a shape of its own, mostly long ones with tools).
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tokenization.build.proof_batch import doubtful
from tokenization.build.proof_claim import Claim, chosen
from tokenization.build.proof_columns import ClaimedSpans, proven_in_groups
from tokenization.build.proof_hidden import hidden_ranges
from tokenization.build.proof_layout import (
    Filled,
    Layout,
    fill_text,
    is_written,
    learn_layout,
    marker,
    padded_marker,
    said,
)
from tokenization.build.proof_shapes import NoShape, Shapes
from tokenization.build.proof_targets import TargetProof
from tokenization.build.proof_template import ASSISTANT, Message, ServedTemplate
from tokenization.build.proof_tokens import Spelling, TokenTable, with_prefix_spaces
from tokenization.build.proof_view import ControlText, Demands, ExpectedText, Unprovable, View
from tokenization.chat.sandbox import TemplateFailure
from tokenization.plain_sessions import PlainSessions
from tokenization.sequences import TokenSequences

__all__ = ["Claim", "Prover"]

SAMPLE = 256  # one session in so many is rendered by itself too, and compared with its shape
MAX_SHARED = 20_000  # renderings kept for shapes that begin alike

# (text, whether it goes on from other text) -> ids; nothing in the text is a marker
Encode = Callable[[str, bool], Sequence[int]]


@dataclass(frozen=True)
class _Plan:
    """The sequences of a shape's sessions, and the messages that each one trains."""

    layouts: Sequence[Layout]
    trained: Sequence[set[int]]


_UNKNOWN = _Plan((), ())


class Counts(threading.local):
    """What this thread has had proved: sequences proven, those of them that are lossy (the tokenizer changes their
    text); sequences expected by their shape's layout, or by the template's own rendering of the session."""

    proven = lossy = by_shape = by_itself = 0


@dataclass
class Prover:
    """Proves sequences under one template, tokenizer and set of demands; threads may share it."""

    template: ServedTemplate
    tokenizer: Spelling
    demands: Demands = field(default_factory=Demands)
    num_ids: int = 0  # ids of the tokenizer, gaps counted
    control: Mapping[str, int] | None = None  # the tokens that are structure; None = as the tokenizer says
    stop_ids: frozenset[int] | None = None  # what ends generation; every target must end in one of these
    prefix_scope: str = "never"  # where the tokenizer puts a space before text: never | first | always
    encode: Encode | None = None  # for texts that the tokenizer normalises

    def __post_init__(self) -> None:
        self.counts = Counts()
        self.lock = threading.RLock()  # of what it learns, and of the template
        ids = dict(control_tokens(self.tokenizer) if self.control is None else self.control)
        self._control = ControlText.of(ids)
        size = self.num_ids or max([0, *ids.values()]) + 1
        self.table = TokenTable.of(self.tokenizer, ids.values(), size)
        self._targets = TargetProof(self.template, self._control, self.demands)
        self.shapes = Shapes(self.template.looks, ids)
        self._plans: dict[Any, _Plan | None] = {}  # None: each by itself
        self._seen: set[int] = set()
        self.met: dict[
            int, tuple[Layout, int]
        ] = {}  # by id: the layouts of groups, and their sessions so far
        self.met_in_all = 0  # sessions of all groups so far
        self._shared: dict[Any, Any] = {}
        self._control_lengths = {token: len(text.encode()) for text, token in ids.items()}

    # -- claims -----------------------------------------------------------------------------------------

    def prove(
        self,
        messages: Sequence[Message],
        tools: Sequence[Any] | None,
        input_ids: NDArray[np.integer],
        loss_mask: NDArray[np.bool_],
        spans: Sequence[tuple[int, int, int]],
        cut: int | None = None,
        actions: Sequence[str] = (),
    ) -> str | None:
        """None where the sequence is proven; else what is wrong, and where."""
        claim = Claim(messages, tools, spans, cut, actions)
        try:
            problem = self._explain(claim, self.expected(claim), np.asarray(input_ids), np.asarray(loss_mask))
        except Unprovable as reason:
            problem = str(reason)
        self.counts.proven += problem is None
        return problem

    def prove_plain(
        self, plain: PlainSessions, spans: ClaimedSpans, sequences: TokenSequences
    ) -> NDArray[np.bool_]:
        """Which of the sequences are proven in groups of one shape; the others are to be proved by `prove_many`."""
        proven = proven_in_groups(self, plain, spans, sequences)
        self.counts.proven += int(proven.sum())
        return proven

    def prove_many(self, claims: Sequence[Claim], sequences: TokenSequences) -> list[str | None]:
        """The same for many sequences at once."""
        with self.lock:
            return self._prove_many(claims, sequences)

    def _prove_many(self, claims: Sequence[Claim], sequences: TokenSequences) -> list[str | None]:
        problems: list[str | None] = [None] * len(claims)
        filled: dict[int, Filled] = {}
        for number, claim in enumerate(claims):
            try:
                filled[number] = self.expected(claim)
            except Unprovable as reason:
                problems[number] = str(reason)
        offsets = sequences.offsets
        for number in doubtful(
            self.table, self.stop_ids, self.demands.around_answers == "trained", claims, filled, sequences
        ):
            own = slice(int(offsets[number]), int(offsets[number + 1]))
            problems[number] = self._explain(
                claims[number], filled[number], sequences.input_ids[own], sequences.loss_mask[own]
            )
        self.counts.proven += sum(problem is None for problem in problems)
        return problems

    # -- what there must be -----------------------------------------------------------------------------

    def expected(self, claim: Claim) -> Filled:
        """The one sequence that this claim may be about."""
        split = self._split(claim)
        if split is None:
            return self._by_itself(claim)
        key, values = split
        plan = self._plan(key, claim, values, again=False)
        if plan is None:
            return self._by_itself(claim)
        self.counts.by_shape += 1
        number, only = chosen(plan.trained, claim)
        if only is not None and self.demands.everything(claim.actions):
            return self._by_itself(claim)
        layout = plan.layouts[number] if only is None else plan.layouts[number].only(only)
        filled = self._spaced(layout.fill(values))
        if zlib.crc32(filled.blob) % SAMPLE == 0 and self._by_itself(claim) != filled:
            self._plans[key] = None
            return self._by_itself(claim)
        return filled

    def _plan(self, key: Any, claim: Claim, values: list[str], *, again: bool) -> _Plan | None:
        """The plan of this shape, learnt where it is met for the second time or is known to come `again`."""
        plan = self._plans.get(key, _UNKNOWN)
        if plan is _UNKNOWN:
            if not again and hash(key) not in self._seen:
                self._seen.add(hash(key))
                return None
            plan = self._plans[key] = self._learn(key, claim, values)
        return plan

    def layouts_of(self, claim: Claim, *, again: bool) -> Sequence[Layout] | None:
        """The layouts of the claim's shape, learnt where it is known to come `again` or has come before (learning costs
        two proofs of one session); None where its sessions must be rendered by themselves."""
        split = self._split(claim)
        plan = None if split is None else self._plan(split[0], claim, split[1], again=again)
        return None if plan is None else plan.layouts

    def bears_out(self, claim: Claim, layout: Layout, *, wholly: bool) -> bool:
        """Whether the session rendered by itself is what its shape's layout says; a layout that fails is dropped.

        `wholly`: its targets and hand-overs too, in three to five renderings an answer; else its text, in one.
        """
        split = self._split(claim)
        if split is None:
            return False
        sound = self._is_as_filled(claim, self._spaced(layout.fill(split[1])), wholly=wholly)
        if not sound:
            self._plans[split[0]] = None
        return sound

    def _is_as_filled(self, claim: Claim, filled: Filled, *, wholly: bool) -> bool:
        try:
            return (not wholly and self._reads(claim, filled)) or self._by_itself(claim) == filled
        except (Unprovable, TemplateFailure):
            return False

    def _reads(self, claim: Claim, filled: Filled) -> bool:
        """Whether the session as the template writes it is this text with these control tokens. False also where
        what is trained is more or less than that, as where the next turn's marker is the stop."""
        messages, tools, stand_ins = self.shapes.hidden(claim.messages, claim.tools)
        view = View(self.template, messages, tools)
        text = ExpectedText(view.render(len(view.messages)).text, (), (), ())
        own = self._spaced(fill_text(text, self._control, stand_ins, False))
        return own.blob == filled.blob and own.controls == filled.controls

    def _split(self, claim: Claim) -> tuple[Any, list[str]] | None:
        if not self.shapes.usable or any("train_ranges" in message for message in claim.messages):
            return None
        try:
            tools_key, keys, values = self.shapes.split(claim.messages, claim.tools)
        except NoShape:
            return None
        return (tools_key, keys, self.demands.everything(claim.actions)), values

    def _by_itself(self, claim: Claim) -> Filled:
        self.counts.by_itself += 1
        messages, tools, stand_ins = self.shapes.hidden(claim.messages, claim.tools)
        everything = self.demands.everything(claim.actions)
        view = View(self.template, hidden_ranges(messages, stand_ins), tools)
        texts = self._expected_texts(view, everything)
        self._check_markers(messages, tools, texts)
        number, only = chosen([{m for _, _, m in text.spans} for text in texts], claim)
        text = texts[number]
        if only is not None:
            text = self._targets.sequences(view, True, only)[0] if everything else text.only(only)
        return self._spaced(fill_text(text, self._control, stand_ins, everything))

    def _spaced(self, filled: Filled) -> Filled:
        if self.prefix_scope == "never":
            return filled
        return with_prefix_spaces(filled, self.prefix_scope, self._control_lengths)

    def _expected_texts(self, view: View, everything: bool) -> list[ExpectedText]:
        texts = self._targets.sequences(view, everything)
        for text in texts:
            self._check_nothing_lost(view, text)
        return texts

    def _check_nothing_lost(self, view: View, expected: ExpectedText) -> None:
        """What is trained holds everything that its message says; other roles are not left out in silence."""
        for place in expected.origin:
            if place < 0:
                continue
            message = view.session[place]
            edges = [(a, b) for a, b, own in expected.spans if own == place]
            if edges:
                inside = expected.text[edges[0][0] : edges[-1][1]]
                names = ["content", "tool_calls"]
                if self.demands.reasoning != "masked":
                    names.append("reasoning_content")
            else:
                inside = expected.text
                names = [] if message["role"] == ASSISTANT else ["content"]
            for name in names:
                value = message.get(name)
                if name == "tool_calls":
                    value = [call["function"] for call in value or ()]
                if any(not is_written(text, inside) for text in said(value)):
                    raise Unprovable(
                        f"message {place} ({message['role']}): the template does not render all of its {name}"
                    )

    def _check_markers(
        self, session: Sequence[Message], given: Sequence[Any] | None, texts: Sequence[ExpectedText]
    ) -> None:
        """Short strings may stand in an answer by chance; a marker in their place stands there only if rendered."""
        rich = {p for p, m in enumerate(session) if m.get("tool_calls") or m.get("reasoning_content")}
        for expected in texts:
            places = {message for _, _, message in expected.spans} & rich
            if not places:
                continue
            messages, tools = self.shapes.with_markers(session, given, marker)
            view = View(self.template, messages, tools)
            try:
                text = view.render(len(expected.origin)).text
            except TemplateFailure:
                continue  # it reads what strings say
            marked = ExpectedText(text, tuple((0, len(text), p) for p in sorted(places)), (), ())
            self._check_nothing_lost(view, replace(marked, origin=tuple(sorted(places))))

    # -- shapes -----------------------------------------------------------------------------------------

    def _learn(self, key: Any, claim: Claim, values: list[str]) -> _Plan | None:
        """The layouts of this session's shape; None where it must always be rendered by itself."""
        try:
            bare = self._marked(key, claim, marker, "bare")
            padded = self._marked(key, claim, padded_marker, "padded")
        except Unprovable:
            return None
        if len(bare) != len(padded):
            return None
        layouts = [
            learn_layout(one, other, self._control, key[2]) for one, other in zip(bare, padded, strict=True)
        ]
        found = [layout for layout in layouts if layout is not None]
        if len(found) < len(layouts):
            return None
        if not self._are_as_learnt(claim, found, values, key[2]):
            return None
        return _Plan(found, [set(layout.messages) for layout in found])

    def _are_as_learnt(
        self, claim: Claim, layouts: Sequence[Layout], values: list[str], everything: bool
    ) -> bool:
        """Whether the session that the layouts were learnt from is what they say."""
        messages, tools, stand_ins = self.shapes.hidden(claim.messages, claim.tools)
        view = View(self.template, messages, tools)
        try:
            if len(layouts) == 1 and self._reads(claim, self._spaced(layouts[0].fill(values))):
                return True
            texts = self._expected_texts(view, everything)
        except (Unprovable, TemplateFailure):
            return False
        own = [fill_text(text, self._control, stand_ins, everything) for text in texts]
        return own == [layout.fill(values) for layout in layouts]

    def _marked(self, key: Any, claim: Claim, mark: Callable[[int], str], kind: str) -> list[ExpectedText]:
        if len(self._shared) > MAX_SHARED:
            self._shared.clear()
        messages, tools = self.shapes.with_markers(claim.messages, claim.tools, mark)
        names = [(kind, key[0], name) for name in key[1]]
        view = View(self.template, messages, tools, names, self._shared)
        if kind == "bare":
            return self._expected_texts(view, key[2])
        return self._targets.sequences(view, key[2])

    # -- against the tokens -----------------------------------------------------------------------------

    def _explain(
        self, claim: Claim, filled: Filled, ids: NDArray[np.integer], mask: NDArray[np.bool_]
    ) -> str | None:
        """One sequence, each law in turn; None where all hold."""
        from tokenization.build.proof_reasons import explain

        problem, lossy = explain(self, claim, filled, ids, mask)
        self.counts.lossy += lossy and problem is None
        return problem


def control_tokens(tokenizer: Spelling) -> dict[str, int]:
    """The added tokens that never come out of text (`special_ids`, where the tokenizer says which), or all."""
    structural = getattr(tokenizer, "special_ids", None)
    return {t: i for t, i in tokenizer.added_tokens.items() if structural is None or i in structural}
