"""What can be known to be wrong with a recipe's inputs before anything runs; it needs no Dagster."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from pipelines.recipes import collision
from tokenization.build.layout import check_place
from tokenization.errors import RecipeError
from tokenization.stages.workspace import Workspace
from tokenization.tokenizer.ahead import open_ahead


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


@contextlib.contextmanager
def inputs_beside(workspace: Workspace) -> Iterator[None]:
    """The inputs' content hashes, taken in a thread while the block imports Dagster: 0.3 s of a build of 512 MB. Where
    the store has never held a tokenizer, one is opened as well. What is wrong with an input is left for `preflight` to
    say."""
    thread = threading.Thread(target=_look_up, args=(workspace,), name="inputs-beside", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _look_up(workspace: Workspace) -> None:
    with contextlib.suppress(OSError):
        if not (workspace.store.root / "results" / "tokenizer").exists():
            open_ahead(workspace.recipe.tokenizer, workspace.recipe.directory)
    for source in workspace.recipe.sources:
        with contextlib.suppress(Exception):
            workspace.inputs(source.name)
