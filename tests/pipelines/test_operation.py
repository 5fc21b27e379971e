"""Real operation: Dagster's services as the compose file starts them, runs launched and cancelled over GraphQL.

The trainer is looked for among the processes of the machine: after a cancelled run or a killed step there is none.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from servers import ROOT, Page, dagster_services, postgres_programs, postgres_server, wait_until, working_in
from small_recipes import Project

from tokenization.build.layout import published, versions_folder
from tokenization.build.verify import verify

pytestmark = pytest.mark.slow
SECONDS = 20  # a trainer may live so long after its run; 1 to 2 on a machine with nothing else to do


def trainers(folder: Path) -> list[int]:
    """Ids of the trainers that work in this folder."""
    found = []
    for process in working_in(folder):
        with suppress(OSError):
            if b"training.train" in Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0"):
                found.append(process)
    return found


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def half_written(folder: Path) -> list[str]:
    """Hidden or unfinished names in the run folder."""
    return [
        path.name for path in (folder / "runs").rglob("*") if path.name.startswith(".") or "part" in path.name
    ]


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    project = new_project(train={"model": "demo", "steps": 100_000})
    (project.folder / "recipes").mkdir()
    return project


def environment(project: Project) -> dict[str, str]:
    """The page's variables for this project: its recipe alone, results in its folder."""
    shutil.copyfile(project.path, project.folder / "recipes" / project.path.name)
    recipe = (project.folder / "recipes" / project.path.name).read_text()
    (project.folder / "recipes" / project.path.name).write_text(
        recipe.replace("path: data/", f"path: {project.folder}/data/")
    )
    return {
        **project.environment,
        "TOKENMILL_RECIPES": str(project.folder / "recipes"),
        "TOKENMILL_BUILDS": str(project.folder / "out"),
    }


@pytest.fixture
def page(project: Project) -> Iterator[Page]:
    project.built()
    with dagster_services(project.folder, environment(project)) as page:
        yield page


def training(page: Page, project: Project) -> tuple[str, int]:
    """A training run at work, with a checkpoint behind it: the run and the trainer's process."""
    run = page.launch("small_train")
    wait_until(lambda: len(trainers(project.folder)) == 1, "the trainer")
    wait_until(lambda: (project.folder / "runs" / "small" / "metrics.jsonl").is_file(), "a step")
    return run, trainers(project.folder)[0]


def test_a_cancelled_run_ends_its_trainer_and_a_killed_step_never_leaves_two(
    page: Page, project: Project
) -> None:
    run, _trainer = training(page, project)
    began = time.monotonic()
    page.cancel(run)
    wait_until(lambda: trainers(project.folder) == [], "the end of the trainer", SECONDS)
    print(f"the trainer was gone {time.monotonic() - began:.1f} s after the page's Terminate")
    assert page.ended(run) == "CANCELED"
    assert half_written(project.folder) == []
    assert any("steps of" in line for line in page.messages(run)), (
        "the trainer's progress is in the run's log"
    )

    run, trainer = training(page, project)
    began = time.monotonic()
    os.kill(parent(trainer), signal.SIGKILL)
    wait_until(lambda: trainer not in trainers(project.folder), "the end of the orphan", SECONDS)
    print(f"the trainer was gone {time.monotonic() - began:.1f} s after its step was killed")
    for _ in range(20):
        assert len(trainers(project.folder)) <= 1
        time.sleep(0.1)
    if page.status(run) not in ("FAILURE", "CANCELED"):
        page.cancel(run) if trainers(project.folder) else None
    assert page.ended(run) in ("FAILURE", "CANCELED")
    wait_until(lambda: trainers(project.folder) == [], "the end of every trainer", SECONDS)
    assert half_written(project.folder) == []


def test_two_runs_of_one_recipe_at_once_do_no_harm(page: Page, project: Project) -> None:
    config: dict[str, Any] = {}
    before = published(project.out)
    project.file("data/books/new.txt", "A new book about a river, a lantern and the winter. " * 30)
    runs = [page.launch("small_build", config), page.launch("small_build", config)]
    assert [page.ended(run) for run in runs] == ["SUCCESS", "SUCCESS"]
    assert published(project.out) != before
    assert all(finding.passed for finding in verify(project.out))
    assert list(versions_folder(project.out).glob(".*")) == []
    assert any("chunks" in line for run in runs for line in page.messages(run)), (
        "progress is in the run's log"
    )


@pytest.mark.skipif(
    postgres_programs() is None, reason="no PostgreSQL server programs (initdb) on this machine"
)
def test_the_page_works_on_postgresql_with_the_shipped_configuration(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("dagster_postgres")
    programs = postgres_programs()
    assert programs is not None
    home = project.folder / "dagster"
    shutil.rmtree(home)
    home.mkdir()
    shutil.copyfile(ROOT / "deploy" / "dagster.yaml", home / "dagster.yaml")
    with postgres_server(programs, tmp_path / "postgres.log") as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        with dagster_services(project.folder, {**environment(project), **variables}) as page:
            assert page.ended(page.launch("small_build")) == "SUCCESS"
            for name, is_healthy in page.checks.items():
                wait_until(is_healthy, f"a healthy {name}", 120)
        assert not page.checks["code"]() and not page.checks["webserver"](), "they have ended"
        assert all(finding.passed for finding in verify(project.out))
        assert project.built("--set", "seed=5")["reused"] is False  # the command line, on the same instance
        with dg.DagsterInstance.from_config(str(home)) as instance:
            assert "postgres" in type(instance.run_storage).__name__.lower()
            assert len(instance.get_runs()) >= 2
    assert not list(home.rglob("*.db"))
