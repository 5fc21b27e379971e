"""What assets tell Dagster: keys, numbers as metadata, content as data version, failures in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from small_recipes import Project, chat_source, text_source

from assets import naming
from assets.checks import WHAT
from assets.findings import result_of
from assets.reports import explained, flat, materialized, preview_metadata
from assets.settings import Settings, listening
from assets.training import training_command
from tokenization.build.finding import Finding
from tokenization.build.verify import CHECKS
from tokenization.defaults import default_out, default_store
from tokenization.errors import BuildError, RecipeError
from tokenization.recipe.load import load_recipe, recipe_from_mapping
from tokenization.stages.catalogue import MODULES
from tokenization.stages.workspace import StageResult

RECIPE = recipe_from_mapping(
    {
        "name": "my-set",
        "tokenizer": {"path": "tok"},
        "chat": {"template": "chatml"},
        "sources": [text_source("old-books", "b/*.txt"), chat_source("talks", "t.jsonl")],
        "train": {"model": "demo", "steps": 7, "seed": 3},
    }
)


@pytest.fixture(scope="module")
def told(good: Project) -> dict[str, Any]:
    """Of every asset of the first build: its materialisation."""
    with dg.DagsterInstance.from_config(str(good.folder / "dagster")) as instance:
        records = {
            key.to_user_string().removeprefix("small/"): instance.fetch_materializations(key, limit=1).records
            for key in instance.get_asset_keys()
        }
    return {name: found[0].asset_materialization for name, found in records.items() if found}


def numbers(materialization: Any) -> dict[str, Any]:
    return {name: value.value for name, value in materialization.metadata.items()}


def test_keys_have_the_recipe_first_and_no_dash() -> None:
    keys = [naming.raw_key, naming.items_key, naming.tokens_key]
    assert [key(RECIPE, "old-books").to_user_string() for key in keys] == [
        "my_set/raw/old_books",
        "my_set/documents/old_books",
        "my_set/tokens/old_books",
    ]
    assert naming.items_key(RECIPE, "talks").to_user_string() == "my_set/sessions/talks"
    for stage in MODULES:
        assert (
            naming.node_key(RECIPE, stage, "talks" if stage in ("documents", "tokens") else "").path[0]
            == "my_set"
        )


def test_a_stage_s_summary_becomes_numbers_and_its_content_the_data_version() -> None:
    value = {
        "fingerprint": "f00",
        "tokens": 5000,
        "set_aside": {"empty": 2000, "too_long": 0},
        "chunks": ["k"],
        "engine": "fastokens",
    }
    result = materialized(StageResult("tokens", "x", "key", value, reused=True), {"tokens": 5000})
    assert result.data_version == dg.DataVersion("f00")
    told = result.metadata or {}
    assert set(told) == {"tokens", "also", "reused"} and told["tokens"] == 5000
    assert told["also"].value == "`set_aside/empty` 2,000 · `engine` fastokens", (
        "nothing that was counted is lost"
    )
    assert materialized(
        StageResult("windows", "", "key", value, True), {}, "v"
    ).data_version == dg.DataVersion("v")
    assert dict(flat({"a": {"b": {"c": 1}}, "list": [1]})) == {"a/b/c": 1}


@pytest.mark.parametrize(("error", "code"), [(RecipeError("wrong key"), 2), (BuildError("no disk"), 1)])
def test_what_can_be_explained_fails_its_step_with_the_message_and_no_retry(
    error: Exception, code: int
) -> None:
    with pytest.raises(dg.Failure) as caught, explained():
        raise error
    assert caught.value.description == str(error) and caught.value.allow_retries is False
    assert caught.value.metadata["exit_code"].value == code


def test_a_bug_is_not_explained_away() -> None:
    with pytest.raises(ZeroDivisionError), explained():
        raise ZeroDivisionError


def test_a_finding_becomes_a_check_result_that_blocks() -> None:
    key = dg.AssetKey(["my_set", "candidate"])
    finding = Finding("hashes", False, "3 shards", "2 problems", "every byte", ["a is missing", "b changed"])
    result = result_of(finding, key)
    assert not result.passed and result.severity is dg.AssetCheckSeverity.ERROR
    assert result.metadata["problems"].value == "- a is missing\n- b changed"
    assert result.metadata["first_problem"].value == "a is missing", "seen without a click"
    assert result.description == "2 problems (limit: every byte); first of 2: a is missing"
    assert "problems" not in result_of(Finding("hashes", True, "3 shards", "no problem", "x"), key).metadata
    assert list(WHAT) == list(CHECKS)


def test_settings_are_the_defaults_unless_the_run_says_otherwise(
    good: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENMILL_STORE", "kept")
    heard: list[str] = []
    with listening(heard.append):
        workspace = Settings().workspace(str(good.path), lambda _message: None)
        workspace.say("hello")
    workspace.say("nobody listens any more")
    assert heard == ["hello", "nobody listens any more"] or heard == ["hello"]
    assert workspace.store.root == tmp_path / "kept" == default_store()
    assert workspace.out == tmp_path / "builds" / "small" == default_out(load_recipe(good.path))
    assert workspace.engine.workers is None and workspace.overrides == ()
    other = Settings(store="s", out="o", workers=2, overrides=["seed=4"], rehash=True)
    workspace = other.workspace(str(good.path), lambda _message: None)
    assert (workspace.store.root, workspace.out) == (tmp_path / "s", tmp_path / "o")
    assert (workspace.engine.workers, workspace.recipe.seed, workspace.rehash) == (2, 4, True)


def test_the_trainer_is_started_with_what_the_recipe_says() -> None:
    command = training_command(RECIPE, "builds/x", "runs/x")
    assert command[1:3] == ["-m", "training.train"]
    options = dict(zip(command[3::2], command[4::2], strict=False))
    assert options["--build"] == "builds/x" and options["--out"] == "runs/x"
    assert "--steps" in command and command[command.index("--steps") + 1] == "7"
    assert command[command.index("--seed") + 1] == "3"


def test_every_asset_of_a_build_tells_its_numbers_and_its_version(
    good: Project, told: dict[str, Any]
) -> None:
    manifest = good.manifest
    assert len(told) == 26
    for name, materialization in told.items():
        assert materialization.tags["dagster/data_version"], name
        if not name.startswith(("raw/", "model_files")):
            assert materialization.metadata["reused"].value is False or name == "dataset", name
    for source, account in manifest["sources"].items():
        assert numbers(told[f"tokens/{source}"])["tokens"] == account["tokens"]
        assert numbers(told[f"tokens/{source}"])["target_tokens"] == account["target_tokens"]
    assert numbers(told["documents/web"])["dagster/row_count"] == 62
    assert numbers(told["documents/web"])["set_aside/invalid_json"] == 1
    windows = numbers(told["windows"])
    assert windows["dagster/row_count"] == manifest["splits"]["train"]["num_windows"]
    assert windows["share/total_tokens"] == round(manifest["mixture"]["achieved"]["total_tokens"], 6)
    assert 0.9 < windows["fill/sft/train"] <= 1
    dataset = numbers(told["dataset"])
    assert dataset["fingerprint"] == manifest["fingerprint"] == told["dataset"].tags["dagster/data_version"]
    assert dataset["train/num_target_tokens"] == manifest["splits"]["train"]["num_target_tokens"]
    selection = numbers(told["selection"])
    assert selection["train"] == sum(
        numbers(told[f"selection/{each}"])["train"] for each in manifest["sources"]
    )
    assert selection["by_source"].count("\n") == 1 + len(manifest["sources"])


def test_the_preview_on_the_page_has_three_layers_and_is_small_enough_to_be_loaded_often(
    good: Project, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = told["loss_mask_preview"].metadata
    assert Path(metadata["page"].value).name == "preview.html"
    assert "data:image/png" in metadata["windows"].value and len(metadata["windows"].value) < 1000
    assert metadata["diff"].value.startswith("```") and len(metadata["diff"].value) < 1000
    assert "\n+ " in metadata["diff"].value, "something is trained"
    whole = sum(len(str(value.value).encode()) for value in metadata.values())
    assert "data:image/svg+xml" in metadata["sessions"].value and whole < 30_000
    monkeypatch.chdir(good.folder)
    monkeypatch.setenv("TOKENMILL_PAGES", "http://127.0.0.1:9")
    workspace = good.workspace()
    result = workspace.result("preview")
    linked = preview_metadata(result, workspace.store.path("preview", result.key))
    assert linked["sessions"].value.startswith("![token boxes](http://127.0.0.1:9/store/objects/preview/")
    assert sum(len(str(value.value).encode()) for value in linked.values()) < 2_000
    sheet = (workspace.store.path("preview", result.key) / "sessions.svg").read_text()
    headings = ElementTree.fromstring(sheet).findall("{http://www.w3.org/2000/svg}text")
    assert len(headings) == 8 and all(" trained / " in str(each.text) for each in headings)
