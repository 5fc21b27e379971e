"""`tokenmill render`: what a template does to sessions, one line each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import orjson

from pipelines.commands.chats import Outcome, outcomes, prepared, renderer_for
from tokenization.defaults import default_store
from tokenization.errors import RecipeError
from tokenization.ingest.files import resolve_files
from tokenization.ingest.sessions import ChatOptions as ReadOptions
from tokenization.recipe.load import load_recipe
from tokenization.recipe.model import ChatSpec, Recipe, TokenizerSpec
from tokenization.stages.tokenizer import opened
from tokenization.stages.workspace import Workspace
from tokenization.store import Store


def render_sessions(
    sessions: Path,
    *,
    recipe: Path | None,
    tokenizer: Path | None,
    template: str,
    loss_on: str,
    around_answers: str,
    window: int | None,
    overrides: tuple[str, ...],
    store: Path | None,
    as_json: bool,
) -> None:
    """One line a session; exit 0 also where some are set aside."""
    if (recipe is None) == (tokenizer is None):
        raise RecipeError("render needs either --recipe RECIPE or --tokenizer PATH; give one of them")
    kept = Store((store or default_store()).absolute())
    read = ReadOptions()
    if recipe is not None:
        parsed = load_recipe(recipe, overrides)
        chat, folder = parsed.chat, parsed.directory
        ready = recipe_tokenizer(parsed, kept)
        window = window or parsed.window
        read = ReadOptions(
            roles=frozenset(chat.role_names),
            trained_roles=frozenset({"assistant"})
            | {name for name, role in chat.roles.items() if role.trained},
        )
    else:
        assert tokenizer is not None
        asked = {"template": template, "loss_on": loss_on, "around_answers": around_answers}
        chat, folder = ChatSpec.model_validate(asked), Path.cwd()
        ready = prepared(TokenizerSpec(path=str(tokenizer.absolute())), Path.cwd(), kept)
    renderer = renderer_for(chat, ready, folder)
    for file in resolve_files(str(sessions), Path.cwd(), source=str(sessions)):
        for outcome in outcomes(file, read, renderer, window, file.relative):
            click.echo(as_line(outcome) if as_json else as_text(outcome, ready))


def recipe_tokenizer(recipe: Recipe, store: Store) -> Any:
    """The recipe's tokenizer; one that is trained must have been built."""
    if recipe.tokenizer.path is not None:
        return prepared(recipe.tokenizer, recipe.directory, store)
    workspace = Workspace(recipe, store, Path())
    if workspace.find("tokenizer") is None:
        raise RecipeError(
            f"recipe {recipe.name!r} trains its own tokenizer, and it has not been trained on the inputs as they are "
            f"now; run tokenmill build first"
        )
    return opened(workspace)


def as_line(outcome: Outcome) -> str:
    if outcome.reason:
        return orjson.dumps(
            {"id": outcome.id, "set_aside": outcome.reason, "detail": outcome.detail}
        ).decode()
    row = {
        "id": outcome.id,
        "input_ids": outcome.input_ids.tolist(),
        "loss_mask": outcome.loss_mask.astype(int).tolist(),
    }
    return orjson.dumps(row).decode()


def as_text(outcome: Outcome, tokenizer: Any) -> str:
    """The session with its mask, for a terminal."""
    import numpy as np

    from tokenization.preview.model import PreviewSequence
    from tokenization.preview.terminal import terminal_preview

    if outcome.reason:
        return f"{outcome.id}: set aside: {outcome.reason}: {outcome.detail}\n"
    ids = outcome.input_ids
    sequence = PreviewSequence(
        source="",
        item=outcome.id,
        kind="sft",
        title="",
        input_ids=ids,
        loss_mask=outcome.loss_mask,
        token_bytes=[tokenizer.token_bytes(int(token)) for token in ids],
        special=np.isin(ids, sorted(tokenizer.special_ids)),
    )
    return terminal_preview(sequence, colour=sys.stdout.isatty())
