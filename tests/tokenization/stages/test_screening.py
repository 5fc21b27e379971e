"""Quality rules in a build: what they reject is set aside under the rule's name, and counted."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pytest

from tokenization.errors import RecipeError
from tokenization.hashing import text_hashes
from tokenization.ingest.corpus import DOCUMENT_SCHEMA
from tokenization.quality.rules import parse_rules
from tokenization.recipe.cleaning import PersonalDataSpec
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
    assert found.rows.column("text").to_pylist() == [TEXTS[0], TEXTS[2]]
    (row,) = found.set_aside.to_pylist()
    assert (row["reason"], row["place"], orjson.loads(row["row"])) == ("min_length", 2, {"text": "short"})
    assert found.would_remove == {"min_length": 1}


def test_a_dry_run_counts_and_removes_nothing() -> None:
    found = screened(documents(), Screen(parse_rules([{"min_length": {"min": 10}}]), dry=True))
    assert len(found.rows) == 3 and len(found.set_aside) == 0
    assert found.would_remove == {"min_length": 1}


def test_no_rule_leaves_the_batch_as_it_is() -> None:
    table = documents()
    assert screened(table, Screen()).rows is table


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
        screen_of(Workspace(recipe, Store(tmp_path / "store"), tmp_path / "out"), "s")


def test_personal_data_goes_before_rules_judge_and_the_text_is_hashed_as_it_stays() -> None:
    table = documents()
    texts = [*TEXTS[:2], "write to somebody.with.a.long.name@example.com"]
    table = table.set_column(3, "text", pa.array(texts, pa.large_string()))
    found = screened(
        table, Screen(parse_rules([{"max_length": {"max": 40}}]), personal_data=PersonalDataSpec())
    )
    assert found.rows.column("text").to_pylist() == ["short", "write to [email]"]
    assert found.rows.column("hash").to_pylist() == text_hashes(["short", "write to [email]"])
    assert found.rows.select(["own_id", "place", "file"]).to_pylist()[1] == {
        "own_id": "c",
        "place": 3,
        "file": "x.jsonl",
    }
    assert found.personal_data == {"email": 1}
    assert [row["reason"] for row in found.set_aside.to_pylist()] == ["max_length"]
