"""A build interrupted anywhere goes on where it was and ends with the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from small_recipes import Project

from tokenization.build.verify import verify
from tokenization.hashing import file_digest
from tokenization.stages.catalogue import MODULES
from tokenization.store import Store

# what a build leaves as it goes on: killed as soon as the first of each kind is there
TRACES = (
    "objects/rows",
    "objects/index",
    "objects/tokenizer",
    "objects/tokens",
    "objects/draw",
    "objects/windows",
)


class Interrupted(BaseException):
    """Not an Exception: nothing may catch it and go on."""


def digests(build: Path) -> dict[str, str]:
    files = [path for path in build.rglob("*") if path.is_file()]
    return {path.relative_to(build).as_posix(): file_digest(path) for path in files}


@pytest.fixture
def whole(good: Project) -> dict[str, str]:
    """The files of the build that nobody interrupted."""
    return digests(good.out.resolve())


def test_a_build_interrupted_at_the_end_of_each_stage_gives_the_same_bytes(
    new_project: Callable[..., Project], whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project()
    nodes = project.workspace().nodes()
    for stage, name in nodes:
        module = import_module(MODULES[stage])
        real = module.run

        def work_and_stop(workspace: Any, node: str, key: str, real: Any = real) -> Any:
            real(workspace, node, key)
            raise Interrupted

        with monkeypatch.context() as patch:
            patch.setattr(module, "run", work_and_stop)
            with pytest.raises(Interrupted):
                project.workspace().run(stage, name)
        assert project.workspace().find(stage, name) is None
        project.workspace().run(stage, name)
    assert len(nodes) == 14
    assert_same_files(digests(project.candidate()), whole)


def test_a_build_interrupted_before_each_object_is_in_place_gives_the_same_bytes(
    new_project: Callable[..., Project], whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project()
    real = Store.writing
    interrupted: set[tuple[str, str]] = set()

    @contextmanager
    def writing(self: Store, stage: str, key: str) -> Iterator[Path]:
        with real(self, stage, key) as folder:
            yield folder
            if (stage, key) not in interrupted:
                interrupted.add((stage, key))
                raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(Store, "writing", writing)
        build = None
        while build is None:
            before = len(interrupted)
            try:
                build = project.candidate()
            except Interrupted:
                assert len(interrupted) > before, "no progress"
                assert not list((project.folder / "store" / "writing").iterdir())
    assert len(interrupted) > 12
    assert {stage for stage, _ in interrupted} >= {"rows", "index", "selection", "tokens", "draw", "windows"}
    assert_same_files(digests(build), whole)


def assert_same_files(made: dict[str, str], wanted: dict[str, str]) -> None:
    """Every file but the manifest's and page's place-dependent ones; the fingerprint covers the data."""
    assert len(made) > 10
    assert made == wanted


@pytest.mark.slow
def test_a_build_killed_at_every_stage_ends_with_the_same_fingerprint(
    new_project: Callable[..., Project], good: Project
) -> None:
    project = new_project()
    killed = []
    for trace in TRACES:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipelines.cli",
                "build",
                str(project.path),
                "--out",
                str(project.out),
                "--json",
            ],
            env={**os.environ, **project.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        folder = project.folder / "store" / trace
        deadline = time.monotonic() + 120
        while process.poll() is None and not any(folder.glob("*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        if process.poll() is None:
            process.kill()
            killed.append(trace)
        process.wait()
    assert len(killed) >= 5, killed
    assert not project.out.exists()
    assert project.built()["fingerprint"] == good.manifest["fingerprint"]
    assert all(finding.passed for finding in verify(project.out))
