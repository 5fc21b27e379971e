"""The asset checks: laws that keep a candidate from being published, advice that does not, and a look at training.

Each can be run again from the page, and says what it looked at, the figure, the limit and what offends. Here is
what there is to check; `findings` looks, when a run asks for it.
"""

from collections.abc import Iterator, Mapping

import dagster as dg

from assets import naming
from assets.reports import explained
from assets.settings import Settings
from assets.training import run_folder
from tokenization.recipe.model import Recipe

WHAT = {
    "hashes": "Every shard is, byte for byte, the one that the manifest names.",
    "windows_full": "Every row is exactly full; padding is where it may be.",
    "masks_proved": "The trained tokens of every session are exactly its answers and their stops.",
    "targets_present": "Every session has at least one target.",
    "ledger_closed": "At every stage: in + added = out + removed, to the unit.",
    "share": "The pretraining share is the asked one, to one window, and in its range.",
    "sources_readable": "No source is broken as a whole: most of its rows could be read.",
    "contamination": "Train and validation share no content; nothing of an evaluation set is in the dataset.",
    "leaks": "A warning: validation items or answers that stand in what is trained, beyond the recipe's limit.",
}
WARNINGS = {"leaks"}  # of these, those that a build is published with all the same
ADVISES = {
    "round_trip": "A sample of the texts, encoded and decoded, is what it was.",
    "unknown_tokens": "The vocabulary has a piece for (nearly) everything.",
    "prompt_repetition": "Prompts that are trained are not mostly one and the same.",
}
OF_TRAINING = {
    "finite_loss": "Every loss and every gradient norm is a number.",
    "loss_falling": "The loss is lower at the end than at the beginning, on held-out data too.",
}


def specs(what: Mapping[str, str], asset: dg.AssetKey, *, blocking: set[str]) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(name, asset=asset, blocking=name in blocking, description=text)
        for name, text in what.items()
    ]


def asked(context: dg.AssetCheckExecutionContext) -> set[str]:
    """The checks that this run asks for."""
    return {key.name for key in context.selected_asset_check_keys}


def candidate_checks(recipe: Recipe, path: str) -> dg.AssetChecksDefinition:
    """The laws, in one step; what fails one of them is never published."""
    asset = naming.key(recipe, "candidate")

    @dg.multi_asset_check(
        name=f"{recipe.dagster_name}_candidate_checks",
        specs=specs(WHAT, asset, blocking=set(WHAT) - WARNINGS),
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, settings: Settings) -> Iterator[dg.AssetCheckResult]:
        from assets import findings

        with explained():
            workspace = settings.workspace(path, context.log.info)
            yield from findings.of_laws(workspace, asset, asked(context), context.instance)

    return checks


def advice_checks(recipe: Recipe, path: str) -> dg.AssetChecksDefinition:
    """What is worth a look and stops nothing."""
    asset = naming.key(recipe, "candidate")

    @dg.multi_asset_check(
        name=f"{recipe.dagster_name}_candidate_advice",
        specs=specs(ADVISES, asset, blocking=set()),
        can_subset=True,
    )
    def advice(context: dg.AssetCheckExecutionContext, settings: Settings) -> Iterator[dg.AssetCheckResult]:
        from assets import findings

        with explained():
            workspace = settings.workspace(path, context.log.info)
            yield from findings.of_advice(workspace, asset, asked(context))

    return advice


def training_checks(recipe: Recipe) -> dg.AssetChecksDefinition:
    """Whether the last training makes sense."""
    asset = naming.key(recipe, "checkpoint")

    @dg.multi_asset_check(
        name=f"{recipe.dagster_name}_training_checks",
        specs=specs(OF_TRAINING, asset, blocking=set()),
        can_subset=True,
    )
    def training(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        from assets import findings

        with explained():
            yield from findings.of_training(run_folder(recipe), asset, asked(context))

    return training
