"""What no trained token may touch: for the proof of masks, from the served template alone.

Of a message with `train_ranges`, all of its target that the ranges leave out; what stands behind the content (its stop)
goes with the content's last character. And where prompts are trained too: what tools returned, prompts that are flagged
off, what stands before the first message where a system prompt is inserted, and everything through the last answer
that is no target. A token that holds one such character is masked, and every other token of a target is trained.

Price: one more rendering for each place that is looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from tokenization.build.proof_template import PROBE, SYSTEM, TOOL, Message, Prompt
from tokenization.build.proof_view import Demands, Unprovable, View

Extent = tuple[int, int]  # half-open characters

_BRACKETED = re.compile(r"<[^<>\s]*>|\[[^\[\]\s]*\]")


def of_ranges(view: View, place: int, text: str, start: int, stop: int) -> tuple[Extent, ...]:
    """What the ranges of a message leave out of its target text[start:stop]."""
    message = view.session[view.origin[place]] if view.origin[place] >= 0 else {}
    if "train_ranges" not in message:
        return ()
    if message["train_ranges"] is None:
        raise Unprovable(f"message {view.origin[place]}: its train_ranges begin or end within a typed marker")
    found = list(written(view, place, place + 1))
    content = message["content"]
    if len(found) != 1 or text[slice(*found[0])] != content:
        raise Unprovable(f"message {view.origin[place]}: the template does not write its content as it is")
    first, last = found[0]
    trained = bytearray(stop)
    for begin, end in message["train_ranges"]:
        trained[first + begin : first + end] = b"\1" * (end - begin)
    if trained[last - 1]:
        trained[last:] = b"\1" * (stop - last)
    return tuple(match.span() for match in re.compile(rb"\0+").finditer(trained, start))


def of_prompts(
    view: View,
    demands: Demands,
    targets: Sequence[int],
    masked: Sequence[int],
    start: int,
    prompt: Prompt | None,
) -> tuple[Extent, ...]:
    """What of trained prompts is not trained, in a sequence that trains `targets` and masks the answers `masked`.

    The first target begins at `start`; `prompt`: the sequence is what that prompt supplies, then the one target.
    """
    own = [view.session[place] if place >= 0 else None for place in view.origin]
    answers = [p for p, message in enumerate(own) if message is not None and demands.is_answer(message)]
    before = [p for p in answers if p < min(targets) and p not in {*targets, *masked}]
    first = before[-1] + 1 if before else 0
    count = targets[0] if prompt else len(own)
    found: list[Extent] = []
    if first or _is_inserted_before(view):
        openings = (pair[0] for p in range(first, min(targets)) for pair in written(view, p, count, prompt))
        found.append((0, min(start, next(openings, start))))
    for place in range(first, count):
        message = own[place]
        if message is None or place in answers:
            continue
        if message["role"] == TOOL or not message.get("train", True):
            found += written(view, place, count, prompt)
    return tuple(found)


def _is_inserted_before(view: View) -> bool:
    """Whether a system prompt that the session does not have stands before its first message."""
    if -1 in view.origin:
        return True
    if view.template.default_system != "template" or view.session[0]["role"] == SYSTEM:
        return False
    return bool(_BRACKETED.sub("", view.template.own_system).strip())


def written(view: View, place: int, count: int, prompt: Prompt | None = None) -> Iterator[Extent]:
    """Where the content of a message stands in the rendering of the first `count`: a probe in its place has the same
    around it."""
    session = view.session[view.origin[place]] if view.origin[place] >= 0 else {}
    if not str(session.get("content") or "").strip():
        return
    text = view.render(count, prompt).text
    probe = PROBE
    while probe in text:  # somebody typed it
        probe += "Q"
    pieces = view.probed(place, count, prompt, probe).split(probe)
    if len(pieces) == 1:
        return
    length = (len(text) - sum(map(len, pieces))) // (len(pieces) - 1)
    place_of = len(pieces[0])
    if length < 0 or text[place_of : place_of + length].join(pieces) != text:
        raise Unprovable(
            f"message {view.origin[place]}: where the template writes its content cannot be told"
        )
    for piece in pieces[1:]:
        yield place_of, place_of + length
        place_of += length + len(piece)


def hidden_ranges(messages: Sequence[Message], stand_ins: Mapping[str, str]) -> list[Message]:
    """The messages with their `train_ranges` counted in contents in which characters stand in for typed markers; None
    where a range begins or ends within one."""
    return [
        {**message, "train_ranges": _moved(message, stand_ins)} if "train_ranges" in message else message
        for message in messages
    ]


def _moved(message: Message, stand_ins: Mapping[str, str]) -> list[list[int]] | None:
    places, read = {0: 0}, 0
    for place, character in enumerate(message["content"]):
        read += len(stand_ins.get(character, character))
        places[read] = place + 1
    try:
        return [[places[start], places[stop]] for start, stop in message["train_ranges"]]
    except KeyError:
        return None
