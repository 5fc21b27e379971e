"""`tokenmill init`."""

from __future__ import annotations

from pathlib import Path

import click

from tokenization.errors import RecipeError
from tokenization.recipe.starter import starter_recipe


def write_recipe(name: str) -> None:
    """Write NAME.yaml here, never over a file that is there."""
    path = Path(name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    text = starter_recipe(path.stem)
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise RecipeError(f"{path} is there already; give another name, or edit it") from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"Wrote {path}. Point its sources at your data, then: tokenmill build {path}")
