"""Only what passed every check is published; whatever goes wrong, the last good build stays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from corruptions import CORRUPTIONS, manifest_of
from small_recipes import Project

from assets.checks import WARNINGS
from tokenization.build.advice import ADVICE
from tokenization.build.layout import published, versions_folder
from tokenization.build.verify import verify
from tokenization.stages import candidate, quarantine


def corrupting(corrupt: Callable[[Path], None]) -> Callable[..., dict[str, Any]]:
    """The candidate's own writer, with one law broken before anybody looks."""
    fill = candidate.fill

    def broken(*arguments: Any) -> dict[str, Any]:
        fill(*arguments)
        folder = next(each for each in arguments if isinstance(each, Path))
        corrupt(folder)
        return manifest_of(folder)

    return broken


def unfinished(out: Path) -> list[str]:
    """What a build left half-written beside its versions."""
    parts = [*versions_folder(out).glob(".*"), *out.parent.glob(".*")]
    return [path.name for path in parts]


def good_and_published(project: Project, fingerprint: str) -> bool:
    return published(project.out) == fingerprint and all(finding.passed for finding in verify(project.out))


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, marks=[] if check == "masks_proved" else pytest.mark.slow)
        for check in CORRUPTIONS
        if check not in WARNINGS
    ],
)
def test_a_candidate_that_fails_a_check_is_not_published_and_can_be_built_again(
    mine: Project, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    fingerprint = mine.manifest["fingerprint"]
    mine.save(seed=18)
    with monkeypatch.context() as patch:
        patch.setattr(candidate, "fill", corrupting(CORRUPTIONS[check][0]))
        result = mine.build()
    assert result.exit_code == 1 and result.stdout == ""
    assert "was not published; the last good build stays in place" in result.stderr
    assert f"\n  {check}: " in result.stderr and "Traceback" not in result.stderr
    assert sum(f"\n  {name}: " in result.stderr for name in CORRUPTIONS) == 1
    assert good_and_published(mine, fingerprint)
    steps = mine.steps()[-1]
    assert "candidate" in steps and "small_candidate_checks" in steps and "dataset" not in steps

    told = mine.built()
    assert told["fingerprint"] != fingerprint and good_and_published(mine, told["fingerprint"])


@pytest.mark.slow
@pytest.mark.parametrize("check", sorted(WARNINGS))
def test_a_candidate_of_which_only_a_warning_is_true_is_published_and_the_page_says_so(
    mine: Project, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    before = mine.manifest["fingerprint"]
    mine.save(seed=18)
    monkeypatch.setattr(candidate, "fill", corrupting(CORRUPTIONS[check][0]))
    told = mine.built()
    assert told["fingerprint"] == published(mine.out) != before
    assert [finding.name for finding in verify(mine.out) if not finding.passed] == [check]
    with dg.DagsterInstance.from_config(str(mine.folder / "dagster")) as instance:
        (run,) = instance.get_runs(limit=1)
        (seen,) = (
            record.get_dagster_event().event_specific_data
            for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            if not record.get_dagster_event().event_specific_data.passed
        )
    assert (seen.check_name, seen.severity, seen.blocking) == (check, dg.AssetCheckSeverity.WARN, False)


def test_the_page_is_told_which_check_failed_and_how(mine: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    mine.save(seed=18)
    monkeypatch.setattr(candidate, "fill", corrupting(CORRUPTIONS["ledger_closed"][0]))
    assert mine.build().exit_code == 1
    with dg.DagsterInstance.from_config(str(mine.folder / "dagster")) as instance:
        run = instance.get_runs(limit=1)[0]
        assert run.status is dg.DagsterRunStatus.FAILURE
        events = [
            record.get_dagster_event() for record in instance.all_logs(run.run_id) if record.is_dagster_event
        ]
    checks = [
        event.event_specific_data for event in events if event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert {check.check_name: check.passed for check in checks} == {
        name: name != "ledger_closed" for name in (*CORRUPTIONS, *ADVICE)
    }
    failed = next(check for check in checks if not check.passed)
    assert failed.metadata["last_good_build"].value.startswith(mine.out.resolve().name)
    assert failed.blocking and "loses 1" in failed.metadata["problems"].value
    assert all(check.metadata["looked_at"].value for check in checks)


def test_an_error_in_the_middle_leaves_the_last_good_build_and_nothing_half_written(
    mine: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    fingerprint = mine.manifest["fingerprint"]
    mine.save(seed=18)

    def full_disk(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(quarantine, "write_quarantine", full_disk)
        result = mine.build()
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr and "Traceback" not in result.stderr
    assert good_and_published(mine, fingerprint) and unfinished(mine.out) == []
    assert mine.built()["reused"] is False
    assert unfinished(mine.out) == []


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_an_out_that_is_somebody_else_s_is_refused_before_anything_runs(mine: Project, kind: str) -> None:
    taken = mine.folder / "taken"
    if kind == "folder":
        mine.file("taken/thesis.txt", "years of work")
    else:
        mine.file("taken", "years of work")
    before = sorted(mine.folder.iterdir())
    result = mine.run("build", mine.path, "--out", taken)
    assert result.exit_code == 2 and "is no build of tokenmill" in result.stderr
    assert not taken.is_symlink() and sorted(mine.folder.iterdir()) == before
    assert len(mine.steps()) == 1


@pytest.mark.slow
def test_the_newest_three_versions_are_kept(mine: Project) -> None:
    made = [mine.manifest["fingerprint"]]
    for seed in (1, 2, 3, 4):
        mine.save(seed=seed)
        made.append(mine.built()["fingerprint"])
    assert len(set(made)) == 5
    assert {path.name for path in versions_folder(mine.out).iterdir()} == set(made[-3:])
    assert good_and_published(mine, made[-1])


def start(project: Project, *options: str) -> subprocess.Popen[str]:
    """`tokenmill build` as a process of its own."""
    command = [sys.executable, "-m", "pipelines.cli", "build", str(project.path), "--out", str(project.out)]
    return subprocess.Popen(
        [*command, "--json", *options],
        env={**os.environ, **project.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_a_killed_build_leaves_the_last_good_one_and_the_next_build_goes_on(mine: Project) -> None:
    fingerprint = mine.manifest["fingerprint"]
    mine.save(seed=18)
    process = start(mine)
    deadline = time.monotonic() + 120
    while not list(versions_folder(mine.out).glob(".writing-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert good_and_published(mine, fingerprint)
    told = mine.built()
    assert good_and_published(mine, told["fingerprint"]) and told["fingerprint"] != fingerprint


@pytest.mark.slow
def test_a_build_killed_while_it_fills_the_store_leaves_no_object_half_written(
    new_project: Callable[..., Project],
) -> None:
    project = new_project()
    process = start(project)
    deadline = time.monotonic() + 120
    while not project.objects("rows") and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert not project.out.exists()
    for path in (project.folder / "store" / "objects").glob("*/*/*"):
        assert any(path.iterdir())
    project.built()
    assert all(finding.passed for finding in verify(project.out))


@pytest.mark.slow
def test_two_builds_at_once_into_one_store_both_end_well(new_project: Callable[..., Project]) -> None:
    project = new_project()
    first = start(project)
    second = start(project, "--set", "seed=18", "--out", str(project.folder / "out" / "other"))
    for process in (first, second):
        told, problem = process.communicate(timeout=300)
        assert process.returncode == 0, problem
        assert all(finding.passed for finding in verify(Path(json.loads(told)["out"])))


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--set", "seed=18")], ids=["the same build", "another seed"])
def test_two_builds_at_once_into_one_out_both_end_well_and_one_of_them_is_published_whole(
    new_project: Callable[..., Project], options: tuple[str, ...]
) -> None:
    project = new_project()
    processes = [start(project), start(project, *options)]
    told = []
    for process in processes:
        answer, problem = process.communicate(timeout=300)
        assert process.returncode == 0, problem
        told.append(json.loads(answer)["fingerprint"])
    assert len(set(told)) == 1 + bool(options)
    assert published(project.out) in told and all(finding.passed for finding in verify(project.out))
    assert unfinished(project.out) == []
    assert {path.name for path in versions_folder(project.out).iterdir()} == set(told)
    for fingerprint in set(told):
        assert all(finding.passed for finding in verify(versions_folder(project.out) / fingerprint))
