"""From a file, or a mapping, to a checked `Recipe`; everything that is wrong becomes one `RecipeError`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tokenization.errors import RecipeError
from tokenization.recipe import document, overrides, problems
from tokenization.recipe.model import Recipe

RECIPE_SUFFIXES = (".yaml", ".yml", ".json")


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a file, changed by `key.path=value` overrides; its paths are relative to the file."""
    file = Path(path)
    read = document.read_document(_text(file), str(path))
    return _checked(read.values, overrides, file.absolute().parent, str(path), read.lines)


def recipe_from_mapping(
    mapping: Mapping[str, Any],
    directory: str | Path = ".",
    overrides: Sequence[str] = (),
    label: str = "recipe",
) -> Recipe:
    """The recipe that a mapping is, such as the one in a manifest; paths are relative to `directory`."""
    return _checked(mapping, overrides, Path(directory).absolute(), label, {})


def collisions(recipes: Iterable[Recipe]) -> None:
    """RecipeError where two recipes would have one name in Dagster."""
    first: dict[str, Recipe] = {}
    for recipe in recipes:
        other = first.setdefault(recipe.dagster_name, recipe)
        if other is not recipe:
            both = f"{other.name!r} in {other.directory} and {recipe.name!r} in {recipe.directory}"
            raise RecipeError(f"two recipes are {recipe.dagster_name} in Dagster: {both}; rename one")


def _checked(
    values: Mapping[str, Any],
    changes: Sequence[str],
    directory: Path,
    label: str,
    lines: Mapping[document.Path, int],
) -> Recipe:
    try:
        changed, origins = overrides.with_overrides(values, changes)
    except RecursionError:
        raise RecipeError(f"{label}: is nested too deeply to be a recipe") from None
    try:
        return Recipe.model_validate(changed).at(directory)
    except ValidationError as error:
        raise RecipeError(problems.describe(error, changed, Recipe, label, lines, origins)) from None


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RecipeError(f"{file}: there is no such file{_nearest_file(file)}") from None
    except IsADirectoryError:
        raise RecipeError(f"{file}: is a directory; name the recipe file in it") from None
    except UnicodeDecodeError as error:
        fact = f"is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}"
        raise RecipeError(f"{file}: {fact}; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{file}: cannot be read: {error}") from None


def _nearest_file(file: Path) -> str:
    try:
        siblings = sorted(p.name for p in file.parent.iterdir() if p.suffix in RECIPE_SUFFIXES)
    except OSError:
        return ""
    near = difflib.get_close_matches(file.name, siblings, 1)
    return f"; did you mean {file.with_name(near[0])}?" if near else ""
