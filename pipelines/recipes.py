"""Recipes on disk: the files of `recipes/` that the page shows, each on its own, a broken one beside the others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tokenization.errors import RecipeError
from tokenization.recipe.load import load_recipe
from tokenization.recipe.model import Recipe


@dataclass(frozen=True)
class Found:
    """A recipe file, and the recipe or why there is none."""

    path: Path
    recipe: Recipe | None
    problem: str = ""


def recipe_folder() -> Path:
    """`TOKENMILL_RECIPES`, or `recipes/` beside this package's folder."""
    named = os.environ.get("TOKENMILL_RECIPES")
    return Path(named).absolute() if named else Path(__file__).resolve().parents[1] / "recipes"


def find_recipes(folder: Path) -> list[Found]:
    """Every `*.yaml` and `*.yml` of the folder, by name; two that collide are both reported."""
    found = [read(path) for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])]
    seen: dict[str, Path] = {}
    checked = []
    for entry in found:
        if entry.recipe is None:
            checked.append(entry)
            continue
        first = seen.setdefault(entry.recipe.dagster_name, entry.path)
        if first == entry.path:
            checked.append(entry)
        else:
            problem = (
                f"{entry.path.name}: the name {entry.recipe.name!r} is {entry.recipe.dagster_name!r} in Dagster, "
                f"which is taken by {first.name}; give it another name"
            )
            checked.append(Found(entry.path, None, problem))
    return checked


def collision(path: Path) -> str:
    """Why this recipe of the page's folder cannot stand beside another one there, or nothing."""
    if path.absolute().parent != recipe_folder():
        return ""
    found = (entry for entry in find_recipes(recipe_folder()) if entry.path.name == path.name)
    return next((entry.problem for entry in found if entry.recipe is None), "")


def read(path: Path) -> Found:
    try:
        return Found(path, load_recipe(path))
    except RecipeError as error:
        return Found(path, None, str(error))
