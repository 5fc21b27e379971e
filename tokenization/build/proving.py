"""The prover for a recipe's chats: what the recipe asks, in the prover's words.

Built from the chat section, the template's text and the tokenizer, at build time and again by `verify` from what the
build directory holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from tokenization.build.proof import Claim, Prover
from tokenization.build.proof_template import ServedTemplate
from tokenization.build.proof_view import Demands
from tokenization.recipe.model import ChatSpec
from tokenization.sequences import TokenSequences


def demands_of(chat: ChatSpec) -> Demands:
    """What the recipe asks of masks."""
    return Demands(
        trained_roles=frozenset({"assistant"}) | {name for name, role in chat.roles.items() if role.trained},
        loss_on=chat.loss_on,
        train_on_prompt=chat.train_on_prompt,
        history=chat.history,
        reasoning=chat.reasoning,
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
    prover: Prover, sessions: Iterable[Mapping[str, Any]], sequences: TokenSequences
) -> list[str | None]:
    """A problem or None for each sequence; `sessions` are rows with messages, tools, spans, cut and actions."""
    return prover.prove_many([claim_of(row) for row in sessions], sequences)


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


def whole_rows(table: pa.Table, sessions: pa.Table) -> list[dict[str, Any]]:
    """A chunk's sequence table with each row's messages and tools filled in from its session."""
    import pyarrow.compute as pc

    filled = table.set_column(
        table.schema.get_field_index("messages"),
        "messages",
        pc.coalesce(table.column("messages"), sessions.column("messages")),
    )
    rows: list[dict[str, Any]] = filled.append_column("tools", sessions.column("tools")).to_pylist()
    return rows
