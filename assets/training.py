"""The checkpoint: the trainer as a subprocess that reports through Dagster Pipes.

This package never imports torch; the trainer does, in its own process, and dies with its step.
"""

import os
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import orjson

from assets import naming, versions
from assets.reports import explained
from assets.settings import Settings
from tokenization.build.layout import published, version_folder
from tokenization.errors import BuildError
from tokenization.object_store import origin_of
from tokenization.orphans import PARENT_VARIABLE
from tokenization.recipe.model import Recipe


def checkpoint_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """A model trained on the published build."""

    @dg.asset(
        key=naming.key(recipe, "checkpoint"),
        deps=[naming.key(recipe, "dataset")],
        group_name="train",
        kinds={"pytorch", "huggingface"},
        owners=[naming.OWNER],
        tags=naming.tags(recipe),
        code_version=versions.code_version("1", versions.dumped(recipe.train) if recipe.train else None),
        pool=naming.GPU,
        description=(
            "A Hugging Face checkpoint trained on the published build, made only when asked or scheduled. "
            "`held_out_loss` is over the validation split's targets, in nats; it has learnt something once that is "
            "below `unigram_entropy`. `tokens_per_second` counts padding out."
        ),
    )
    def checkpoint(
        context: dg.AssetExecutionContext, settings: Settings, trainer: dg.PipesSubprocessClient
    ) -> dg.MaterializeResult[None]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            fingerprint = published(workspace.out)
            if fingerprint is None or workspace.recipe.train is None:
                raise BuildError(f"{workspace.out} is no published build; materialise the dataset first")
            here = version_folder(workspace.out, fingerprint) if origin_of(workspace.out) else workspace.out
            command = training_command(workspace.recipe, str(here), str(run_folder(workspace.recipe)))
        return trainer.run(
            command=command, context=context, env={PARENT_VARIABLE: str(os.getpid())}
        ).get_materialize_result()

    return checkpoint


def run_folder(recipe: Recipe) -> str:
    """Where the recipe's trained model goes: `runs/NAME`, here."""
    return f"runs/{recipe.name}"


def run_summary(recipe: Recipe) -> dict[str, Any] | None:
    """What the recipe's last finished training says of itself, or None where there is none."""
    path = Path(run_folder(recipe)) / "summary.json"
    return dict(orjson.loads(path.read_bytes())) if path.is_file() else None


def is_trained_on(recipe: Recipe, fingerprint: str | None) -> bool:
    """Whether the recipe's run folder holds a finished training on this very build, as the recipe asks for."""
    summary = run_summary(recipe)
    if summary is None or recipe.train is None:
        return False
    asked = {name: value for name, value in recipe.train.model_dump(mode="json").items() if value is not None}
    return bool(
        summary["build"]["fingerprint"] == fingerprint
        and all(summary["settings"].get(name) == value for name, value in asked.items())
    )


def training_command(recipe: Recipe, build: str, out: str) -> list[str]:
    """The trainer's command line for this recipe."""
    train = recipe.train
    assert train is not None
    command = [sys.executable, "-m", "training.train", "--build", build, "--out", out, "--overwrite"]
    options = {
        "--model": train.model,
        "--steps": train.steps,
        "--learning-rate": train.learning_rate,
        "--batch-windows": train.batch_windows,
        "--accumulate": train.accumulate,
        "--seed": train.seed if train.seed is not None else recipe.seed,
    }
    for option, value in options.items():
        if value is not None:
            command += [option, str(value)]
    return command
