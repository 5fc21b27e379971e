"""Recipes of many sources: what meets is gathered, so that no asset has many inputs and no page grows with them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_recipes import chat_source, text_source
from test_light_metadata import LIMIT, OF_PAGE, SHOWN, weight

from assets import gathering, naming
from assets.gathering import MOST, STAGES, evenly, gathered_with, inputs, tree
from assets.reports import MOST_ALSO, MOST_ROWS, also, by_source, items_numbers, materialized, tokens_numbers
from pipelines.code_location import of_recipe
from tokenization.recipe.load import recipe_from_mapping
from tokenization.recipe.model import Recipe
from tokenization.stages.workspace import StageResult

REASONS = {f"a_reason_of_some_length_{number}": 10_000 + number for number in range(60)}


def recipe_of(texts: int, chats: int) -> Recipe:
    """A recipe of so many sources, with names as long as people give them."""
    return recipe_from_mapping(
        {
            "name": "many-sources",
            "tokenizer": {"path": "tokenizer"},
            "chat": {"template": "chatml"},
            "sources": [
                *(text_source(f"shelf-{number:03}", f"{number}.txt") for number in range(texts)),
                *(chat_source(f"round-{number:03}", f"{number}.jsonl") for number in range(chats)),
            ],
        }
    )


def metadata_of(recipe: Recipe) -> dict[str, Any]:
    """What an asset says of itself where sources meet: three numbers, and a table of all of them."""
    counts = {
        source.name: {"items": 12_000 + place, "train": 11_000, "validation": 1_000, "exact_duplicate": 7}
        for place, source in enumerate(recipe.sources)
    }
    return {
        **{f"number/{place}": 1_234_567 for place in range(3)},
        "by_source": dg.MetadataValue.md(by_source(counts)),
    }


def tags_of(inputs: Iterable[dg.AssetKey]) -> dict[str, str]:
    """What Dagster writes into the event of an asset with these inputs."""
    tags = {
        "dagster/code_version": f"5-{'0' * 8}",
        "dagster/data_version": "0" * 16,
        "dagster/data_version_is_user_provided": "true",
    }
    for key in inputs:
        word = key.to_user_string()
        tags |= {f"dagster/input_data_version/{word}": "0" * 16}
        tags |= {f"dagster/input_event_pointer/{word}": "12345678"}
    return tags


def heaviest(recipe: Recipe) -> int:
    """Bytes that the page of the heaviest asset loads after a hundred materialisations."""
    graph = of_recipe(recipe, Path("many.yaml")).resolve_asset_graph()
    weights = []
    plain = {f"number/{place}": 1_234_567 for place in range(5)}
    for node in graph.asset_nodes:
        told = metadata_of(recipe) if node.key.path[-1] in ("selection", "draw") else plain
        weights.append(
            weight(dg.AssetMaterialization(node.key, metadata=told, tags=tags_of(node.parent_keys)))
        )
    assert len(weights) > 3 * len(recipe.sources)
    return OF_PAGE + SHOWN * max(weights)


@pytest.mark.parametrize(("texts", "chats"), [(2, 2), (1, 4), (5, 0), (20, 20), (3, 60)])
def test_the_page_of_every_asset_stays_light_however_many_sources_there_are(texts: int, chats: int) -> None:
    assert heaviest(recipe_of(texts, chats)) < LIMIT


def test_without_gathering_or_with_whole_tables_the_pages_would_be_too_heavy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = recipe_of(20, 20)
    with monkeypatch.context() as patch:
        patch.setattr("assets.reports.MOST_ROWS", 1000)
        assert heaviest(recipe) > LIMIT
    monkeypatch.setattr(gathering, "MOST", 1000)
    assert heaviest(recipe) > LIMIT


@pytest.mark.parametrize("stage", ["documents", "tokens"])
def test_the_page_of_a_source_of_which_much_is_set_aside_for_many_reasons_stays_light(stage: str) -> None:
    recipe = recipe_of(2, 2)
    key = naming.node_key(recipe, stage, "round-000")
    counts = ("items", "rows_read", "bytes", "sequences", "tokens", "target_tokens", "cuts", "separators")
    value = {
        **dict.fromkeys(counts, 1_234_567_890),
        "set_aside": REASONS,
        "megabytes_a_second": 123.456,
        "seconds": 1.5,
        "fingerprint": "0" * 32,
    }
    numbers = {"documents": items_numbers, "tokens": tokens_numbers}[stage](value)
    result = materialized(StageResult(stage, "", "", value, reused=False), numbers)
    inputs = of_recipe(recipe, Path("many.yaml")).resolve_asset_graph().get(key).parent_keys
    assert result.metadata and "more in" in str(result.metadata["also"])
    event = dg.AssetMaterialization(key, metadata=result.metadata, tags=tags_of(inputs))
    assert OF_PAGE + SHOWN * weight(event) < LIMIT


@given(texts=st.integers(0, 70), chats=st.integers(0, 70))
def test_every_source_is_gathered_once_and_groups_stay_small(texts: int, chats: int) -> None:
    recipe = recipe_of(max(1, texts), chats)
    for what in STAGES:
        groups, left = tree(recipe, what)
        members = [key for group in groups for key in group.members]
        keys = [group.key for group in groups]
        sources = gathering.sources_of(recipe, what)
        own = [gathering.member(recipe, what, source.name) for source in sources]
        assert sorted([*members, *left]) == sorted([*own, *keys]), "each is an input of one group, or is left"
        assert len(set(keys)) == len(keys) and all(1 < len(group.members) <= MOST for group in groups)
        if len(recipe.sources) <= MOST:
            assert groups == [] and left == own
        elif sources:
            (root,) = left
            assert len(sources) == 1 or groups[-1].key == root
            assert len(sources) == 1 or groups[-1].sources == tuple(source.name for source in sources)


def test_where_one_source_s_part_is_made_again_its_groups_are_too_and_no_other_kind_s() -> None:
    recipe = recipe_of(6, 6)
    tokens = naming.tokens_key(recipe, "shelf-003")
    found = {key.path[1] for key in gathered_with(recipe, [tokens]) if key != tokens}
    assert found == {"text_tokens"}
    assert gathered_with(recipe_of(2, 2), [tokens]) == [tokens]
    assert len(inputs(recipe, "text_tokens", "chat_tokens")) == 2


@given(st.lists(st.integers(), min_size=1, max_size=60), st.integers(1, 9))
def test_stretches_hold_all_and_are_alike(values: list[int], parts: int) -> None:
    stretches = evenly(values, min(parts, len(values)))
    assert [value for stretch in stretches for value in stretch] == values
    assert max(map(len, stretches)) - min(map(len, stretches)) <= 1 and min(map(len, stretches)) > 0


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 10**9), min_size=1, max_size=40))
def test_a_table_of_many_sources_shows_the_largest_and_loses_no_count(sizes: dict[str, int]) -> None:
    rows = {name: {"items": size, "kept": size // 2} for name, size in sizes.items()}
    head, _, *lines = (line.split("|") for line in by_source(rows).splitlines())
    assert len(lines) == min(len(rows), MOST_ROWS)
    for column in head[1:]:
        place = head.index(column)
        assert sum(int(line[place].replace(",", "")) for line in lines) == sum(
            row[column] for row in rows.values()
        )
    if len(rows) > MOST_ROWS:
        named = {line[0] for line in lines[:-1]}
        assert lines[-1][0] == f"*{len(rows) - MOST_ROWS + 1} others*"
        assert min(sizes[name] for name in named) >= max(
            size for name, size in sizes.items() if name not in named
        )


def test_what_else_was_counted_is_one_short_line_that_says_how_much_is_missing() -> None:
    told = also({"set_aside": REASONS, "engine": "fastokens"}, {})
    assert len(told) < MOST_ALSO + 60 and "`set_aside/a_reason_of_some_length_0` 10,000" in told
    shown = told.count("`set_aside/")
    assert told.endswith(f"{61 - shown} more in the build's files")
    assert also({"set_aside": {"empty": 3}}, {}) == "`set_aside/empty` 3"
