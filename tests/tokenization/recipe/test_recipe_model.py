"""What a recipe means: its defaults, its limits across keys, its names and its fingerprint."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from recipe_files import CHAT, TEXT, WHOLE, minimal

from tokenization.errors import RecipeError
from tokenization.ingest import chat_formats
from tokenization.recipe.load import collisions, load_recipe, recipe_from_mapping
from tokenization.recipe.model import FIELD_NAMES, Recipe


@pytest.fixture
def whole(tmp_path: Path) -> Recipe:
    (tmp_path / "whole.yaml").write_text(WHOLE, encoding="utf-8")
    return load_recipe(tmp_path / "whole.yaml")


def test_every_documented_key_is_read(whole: Recipe) -> None:
    assert whole.name == "my_assistant"
    assert whole.tokenizer.path == "./tokenizers/qwen2.5"
    assert [source.name for source in whole.sources] == ["docs", "web", "alpaca", "mine", "hub"]
    assert [source.name for source in whole.text_sources] == ["docs", "web"]
    assert [source.name for source in whole.chat_sources] == ["alpaca", "mine", "hub"]
    assert whole.source("mine").fields == {"messages": "dialog", "role": "speaker", "content": "text"}
    assert whole.source("mine").role_names == {"client": "user"}
    assert whole.source("web").limit == 10000
    assert whole.chat.role_names == ("system", "user", "assistant", "tool", "narrator", "background")
    assert whole.train is not None and whole.train.steps == 200
    assert whole.schedule == "0 2 * * *"


def test_a_key_left_out_means_what_is_documented() -> None:
    recipe = recipe_from_mapping(minimal(TEXT, CHAT))
    found = recipe.resolved()
    assert {key: found[key] for key in ("window", "seed", "validation", "encode_all")} == {
        "window": 4096,
        "seed": 17,
        "validation": 0.0,
        "encode_all": False,
    }
    assert found["tokenizer"]["document_end"] == "auto" and found["tokenizer"]["add_special_tokens"] == []
    assert found["chat"] == {
        "template": "tokenizer",
        "template_kwargs": {},
        "default_system": "template",
        "loss_on": "all_answers",
        "reasoning": "trained",
        "around_answers": "masked",
        "train_on_prompt": False,
        "history": "cut",
        "overlong": "drop_turns",
        "roles": {},
    }
    assert found["cleaning"] == {
        "unicode": "nfc",
        "exact_dedup": True,
        "near_dedup": "off",
        "min_characters": 1,
        "rules": [],
        "dry": False,
        "personal_data": "off",
        "decontamination": "off",
    }
    assert found["pretrain"] == {"packing": "concat"} and found["sft"] == {"layout": "packed"}
    assert found["mixture"] == {
        "pretrain_share": 0.15,
        "allow_outside_range": False,
        "unit": "total_tokens",
        "max_repetition": 1.0,
    }
    assert found["train"] is None and found["schedule"] is None


@pytest.mark.parametrize("source", [TEXT, CHAT], ids=["text", "chat"])
def test_one_kind_of_source_has_no_mixture(source: dict[str, Any]) -> None:
    assert recipe_from_mapping(minimal(source)).mixture is None
    with pytest.raises(RecipeError, match=f"mixture has nothing to mix: every source is {source['kind']}"):
        recipe_from_mapping(minimal(source, mixture={"pretrain_share": 0.15}))


def test_an_empty_mixture_of_two_kinds_is_the_default_one() -> None:
    empty = recipe_from_mapping(minimal(TEXT, CHAT, mixture=None))
    assert empty == recipe_from_mapping(minimal(TEXT, CHAT)) and empty.mixture is not None


@pytest.mark.parametrize("share", [0.10, 0.15, 0.2])
def test_shares_in_the_range_need_no_permission(share: float) -> None:
    mixture = recipe_from_mapping(minimal(TEXT, CHAT, mixture={"pretrain_share": share})).mixture
    assert mixture is not None and mixture.pretrain_share == share


@pytest.mark.parametrize("share", [0.0999, 0.2001, 0.5])
def test_shares_outside_the_range_need_permission(share: float) -> None:
    given = {"pretrain_share": share}
    with pytest.raises(RecipeError, match=r"between 0\.10 and 0\.20; set mixture.allow_outside_range: true"):
        recipe_from_mapping(minimal(TEXT, CHAT, mixture=given))
    recipe_from_mapping(minimal(TEXT, CHAT, mixture={**given, "allow_outside_range": True}))


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5])
def test_no_permission_makes_a_share_of_nothing_or_everything(share: float) -> None:
    with pytest.raises(RecipeError, match="above 0 and below 1"):
        recipe_from_mapping(
            minimal(TEXT, CHAT, mixture={"pretrain_share": share, "allow_outside_range": True})
        )


def test_a_resolved_recipe_read_again_is_the_same(whole: Recipe) -> None:
    text = json.dumps(whole.resolved())
    again = recipe_from_mapping(json.loads(text), whole.directory)
    assert again == whole and again.fingerprint == whole.fingerprint


def test_roles_of_a_resolved_recipe_read_again_are_the_same() -> None:
    roles = {
        "assistant": {"may_open": False},
        "user": {"successors": ["assistant"]},
        "旁白": {"trained": True},
    }
    recipe = recipe_from_mapping(minimal(CHAT, chat={"roles": roles}))
    assert recipe.chat.roles["assistant"].trained and not recipe.chat.roles["user"].trained
    assert recipe.chat.roles["旁白"].header == "旁白"
    assert recipe_from_mapping(recipe.resolved(), ".") == recipe


def test_a_resolved_source_has_only_the_keys_of_its_kind(whole: Recipe) -> None:
    by_name = {source["name"]: set(source) for source in whole.resolved()["sources"]}
    assert "text_field" in by_name["docs"] and not {"format", "role_names", "split"} & by_name["docs"]
    assert {"config", "split"} <= by_name["hub"] and "text_field" not in by_name["hub"]


def test_hub_sources_read_the_train_split_unless_told() -> None:
    hub = {"name": "hub", "kind": "chat", "path": "hf://owner/name"}
    assert recipe_from_mapping(minimal(hub)).source("hub").split == "train"
    assert recipe_from_mapping(minimal({**hub, "split": "test"})).source("hub").split == "test"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"name": "other"}, True),
        ({"train": {"model": "m", "steps": 1}}, True),
        ({"schedule": "@daily"}, True),
        ({"window": 4096}, True),
        ({"cleaning": {"near_dedup": False}}, True),
        ({"window": 8192}, False),
        ({"seed": 18}, False),
        ({"validation": 0.5}, False),
        ({"sources": [{**TEXT, "limit": 3}]}, False),
        ({"tokenizer": {"path": "tok2"}}, False),
    ],
)
def test_the_fingerprint_is_of_what_decides_the_data(change: dict[str, Any], same: bool) -> None:
    before = recipe_from_mapping(minimal()).fingerprint
    assert (recipe_from_mapping(minimal(**change)).fingerprint == before) is same


def test_the_fingerprint_is_blind_to_where_the_recipe_lies() -> None:
    assert recipe_from_mapping(minimal(), "a").fingerprint == recipe_from_mapping(minimal(), "b").fingerprint


def test_a_recipe_cannot_change(whole: Recipe) -> None:
    with pytest.raises(ValidationError):
        whole.window = 1  # type: ignore[misc]


def test_a_recipe_travels_to_a_worker_with_its_directory(whole: Recipe) -> None:
    there = pickle.loads(pickle.dumps(whole))
    assert there == whole and there.directory == whole.directory


def test_relative_paths_are_relative_to_the_recipe_and_urls_stay(whole: Recipe) -> None:
    assert whole.locate("data/a.md") == str(whole.directory / "data/a.md")
    for path in ("s3://bucket/a", "hf://owner/name", "/data/a"):
        assert whole.locate(path) == path


def test_names_that_are_one_name_to_dagster_collide() -> None:
    names = ("a-b", "c", "a_b")
    recipes = [recipe_from_mapping(minimal(name=name)) for name in names]
    collisions(recipes[:2])
    with pytest.raises(RecipeError, match=r"two recipes are a_b in Dagster: 'a-b' in .* and 'a_b'"):
        collisions(recipes)


def test_two_recipes_of_one_name_collide_and_one_listed_twice_does_too() -> None:
    recipe = recipe_from_mapping(minimal())
    with pytest.raises(RecipeError, match="rename one"):
        collisions([recipe, recipe_from_mapping(minimal())])


def test_an_empty_section_counts_as_left_out() -> None:
    sections = ("chat", "cleaning", "pretrain", "sft", "mixture", "train", "schedule")
    recipe = recipe_from_mapping(minimal(**dict.fromkeys(sections)))
    assert recipe == recipe_from_mapping(minimal())


def test_the_fields_that_a_source_can_rename_are_those_that_are_read() -> None:
    assert set(FIELD_NAMES) == chat_formats.FIELDS
    assert recipe_from_mapping(minimal({**TEXT, "fields": {"id": "uid"}})).sources[0].fields == {"id": "uid"}
