"""`--set key.path=value` changes one value, and errors name the override."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_files import CHAT, TEXT, WHOLE, minimal

from tokenization.errors import RecipeError
from tokenization.recipe.load import load_recipe, recipe_from_mapping
from tokenization.recipe.model import Recipe


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(WHOLE, encoding="utf-8")
    return tmp_path / "r.yaml"


def value(recipe: Recipe, path: str) -> Any:
    found: Any = recipe.resolved()
    for step in path.split("."):
        found = found[int(step) if isinstance(found, list) else step]
    return found


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("window=8192", "window", 8192),
        ("mixture.pretrain_share=0.12", "mixture.pretrain_share", 0.12),
        ("sources.0.limit=10", "sources.0.limit", 10),
        ("sources.web.limit=10", "sources.1.limit", 10),
        ("sources.web.limit=", "sources.1.limit", None),
        ("chat.template_kwargs={enable_thinking: false}", "chat.template_kwargs.enable_thinking", False),
        ("chat.template_kwargs.date=2024-07-26", "chat.template_kwargs.date", "2024-07-26"),
        ("chat.roles.旁白.trained=true", "chat.roles.旁白.trained", True),
        ("train.learning_rate=1e-4", "train.learning_rate", 1e-4),
        ("train=null", "train", None),
        ("schedule=@hourly", "schedule", "@hourly"),
        ("schedule=*/5 * * * *", "schedule", "*/5 * * * *"),
        ("sources.docs.path=*.md", "sources.0.path", "*.md"),
        ("sources.docs.path=a=b.md", "sources.0.path", "a=b.md"),
        ("cleaning.near_dedup=off", "cleaning.near_dedup", "off"),
    ],
)
def test_an_override_sets_its_value(file: Path, override: str, path: str, expected: Any) -> None:
    assert value(load_recipe(file, [override]), path) == expected
    if path != "cleaning.near_dedup":  # off already
        assert load_recipe(file, [override]) != load_recipe(file)


def test_a_section_that_is_not_there_is_made_on_the_way() -> None:
    recipe = recipe_from_mapping(minimal(TEXT, CHAT), overrides=["mixture.pretrain_share=0.12"])
    assert recipe.mixture is not None and recipe.mixture.pretrain_share == 0.12


def test_later_overrides_win_and_the_mapping_stays_as_it_was() -> None:
    mapping = minimal()
    recipe = recipe_from_mapping(mapping, overrides=["window=64", "sources.docs.limit=1", "window=128"])
    assert recipe.window == 128 and recipe.sources[0].limit == 1
    assert mapping == minimal()


def test_setting_one_of_two_aliases_leaves_the_other(tmp_path: Path) -> None:
    text = "name: a\ntokenizer: {path: t}\nsources:\n"
    text += "- {name: a, kind: chat, path: a, role_names: &r {x: user}}\n"
    (tmp_path / "r.yaml").write_text(
        text + "- {name: b, kind: chat, path: b, role_names: *r}\n", encoding="utf-8"
    )
    recipe = load_recipe(tmp_path / "r.yaml", ["sources.a.role_names.x=system"])
    assert [source.role_names["x"] for source in recipe.sources] == ["system", "user"]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("window", ["--set window:", "key.path=value"]),
        ("=3", ["key.path=value"]),
        ("chat..history=cut", ["key.path=value"]),
        ("window=[1", ["--set window=[1", "expected"]),
        ("window.size=3", ["--set window.size=3", "window is a single value"]),
        (
            "sources.nope.limit=3",
            ["sources has no 'nope' among its 5 entries", "docs, web, alpaca, mine, hub"],
        ),
        ("sources.7.limit=3", ["sources has no '7'"]),
        ("sources.-1.limit=3", ["sources has no '-1'"]),
        ("windw=3", ["unknown key 'windw'", "'window'", "(by --set windw=3)"]),
        (
            "mixture.pretrain_share=0.5",
            ["mixture.pretrain_share is 0.5", "(by --set mixture.pretrain_share=0.5)"],
        ),
        ("sources.web.limit=-3", ["sources.web.limit is -3", "(by --set sources.web.limit=-3)"]),
    ],
)
def test_a_bad_override_is_named(file: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(file, [override])
    for part in parts:
        assert part in str(caught.value)
