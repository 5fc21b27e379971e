"""The column schemas that the page shows are those of the tables on disk."""

from __future__ import annotations

import pyarrow as pa
import pytest
from small_recipes import Project

from assets import columns
from assets.checks import WARNINGS, WHAT
from tokenization.build.contents import Build
from tokenization.build.verify import CHECKS
from tokenization.shards import schema_of
from tokenization.stages.documents import INDEX_SCHEMA
from tokenization.stages.tables import open_table
from tokenization.stages.tokens import load_sequences


def of_arrow(schema: pa.Schema) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]


def of_page(shown: columns.Columns) -> list[tuple[str, str]]:
    return [(name, kind) for name, (kind, _) in shown.items()]


def test_the_index_has_the_columns_that_the_page_shows() -> None:
    assert of_page(columns.INDEX) == of_arrow(INDEX_SCHEMA)


@pytest.mark.parametrize("window", [4096, 128, None])
def test_a_dataset_has_the_columns_that_the_page_shows(window: int | None) -> None:
    assert of_page(columns.rows(window)) == of_arrow(schema_of(window))


def test_sequences_and_plan_of_a_build_have_the_columns_that_the_page_shows(good: Project) -> None:
    workspace = good.workspace()
    for source in workspace.recipe.sources:
        assert of_page(columns.SEQUENCES) == of_arrow(load_sequences(workspace, source.name).schema)
    plan = workspace.store.path("windows", workspace.result("windows").key)
    assert of_page(columns.PLAN) == of_arrow(open_table(plan / "train.rows.arrow").schema)


def test_every_column_says_what_it_means() -> None:
    tables = [columns.INDEX, columns.SEQUENCES, columns.PLAN, columns.rows(4096)]
    assert all(means for shown in tables for _, means in shown.values())


def test_the_laws_that_only_warn_are_the_ones_whose_findings_say_so(good: Project) -> None:
    build = Build.open(good.out)
    assert list(WHAT) == list(CHECKS)
    assert {name for name, check in CHECKS.items() if check(build).is_warning} == WARNINGS
