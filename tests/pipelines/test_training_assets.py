"""Checkpoint and evaluation as assets: made by the training job, looked at by its checks, and not made twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from servers import s3_server
from small_recipes import Project

from assets.settings import Settings
from pipelines.code_location import of_recipe
from tokenization import object_store
from tokenization.object_store import located
from tokenization.recipe.load import load_recipe

pytestmark = pytest.mark.slow


class Training:
    """The training job of a project in this process, and its schedule."""

    def __init__(self, project: Project, settings: Settings) -> None:
        self.settings = settings
        self.definitions = of_recipe(load_recipe(project.path), project.path)

    def run(self, instance: dg.DagsterInstance) -> Any:
        job = self.definitions.resolve_job_def("small_train")
        config = {"resources": {"settings": {"config": self.settings.model_dump()}}}
        return job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)

    def tick(self, instance: dg.DagsterInstance) -> Any:
        """What the schedule does at its hour.

        The context opens an instance of its own and makes its storage the current one. Left to the garbage collector
        it puts back what was current before it: by then, in some later test, the storage of an instance that is gone,
        and loading definitions ends in "Attempted to resolve undefined DagsterInstance weakref".
        """
        schedule = self.definitions.resolve_schedule_def("small_train_schedule")
        with dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=datetime(2026, 1, 2, 2, tzinfo=UTC),
            resources={"settings": self.settings},
            repository_def=self.definitions.get_repository_def(),
        ) as context:
            return schedule.evaluate_tick(context)


def made(result: Any, name: str) -> dict[str, Any]:
    (materialization,) = result.asset_materializations_for_node(f"small__{name}")
    return {label: value.value for label, value in materialization.metadata.items()}


@pytest.fixture
def project(new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> Project:
    project = new_project(train={"model": "demo", "steps": 4}, schedule="0 2 * * *")
    monkeypatch.chdir(project.folder)  # runs/ lies where the page's process was started
    return project


def test_the_job_trains_and_evaluates_and_the_schedule_trains_a_new_build_once(project: Project) -> None:
    fingerprint = project.built()["fingerprint"]
    training = Training(project, Settings(store=str(project.folder / "store"), out=str(project.out)))
    with dg.DagsterInstance.from_config(str(project.folder / "dagster")) as instance:
        assert len(training.tick(instance).run_requests) == 1, "nothing has been trained yet"
        result = training.run(instance)
        assert result.success
        evaluation = made(result, "evaluation")
        assert evaluation["steps"] == 4 and evaluation["held_out_loss"] > 0
        below = evaluation["unigram_entropy"] - evaluation["held_out_loss"]
        assert evaluation["below_unigram_entropy"] == pytest.approx(below, abs=1e-5)
        assert evaluation["loss_curve"].startswith("![") and "data:image/svg+xml" in evaluation["loss_curve"]
        assert evaluation["answers"].count("\n") == 3, (
            "a head, and two held-out prompts with what the model says"
        )
        checks = {check.check_name: check for check in result.get_asset_check_evaluations()}
        assert checks["finite_loss"].passed and set(checks) == {"finite_loss", "loss_falling"}
        assert all(check.metadata["looked_at"].value for check in checks.values())
        tick = training.tick(instance)
        assert not tick.run_requests and "trained on the published build" in str(tick.skip_message)
        assert project.built("--set", "seed=99")["fingerprint"] != fingerprint
        assert len(training.tick(instance).run_requests) == 1, "another build is published"


def test_a_build_on_s3_is_trained_on_and_evaluated(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto")
    with s3_server(tmp_path) as variables:
        for name, value in {**variables, "TOKENMILL_CACHE": str(tmp_path / "cache")}.items():
            monkeypatch.setenv(name, value)
        system, _ = object_store.filesystem("s3://models")
        system.mkdir("models")
        place = {"store": "s3://models/store", "out": "s3://models/builds/small"}
        built = project.run("build", project.path, "--store", place["store"], "--out", place["out"])
        assert built.exit_code == 0, built.output
        training = Training(project, Settings(**place))
        with dg.DagsterInstance.from_config(str(project.folder / "dagster")) as instance:
            result = training.run(instance)
            assert result.success and made(result, "evaluation")["steps"] == 4
            assert not training.tick(instance).run_requests
        assert located(place["out"]).parent.is_relative_to(tmp_path / "cache")
        trained = project.run(
            "train", place["out"], "--out", tmp_path / "by-command", "--model", "demo", "--steps", 2
        )
        assert trained.exit_code == 0, trained.output
        assert (tmp_path / "by-command" / "summary.json").is_file()
