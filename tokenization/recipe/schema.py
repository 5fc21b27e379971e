"""A JSON Schema of recipes, for editors: completion, a key's meaning at the pointer, limits while typing.

`python -m tokenization.recipe.schema [FILE]` writes it, by default to `recipes/recipe.schema.json`, where a
test holds it to the model. A recipe that begins with `# yaml-language-server: $schema=FILE` uses it. It says
what can be said of single keys; what must fit across keys is checked when a recipe is loaded.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenization.recipe.model import Recipe
from tokenization.recipe.section import Section, can_be_left_empty

SCHEMA_FILE = Path(__file__).parents[2] / "recipes" / "recipe.schema.json"


def json_schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    schema = Recipe.model_json_schema()
    parts = {"Recipe": schema, **schema["$defs"]}
    in_recipes = (model for model in _sections(Section) if model.__name__ in parts)
    for model in in_recipes:
        for name, field in model.model_fields.items():
            if can_be_left_empty(field):
                _allow_empty(parts[model.__name__]["properties"][name])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "tokenmill recipe"}


def schema_text() -> str:
    """The schema as its file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _sections(parent: type[Section]) -> Iterator[type[Section]]:
    for model in parent.__subclasses__():
        yield model
        yield from _sections(model)


def _allow_empty(key: dict[str, Any]) -> None:
    """Let `key:` stand with nothing behind it, as the loader does."""
    if {"type": "null"} in key.get("anyOf", []):
        return
    about: dict[str, Any] = {
        name: key.pop(name) for name in ("title", "description", "default") if name in key
    }
    branches = [*(key.pop("anyOf", None) or [dict(key)]), {"type": "null"}]
    key.clear()
    key.update(anyOf=branches, **about)


def main(arguments: list[str]) -> None:
    """Write the schema."""
    file = Path(arguments[0]) if arguments else SCHEMA_FILE
    file.write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
