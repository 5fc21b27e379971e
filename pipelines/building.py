"""`tokenmill build`: what is stale is found before a Dagster run is opened, and only that is run.

The same asset graph as in the page, in process, on the same instance. Which sources' tokens are stale depends on the
selection, and the selection on every source's items; which texts' tokens, on the draw, and that on the chats' tokens.
So where some sources changed and others did not, a first run makes items and selection, a second one the draw where the
recipe has one, and a last one exactly what those changed. Where nothing changed no run is opened:
one observation of the dataset is recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg

from assets import gathering, naming, raw
from assets.settings import Settings, listening
from pipelines.databases import held_databases
from pipelines.jobs import build_job_name, train_job_name
from pipelines.launch import QUIET, launch_config
from pipelines.preflight import preflight
from tokenization.build.layout import published
from tokenization.errors import BuildError, RecipeError, TokenmillError
from tokenization.object_store import shown
from tokenization.stages.workspace import StageResult, Workspace
from tokenization.tokenizer.ahead import open_ahead

Node = tuple[str, str]
DECISIONS: tuple[Node, ...] = (("selection", ""), ("draw", ""))  # which say what else is stale


@dataclass(frozen=True)
class Built:
    """What a build came to."""

    fingerprint: str
    reused: bool
    runs: int
    seconds: float
    value: dict[str, Any]


def stale(workspace: Workspace) -> list[Node]:
    """The nodes whose result is missing for the inputs as they are now, in running order."""
    return [node for node in workspace.nodes() if workspace.find(*node) is None]


def build(
    workspace: Workspace, path: Path, *, train: bool = False, on_progress: Callable[[str], None]
) -> Built:
    """Bring the recipe's published dataset up to date, under one lease on the store, across its runs."""
    began = time.perf_counter()
    try:
        preflight(workspace, path)
        workspace.lease.hold([])  # from now to the end of the build
        with held_databases(), dg.DagsterInstance.get() as instance:
            result, runs = up_to_date(workspace, path, instance, train=train, on_progress=on_progress)
    finally:
        workspace.let_go()
    return Built(result.fingerprint, runs == 0, runs, time.perf_counter() - began, result.value)


def up_to_date(
    workspace: Workspace,
    path: Path,
    instance: dg.DagsterInstance,
    *,
    train: bool,
    on_progress: Callable[[str], None],
) -> tuple[StageResult, int]:
    """(the candidate, how many runs it took): what is stale made again; an observation where nothing is."""
    missing = stale(workspace)
    runs = 0
    if not missing and is_published(workspace, instance):
        observe(workspace, instance)
    else:
        if ("tokenizer", "") in missing and any(stage == "documents" for stage, _ in missing):
            open_ahead(workspace.recipe.tokenizer, workspace.recipe.directory)
        raw.report(instance, workspace)
        definitions = loaded(workspace, path)
        if not missing:  # a warm store, but an instance or a folder that does not know of it yet
            missing = workspace.nodes()
        for nodes in phases(workspace, missing):
            run(definitions, workspace, instance, nodes, on_progress)
            runs += 1
            workspace = refreshed(workspace)
    if train and not trained(workspace):
        definitions = loaded(workspace, path)
        settings = settings_of(workspace).model_dump()
        config = {"resources": {"settings": {"config": settings}}, "loggers": QUIET}
        run_job(definitions, train_job_name(workspace.recipe), config, workspace, instance, None, on_progress)
    return workspace.result("candidate"), runs


def trained(workspace: Workspace) -> bool:
    """Whether the recipe's run folder holds a finished training on this very build, as the recipe asks for."""
    from assets.training import is_trained_on

    recipe = workspace.recipe
    if recipe.train is None:
        raise RecipeError(
            "--train: the recipe has no train section; add one, such as train: {model: demo, steps: 100}"
        )
    return is_trained_on(recipe, workspace.result("candidate").fingerprint)


def refreshed(workspace: Workspace) -> Workspace:
    """The same work, with nothing remembered."""
    return replace(workspace, _found={}, _inputs={}, rehash=False)


