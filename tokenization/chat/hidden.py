"""Hidden characters of a rendered text: those that no trained token may touch, though they do not cut its stretches.

    train_ranges [[6, 11]] of "Hello world"    ⟦ world<|im_end|>⟧ is trained, "Hello" is hidden

What a message's `train_ranges` leave out of its target is hidden: everything before its content (its reasoning too),
the content outside of the ranges, and what stands behind the content (calls, the stop), unless a range reaches the
content's end. Where prompts are trained too, what tools returned is hidden, prompts that are flagged off, what stands
before the first message where a system prompt was inserted, and everything through the last answer that is no target
of the sequence (where a template rewrites earlier turns, each cut trains its own turn).

Guarantees: a content is found by what the template writes around it, never by its text; what cannot be found is
refused. Price: one rendering a place that is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tokenization.chat.rendered import Extent, Refusal, RenderedText, View
from tokenization.chat.roles import ASSISTANT, TOOL, Role, is_answer
from tokenization.chat.templates import Prompt


def beside_ranges(view: View, place: int, text: str, start: int, stop: int) -> list[Extent]:
    """What of the target the message's ranges leave out; behind the content nothing, if one reaches its end."""
    ranges = view.train_ranges(place)
    if ranges is None:
        return []
    found = view.contents(text, place, place + 1) or []
    written = [text[a:b] for a, b in found]
    if written != [view.content(place)] or not start <= found[0][0] <= found[0][1] <= stop:
        raise Refusal(
            "ranges_not_placed",
            f"message {place}: the template does not write the content as it is, so its train_ranges cannot be "
            "placed; take white space off its ends, or leave the ranges out",
        )
    first, last = found[0]
    left_out: list[Extent] = []
    read = start
    for begin, end in ranges:
        left_out.append((read, first + begin))
        read = first + end
    if read < last:
        left_out.append((read, stop))
    return [(a, b) for a, b in left_out if a < b]


def with_hidden_prompts(
    view: View,
    text: RenderedText,
    off: Sequence[int],
    untrained: Sequence[int],
    policy: Mapping[str, Role],
) -> RenderedText:
    """The same, with what of its prompts is not trained: `untrained` are the messages flagged off, those of them that
    are answers and stand in `off` are masked whole already."""
    targets = {span.message for span in text.spans}
    context = [
        place
        for place in range(min(targets))
        if is_answer(view.roles[place], policy) and place not in targets and place not in off
    ]
    first = context[-1] + 1 if context else 0
    hidden = [*text.hidden]
    if first or view.has_inserted_system:
        hidden.append((0, _first_content(view, text, first, min(targets))))
    for place in range(first, text.messages):
        is_result = view.roles[place] == TOOL
        if is_result or (place in untrained and not is_answer(view.roles[place], policy)):
            hidden += _contents(view, text, place)
    return replace(text, hidden=tuple(hidden))


def _first_content(view: View, text: RenderedText, first: int, target: int) -> int:
    """Where the content of the first message from `first` on begins, or the target, if that comes first."""
    limit = min(span.start for span in text.spans)
    for place in range(first, target):
        found = _contents(view, text, place)
        if found and found[0][0] < found[0][1]:
            return min(limit, found[0][0])
    return limit


def _contents(view: View, text: RenderedText, place: int) -> list[Extent]:
    target = text.messages - 1
    role = view.roles[target]
    found = (
        view.contents(
            text.text,
            place,
            target,
            Prompt(role, view.messages[target].get("name") if role != ASSISTANT else None),
        )
        if text.is_spliced
        else view.contents(text.text, place, text.messages)
    )
    if found is None:
        raise Refusal(
            "prompt_not_placed",
            f"message {place}: prompts are trained, and where the template writes this one cannot be told; "
            "set chat.train_on_prompt: false",
        )
    return found
