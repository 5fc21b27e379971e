"""What must be trained in a session's rendering, worked out from the served template alone.

    P  serving's prompt  <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n
    F  with the answer   <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n
    trained: from the end of P through the stop                             Hello<|im_end|>

The stop is the last control token behind the answer that is there whatever follows; a template without one (GLM)
stops at the next turn's marker. A template whose F is not how the whole session begins rewrites earlier turns, and
the recipe's `history` says which sequences there must be.

Guarantees: nothing is found by searching for an answer's text. Price: three to five renderings an answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tokenization.build.proof_hidden import of_prompts, of_ranges
from tokenization.build.proof_stops import Stops, common
from tokenization.build.proof_template import (
    ASSISTANT,
    FOLLOWING,
    PROBE,
    SYSTEM,
    USER,
    Message,
    Prompt,
    ServedTemplate,
)
from tokenization.build.proof_view import ControlText, Demands, ExpectedText, Unprovable, View
from tokenization.chat.sandbox import TemplateFailure, Text

_BLANK = re.compile(r"\s*")


@dataclass(frozen=True)
class _Answer:
    place: int  # of the shown messages
    text: str  # the rendering, through its stop at least
    stop: int
    ranges: tuple[tuple[int, int], ...]
    hidden: tuple[tuple[int, int], ...]  # what of them no trained token may touch
    prompt: Prompt | None = None  # whose supply `text` begins with, where the rendering begins otherwise


class TargetProof:
    """Works out what must be trained; keeps what it learnt of stops."""

    def __init__(self, template: ServedTemplate, control: ControlText, demands: Demands) -> None:
        self.template, self.control, self.demands = template, control, demands
        self.without_prompt = 0  # answers whose prompt was found without rendering it
        self.stops = Stops(template, control)

    def sequences(self, view: View, everything: bool = False, only: int | None = None) -> list[ExpectedText]:
        """The sequences that this session must give; Unprovable where none can be right.

        `everything`: prompts are trained too; `only`: the one message that is left a target.
        """
        try:
            return self._sequences(view, everything, only)
        except TemplateFailure as failure:
            raise Unprovable(f"the template refuses the session: {failure}") from failure

    def _sequences(self, view: View, everything: bool, only: int | None) -> list[ExpectedText]:
        due = self.demands.targets(view.session) if only is None else [only]
        targets = [view.place_of[place] for place in due if place in view.place_of]
        off = self.demands.untrained(view.session) if everything else []
        untrained = [view.place_of[place] for place in off if place in view.place_of]
        if not targets:
            raise Unprovable("no message of the session is declared a target")
        answers = {place: self._answer(view, place) for place in sorted({*targets, *untrained})}
        full = view.render(len(view.messages)).text
        last = answers[max(answers)]
        if last.place == len(view.messages) - 1 and last.text.startswith(full):
            full = last.text  # the next turn's marker stops it
        if all(full.startswith(answer.text[: answer.stop]) for answer in answers.values()):
            spans = [(a, b, view.origin[place]) for place in targets for a, b in answers[place].ranges]
            masked = tuple(pair for place in untrained for pair in answers[place].ranges)
            hidden = tuple(pair for place in targets for pair in answers[place].hidden)
            if everything:
                start = min(a for a, _, _ in spans)
                hidden += of_prompts(view, self.demands, targets, untrained, start, None)
            return [ExpectedText(full, tuple(spans), masked, tuple(view.origin), hidden)]
        if self.demands.history == "error" and len(targets) > 1:
            raise Unprovable("the template rewrites earlier turns and chat.history says error")
        kept = targets if self.demands.history == "cut" else targets[-1:]
        return [self._alone(view, answers[place], everything) for place in kept]

    def _alone(self, view: View, answer: _Answer, everything: bool) -> ExpectedText:
        message = view.origin[answer.place]
        spans = tuple((a, b, message) for a, b in answer.ranges)
        own = view.first(answer.place + 1)
        hidden = answer.hidden
        if everything:
            hidden += of_prompts(own, self.demands, [answer.place], [], spans[0][0], answer.prompt)
        return ExpectedText(answer.text, spans, (), tuple(own.origin), hidden)

    # -- one answer -------------------------------------------------------------------------------------

    def _answer(self, view: View, place: int) -> _Answer:
        rendered = view.render(place + 1)
        text, stop = self.stops.stopped(view, place, rendered.text)
        start, served = self._handover(view, place, rendered)
        first = start
        if self.demands.reasoning == "masked":
            first = max(start, self._behind_reasoning(view, place, rendered.text))
        if first >= stop:
            raise Unprovable(f"message {view.origin[place]}: nothing stands between the prompt and the stop")
        ranges = self._marked(rendered.marks, first, stop, text)
        hidden = of_ranges(view, place, rendered.text, first, stop)
        if served is None:
            ranges, stop = self._widened(text, ranges, start, stop)
            return _Answer(place, text, stop, ranges, hidden)
        shift = len(served) - start
        moved, away = (tuple((a + shift, b + shift) for a, b in pairs) for pairs in (ranges, hidden))
        whole = served + text[start:]
        moved, stop = self._widened(whole, moved, len(served), stop + shift)
        return _Answer(place, whole, stop, moved, away, self._prompt(view, place))

    def _widened(
        self, text: str, ranges: tuple[tuple[int, int], ...], start: int, stop: int
    ) -> tuple[tuple[tuple[int, int], ...], int]:
        """The ranges with what the recipe asks of an answer's surroundings, and where they end then."""
        if self.demands.around_answers != "trained":
            return ranges, stop
        end = stop
        while text[end : end + 1].isspace():
            end += 1
            if text[end - 1] == "\n":
                break
        ranges = (*ranges[:-1], (ranges[-1][0], end))
        bare = text[:start].rstrip()
        bare = bare.removesuffix("</think>").rstrip()
        if bare.endswith("<think>"):
            ranges = ((len(bare) - len("<think>"), start), *ranges)
        return ranges, end

    def _marked(
        self, marks: Sequence[tuple[int, int]], start: int, stop: int, text: str
    ) -> tuple[tuple[int, int], ...]:
        """From `start` through `stop`; where the author marked what is generated, only that, and the stop."""
        ranges = [(max(a, start), min(b, stop)) for a, b in marks if max(a, start) < min(b, stop)]
        if not ranges:
            return ((start, stop),)
        first, last = ranges[-1]
        if last < stop:
            between = [match.span() for match in self.control.find(text[last:stop])]
            if len(between) != 1 or text[last : last + between[0][0]].strip():
                raise Unprovable("the marked stretch ends far from the stop")
            ranges[-1] = (first, stop)
        return tuple(ranges)

    # -- where serving hands over -----------------------------------------------------------------------

    def _handover(self, view: View, place: int, rendered: Text) -> tuple[int, str | None]:
        """Where in F what serving supplies ends; and what it supplies, where F begins otherwise."""
        role = self._role(view, place)
        if role != ASSISTANT and not self.template.prompts_any_role:
            return self._behind_header(view, place, rendered.text), None
        prompt = self._prompt(view, place)
        served: list[str] = []
        for variant in range(len(self.template.variants)):
            try:
                served.append(view.render(place, replace(prompt, variant=variant)).text)
            except TemplateFailure:
                if variant:
                    continue
                self.without_prompt += 1
                return self._behind_bare_prompt(view, place, rendered.text), None
            if variant == 0 and rendered.text.startswith(served[0]):
                return len(served[0]), None
        if place == 0:  # nobody is served an empty conversation
            return self._behind_bare_prompt(view, place, rendered.text), None
        fitting = [len(text) for text in served if rendered.text.startswith(text)]
        if fitting:
            return max(fitting), None
        self.without_prompt += 1
        return self._where_they_part(view, place, rendered, served[0])

    def _where_they_part(self, view: View, place: int, rendered: Text, served: str) -> tuple[int, str | None]:
        """P is not how F begins. Where other turns are rendered otherwise while prompting (Mistral moves the
        system prompt), what is trained on is P and then the answer; where only white space differs, F."""
        openings = self._openings(view, place, rendered.text)
        for opening in openings:
            behind = self._behind_same_prompt(rendered.text[:opening], served)
            if behind is not None:
                return behind, served
        if rendered.marks and openings:
            return common(served, rendered.text[: openings[0]]), None
        for opening in openings:
            if served.split() == rendered.text[:opening].split():
                return opening, None
        raise Unprovable(
            f"message {view.origin[place]}: what serving supplies is not how the rendered answer begins"
        )

    def _behind_same_prompt(self, before: str, served: str) -> int | None:
        """Behind the generation prompt, where F has it before its answer just as P ends in it."""
        prompt = self._bare_prompt
        if prompt:
            found = before.rfind(prompt)
            return found + len(prompt) if found >= 0 and served.endswith(prompt) else None
        last, other = served.rstrip(), before.rstrip()
        if prompt is None or not last or last[-1:] != other[-1:]:
            return None
        blank = served[len(last) :]
        return len(other) + len(blank) if before.startswith(blank, len(other)) else None

    def _openings(self, view: View, place: int, text: str) -> list[int]:
        """Where what the message says may begin: its content, or its reasoning."""
        message = view.messages[place]
        probes: list[Message] = [
            {k: message[k] for k in ("role", "name") if k in message} | {"content": PROBE}
        ]
        own = view.session[view.origin[place]] if view.origin[place] >= 0 else {}
        if own.get("reasoning_content"):
            probes.append(self._one({**own, "reasoning_content": PROBE}))
        # the last one: an earlier message may say the same
        heads = (view.render_with(place, probe).text.rpartition(PROBE) for probe in probes)
        return [len(head) for head, found, _ in heads if found and text.startswith(head)]

    @cached_property
    def _bare_prompt(self) -> str | None:
        """What a generation prompt adds behind a user's turn; None where that cannot be told."""
        user: list[Message] = [{"role": USER, "content": PROBE}]
        try:
            before, served = self.template.render(user).text, self.template.render(user, None, Prompt()).text
        except TemplateFailure:
            return None
        return served[len(before) :] if served.startswith(before) else None

    def _prompt(self, view: View, place: int) -> Prompt:
        """How serving would prompt for this message."""
        role = self._role(view, place)
        return Prompt(role, view.messages[place].get("name") if role != ASSISTANT else None)

    def _role(self, view: View, place: int) -> str:
        return SYSTEM if view.origin[place] < 0 else str(view.session[view.origin[place]]["role"])

    def _behind_header(self, view: View, place: int, text: str) -> int:
        """Where the content of a message begins: what stands before it does not depend on it."""
        message = view.messages[place]
        own = {key: message[key] for key in ("role", "name") if key in message}
        size = len(message.get("content") or "")
        for probe in (_unseen(text) * size, PROBE):  # a template may look at how long the content is
            probed = view.render_with(place, own | {"content": probe}).text if probe else ""
            start = probed.rfind(probe)
            if probe and start >= 0 and text.startswith(probed[:start]):
                return start
        raise Unprovable(f"message {view.origin[place]} does not begin with its role's header")

    def _behind_bare_prompt(self, view: View, place: int, text: str) -> int:
        """The session opens with the answer, and the template cannot prompt for it or prompts otherwise."""
        start = self._behind_header(view, place, text)
        prompt = self._bare_prompt
        found = text.rfind(prompt, 0, start) if prompt else -1
        return found + len(prompt or "") if found >= 0 else start

    def _behind_reasoning(self, view: View, place: int, text: str) -> int:
        """Where the answer begins behind its reasoning; 0 without reasoning."""
        message = view.session[view.origin[place]] if view.origin[place] >= 0 else {}
        if not message.get("reasoning_content"):
            return 0
        unseen = _unseen(text)
        probe = self._one({**message, "reasoning_content": unseen})
        _, found_there, behind = view.render_with(place, probe).text.rpartition(unseen)
        if not found_there:
            return 0
        if not text.endswith(behind):
            raise Unprovable(
                f"message {view.origin[place]}: the template rewrites what follows the reasoning"
            )
        closing = behind.find("</think>")
        if closing >= 0:
            end = closing + len("</think>")
        else:
            end = next((match.end() for match in self.control.find(behind)), 0)
        blank = _BLANK.match(behind, end)
        found = blank.end() if blank else end
        if message.get("content"):  # white space of the answer's own is the answer's
            twice = view.render_with(
                place, self._one({**message, "reasoning_content": unseen, "content": FOLLOWING})
            )
            own = twice.text.rpartition(unseen)[2].find(FOLLOWING)
            found = min(found, own) if own >= end else found
        return len(text) - len(behind) + found

    def _one(self, message: Message) -> Message:
        """A message as the template takes it, in the middle of a session."""
        return self.template.shown([message], True)[0][-1]


def _unseen(text: str) -> str:
    """A character that this rendering does not hold: whatever else stands for an answer could be typed in it."""
    return next((own for own in map(chr, range(0x10FFFD, 0x10FFF1, -1)) if own not in text), PROBE)