def phases(workspace: Workspace, missing: list[Node]) -> Iterator[list[Node]]:
    """Lists of nodes to run, one Dagster run each; what is stale after a decision is known once that has run."""
    nodes = workspace.nodes()
    if all(node in missing for node in nodes if node[0] == "documents"):
        yield missing
        return
    for decision in DECISIONS:
        if decision in missing:
            so_far = nodes[: nodes.index(decision) + 1]
            yield [node for node in missing if node in so_far]
            missing = stale(refreshed(workspace)) or [("candidate", "")]
    yield missing


def is_published(workspace: Workspace, instance: dg.DagsterInstance) -> bool:
    """Whether OUT shows this result and the instance has seen it."""
    fingerprint = workspace.result("candidate").fingerprint
    event = instance.get_latest_materialization_event(naming.key(workspace.recipe, "dataset"))
    return published(workspace.out) == fingerprint and event is not None


def observe(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    """Note that somebody asked and nothing had changed."""
    fingerprint = workspace.result("candidate").fingerprint
    instance.report_runless_asset_event(
        dg.AssetObservation(
            naming.key(workspace.recipe, "dataset"),
            description="Nothing changed: the published build is the one that this recipe gives.",
            metadata={"fingerprint": fingerprint, "out": dg.MetadataValue.path(shown(workspace.out))},
            tags={"dagster/data_version": fingerprint},
        )
    )


def loaded(workspace: Workspace, path: Path) -> Any:
    from pipelines.code_location import of_recipe

    return of_recipe(workspace.recipe, path.absolute())


def run(
    definitions: Any,
    workspace: Workspace,
    instance: dg.DagsterInstance,
    nodes: list[Node],
    on_progress: Callable[[str], None],
) -> None:
    """One Dagster run of these nodes' assets; the published dataset follows the candidate."""
    recipe = workspace.recipe
    names = {"preview": "loss_mask_preview"}
    keys = [key for stage, name in nodes for key in naming.made_by(recipe, names.get(stage, stage), name)]
    if ("candidate", "") in nodes:
        keys.append(naming.key(recipe, "dataset"))
    keys = gathering.gathered_with(recipe, keys)
    config = launch_config(settings_of(workspace))
    run_job(definitions, build_job_name(recipe), config, workspace, instance, keys, on_progress)


def settings_of(workspace: Workspace) -> Settings:
    """The workspace's choices as a run is told of them."""
    engine = workspace.engine
    return Settings(
        store=shown(workspace.store.root),
        out=shown(workspace.out),
        engine="ray" if engine.name == "ray" else "local",
        workers=engine.workers or 0,
        overrides=list(workspace.overrides),
        rehash=workspace.rehash,
    )


def run_job(
    definitions: Any,
    name: str,
    config: dict[str, Any],
    workspace: Workspace,
    instance: dg.DagsterInstance,
    keys: list[dg.AssetKey] | None,
    on_progress: Callable[[str], None],
) -> None:
    """Run a job of the definitions here; its failure as our own error."""
    job = definitions.resolve_job_def(name)
    with listening(on_progress, workspace.lease):
        result = job.execute_in_process(
            instance=instance,
            run_config=config,
            asset_selection=keys,
            raise_on_error=False,
            tags={"recipe": workspace.recipe.name},
        )
    if not result.success:
        raise failure(result)


def failure(result: Any) -> TokenmillError:
    """Why the run failed, in one message."""
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            data = event.event_specific_data
            told = data.user_failure_data
            if told is not None and told.metadata.get("exit_code") is not None:
                kind = (
                    RecipeError if told.metadata["exit_code"].value == RecipeError.exit_code else BuildError
                )
                return kind(told.description)
    failed = [
        event.event_specific_data
        for event in result.all_events
        if event.event_type_value == "ASSET_CHECK_EVALUATION" and not event.event_specific_data.passed
    ]
    if failed:
        lines = [
            f"  {check.check_name}: {check.metadata['looked_at'].value}; {problems_of(check)}"
            for check in failed
        ]
        return BuildError(
            "the candidate failed its checks and was not published; the last good build stays in place\n"
            + "\n".join(lines)
        )
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            error = event.event_specific_data.error
            cause = error.cause or error
            return BuildError(
                f"{event.step_key} broke: {str(cause.message).strip()}; see the run in the page: make ui"
            )
    return BuildError("the run failed; see it in the page: make ui")


def problems_of(check: Any) -> str:
    told = check.metadata.get("problems")
    return str(told.value if told else check.metadata["figure"].value)
