"""What every test may use."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from small_recipes import Project, small_project, write_tokenizer

settings.register_profile("no clock", deadline=None)  # a busy machine is no failure
settings.load_profile("no clock")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared real data beside the checkout; a test that asks for it is skipped elsewhere."""
    folder = Path(__file__).resolve().parents[1].parent / "shared"
    if not folder.is_dir():
        pytest.skip("the shared real data is not beside the checkout")
    return folder


@pytest.fixture(scope="session")
def small_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face tokenizer folder with ChatML's markers and no template."""
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer") / "small")


@pytest.fixture(scope="session")
def empty_instance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME with its databases laid out and nothing in them: copying it is far quicker than making it."""
    import dagster as dg

    from pipelines.home import dagster_home

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DAGSTER_HOME", str(tmp_path_factory.mktemp("instance") / "home"))
        home = dagster_home()
        with dg.DagsterInstance.get() as instance:
            assert instance.get_runs() == []
    return home


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path, empty_instance: Path) -> Project:
    """The small project, built once: to read, never to change."""
    project = small_project(tmp_path_factory.mktemp("good") / "project", small_tokenizer)
    shutil.copytree(empty_instance, project.folder / "dagster")
    project.built()
    shutil.copytree(project.folder, project.folder.with_name("as built"), symlinks=True)
    return project


@pytest.fixture
def mine(good: Project) -> Iterator[Project]:
    """The built project with its store and its instance, to change; put back as it was afterwards.

    In the same place, because a build's place is part of what its candidate depends on.
    """
    yield Project(good.folder, dict(good.recipe))
    shutil.rmtree(good.folder)
    shutil.copytree(good.folder.with_name("as built"), good.folder, symlinks=True)


@pytest.fixture
def new_project(small_tokenizer: Path, empty_instance: Path, tmp_path: Path) -> Callable[..., Project]:
    """Makes projects that were never built: sources and recipe, an empty store, an empty instance."""
    made = 0

    def make(**changes: Any) -> Project:
        nonlocal made
        made += 1
        project = small_project(tmp_path / f"project-{made}", small_tokenizer, **changes)
        shutil.copytree(empty_instance, project.folder / "dagster")
        return project

    return make
