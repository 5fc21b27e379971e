"""Sessions in, token sequences with masks out: the one place where a chat becomes tokens.

    renderer = Renderer(ChatTemplate.load("chatml", tokenizer), tokenizer, ChatOptions())
    rendered = renderer.fit(sessions, renderer.render(sessions), window=4096)

A session goes through its shape's skeleton (see skeleton) or, where the template looks into texts, through
the template itself (see targets); both end in the same parts, and one `encode_batch` a chunk.

Guarantees: every session gives at least one sequence with a target, or one entry in `set_aside`; the
result depends on the session, the template, the tokenizer and the options only, never on its neighbours;
a sample of every chunk is rendered by the template itself and compared.
Price: about 10 µs a session beside encoding; single sessions that no skeleton serves about 1 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from tokenization.chat.assembly import ConstantPool, Draft, assemble, cut_into_parts
from tokenization.chat.blocks import merged
from tokenization.chat.cases import Case, Verdict
from tokenization.chat.control import ControlTokens
from tokenization.chat.groups import render_groups
from tokenization.chat.outcome import Rendered, SetAside, stop_ids_of
from tokenization.chat.rendered import Refusal, RenderedText
from tokenization.chat.roles import TOOL, Role, role_fault, role_policy
from tokenization.chat.sandbox import TemplateFailure, to_json
from tokenization.chat.skeleton import MAX_PLANS, Plan, Planner, find_for
from tokenization.chat.symbolic_view import message_key, tools_key
from tokenization.chat.targets import History, TargetFinder
from tokenization.chat.templates import BoundTemplate, ChatTemplate, ChatTokenizer, Message
from tokenization.chat.views import DirectView
from tokenization.plain_sessions import PlainSessions, of_turns, plain_sessions
from tokenization.sequences import IntArray, TokenSequences

SAMPLE_EVERY = 16  # one session in so many is compared with the template's own rendering
SAMPLE_AT_LEAST = 8


@dataclass(frozen=True)
class ChatOptions:
    """How sessions become sequences; what a recipe says under `chat`."""

    loss_on: Literal["all_answers", "last_answer"] = "all_answers"
    train_on_prompt: Literal[False, True, "auto"] = False  # auto: of the sessions that `render` is told
    history: History = "cut"
    overlong: Literal["drop_turns", "set_aside", "split"] = "drop_turns"
    default_system: str = "template"  # template | none | a text
    reasoning: Literal["trained", "masked"] = "trained"
    around_answers: Literal["masked", "trained"] = "masked"
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Role] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """One sequence before it is encoded."""

    case: int
    draft: Draft
    cut: int


class Renderer:
    """Renders tables of sessions under one template, tokenizer and set of options; threads may share it."""

    def __init__(self, template: ChatTemplate, tokenizer: ChatTokenizer, options: ChatOptions) -> None:
        self.template, self.tokenizer, self.options = template, tokenizer, options
        self.policy = role_policy(options.roles)
        self.control = ControlTokens.of(tokenizer)
        self.bound = BoundTemplate(template, self.policy, options.template_kwargs, options.default_system)
        self.bound.compiled  # noqa: B018  (a template with a fault is refused here, not at the first session)
        self.finder = TargetFinder(
            self.bound,
            self.control,
            options.history,
            options.reasoning == "masked",
            options.around_answers == "trained",
        )
        self.pool = ConstantPool(tokenizer)
        self.prefix_scope = str(getattr(tokenizer, "prefix_scope", "never"))
        self.planner = Planner(self.bound, self.control, self.finder, self.pool, self.prefix_scope)
        self.largest_id = int(getattr(tokenizer, "largest_id", 1 << 20))
        self.mismatches: list[str] = []  # skeletons that a sample did not bear out
        self._broken: dict[
            int, Plan
        ] = {}  # by id: plans that a sample did not bear out; their sessions go one by one
        self.lock = threading.Lock()  # of the planner and the pool
        self._looks: dict[
            Any, Any
        ] = {}  # what the template shows of sessions rendered by themselves (see views)
        self._verdicts: dict[tuple[Any, ...], Verdict] = {}

    @property
    def stop_markers(self) -> Collection[int] | None:
        """The tokens among which a target's stop is, where more than the stop may end it; None: its last token."""
        return frozenset(self.control.ids.values()) if self.options.around_answers == "trained" else None

    # -- whole tables -----------------------------------------------------------------------------------

    def render(self, sessions: pa.Table, prompted: Collection[int] = ()) -> Rendered:
        """Every session of the table, before any limit on length; `prompted` are the rows whose prompts
        `train_on_prompt: auto` trains."""
        asked = self.options.train_on_prompt
        rows = prompted if asked == "auto" else range(len(sessions) if asked else 0)
        plain = plain_of(sessions)
        groups = render_groups(self, plain, rows)
        cases, aside = self.cases(sessions, groups.left(len(sessions)), rows)
        rendered = merged(groups.rendered, self.render_cases(cases, aside))
        actions = {row: ["train_on_prompt"] for row in rows} if asked == "auto" else {}
        return replace(rendered, prompted=rows, actions=actions, plain=plain)

    def fit(self, sessions: pa.Table, rendered: Rendered, window: int) -> Rendered:
        """The same with sequences longer than `window` replaced as the overlong policy says."""
        from tokenization.chat.overlong import fit_window

        return fit_window(self, sessions, rendered, window)

    def cases(
        self, sessions: pa.Table, rows: Sequence[int] | None = None, prompted: Collection[int] = ()
    ) -> tuple[list[Case], list[SetAside]]:
        """The sessions of these rows as cases; those that can give no target are set aside."""
        of_prompts = prompted if isinstance(prompted, range) else frozenset(prompted)
        wanted = range(len(sessions)) if rows is None else rows
        taken = sessions.take(pa.array(wanted, pa.int64()))
        column = taken.column("messages").to_pylist()
        tools_column = taken.column("tools").to_pylist() if "tools" in taken.column_names else None
        cases: list[Case] = []
        aside: list[SetAside] = []
        for number, row in enumerate(wanted):
            messages = orjson.loads(column[number])
            keys = tuple([message_key(message) for message in messages])
            verdict = self._verdicts.get(keys)
            if verdict is None:
                if len(self._verdicts) >= MAX_PLANS:
                    self._verdicts.clear()
                verdict = self._verdicts[keys] = self.verdict(messages)
            if verdict.reason:
                aside.append(SetAside(row, verdict.reason, verdict.detail))
                continue
            text = tools_column[number] if tools_column else None
            tools = (orjson.loads(text) or None) if text else None
            seed = xxhash.xxh3_64_intdigest(column[number].encode("utf-8", "surrogatepass"))
            everything = row in of_prompts
            off = verdict.untrained if everything else ()
            cases.append(
                Case(row, messages, tools, keys, verdict.targets, off, everything, verdict.by_itself, seed)
            )
        return cases, aside

    def verdict(self, messages: Sequence[Message]) -> Verdict:
        """Which messages are targets, or why the session can be no example; its shape decides."""
        roles = [message["role"] for message in messages]
        fault = role_fault(roles, self.policy)
        if fault:
            return Verdict(reason=fault[0], detail=fault[1])
        trained = [i for i, message in enumerate(messages) if self._may_be_trained(message)]
        if self.options.loss_on == "last_answer":
            trained = trained[-1:]
        targets = tuple(i for i in trained if messages[i].get("train", True))
        if not targets:
            return Verdict(reason="no_target", detail="no message of the session is trained")
        empty = next((i for i in targets if not _says_something(messages[i])), None)
        if empty is not None:
            return Verdict(reason="empty_answer", detail=f"message {empty} ({roles[empty]}) says nothing")
        untrained = tuple(i for i, message in enumerate(messages) if not message.get("train", True))
        return Verdict(targets, untrained, any("train_ranges" in message for message in messages))

    def _may_be_trained(self, message: Message) -> bool:
        """A message of a trained role, or one whose own flag says so; what a tool returned never is."""
        role = message["role"]
        return role != TOOL and (self.policy[role].trained or message.get("train") is True)

    # -- cases ------------------------------------------------------------------------------------------

    def render_cases(self, cases: Sequence[Case], aside: Sequence[SetAside] = ()) -> Rendered:
        """These cases, each as one sequence or several."""
        with self.lock:
            pieces, refused = self._pieces(cases)
            constants = self.pool.flat
        sequences, spans, unplaced = assemble(
            [piece.draft for piece in pieces],
            self.tokenizer,
            constants,
            self.largest_id,
            lambda: self._byte_lengths,
        )
        hopeless = _hopeless(pieces, cases, sequences, unplaced)
        if hopeless:
            left = [case for case in cases if case.row not in hopeless]
            return self.render_cases(left, [*aside, *hopeless.values()])
        message = _in_session(spans.message, spans.offsets, pieces, cases)
        return Rendered(
            sequences,
            np.array([cases[piece.case].row for piece in pieces], np.int64),
            np.array([piece.cut for piece in pieces], np.int32),
            spans.offsets,
            spans.start,
            spans.stop,
            message,
            stop_ids_of(sequences, spans.offsets, spans.stop, spans.message, self.stop_markers),
            {},
            {},
            sorted([*aside, *refused], key=lambda entry: entry.row),
            {
                place: origin
                for place, piece in enumerate(pieces)
                if (origin := cases[piece.case].origin) is not None
            },
        )

    def _pieces(self, cases: Sequence[Case]) -> tuple[list[Piece], list[SetAside]]:
        pieces: list[Piece] = []
        refused: list[SetAside] = []
        planned = [self._filled(case) for case in cases]
        self._check_sample(cases, planned)
        for number, (case, (plan, filled)) in enumerate(zip(cases, planned, strict=True)):
            try:
                if plan is None or filled is None or self.is_broken(plan):
                    made = self._direct(case)
                elif plan.refusal:
                    raise plan.refusal
                else:
                    made = [
                        Draft(
                            s.layout,
                            texts,
                            plan.hidden(number, case.messages, case.tools) if s.hidden else (),
                        )
                        for number, (s, texts) in enumerate(zip(plan.sequences, filled, strict=True))
                    ]
            except Refusal as refusal:
                refused.append(SetAside(case.row, refusal.reason, refusal.detail))
                continue
            for cut, draft in enumerate(made):
                pieces.append(Piece(number, draft, cut if len(made) > 1 else -1))
        return pieces, refused

    def _filled(self, case: Case) -> tuple[Plan | None, list[list[str]] | None]:
        tools = tools_key(case.tools) if case.tools else None
        if case.by_itself:
            return None, None
        shape = case.keys, tools, case.targets, case.untrained, case.everything
        plan = self.planner.plan(shape, case.messages, case.tools)
        if plan is None or (plan.is_supposed and not self.is_as_planned(plan, case)):
            return None, None
        return plan, plan.fill(case.messages, case.tools)

    def _direct(self, case: Case) -> list[Draft]:
        """The session through the template itself."""
        made = []
        for rendered in self._found(case):
            parts, spans, hidden = cut_into_parts(
                rendered, self.control, everything=case.everything, prefix_scope=self.prefix_scope
            )
            layout = self.pool.layout(parts, spans, [False] * len(parts))
            own = [number for number, part in enumerate(parts) if part.token is None]
            edges = [
                (own.index(h.part), self._bytes(text[: h.start]), self._bytes(text[: h.stop]))
                for h in hidden
                for text in (parts[h.part].text,)
            ]
            made.append(Draft(layout, [self.control.unescape(parts[number].text) for number in own], edges))
        return made

    def _found(self, case: Case) -> list[RenderedText]:
        view = DirectView.of(self.bound, self.control, case.messages, case.tools, self._looks)
        return find_for(self.finder, view, case.targets, case.untrained, case.everything)[0]

    def _bytes(self, text: str) -> int:
        return len(self.control.unescape(text).encode())

    @cached_property
    def _byte_lengths(self) -> NDArray[np.int64]:
        """Of every id, how many bytes it spells."""
        return np.array([len(self.tokenizer.token_bytes(i)) for i in range(self.largest_id + 1)], np.int64)

    # -- the sample -------------------------------------------------------------------------------------

    def _check_sample(
        self, cases: Sequence[Case], planned: Sequence[tuple[Plan | None, list[list[str]] | None]]
    ) -> None:
        """Compare plans with the template's own text for some sessions of this chunk."""
        served = [i for i, (plan, filled) in enumerate(planned) if plan and filled is not None]
        for number in _sample(served, cases):
            plan = planned[number][0]
            if plan is not None and not plan.refusal and not plan.is_supposed:
                self.bears_out(plan, cases[number])

    def is_broken(self, plan: Plan) -> bool:
        """Whether a sampled session showed that this plan is not what the template does."""
        return id(plan) in self._broken

    def bears_out(self, plan: Plan, case: Case) -> bool:
        """Whether the plan is sound, as far as this session shows; it is broken for good where it is not."""
        if not self.is_broken(plan) and not self.is_as_planned(plan, case):
            self._broken[id(plan)] = plan
            self.mismatches.append(f"row {case.row}: the skeleton is not the template's rendering")
        return not self.is_broken(plan)

    def is_as_planned(self, plan: Plan, case: Case) -> bool:
        """Whether the template's own rendering of this session is what the plan says."""
        filled = [plan.text(i, case.messages, case.tools) for i in range(len(plan.sequences))]
        if any(sequence.is_spliced for sequence in plan.sequences):
            try:
                found = [text.text for text in self._found(case)]
            except Refusal:
                return False
            return filled == [self.control.unescape(text) for text in found]
        messages, tools = self.control.escape(case.messages), self.control.escape(case.tools)
        shown, _ = self.bound.prepare(messages, bool(tools), to_json)
        try:
            texts = [self.bound.render(shown[: sequence.count], tools).text for sequence in plan.sequences]
        except TemplateFailure:
            return False
        own = [self.control.unescape(text) for text in texts]
        return all(text.startswith(rendered) for text, rendered in zip(filled, own, strict=True))


