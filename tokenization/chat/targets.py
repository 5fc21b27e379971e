"""Where the targets of a session stand in its rendered text, for any chat template.

An answer's target begins where the generation prompt ends (what serving supplies is masked, an empty
think block in the prompt included) and ends with its stop token; white space behind the stop is not
trained. Both are found by rendering: P = the messages before the answer with a generation prompt,
F = the messages up to and with the answer, full = the session.

    P      <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n
    F      <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n
    target                                                      Hello<|im_end|>

P must be a prefix of F, and F up to the stop a prefix of full; where full says otherwise, the template
rewrites earlier turns, and the history policy decides. Where the template marks what is generated
(`{% generation %}`), the target is what is marked of that stretch, the stop always included.

With `train_around`, the think tags that a generation prompt ends in, and what follows the stop on its line, are
trained too: the labels of trainers that search for markers. The tags are a span of their own, so that the text
is cut, and read by the tokenizer, in the same places.

    target               <think>\\n\\n</think>\\n\\n|Hello<|im_end|>\\n

What of a target, or of trained prompts, is nevertheless not trained is marked as hidden (see hidden).

Guarantees: a target is never found by searching for an answer's text; a session whose targets cannot be
found exactly is refused with a reason.
Price: two renderings an answer and one of the session; stop tokens are probed once for each kind of answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from tokenization.chat.control import THINK_CLOSE, THINK_OPEN, ControlTokens
from tokenization.chat.hidden import beside_ranges, with_hidden_prompts
from tokenization.chat.rendered import STUB, Extent, Refusal, RenderedText, Span, View
from tokenization.chat.roles import ASSISTANT, USER, is_answer
from tokenization.chat.sandbox import TemplateFailure, Text
from tokenization.chat.stops import Stops, common_length, end_of
from tokenization.chat.templates import BoundTemplate, Prompt

History = Literal["cut", "last", "error"]
_OPEN_THINKING = re.compile(rf"{THINK_OPEN}\s*(?:{THINK_CLOSE}\s*)?\Z")
_LINE_END = re.compile(r"[^\S\n]*\n?")


@dataclass
class Answer:
    """One target as found: `text` is its rendering, ending no earlier than the stop."""

    place: int
    text: str
    stop: int
    spans: tuple[Span, ...]
    is_spliced: bool
    hidden: tuple[Extent, ...] = ()


@dataclass
class TargetFinder:
    """Finds targets under one bound template; keeps what it learnt of stops and prompts."""

    bound: BoundTemplate
    control: ControlTokens
    history: History = "cut"
    mask_reasoning: bool = False
    train_around: bool = False  # the prompt's think tags, and the stop's line to its end
    stops: set[str] = field(default_factory=set)  # the stop tokens of the answers found so far
    notes: set[str] = field(default_factory=set)  # what was noticed of the template, for the report
    _prompts: dict[Prompt, str | None] = field(default_factory=dict)

    @cached_property
    def stopping(self) -> Stops:
        """What ends answers."""
        return Stops(self.bound, self.control)

    def find(
        self, view: View, targets: Sequence[int], untrained: Sequence[int] = (), *, everything: bool = False
    ) -> tuple[list[RenderedText], bool]:
        """The session's sequences (one, or one a target where the template rewrites); whether it was cut.

        `untrained` are the messages flagged off, `everything` is whether prompts are trained too.
        """
        off = [place for place in untrained if is_answer(view.roles[place], self.bound.policy)]
        try:
            answers = {place: self._answer(view, place) for place in sorted({*targets, *off})}
            full = view.render(len(view.messages)).text
        except TemplateFailure as failure:
            raise Refusal("template_error", str(failure)) from failure
        wanted = [answers[place] for place in targets]
        last = answers[max(answers)]
        if last.place == len(view.messages) - 1 and last.text.startswith(full):
            full = last.text  # with the stop where that is the next turn's marker
        if all(full.startswith(answer.text[: answer.stop]) for answer in answers.values()):
            spans = tuple(span for answer in wanted for span in answer.spans)
            masked = tuple(span for place in off for span in answers[place].spans)
            hidden = tuple(extent for answer in wanted for extent in answer.hidden)
            sequences = [RenderedText(full, spans, masked, len(view.messages), hidden)]
        else:
            sequences = [self._alone(view, answers, place) for place in self._kept(targets)]
            off = []
        for sequence in sequences:
            self._check_nothing_lost(view, sequence)
        if sequences[0].messages < len(view.messages) or len(sequences) > 1:
            self.notes.add("rewrites earlier turns")
        if everything:
            sequences = [
                with_hidden_prompts(view, text, off, untrained, self.bound.policy) for text in sequences
            ]
        return sequences, len(sequences) > 1

    def _kept(self, targets: Sequence[int]) -> Sequence[int]:
        if self.history == "error" and len(targets) > 1:
            raise Refusal(
                "history_rewritten",
                "the template renders earlier answers otherwise once later messages follow; "
                "set chat.history: cut (a sequence an answer) or last",
            )
        return targets if self.history == "cut" else targets[-1:]

    @staticmethod
    def _alone(view: View, answers: Mapping[int, Answer], place: int) -> RenderedText:
        """The answer with everything before it, as serving renders it; only this answer is a target."""
        answer = answers[place]
        return RenderedText(answer.text, answer.spans, (), place + 1, answer.hidden, answer.is_spliced)

    # -- one answer -------------------------------------------------------------------------------------

    def _answer(self, view: View, place: int) -> Answer:
        rendered = view.render(place + 1)
        text, stop, rule = self.stopping.find(view, place, rendered.text)
        start, supplied = self._start(view, place, rendered)
        shift = 0 if supplied is None else len(supplied) - start
        if self.mask_reasoning:
            after = self._reasoning_end(view, place, rendered.text)
            start, supplied = max(start, after), supplied and supplied + text[start:after]
        if start >= stop:
            raise Refusal("no_target", f"message {place} leaves nothing between the prompt and the stop")
        spans = self._marked(place, rendered.marks, start, stop, text)
        self.stops.add(rule.stop)
        if supplied is not None:
            text = supplied + text[start:]
        moved = tuple(Span(a + shift, b + shift, place) for a, b in spans)
        hidden = tuple(
            (a + shift, b + shift) for a, b in beside_ranges(view, place, rendered.text, start, stop)
        )
        stop += shift
        if self.train_around:
            moved, stop = _with_surroundings(text, moved, start + shift, stop)
        return Answer(place, text, stop, moved, supplied is not None, hidden)

    def _start(self, view: View, place: int, rendered: Text) -> tuple[int, str | None]:
        """Where what serving supplies ends, and that supplied text where it is not what stands before."""
        role, name = view.roles[place], view.messages[place].get("name")
        if role != ASSISTANT and not self.bound.offers_role_prompts:
            return self._behind_header(view, place, rendered.text), None
        prompt = Prompt(role, name if role != ASSISTANT else None)
        try:
            supplied = view.render(place, prompt).text
        except TemplateFailure:
            if place > 1:
                raise
            return self._behind_constant_prompt(view, place, rendered.text, prompt), None
        if rendered.text.startswith(supplied):
            return len(supplied), None
        if place == 0:  # nobody is served an empty conversation
            return self._behind_constant_prompt(view, place, rendered.text, prompt), None
        fitting = self._longest_variant(view, place, rendered.text, prompt)
        if fitting is not None:
            self.notes.add("some answers fit the generation prompt of another thinking switch only")
            return fitting, None
        return self._where_they_part(view, place, rendered, supplied, prompt)

    def _where_they_part(
        self, view: View, place: int, rendered: Text, supplied: str, prompt: Prompt
    ) -> tuple[int, str | None]:
        """The prompt is no prefix of the rendered answer: the reasons that leave the target exact."""
        openings = self._openings(view, place, rendered.text)
        for opening in openings:
            split = self._same_turn(rendered.text[:opening], supplied, prompt)
            if split is not None:
                self.notes.add("renders the turns before an answer otherwise while prompting for it")
                return split, supplied
        if rendered.marks and openings:
            self.notes.add("the generation prompt is not a prefix of the rendered answer")
            return common_length(supplied, rendered.text[: openings[0]]), None
        for opening in openings:
            if "".join(supplied.split()) == "".join(rendered.text[:opening].split()):
                self.notes.add("the generation prompt and the answer's header differ in white space")
                return opening, None
        raise Refusal(
            "prompt_not_prefix",
            f"message {place}: serving's prompt ends in {end_of(supplied)}, with which the rendered answer "
            "does not begin; see chat.template_kwargs",
        )

    def _same_turn(self, before: str, supplied: str, prompt: Prompt) -> int | None:
        """Where the answer begins behind the same prompt, other turns being rendered otherwise.

        Some templates (Mistral's) put the system prompt into the last user's turn: it is in what is served
        and gone once the answer stands behind it. What is trained is then what is served, and the answer.
        """
        constant = self.constant_prompt(prompt)
        if constant:
            found = before.rfind(constant)
            return found + len(constant) if found >= 0 and supplied.endswith(constant) else None
        ends = len(before.rstrip()), len(supplied.rstrip())
        if constant is None or not ends[1] or before[: ends[0]][-1:] != supplied[: ends[1]][-1:]:
            return None
        blank = supplied[ends[1] :]
        return ends[0] + len(blank) if before[ends[0] :].startswith(blank) else None

    def _openings(self, view: View, place: int, text: str) -> list[int]:
        """Where the first thing that the message says begins: its content or its reasoning."""
        plain = {k: v for k, v in view.messages[place].items() if k in ("role", "name")} | {"content": STUB}
        stubs = [plain, view.reasoning_stub(place)]
        found = []
        for stub in stubs:
            before, stands, _ = view.render_with(place, stub).text.partition(STUB) if stub else ("", "", "")
            if stands and text.startswith(before):
                found.append(len(before))
        return found

    def _longest_variant(self, view: View, place: int, text: str, prompt: Prompt) -> int | None:
        """The longest prompt of another thinking switch that the answer begins with."""
        lengths = []
        for variant in range(1, len(self.bound.variants)):
            try:
                supplied = view.render(place, replace(prompt, variant=variant)).text
            except TemplateFailure:
                continue
            if text.startswith(supplied):
                lengths.append(len(supplied))
        return max(lengths, default=None)

    def _behind_header(self, view: View, place: int, text: str) -> int:
        """The constant header of a role without a generation prompt of its own."""
        message = view.messages[place]
        own = {key: message[key] for key in ("role", "name") if key in message}
        content = message.get("content")
        # A template may look at how long the content is; a symbolic one is as long as its session's.
        size = len(content) if isinstance(content, str) else 0
        header = None
        for stub in (STUB * size, STUB):
            probed = view.render_with(place, own | {"content": stub}).text if stub else ""
            header = probed[: probed.find(stub)] if stub and stub in probed else None
            if header is not None and text.startswith(header):
                return len(header)
        if header is None:
            raise Refusal("role_not_rendered", f"the template renders nothing for role {view.roles[place]!r}")
        raise Refusal("prompt_not_prefix", f"message {place} does not begin with its role's header")

    def _behind_constant_prompt(self, view: View, place: int, text: str, prompt: Prompt) -> int:
        """The session opens with the answer and the template cannot prompt without a turn before it."""
        opening = self._behind_header(view, place, text)
        constant = self.constant_prompt(prompt)
        found = text[:opening].rfind(constant) if constant else -1
        return found + len(constant or "") if found >= 0 else opening

    def constant_prompt(self, prompt: Prompt = Prompt()) -> str | None:  # noqa: B008  (frozen)
        """What a generation prompt adds behind a user's turn."""
        if prompt not in self._prompts:
            user = [{"role": USER, "content": STUB}]
            try:
                before = self.bound.render(user).text
                with_prompt = self.bound.render(user, prompt=prompt).text
                fits = with_prompt.startswith(before)
                self._prompts[prompt] = with_prompt[len(before) :] if fits else None
            except TemplateFailure:
                self._prompts[prompt] = None
        return self._prompts[prompt]

    def _reasoning_end(self, view: View, place: int, text: str) -> int:
        """Behind the reasoning's closing marker and the white space after it; 0 without reasoning."""
        stub = view.reasoning_stub(place)
        probed = view.render_with(place, stub).text if stub else ""
        if STUB not in probed:
            return 0
        before, _, after = probed.partition(STUB)
        if not text.startswith(before) or not text.endswith(after):
            raise Refusal("reasoning_not_found", f"message {place}: the template rewrites the reasoning")
        end = len(text) - len(after)
        closing = text.find(THINK_CLOSE, end)
        if closing >= 0:
            end = closing + len(THINK_CLOSE)
        else:
            end = next((stop for _, stop in self.control.find(text) if stop > end), end)
        behind = len(text) - len(text[end:].lstrip())
        for start, _ in view.contents(text, place, place + 1) or ():
            if start >= end:
                return min(start, behind)  # white space of the answer's own is the answer's
        return behind

    def _marked(
        self, place: int, marks: Sequence[tuple[int, int]], start: int, stop: int, text: str
    ) -> list[tuple[int, int]]:
        """The stretch, or what `{% generation %}` marks of it, through the stop token."""
        clipped = [(max(a, start), min(b, stop)) for a, b in marks if min(b, stop) > max(a, start)]
        if not clipped:
            if self.bound.template.has_generation_marks:
                self.notes.add("messages outside {% generation %} found by their headers")
            return [(start, stop)]
        if any(a < start < b for a, b in marks):
            self.notes.add("{% generation %} opens before the generation prompt ends: the prompt is masked")
        first, last = clipped[-1]
        if last < stop:
            between = text[last:stop]
            tokens = self.control.find(between)
            if len(tokens) != 1 or between[: tokens[0][0]].strip():
                raise Refusal("no_stop", f"message {place}: {{% generation %}} ends far from the stop token")
            self.notes.add("{% generation %} closes before the stop token: the stop is trained too")
            clipped[-1] = (first, stop)
        return clipped

    # -- nothing lost -----------------------------------------------------------------------------------

    def _check_nothing_lost(self, view: View, sequence: RenderedText) -> None:
        bounds: dict[int, tuple[int, int]] = {}
        for span in sequence.spans:
            bounds[span.message] = bounds.get(span.message, (span.start, 0))[0], span.stop
        for place in range(sequence.messages):
            answer = place in bounds
            if not answer and view.roles[place] == ASSISTANT:
                continue  # an earlier answer, which some templates shorten
            start, stop = bounds.get(place, (0, len(sequence.text)))
            missing = view.absent_from(
                sequence.text[start:stop],
                place,
                sequence.messages,
                calls=answer,
                reasoning=answer and not self.mask_reasoning,
            )
            if missing and answer:
                raise Refusal("answer_lost", f"message {place}: the template drops {missing}")
            if missing:
                role = view.roles[place]
                raise Refusal(
                    "role_not_rendered",
                    f"message {place}: the template does not render what role {role!r} says; "
                    "use template: chatml or one that knows the role",
                )


def _with_surroundings(
    text: str, spans: tuple[Span, ...], start: int, stop: int
) -> tuple[tuple[Span, ...], int]:
    """The spans with the think tags before `start` and the line's end behind `stop`; where that ends."""
    line = _LINE_END.match(text, stop)
    end = line.end() if line else stop
    widened = (*spans[:-1], replace(spans[-1], stop=end))
    tags = _OPEN_THINKING.search(text, max(0, start - 80), start)
    if tags:
        widened = (Span(tags.start(), start, spans[0].message), *widened)
    return widened, end
