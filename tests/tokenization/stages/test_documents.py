"""A source's rows become an index: names that are unique, counts that add up, the same whatever the chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_recipes import Project, json_lines, text_source

from tokenization.errors import RecipeError
from tokenization.stages.documents import item_ids, load_index, read_set_aside
from tokenization.stages.tables import open_table

ROWS = [{"id": f"r{n}", "text": f"Text number {n}, " + "long " * (n % 7)} for n in range(200)]


def names_of(rows: list[tuple[str | None, str, int]]) -> list[str]:
    own, files, places = zip(*rows, strict=True)
    table = pa.table(
        {
            "own_id": pa.array(own, pa.string()),
            "file": pa.array(files, pa.string()),
            "place": pa.array(places, pa.int64()),
        }
    )
    return list(item_ids(table).to_pylist())


def test_an_own_id_names_its_row_where_no_other_row_has_it() -> None:
    rows = [
        ("a", "x.jsonl", 1),
        ("b", "x.jsonl", 2),
        ("a", "y.jsonl", 1),
        (None, "y.jsonl", 2),
        (None, "z.md", 0),
    ]
    assert names_of(rows) == ["x.jsonl:1", "b", "y.jsonl:1", "y.jsonl:2", "z.md"]


def test_an_own_id_that_looks_like_another_row_s_place_gives_way() -> None:
    assert names_of([("x.jsonl:2", "x.jsonl", 1), (None, "x.jsonl", 2)]) == ["x.jsonl:1", "x.jsonl:2"]


@given(st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "f:1", "f:3", ""])), min_size=1, max_size=12))
def test_no_two_rows_of_a_source_share_a_name(own: list[str | None]) -> None:
    names = names_of([(name, "f", place) for place, name in enumerate(own, 1)])
    assert len(set(names)) == len(own)


@pytest.fixture
def rows_project(new_project: Callable[..., Project]) -> Project:
    project = new_project(
        name="rows", mixture=None, chat=None, sources=[text_source("rows", "data/rows.jsonl")]
    )
    lines = json_lines(ROWS).splitlines(keepends=True)
    lines[50:50] = ["{broken\n", '{"text": ""}\n', "\n"]
    project.file("data/rows.jsonl", "".join(lines))
    return project


def test_rows_read_are_rows_kept_set_aside_or_over_the_limit(rows_project: Project) -> None:
    for limit, kept in ((None, 200), (30, 30), (1000, 200)):
        rows_project.save(
            sources=[text_source("rows", "data/rows.jsonl", **({"limit": limit} if limit else {}))]
        )
        value = rows_project.workspace().run("documents", "rows").value
        assert value["items"] == kept
        assert value["set_aside"] == {"invalid_json": 1, "empty": 1}
        assert value["rows_read"] == value["items"] + sum(value["set_aside"].values()) + value["over_limit"]


def test_characters_and_bytes_are_read_kept_changed_set_aside_or_over_the_limit(
    rows_project: Project,
) -> None:
    texts = [
        *(row["text"] for row in ROWS),
        "Cre\u0300me\r\nbrûlée \x00",
        "mail me@example.org",
        " \u3000",
        "short",
    ]
    rows_project.file("data/rows.jsonl", json_lines([{"text": text} for text in texts]))
    cleaning = {"min_characters": 6, "personal_data": True, "rules": [{"max_length": {"max": 44}}]}
    for limit in (None, 90):
        rows_project.save(
            cleaning=cleaning,
            sources=[text_source("rows", "data/rows.jsonl", **({"limit": limit} if limit else {}))],
        )
        workspace = rows_project.workspace()
        value = workspace.run("documents", "rows").value
        kept = [
            row
            for chunk in value["chunks"]
            for row in open_table(workspace.store.path("rows", chunk) / "rows.arrow")
            .column("text")
            .to_pylist()
        ][:limit]
        lengths: dict[str, Any] = {"characters": len, "bytes": lambda text: len(text.encode())}
        for unit, size in lengths.items():
            moved = dict(value["amounts"][unit])
            assert moved["read"] == sum(map(size, texts))
            assert sum(moved.values()) == value[f"text_{unit}"] == sum(map(size, kept))
            names = {"read", "newlines_normalised", "controls_removed", "unicode_normalised", "personal_data"}
            assert set(moved) == names | {"empty", "too_short", "max_length"} | (
                {"over_limit"} if limit else set()
            )
            assert moved["newlines_normalised"] == moved["controls_removed"] == -1
            assert moved["max_length"] == -sum(size(text) for text in texts if len(text) > 44) < -100


def test_the_index_and_the_places_are_the_same_however_the_file_is_cut(
    rows_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    for size in (300, 2000, 1 << 20):
        monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", str(size))
        workspace = rows_project.workspace()
        chunks = len(workspace.run("documents", "rows").value["chunks"])
        index = load_index(workspace, "rows").select(["item", "file", "place", "hash", "size"])
        aside = pa.concat_tables(read_set_aside(workspace, "rows")).select(["file", "place", "reason"])
        made.append((chunks, index.to_pylist(), sorted(row.items() for row in aside.to_pylist())))
    chunks, indices, asides = zip(*made, strict=True)
    assert chunks[0] > 20 and chunks[1] >= 5 and chunks[2] == 1
    assert indices[0] == indices[1] == indices[2] and asides[0] == asides[1] == asides[2]
    assert [row["place"] for row in indices[0]][49:52] == [50, 54, 55]


def test_an_unchanged_source_is_read_once_and_a_changed_file_alone_again(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(
        name="rows", mixture=None, chat=None, sources=[text_source("rows", "data/rows/*.jsonl")]
    )
    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", "1000")
    for number in range(4):
        project.file(f"data/rows/{number}.jsonl", json_lines(ROWS[number * 50 : number * 50 + 50]))
    first = project.workspace().run("documents", "rows")
    assert not first.reused and project.workspace().run("documents", "rows").reused
    chunks = project.objects("rows")
    project.file("data/rows/2.jsonl", json_lines(ROWS[100:149]))
    second = project.workspace().run("documents", "rows")
    assert second.value["items"] == 199
    kept = set(second.value["chunks"]) & chunks
    assert len(kept) >= 2 and len(project.objects("rows") - chunks) == len(second.value["chunks"]) - len(kept)


def test_a_source_without_one_readable_row_is_a_mistake_of_the_recipe(rows_project: Project) -> None:
    rows_project.file("data/rows.jsonl", "{broken\n" * 7)
    with pytest.raises(RecipeError, match=r"'rows'.*7 invalid_json"):
        rows_project.workspace().run("documents", "rows")
