"""`tokenmill store` shows what is kept and who needs it; what it prunes is made again when it is needed."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_recipes import Project

from tokenization.build.verify import verify
from tokenization.leases import gate, running


def told(project: Project, *arguments: object, **environment: str) -> dict[str, Any]:
    result = project.run("store", *arguments, "--json", **environment)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_build_needs_what_it_rests_on_and_pruning_everything_else_leaves_it_unchanged(
    mine: Project,
) -> None:
    before = told(mine)
    assert before["needed_bytes"] > 0 and before["stages"]["tokens"]["needed_bytes"] > 0
    assert [(build["recipe"], build["published"]) for build in before["builds"]] == [("small", True)]
    fingerprint = mine.manifest["fingerprint"]
    mine.save(seed=18)
    other = mine.built()["fingerprint"]
    after = told(mine)
    assert after["bytes"] > after["needed_bytes"] > 0
    outcome = told(mine, "prune", "--limit", "0")
    assert outcome["removed_by_stage"]["windows"] == 1 and outcome["bytes"] == after["needed_bytes"]
    assert mine.built()["reused"] is True
    mine.save(seed=17)
    assert mine.built()["fingerprint"] == fingerprint != other
    assert all(finding.passed for finding in verify(mine.out))


def test_a_store_pruned_of_everything_is_filled_again_with_the_same(mine: Project) -> None:
    fingerprint = mine.manifest["fingerprint"]
    mine.out.unlink()
    assert told(mine, "prune", "--limit", "0")["bytes"] == 0
    assert mine.built()["fingerprint"] == fingerprint


def test_one_missing_object_is_made_again_and_nothing_else(mine: Project) -> None:
    rows = mine.objects("rows")
    key = min(rows)
    path = mine.workspace().store.path("rows", key)
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    fingerprint = mine.manifest["fingerprint"]
    assert mine.built()["fingerprint"] == fingerprint
    assert mine.objects("rows") == rows


def test_pruning_needs_a_bound_and_a_store(mine: Project, tmp_path: Path) -> None:
    refused = mine.run("store", "prune")
    assert refused.exit_code == 2 and "--limit 50GB" in refused.stderr
    assert mine.run("store", "prune", "--limit", "lots").exit_code == 2
    assert mine.run("store", "--store", tmp_path / "none").exit_code == 2
    shown = mine.run("store")
    assert shown.exit_code == 0 and "needed" in shown.output and "small" in shown.output
    assert told(mine, "prune", "--dry-run", TOKENMILL_STORE_LIMIT="1kB")["dry_run"] is True


def test_a_limit_in_the_environment_is_kept_after_each_build(mine: Project) -> None:
    for seed in (18, 19):
        mine.save(seed=seed)
        mine.built(TOKENMILL_STORE_LIMIT="1kB")
    assert len(mine.objects("windows")) == 1


@pytest.mark.slow
def test_builds_and_prunings_at_once_all_end_well(new_project: Callable[..., Project]) -> None:
    project = new_project()
    environment = {**os.environ, **project.environment}
    builds = [
        subprocess.Popen(
            [
                *[sys.executable, "-m", "pipelines.cli", "build", str(project.path), "--json"],
                *["--out", str(project.folder / "out" / f"o{seed}"), "--set", f"seed={seed}"],
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]
    prunings = 0
    while any(build.poll() is None for build in builds):
        if (project.folder / "store").is_dir():
            told(project, "prune", "--limit", "0")
            prunings += 1
        time.sleep(0.05)
    assert prunings > 5
    for build in builds:
        out, problem = build.communicate()
        assert build.returncode == 0, problem
        assert all(finding.passed for finding in verify(Path(json.loads(out)["out"])))


def test_a_build_holds_nothing_once_it_has_ended_whoever_still_refers_to_it(mine: Project) -> None:
    """A lease that waited for the garbage collector kept the next build from pruning what this one had used."""
    gc.collect()
    gc.disable()
    try:
        for seed in (18, 19):
            mine.save(seed=seed)
            mine.built()
            with gate(mine.folder / "store", alone=True):
                assert running(mine.folder / "store") == []
    finally:
        gc.enable()
