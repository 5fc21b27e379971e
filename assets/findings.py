"""What the checks of an asset find, in the page's words.

The functions that look are those of `tokenmill verify` (the laws), `build.advice` and `run_records`, and nothing more;
all read from disk. Where a law is broken, the finding also names the build that stays published, and the dataset's page
says so too. Imported by the checks when they run.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from assets import naming
from assets.links import link
from tokenization.build.advice import ADVICE
from tokenization.build.contents import Build
from tokenization.build.finding import Finding
from tokenization.build.layout import published, version_folder, versions_folder
from tokenization.build.verify import CHECKS
from tokenization.preview.characters import one_line
from tokenization.preview.markdown import shortened
from tokenization.run_records import RUN_CHECKS, RunRecords
from tokenization.stages.workspace import Workspace

SHOWN = 20  # offending items in one finding
FIRST = 300  # characters of the first of them


def of_laws(
    workspace: Workspace, asset: dg.AssetKey, asked: set[str], instance: dg.DagsterInstance
) -> Iterator[dg.AssetCheckResult]:
    """The laws, on the candidate; one that breaks some is made again by the next build, and never published."""
    build = candidate_of(workspace)
    findings = [CHECKS[name](build) for name in chosen(asked, CHECKS)]
    failed = [finding for finding in findings if not (finding.passed or finding.is_warning)]
    if failed:
        # the folder stays to be looked at; the next build makes another. A failed blocking check ends the step
        # where it is yielded, so what it means is said before.
        workspace.forget("candidate")
        instance.report_runless_asset_event(kept_back(workspace, build, failed))
    stays = last_good(workspace)
    for finding in findings:
        yield result_of(finding, asset, build.path, stays=stays)


def of_advice(workspace: Workspace, asset: dg.AssetKey, asked: set[str]) -> Iterator[dg.AssetCheckResult]:
    """What is worth a look at the candidate."""
    build = candidate_of(workspace)
    for name in chosen(asked, ADVICE):
        yield result_of(ADVICE[name](build), asset, build.path, severity=dg.AssetCheckSeverity.WARN)


def of_training(folder: str, asset: dg.AssetKey, asked: set[str]) -> Iterator[dg.AssetCheckResult]:
    """What the last training left behind."""
    run = RunRecords.open(Path(folder))
    for name in chosen(asked, RUN_CHECKS):
        yield result_of(RUN_CHECKS[name](run), asset)


def chosen(asked: set[str], order: Mapping[str, Any]) -> list[str]:
    """The checks that are asked for, in their own order."""
    return [name for name in order if name in asked]


def candidate_of(workspace: Workspace) -> Build:
    return Build.open(version_folder(workspace.out, workspace.result("candidate").fingerprint))


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
