"""The schema for editors and the starter recipe say what the model says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from recipe_files import CHAT, TEXT, WHOLE, minimal

from tokenization.errors import RecipeError
from tokenization.recipe.document import read_document
from tokenization.recipe.load import load_recipe, recipe_from_mapping
from tokenization.recipe.model import Recipe
from tokenization.recipe.schema import SCHEMA_FILE, json_schema, schema_text
from tokenization.recipe.starter import starter_recipe

RECIPES = sorted(SCHEMA_FILE.parent.glob("*.yaml"))
OPTION = re.compile(r"^( *)# ((?:- \{| *[a-z_]+:(?: |$)).*)$", re.MULTILINE)


def accepts(values: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(json_schema()).is_valid(values))


def test_the_shipped_schema_is_the_models() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "run python -m tokenization.recipe.schema"
    )


def test_the_schema_is_a_schema_and_explains_every_key() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    parts = (schema, *schema["$defs"].values())
    keys = [key for part in parts for key in part.get("properties", {}).values()]
    assert len(keys) > 50 and all(key.get("description") for key in keys)


def test_recipes_in_the_repository_are_sound() -> None:
    assert RECIPES
    for file in RECIPES:
        recipe = load_recipe(file)
        assert accepts(read_document(file.read_text(encoding="utf-8"), str(file)).values), recipe.name


@pytest.mark.parametrize(
    "change",
    [
        {"window": 0},
        {"tokeniser": {}},
        {"mixture": {"pretrain_share": 0.5}},
        {"tokenizer": {}},
        {"sources": []},
        {"chat": {"history": "keep"}},
        {"cleaning": {"near_dedup": 3}},
        {"name": "a b"},
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(change: dict[str, Any]) -> None:
    mapping = minimal(TEXT, CHAT)
    assert accepts(mapping) and accepts(read_document(WHOLE, "whole").values)
    assert not accepts({**mapping, **change})
    with pytest.raises(RecipeError):
        recipe_from_mapping({**mapping, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"mixture": {"pretrain_share": 0.5, "allow_outside_range": True}},
        {"cleaning": {"near_dedup": "off"}},
        {"cleaning": {"near_dedup": False}},
        {"chat": None, "train": None, "schedule": None},
        {"chat": {"roles": None, "train_on_prompt": "auto"}},
    ],
)
def test_the_schema_takes_what_the_loader_takes(change: dict[str, Any]) -> None:
    mapping = {**minimal(TEXT, CHAT), **change}
    recipe_from_mapping(mapping)
    assert accepts(mapping)


def test_the_starter_is_a_sound_recipe_of_the_given_name(tmp_path: Path) -> None:
    file = tmp_path / "my-set.yaml"
    file.write_text(starter_recipe("my-set"), encoding="utf-8")
    recipe = load_recipe(file)
    assert recipe.name == "my-set" and recipe.text_sources and recipe.chat_sources
    assert accepts(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert "my_dataset" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["2024", "null", "1e5", "on"])
def test_the_starter_quotes_names_that_yaml_would_read_otherwise(name: str) -> None:
    assert recipe_from_mapping(read_document(starter_recipe(name), "s").values).name == name


@pytest.mark.parametrize("name", ["a b", "", "a\nseed: 3", "class"])
def test_the_starter_refuses_names_that_a_recipe_cannot_have(name: str) -> None:
    with pytest.raises(RecipeError, match="name"):
        starter_recipe(name)


def test_what_the_starter_leaves_commented_out_is_sound_too_and_nothing_is_missing() -> None:
    text, options = OPTION.subn(r"\1\2", starter_recipe())
    assert options > 30
    values = read_document(text, "starter").values
    del values["tokenizer"]["path"]  # either path or train
    values["chat"]["template"] = "chatml"
    recipe = recipe_from_mapping(values)
    assert set(Recipe.model_fields) == set(values)
    for name in ("tokenizer", "chat", "cleaning", "pretrain", "sft", "mixture", "train"):
        assert set(type(getattr(recipe, name)).model_fields) - {"path"} == set(values[name])
    shown = {key for source in values["sources"] for key in source}
    assert shown == set(type(recipe.sources[0]).model_fields)
    assert set(values["chat"]["roles"]["narrator"]) == set(type(recipe.chat.roles["narrator"]).model_fields)


def test_what_the_starter_shows_as_defaults_are_the_defaults() -> None:
    text = OPTION.sub(r"\1\2", starter_recipe())
    values = read_document(text, "starter").values
    bare = recipe_from_mapping(minimal(TEXT, CHAT)).resolved()
    shown = recipe_from_mapping(
        {**minimal(TEXT, CHAT), **{name: values[name] for name in ("cleaning", "pretrain", "sft", "mixture")}}
    ).resolved()
    assert {**shown["mixture"], "allow_outside_range": False} == bare["mixture"]
    for name in ("cleaning", "pretrain", "sft"):
        assert shown[name] == bare[name]
    assert {**values["chat"], "roles": {}} == bare["chat"]
    assert (values["window"], values["seed"]) == (bare["window"], bare["seed"])
