"""What a build claims of one sequence, and which of the session's sequences that must be.

A session gives one sequence, or one cut an answer where its template rewrites earlier turns; the overlong policy may
have dropped turns, dropped cuts or split a session, and says so in `actions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tokenization.build.proof_template import Message
from tokenization.build.proof_view import Unprovable


@dataclass(frozen=True)
class Claim:
    """What a build says about one sequence."""

    messages: Sequence[Message]
    tools: Sequence[Any] | None = None
    spans: Sequence[tuple[int, int, int]] = ()  # start, stop (tokens), message
    cut: int | None = None
    actions: Sequence[str] = ()


def chosen(sequences: Sequence[set[int]], claim: Claim) -> tuple[int, int | None]:
    """Which of a session's sequences the claim is about, and the one message that it is left with, if any.

    `sequences[i]` are the messages that sequence i trains. What the overlong policy left is recorded in `actions`.
    """
    count = len(sequences)
    if count == 1 and claim.cut is None and not claim.actions:
        return 0, None
    policy = {action.split(":")[0] for action in claim.actions}
    if policy & {"drop_turns", "drop_cut"}:
        said_of = {message for _, _, message in claim.spans}
        if count == 1 and (claim.cut is None or said_of == sequences[0]):
            return 0, None
        if len(said_of) != 1:
            raise Unprovable(f"a cut trains one answer; the spans name messages {sorted(said_of)}")
        own = said_of.pop()
        if count > 1 and {own} in sequences:
            return list(sequences).index({own}), None
        if count == 1 and own == max(sequences[0]):
            return 0, own
        raise Unprovable(f"message {own} is no answer that this session may be cut to")
    if claim.cut is None or "split" in policy:
        if count > 1:
            raise Unprovable(
                f"the template rewrites earlier turns: {count} cuts were due, and this is the whole session"
            )
        return 0, None
    if count == 1:
        raise Unprovable(f"cut {claim.cut} of a session that need not be cut")
    if not 0 <= claim.cut < count:
        raise Unprovable(f"cut {claim.cut} of a session with {count} cuts")
    return claim.cut, None
