"""What can be known to be wrong with a recipe's inputs before anything runs; it needs no Dagster."""

from __future__ import annotations

from pathlib import Path

from pipelines.recipes import collision
from tokenization.build.layout import check_place
from tokenization.errors import RecipeError
from tokenization.stages.workspace import Workspace


def preflight(workspace: Workspace, path: Path) -> None:
    """Everything that can be known to be wrong before anything runs."""
    from tokenization.stages import chat_tokens, contamination
    from tokenization.stages.screening import screen_of

    check_place(workspace.out)
    problem = collision(path)
    if problem:
        raise RecipeError(problem)
    recipe = workspace.recipe
    if recipe.tokenizer.path is not None and not (recipe.directory / recipe.tokenizer.path).exists():
        raise RecipeError(
            f"tokenizer.path: {recipe.directory / recipe.tokenizer.path} is not there; give a Hugging Face folder, a "
            f"tokenizer.json, a SentencePiece model or tiktoken ranks"
        )
    chat_tokens.check_template_file(workspace)
    for source in recipe.sources:
        screen_of(workspace, source.name)
        workspace.inputs(source.name)
    contamination.parts(workspace)  # the evaluation sets are there
