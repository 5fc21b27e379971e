"""What a recipe's cleaning does to a batch once it is read: personal data replaced, quality rules applied.

Personal data goes first, in documents and in what messages say; a text that changes is hashed again, so that duplicates
are found among texts as they are trained. Then rules judge documents: what a rule rejects is set aside under the rule's
name, with its figure. Both run on each chunk by itself, so a rebuild works on what changed; `dry` counts what rules
would remove and removes nothing. Price: see tokenization.quality.apply and tokenization.quality.personal_data.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.ingest.amounts import Amounts, Moved, sizes_of
from tokenization.ingest.corpus import hash_column
from tokenization.ingest.sessions import session_hash, with_turns
from tokenization.ingest.set_aside import SET_ASIDE_SCHEMA
from tokenization.quality.apply import apply_rules
from tokenization.quality.personal_data import replace_personal_data
from tokenization.quality.private_messages import replace_in_sessions
from tokenization.quality.rules import ConfiguredRule, parse_rules
from tokenization.recipe.cleaning import PersonalDataSpec
from tokenization.stages.workspace import EVALUATION, Workspace


@dataclass(frozen=True)
class Screen:
    """The recipe's rules and what it says of personal data, ready to run."""

    rules: tuple[ConfiguredRule, ...] = ()
    dry: bool = False
    personal_data: PersonalDataSpec | None = None

    def key(self) -> list[object]:
        """JSON-able: what the outcome depends on."""
        rules: list[object] = [[rule.key() for rule in self.rules], self.dry] if self.rules else []
        private = [self.personal_data.model_dump(mode="json")] if self.personal_data else []
        return [*rules, *private]


@dataclass(frozen=True)
class Screened:
    """What is left of a batch."""

    rows: pa.Table  # of the schema that came
    set_aside: pa.Table  # SET_ASIDE_SCHEMA
    would_remove: Counter[str] = field(
        default_factory=Counter
    )  # rule -> documents that it alone would remove
    personal_data: Counter[str] = field(default_factory=Counter)  # kind -> replacements
    amounts: Amounts = field(
        default_factory=dict
    )  # of documents' texts: what replacements added, what rules removed


def screen_of(workspace: Workspace, name: str) -> Screen:
    """What the recipe asks for this source; evaluation sets stay as they are. A RecipeError says what is wrong with a
    rule."""
    cleaning = workspace.recipe.cleaning
    if name.startswith(EVALUATION):
        return Screen()
    if workspace.source(name).kind == "chat":
        return Screen(personal_data=cleaning.personal_data)
    return Screen(
        parse_rules(cleaning.rules, workspace.recipe.directory), cleaning.dry, cleaning.personal_data
    )


def screened(rows: pa.Table, screen: Screen) -> Screened:
    """A batch of documents or sessions, its personal data replaced and its rejected documents set aside."""
    if not len(rows):
        return Screened(rows, SET_ASIDE_SCHEMA.empty_table())
    replaced: Counter[str] = Counter()
    moved = Moved()
    if screen.personal_data is not None:
        before = rows
        rows, replaced = without_personal_data(rows, screen.personal_data)
        if rows is not before and "text" in rows.column_names:
            grown = [
                int(a.sum() - b.sum()) for a, b in zip(text_sizes(rows), text_sizes(before), strict=True)
            ]
            moved.add("personal_data", *grown)
    if not screen.rules:
        aside = SET_ASIDE_SCHEMA.empty_table()
        return Screened(rows, aside, personal_data=replaced, amounts=moved.amounts())
    kept, aside, would_remove = judged(rows, screen, moved)
    return Screened(kept, aside, would_remove, replaced, moved.amounts())


def text_sizes(documents: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(characters, bytes) of each document's text."""
    return sizes_of(documents.column("text"))


def without_personal_data(rows: pa.Table, spec: PersonalDataSpec) -> tuple[pa.Table, Counter[str]]:
    """The rows with personal data replaced and their hashes made anew; how often each kind was."""
    if "text" in rows.column_names:
        done = replace_personal_data(rows.column("text").combine_chunks(), spec)
        if not done.documents:
            return rows, Counter()
        new = {"text": done.texts, "hash": hash_column(done.texts)}
        return with_columns(rows, new), +Counter[str](done.counts)
    found = replace_in_sessions(rows.column("messages").combine_chunks(), spec)
    if not found.messages:
        return rows, Counter()
    messages, hashes = rows.column("messages").to_pylist(), rows.column("hash").to_pylist()
    tools = rows.column("tools")
    for row, written in found.messages.items():
        own_tools = tools[row].as_py()
        messages[row] = written.decode()
        hashes[row] = session_hash(written, None if own_tools is None else own_tools.encode())
    columns = {"messages": pa.array(messages, pa.large_string()), "hash": pa.array(hashes, pa.binary(16))}
    return with_turns(with_columns(rows, columns)), +Counter[str](found.counts)


def with_columns(table: pa.Table, new: dict[str, pa.Array]) -> pa.Table:
    """The table with these columns in the place of its own."""
    for name, column in new.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), column)
    return table


def judged(documents: pa.Table, screen: Screen, moved: Moved) -> tuple[pa.Table, pa.Table, Counter[str]]:
    """The documents that every rule keeps, the others with the first rule that rejects each, and what each rule alone
    would remove."""
    texts = documents.column("text").combine_chunks()
    outcome = apply_rules(texts, screen.rules, dry=screen.dry)
    would_remove = Counter({rule: counts.alone for rule, counts in outcome.counts.items() if counts.alone})
    if screen.dry:
        return documents, SET_ASIDE_SCHEMA.empty_table(), would_remove
    rejected = documents.take(pa.array(np.flatnonzero(~outcome.kept)))
    told = [(rule, f"{rule} rejects it: {figure:.4g}") for _, rule, figure in outcome.rejections()]
    for rule, row in zip((rule for rule, _ in told), rejected.column("text"), strict=True):
        moved.take(rule, row.as_py())
    rows = [
        orjson.dumps(
            {"text": row["text"]} if row["own_id"] is None else {"id": row["own_id"], "text": row["text"]}
        )
        for row in rejected.select(["own_id", "text"]).to_pylist()
    ]
    columns = {
        **{name: rejected.column(name) for name in ("file", "place", "own_id")},
        "reason": pa.array([rule for rule, _ in told], pa.string()),
        "detail": pa.array([detail for _, detail in told], pa.string()),
        "row": pa.array(rows, pa.large_binary()),
    }
    set_aside = pa.table({name: columns[name] for name in SET_ASIDE_SCHEMA.names}).cast(SET_ASIDE_SCHEMA)
    return documents.take(pa.array(np.flatnonzero(outcome.kept))), set_aside, would_remove
