"""The checks on the candidate: what fails one of them is never published, but for those that only warn.

They are the functions that `tokenmill verify` runs, and nothing more; all read the candidate from disk.
"""

from collections.abc import Iterator

import dagster as dg

from assets import naming
from assets.reports import explained
from assets.settings import Settings
from tokenization.build.layout import versions_folder
from tokenization.build.verify import CHECKS, WARNINGS, Build, Finding
from tokenization.recipe.model import Recipe

WHAT = {
    "hashes": "Every shard is, byte for byte, the one that the manifest names.",
    "windows_full": "Every row is exactly full; padding is where it may be.",
    "masks_proved": "The trained tokens of every session are exactly its answers and their stops.",
    "targets_present": "Every session has at least one target.",
    "ledger_closed": "At every stage: in + added = out + removed, to the unit.",
    "share": "The pretraining share is the asked one, to one window, and in its range.",
    "contamination": "Train and validation share no content; nothing of an evaluation set is in the dataset.",
    "leaks": "A warning: validation items or answers that stand in what is trained, beyond the recipe's limit.",
}


def candidate_checks(recipe: Recipe, path: str) -> dg.AssetChecksDefinition:
    """All checks in one step; each can be run again alone from the page."""
    asset = naming.key(recipe, "candidate")

    @dg.multi_asset_check(
        name=f"{recipe.dagster_name}_candidate_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, blocking=name not in WARNINGS, description=WHAT[name])
            for name in CHECKS
        ],
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext, settings: Settings) -> Iterator[dg.AssetCheckResult]:
        with explained():
            workspace = settings.workspace(path, context.log.info)
            fingerprint = workspace.result("candidate").fingerprint
            build = Build.open(versions_folder(workspace.out) / fingerprint)
            for key in sorted(
                context.selected_asset_check_keys, key=lambda key: list(CHECKS).index(key.name)
            ):
                finding = CHECKS[key.name](build)
                if not (
                    finding.passed or finding.is_warning
                ):  # the folder stays to be looked at; the next build makes another
                    workspace.forget("candidate")
                yield result_of(finding, asset)

    return checks


def result_of(finding: Finding, asset: dg.AssetKey) -> dg.AssetCheckResult:
    """A finding in the page's words."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=finding.name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN if finding.is_warning else dg.AssetCheckSeverity.ERROR,
        metadata={
            "looked_at": finding.looked_at,
            "figure": finding.figure,
            "limit": finding.limit,
            **(
                {"problems": dg.MetadataValue.md("\n".join(f"- {line}" for line in finding.problems[:20]))}
                if finding.problems
                else {}
            ),
        },
    )
