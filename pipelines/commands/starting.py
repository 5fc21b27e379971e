"""`tokenmill init`."""

from __future__ import annotations

from pathlib import Path

import click

from tokenization.errors import RecipeError
from tokenization.recipe.schema import SCHEMA_FILE, schema_text
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
    schema = path.with_name(SCHEMA_FILE.name)  # the recipe's first line points editors here
    schema.write_text(schema_text(), encoding="utf-8")
    click.echo(
        f"Wrote {path} and, for your editor, {schema.name}. "
        f"Point its sources at your data, then: tokenmill build {path}"
    )
