"""The recipe that `tokenmill init` writes: `starter.yaml`, every key in it explained where it stands."""

from __future__ import annotations

from importlib.resources import files

from tokenization.recipe.document import read_value
from tokenization.recipe.load import recipe_from_mapping

_NAME = "my_dataset"


def starter_recipe(name: str = _NAME) -> str:
    """A commented recipe, sound as it stands once its paths exist; RecipeError for an impossible name."""
    source = {"name": "docs", "kind": "text", "path": "docs"}
    recipe_from_mapping({"name": name, "tokenizer": {"path": "tokenizer"}, "sources": [source]}, label="init")
    text = (files(__package__ or "tokenization.recipe") / "starter.yaml").read_text(encoding="utf-8")
    written = f'"{name}"' if _unquoted_is_no_text(name) else name
    return text.replace(f"name: {_NAME}", f"name: {written}", 1).replace(_NAME, name)


def _unquoted_is_no_text(name: str) -> bool:
    """Names such as 2024, 1e5, no and null are something else to YAML."""
    return not isinstance(read_value(name, "init"), str)