def plain_of(sessions: pa.Table) -> PlainSessions:
    """The table's sessions that are roles and texts alone, without tools."""
    bare = None
    if "tools" in sessions.column_names and sessions.column("tools").null_count < len(sessions):
        bare = pc.is_null(sessions.column("tools")).to_numpy()
    if "turns" in sessions.column_names:
        return of_turns(sessions.column("turns"), bare)
    return plain_sessions(sessions.column("messages"), bare)


def _hopeless(
    pieces: Sequence[Piece], cases: Sequence[Case], sequences: TokenSequences, unplaced: Sequence[int]
) -> dict[int, SetAside]:
    """The rows of sequences in which hidden characters cannot be told in tokens, or ranges leave no whole token."""
    found: dict[int, SetAside] = {}
    for number in unplaced:
        case = cases[pieces[number].case]
        detail = "the tokenizer changes a text of which only some characters are trained"
        found[case.row] = SetAside(
            case.row, "ranges_not_placed" if case.by_itself else "prompt_not_placed", detail
        )
    for number, piece in enumerate(pieces):
        if not cases[piece.case].by_itself:
            continue
        row = cases[piece.case].row
        own = slice(int(sequences.offsets[number]), int(sequences.offsets[number + 1]))
        if row not in found and not sequences.loss_mask[own].any():
            found[row] = SetAside(row, "no_target", "no whole token lies in the train_ranges of an answer")
    return found


def _says_something(message: Message) -> bool:
    return bool(
        (message.get("content") or "").strip()
        or (message.get("reasoning_content") or "").strip()
        or message.get("tool_calls")
    )


def _sample(served: Sequence[int], cases: Sequence[Case]) -> list[int]:
    """A deterministic one in SAMPLE_EVERY of these cases, at least SAMPLE_AT_LEAST, chosen by content."""
    if len(served) <= SAMPLE_AT_LEAST:
        return list(served)
    return sorted(served, key=lambda i: (cases[i].seed, i))[
        : max(SAMPLE_AT_LEAST, len(served) // SAMPLE_EVERY)
    ]


def _in_session(
    message: NDArray[np.int32], offsets: IntArray, pieces: Sequence[Piece], cases: Sequence[Case]
) -> NDArray[np.int32]:
    """Messages of cases that leave some out, in the session's numbering."""
    for place, piece in enumerate(pieces):
        origin = cases[piece.case].origin
        if origin is not None:
            own = slice(offsets[place], offsets[place + 1])
            message[own] = np.array(origin, np.int32)[message[own]]
    return message
