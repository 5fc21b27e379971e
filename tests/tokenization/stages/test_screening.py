"""Quality rules in a build: what they reject is set aside under the rule's name, and counted."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from tokenization.errors import RecipeError
from tokenization.ingest.corpus import DOCUMENT_SCHEMA
from tokenization.quality.rules import parse_rules
from tokenization.recipe.load import recipe_from_mapping
from tokenization.stages.screening import Screen, screen_of, screened
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

TEXTS = [
    "a line of words that is long enough to keep",
    "short",
    "another line of words that may well stay here",
]


def documents() -> pa.Table:
    columns = {
        "own_id": ["a", None, "c"],
        "place": [1, 2, 3],
        "file": ["x.jsonl"] * 3,
        "text": TEXTS,
        "hash": [bytes(16)] * 3,
    }
    return pa.table(columns, schema=DOCUMENT_SCHEMA)


def test_what_a_rule_rejects_is_set_aside_under_its_name_and_the_rest_stays() -> None:
    found = screened(documents(), Screen(parse_rules([{"min_length": {"min": 10}}])))
    assert found.documents.column("text").to_pylist() == [TEXTS[0], TEXTS[2]]
    (row,) = found.set_aside.to_pylist()
    assert (row["reason"], row["place"], orjson.loads(row["row"])) == ("min_length", 2, {"text": "short"})
    assert found.would_remove == {"min_length": 1}


def test_a_dry_run_counts_and_removes_nothing() -> None:
    found = screened(documents(), Screen(parse_rules([{"min_length": {"min": 10}}]), dry=True))
    assert len(found.documents) == 3 and len(found.set_aside) == 0
    assert found.would_remove == {"min_length": 1}


def test_no_rule_leaves_the_batch_as_it_is() -> None:
    table = documents()
    assert screened(table, Screen()).documents is table


def test_a_parameter_that_a_rule_does_not_have_is_refused(tmp_path: Path) -> None:
    recipe = recipe_from_mapping(
        {
            "name": "r",
            "tokenizer": {"path": "t"},
            "sources": [{"name": "s", "kind": "text", "path": "x"}],
            "cleaning": {"rules": [{"gopher_word_count": {"minimum": 5}}]},
        },
        tmp_path,
    )
    with pytest.raises(RecipeError, match="minimum"):
        screen_of(Workspace(recipe, Store(tmp_path / "store"), tmp_path / "out"))
