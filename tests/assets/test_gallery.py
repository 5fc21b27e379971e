"""A gallery shows what was asked for and says what it could not find."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from small_recipes import Project

from pipelines.code_location import of_recipe
from tokenization.build.gallery import gallery_of
from tokenization.errors import RecipeError
from tokenization.recipe.load import load_recipe

NOTHING: dict[str, Any] = {"source": "", "items": [], "text": "", "count": 20}


def test_it_finds_by_source_by_name_and_by_text(good: Project) -> None:
    by_name = gallery_of(good.out, **{**NOTHING, "items": ["q3", "q4"]})
    assert {each.item for each in by_name.sequences} == {"q3", "q4"}
    by_text = gallery_of(good.out, **{**NOTHING, "text": "<|im_end|>\n<|im_start|>assistant"})
    assert [each.item for each in by_text.sequences] == ["q5"], "a line feed is looked for as JSON writes it"
    by_source = gallery_of(good.out, **{**NOTHING, "source": "talks", "count": 3})
    assert len(by_source.sequences) == 3 and {each.source for each in by_source.sequences} == {"talks"}
    assert re.match(r"\d+ items, 3 shown", by_source.facts[0][1])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"source": "nowhere"}, "is none of the build's"),
        ({"count": 0}, "1 to 200"),
        ({"text": "nobody says this"}, "ask for less"),
    ],
)
def test_what_it_cannot_show_is_explained(good: Project, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(RecipeError, match=why):
        gallery_of(good.out, **{**NOTHING, **asked})


def test_the_asset_writes_a_page_of_it_from_the_launchpad(good: Project, tmp_path: Path) -> None:
    job = of_recipe(load_recipe(good.path), good.path).resolve_implicit_global_asset_job_def()
    settings = {"store": str(tmp_path), "out": str(good.out)}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(["small", "gallery"])],
            run_config={
                "resources": {"settings": {"config": settings}},
                "ops": {"small__gallery": {"config": {"source": "questions", "count": 2}}},
            },
        )
    (made,) = result.asset_materializations_for_node("small__gallery")
    assert made.metadata["shown"].value == 2
    assert "<html" in Path(str(made.metadata["page"].value)).read_text()[:200]
