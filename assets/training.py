"""The checkpoint: the trainer as a subprocess that reports through Dagster Pipes.

This package never imports torch; the trainer does, in its own process, and dies with its step.
"""

import sys

import dagster as dg

from assets import naming
from assets.reports import explained
from assets.settings import Settings
from tokenization.build.layout import published
from tokenization.errors import BuildError
from tokenization.recipe.model import Recipe


def checkpoint_asset(recipe: Recipe, path: str) -> dg.AssetsDefinition:
    """A model trained on the published build."""

    @dg.asset(
        key=naming.key(recipe, "checkpoint"),
        deps=[naming.key(recipe, "dataset")],
        group_name="train",
        kinds={"pytorch", "huggingface"},
        owners=[naming.OWNER],
        code_version="1",
        pool="trainer",
        description=(
            "A Hugging Face checkpoint trained on the published build. `held_out_loss` is over the validation split's "
            "targets, in nats; it has learnt something once that is below `unigram_entropy`."
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
            command = training_command(
                workspace.recipe, str(workspace.out), str(run_folder(workspace.recipe))
            )
        return trainer.run(command=command, context=context).get_materialize_result()

    return checkpoint


def run_folder(recipe: Recipe) -> str:
    """Where the recipe's trained model goes: `runs/NAME`, here."""
    return f"runs/{recipe.name}"


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
