"""`verify` proves a build from its own files, and every check is the only one to see what it is for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from corruptions import CORRUPTIONS, manifest_of, rows_of, save_manifest, save_rows
from small_recipes import Project

from tokenization.build.contents import Build
from tokenization.build.verify import CHECKS, check_windows, verify
from tokenization.errors import RecipeError


@pytest.fixture
def build(good: Project, tmp_path: Path) -> Path:
    """A copy of a whole build."""
    return Path(shutil.copytree(good.out.resolve(), tmp_path / "build"))


def failed(build: Path) -> set[str]:
    return {finding.name for finding in verify(build) if not finding.passed}


def test_a_whole_build_passes_every_check_and_each_looked_at_something(build: Path) -> None:
    findings = verify(build)
    assert [finding.name for finding in findings] == list(CHECKS) == list(CORRUPTIONS)
    assert [finding.line() for finding in findings if not finding.passed] == []
    assert not [finding.line() for finding in findings if finding.looked_at.startswith("0 ")]


def test_a_copy_rewritten_by_the_corrupting_tools_alone_still_passes(build: Path) -> None:
    save_rows(build, rows_of(build))
    save_rows(build, rows_of(build, "validation"), "validation")
    assert failed(build) == set()


@pytest.mark.parametrize(
    ("check", "corrupt"),
    [
        pytest.param(check, corrupt, id=f"{check}-{corrupt.__name__}")
        for check, ways in CORRUPTIONS.items()
        for corrupt in ways
    ],
)
def test_each_corruption_fails_its_check_and_no_other(
    build: Path, check: str, corrupt: Callable[[Path], None]
) -> None:
    corrupt(build)
    assert failed(build) == {check}
    finding = CHECKS[check](Build.open(build))
    assert finding.problems and all(finding.problems), "a failure says what is wrong"


def test_more_than_one_padded_text_window_is_a_failure(build: Path) -> None:
    rows = rows_of(build, "validation")
    texts = [row for row in rows if row["kind"] == "pretrain" and row["segments"][-1]["source"]][:2]
    assert len(texts) == 2
    for row in texts:
        row["segments"][-1] |= {"source": "", "item": "", "start": 0}
    save_rows(build, rows, "validation")
    problems = check_windows(Build.open(build)).problems
    assert any("one remainder is allowed" in problem for problem in problems)


def test_a_folder_without_a_manifest_is_no_build(build: Path) -> None:
    (build / "manifest.json").unlink()
    with pytest.raises(RecipeError, match=r"no manifest\.json"):
        verify(build)
    with pytest.raises(RecipeError, match="is not there"):
        verify(build / "nowhere")


def test_a_missing_shard_is_named(build: Path) -> None:
    path = manifest_of(build)["splits"]["validation"]["shards"][0]["path"]
    (build / path).unlink()
    finding = CHECKS["hashes"](Build.open(build))
    assert finding.problems == [f"{path} is missing"]


def test_a_build_of_one_kind_has_no_share_to_check(build: Path) -> None:
    manifest = manifest_of(build)
    manifest["mixture"] = None
    save_manifest(build, manifest)
    assert CHECKS["share"](Build.open(build)).passed


def test_the_command_answers_with_its_exit_code(good: Project, build: Path) -> None:
    assert good.run("verify", build).exit_code == 0
    CORRUPTIONS["ledger_closed"][0](build)
    result = good.run("verify", build, "--json")
    assert result.exit_code == 1
    told = orjson.loads(result.stdout)
    assert not told["passed"]
    assert [row["check"] for row in told["findings"] if not row["passed"]] == ["ledger_closed"]
    assert good.run("verify", build / "nowhere").exit_code == 2
