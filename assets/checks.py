"""The asset checks: laws that keep a candidate from being published, advice that does not, and a look at training.

Each can be run again from the page, and says what it looked at, the figure, the limit and what offends. The functions
are those of `tokenmill verify` (the laws), `build.advice` and `run_records`, and nothing more; all read from disk.
Where a law is broken, the finding also names the build that stays published, and the dataset's page says so too.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets import naming
from assets.links import link
from assets.reports import explained
from assets.settings import Settings
from assets.training import run_folder
from tokenization.build.advice import ADVICE
from tokenization.build.layout import published, version_folder, versions_folder
from tokenization.build.verify import CHECKS, WARNINGS, Build, Finding
from tokenization.preview.characters import one_line
from tokenization.preview.markdown import shortened
from tokenization.recipe.model import Recipe
from tokenization.run_records import RUN_CHECKS, RunRecords
from tokenization.stages.workspace import Workspace

SHOWN = 20  # offending items in one finding
FIRST = 300  # characters of the first of them
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


def chosen(context: dg.AssetCheckExecutionContext, order: Mapping[str, Any]) -> list[str]:
    """The checks that this run asks for, in their own order."""
    asked = {key.name for key in context.selected_asset_check_keys}
    return [name for name in order if name in asked]


def candidate_of(workspace: Workspace) -> Build:
    return Build.open(version_folder(workspace.out, workspace.result("candidate").fingerprint))


def candidate_checks(recipe: Recipe, path: str) -> dg.AssetChecksDefinition:
    """The laws, in one step; what fails one of them is never published."""
    asset = naming.key(recipe, "candidate")

    @dg.multi_asset_check(
        name=f"{recipe.dagster_name}_candidate_checks",
        specs=specs(WHAT, asset, blocking=set(WHAT) - WARNINGS),
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, settings: Settings) -> Iterator[dg.AssetCheckResult]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            build = candidate_of(workspace)
            findings = [CHECKS[name](build) for name in chosen(context, CHECKS)]
            failed = [finding for finding in findings if not (finding.passed or finding.is_warning)]
            if failed:
                # the folder stays to be looked at; the next build makes another. A failed blocking check ends the step
                # where it is yielded, so what it means is said before.
                workspace.forget("candidate")
                context.instance.report_runless_asset_event(kept_back(workspace, build, failed))
            stays = last_good(workspace)
            for finding in findings:
                yield result_of(finding, asset, build.path, stays=stays)

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
        with explained():
            build = candidate_of(settings.workspace(path, context.log.info))
            for name in chosen(context, ADVICE):
                yield result_of(ADVICE[name](build), asset, build.path, severity=dg.AssetCheckSeverity.WARN)

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
        with explained():
            run = RunRecords.open(Path(run_folder(recipe)))
            for name in chosen(context, RUN_CHECKS):
                yield result_of(RUN_CHECKS[name](run), asset)

    return training


def last_good(workspace: Workspace) -> str:
    """The build that stays published, in words."""
    shown = published(workspace.out)
    if shown is None:
        return "none: nothing has been published yet"
    folder = versions_folder(workspace.out) / shown
    if not folder.is_dir():  # another machine's, at the origin
        return shown
    when = folder.stat().st_mtime
    return f"{shown}, published {datetime.fromtimestamp(when, UTC):%Y-%m-%d %H:%M} UTC"


def kept_back(workspace: Workspace, build: Build, failed: list[Finding]) -> dg.AssetObservation:
    """A line on the dataset's own page: what was not published, why, and what stays."""
    names = ", ".join(finding.name for finding in failed)
    return dg.AssetObservation(
        naming.key(workspace.recipe, "dataset"),
        description=f"Candidate {build.path.name} failed {names} and was not published; the last good build stays.",
        metadata={
            "kept_back": build.path.name,
            "failed_checks": names,
            "last_good_build": last_good(workspace),
        },
    )


def result_of(
    finding: Finding,
    asset: dg.AssetKey,
    build: Path | None = None,
    *,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    stays: str = "",
) -> dg.AssetCheckResult:
    """A finding in the page's words; what offends with a link to where it can be looked at."""
    metadata: dict[str, Any] = {
        "looked_at": finding.looked_at,
        "figure": finding.figure,
        "limit": finding.limit,
    }
    description = f"{finding.figure} (limit: {finding.limit})"
    if finding.problems:
        # Markdown stands behind a click on this tab: what matters most stands before it, as plain text
        first = shortened(one_line(finding.problems[0]), FIRST)
        description += f"; first of {len(finding.problems)}: {first}"
        metadata["first_problem"] = first
        metadata["problems"] = dg.MetadataValue.md(
            "\n".join(f"- {line}" for line in finding.problems[:SHOWN])
        )
        metadata["problems_count"] = len(finding.problems)
        if build is not None:
            metadata["look_at"] = link(build / "preview.html")
        if stays:
            metadata["last_good_build"] = stays
    if finding.is_warning:
        severity = dg.AssetCheckSeverity.WARN
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=finding.name,
        passed=finding.passed,
        severity=severity,
        metadata=metadata,
        description=description,
    )
