"""The prover for a recipe's chats: what the recipe asks, in the prover's words.

Built from the chat section, the template's text and the tokenizer, at build time and again by `verify` from what the
build directory holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.build.proof import Claim, Prover
from tokenization.build.proof_batch import taken_sequences
from tokenization.build.proof_columns import ClaimedSpans
from tokenization.build.proof_template import ServedTemplate
from tokenization.build.proof_view import Demands
from tokenization.plain_sessions import PlainSessions, plain_sessions
from tokenization.recipe.model import ChatSpec
from tokenization.sequences import TokenSequences, offsets_of


def demands_of(chat: ChatSpec) -> Demands:
    """What the recipe asks of masks."""
    return Demands(
        trained_roles=frozenset({"assistant"}) | {name for name, role in chat.roles.items() if role.trained},
        loss_on=chat.loss_on,
        train_on_prompt=chat.train_on_prompt,
        history=chat.history,
        reasoning=chat.reasoning,
        around_answers=chat.around_answers,
    )


def served_template(
    chat: ChatSpec, source: str, named_tokens: Mapping[str, str], *, builtin: bool
) -> ServedTemplate:
    """The template as a server would be told of it; a built-in one has the roles' headers written in."""
    return ServedTemplate(
        source=source,
        named_tokens=named_tokens,
        kwargs=chat.template_kwargs,
        headers={} if builtin else {name: role.header or name for name, role in chat.roles.items()},
        hidden_roles=frozenset(name for name, role in chat.roles.items() if not role.visible_in_generation),
        default_system=chat.default_system,
    )


def prove_table(
    prover: Prover, claims: pa.Table, sequences: TokenSequences, plain: PlainSessions | None = None
) -> list[str | None]:
    """A problem or None for each sequence; `claims` has columns messages, tools, spans, cut and actions, one row a
    sequence. Plain sessions on which no policy acted are proved in groups, what is left of them one by one; `plain` are
    those of the claims, by their rows, where the caller has read them already."""
    problems: list[str | None] = [None] * len(claims)
    whole = _is_whole(claims)
    if plain is None:
        plain = plain_sessions(claims.column("messages"), whole)
    else:
        plain = plain.chosen(np.flatnonzero(whole[plain.rows]))
    proven = prover.prove_plain(plain, _spans_of(claims), sequences)
    left = np.flatnonzero(~proven)
    if len(left):
        rows = claims.take(pa.array(left)).to_pylist()
        found = prover.prove_many([claim_of(row) for row in rows], taken_sequences(sequences, left))
        for number, problem in zip(left.tolist(), found, strict=True):
            problems[number] = problem
    return problems


def _is_whole(claims: pa.Table) -> NDArray[np.bool_]:
    """Which rows are sessions as they came: without tools, uncut, untouched by a policy."""
    no_tools = pc.is_null(claims.column("tools"))
    uncut = pc.fill_null(pc.less(claims.column("cut"), 0), True)
    untouched = pc.equal(pc.fill_null(pc.list_value_length(claims.column("actions")), 0), 0)
    whole: NDArray[np.bool_] = pc.and_(no_tools, pc.and_(uncut, untouched)).to_numpy()
    return whole


def _spans_of(claims: pa.Table) -> ClaimedSpans:
    lists = claims.column("spans").combine_chunks()
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    flat = lists.flatten()
    start, stop, message = (flat.field(name).to_numpy() for name in ("start", "stop", "message"))
    return ClaimedSpans(offsets_of(counts), start, stop, message)


def claim_of(row: Mapping[str, Any]) -> Claim:
    """A row of items.parquet, or of a chunk's sequences, as a claim."""
    spans: Sequence[Mapping[str, int]] = row["spans"] or ()
    cut = row["cut"]
    return Claim(
        messages=orjson.loads(row["messages"]),
        tools=orjson.loads(row["tools"]) if row["tools"] else None,
        spans=[(span["start"], span["stop"], span["message"]) for span in spans],
        cut=cut if cut is not None and cut >= 0 else None,
        actions=row["actions"] or (),
    )


def whole_claims(table: pa.Table, sessions: pa.Table) -> pa.Table:
    """A chunk's sequence table with each row's messages and tools filled in from its session."""
    messages = table.column("messages")
    given = sessions.column("messages")
    filled = given if messages.null_count == len(messages) else pc.coalesce(messages, given)
    whole = table.set_column(table.schema.get_field_index("messages"), "messages", filled)
    return whole.append_column("tools", sessions.column("tools"))


def plain_claims(plain: PlainSessions, session: NDArray[np.int64], untouched: bool) -> PlainSessions | None:
    """The plain sessions of a table under the numbers of their sequences; `session` is each sequence's row. None where
    a session gave several sequences, or policies left some of a session's messages out (not `untouched`)."""
    if not untouched or (len(session) > 1 and (np.diff(session) <= 0).any()):
        return None
    if not len(session) or not len(plain):
        return None
    place = np.minimum(np.searchsorted(plain.rows, session), len(plain) - 1)
    found = np.flatnonzero(plain.rows[place] == session)
    return plain.chosen(place[found]).renumbered(found)
