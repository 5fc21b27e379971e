"""What is known of a recipe's inputs before anything runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.preflight import inputs_beside, preflight
from tokenization.errors import RecipeError
from tokenization.hashing import file_digest
from tokenization.recipe.load import load_recipe
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

TRAINED = {"train": {"kind": "bpe", "vocab_size": 512}}


def workspace_of(folder: Path, *paths: str, tokenizer: Mapping[str, Any] = TRAINED) -> Workspace:
    sources = [
        {"name": f"s{number}", "kind": "text", "path": path, "licence": "CC0-1.0"}
        for number, path in enumerate(paths)
    ]
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({"name": "r", "tokenizer": tokenizer, "sources": sources}))
    return Workspace(load_recipe(recipe), Store(folder / "store"), folder / "out")


def test_inputs_looked_up_beside_an_import_are_there_when_it_is_done(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    workspace = workspace_of(tmp_path, "a.jsonl")
    with inputs_beside(workspace):
        pass
    (tmp_path / "a.jsonl").unlink()  # so that what follows can only be what was looked up
    files, digests = workspace.inputs("s0")
    assert [file.relative for file in files] == ["a.jsonl"] and len(digests[0]) == 64


def test_a_source_that_is_missing_is_left_for_the_preflight_to_name(tmp_path: Path) -> None:
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n')
    workspace = workspace_of(tmp_path, "missing.jsonl", "b.jsonl")
    with inputs_beside(workspace):
        pass
    with pytest.raises(RecipeError, match=r"'s0'.*missing\.jsonl"):
        preflight(workspace, tmp_path / "recipe.yaml")
    assert workspace.inputs("s1")[1] == [file_digest(tmp_path / "b.jsonl")], (
        "the others are looked up all the same"
    )


def test_a_loaded_tokenizer_is_opened_beside_the_import_where_the_store_has_never_held_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str | None] = []
    monkeypatch.setattr("pipelines.preflight.open_ahead", lambda spec, base: begun.append(spec.path))
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    workspace = workspace_of(tmp_path, "a.jsonl", tokenizer={"path": "tokenizer.json"})
    with inputs_beside(workspace):
        pass
    assert begun == ["tokenizer.json"]
    workspace.store.save_result("tokenizer", "0" * 64, {})
    with inputs_beside(workspace):
        pass
    assert begun == ["tokenizer.json"], "what is in the store decides what is stale; that is looked up later"
