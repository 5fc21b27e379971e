"""Only the documents that the share needs are encoded, and which ones these are depends on seed and content alone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_recipes import Project, chat_source, json_lines, paragraph, question_rows, text_source

from tokenization.build.verify import verify
from tokenization.engine import Engine
from tokenization.hashing import file_digest
from tokenization.ledger import Entry, problems
from tokenization.stages import draw
from tokenization.stages.selection import load_slice
from tokenization.stages.tables import open_table
from tokenization.stages.tokens import load_sequences

PAGES = [{"id": f"p{n}", "text": paragraph(random.Random(n), 1 + n % 9)} for n in range(150)]
NOTES = [{"id": f"n{n}", "text": paragraph(random.Random(1000 + n), 3)} for n in range(40)]


@pytest.fixture(autouse=True)
def small_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of 128 and no more, so that a few hundred documents are a large corpus."""
    monkeypatch.setattr(draw, "MARGIN", 1)
    monkeypatch.setattr(draw, "SAMPLE_BYTES", 2000)


@pytest.fixture
def project(new_project: Callable[..., Project]) -> Project:
    """Sixty sessions beside some ten times as much text as their share needs."""
    made = new_project(
        name="drawn",
        sources=[
            text_source("pages", "data/pages.jsonl"),
            text_source("notes", "data/notes.jsonl"),
            chat_source("questions", "data/some.jsonl"),
        ],
    )
    made.file("data/pages.jsonl", json_lines(PAGES))
    made.file("data/notes.jsonl", json_lines(NOTES))
    made.file("data/some.jsonl", json_lines(question_rows()[:60]))
    return made


def texts_of(project: Project) -> dict[str, set[str]]:
    """The documents that have tokens, by split."""
    workspace = project.workspace()
    found: dict[str, set[str]] = {"train": set(), "validation": set()}
    for name in ("pages", "notes"):
        from tokenization.stages.documents import load_index

        items = load_index(workspace, name).column("item").to_pylist()
        split = load_slice(workspace, name)
        for item in load_sequences(workspace, name).column("item").to_pylist():
            found["validation" if split[item] == 2 else "train"].add(items[item])
    return found


def encoded_rows(project: Project) -> list[tuple[str, int]]:
    """(chunk's group, row) of every document in every text piece of the store."""
    found = []
    for path in (project.folder / "store" / "objects" / "tokens").glob("*/*"):
        if not (path / "mask.bin").exists():
            group = path.name.split("-")[0]
            found += [(group, row) for row in open_table(path / "sequences.arrow").column("row").to_pylist()]
    return found


def manifest_of(build: Path) -> dict[str, Any]:
    return dict(json.loads((build / "manifest.json").read_text()))


def digests(build: Path) -> dict[str, str]:
    files = [path for path in build.rglob("*") if path.is_file()]
    return {path.relative_to(build).as_posix(): file_digest(path) for path in files}


def test_whole_documents_are_drawn_until_there_is_enough_and_the_rest_is_counted(project: Project) -> None:
    build = project.candidate()
    assert [finding.line() for finding in verify(build) if not finding.passed] == []
    value = project.workspace().result("draw").value
    manifest = manifest_of(build)
    left = sum(count["not_drawn"] for count in value["counts"].values())
    assert 100 < left < 180 and manifest["mixture"]["not_drawn"]["documents"] == left
    assert manifest["mixture"]["not_drawn"]["bytes"] > 10_000
    assert abs(manifest["mixture"]["achieved"]["total_tokens"] - 0.15) < 0.02
    assert manifest["mixture"]["repetition"] <= 1
    entries = [Entry.from_json(row) for row in json.loads((build / "ledger.json").read_text())["entries"]]
    assert problems(entries) == []
    drawn = {entry.source: entry for entry in entries if (entry.stage, entry.unit) == ("draw", "documents")}
    for name in ("pages", "notes"):
        assert drawn[name].removed == {"not_drawn": value["counts"][name]["not_drawn"]}
        assert manifest["sources"][name]["not_drawn"] == value["counts"][name]["not_drawn"]
        assert manifest["sources"][name]["items"] == drawn[name].going_out


@pytest.mark.parametrize("unit", ["total_tokens", "target_tokens"])
def test_the_drawn_are_the_shortest_beginning_that_holds_enough(project: Project, unit: str) -> None:
    project.save(mixture={"pretrain_share": 0.2, "unit": unit})
    build = project.candidate()
    assert abs(manifest_of(build)["mixture"]["achieved"][unit] - 0.2) < 0.03
    workspace = project.workspace()
    names = ["pages", "notes"]
    slices = [load_slice(workspace, name) for name in names]
    order = draw.order_of(workspace, names, slices)
    counts = workspace.result("draw").value["counts"]
    drawn = sum(count["drawn"] for count in counts.values())
    lengths = draw.lengths_of(workspace, names, slices, order, drawn)
    enough = draw.Enough.of(workspace)
    assert enough.reached_after(lengths) == drawn > 5
    assert enough.reached_after(lengths[:-1]) is None


def test_workers_and_chunks_draw_the_same_documents(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.candidate(engine=Engine(workers=1))
    texts, whole = texts_of(project), digests(first)
    shutil.rmtree(first)
    shutil.rmtree(project.folder / "store")
    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", "3000")
    second = project.candidate()
    assert len(project.workspace().result("documents", "pages").value["chunks"]) > 5
    assert texts_of(project) == texts and len(texts["train"]) > 10
    again = digests(second)
    assert {name for name in whole if whole[name] != again[name]} <= {"manifest.json"}


def test_another_share_encodes_the_documents_newly_drawn_and_no_other(project: Project) -> None:
    project.save(mixture={"pretrain_share": 0.1})
    project.candidate()
    before, few = encoded_rows(project), texts_of(project)["train"]
    project.save(mixture={"pretrain_share": 0.2})
    project.candidate()
    after, more = encoded_rows(project), texts_of(project)["train"]
    assert few < more
    assert len(after) == len(set(after)), "no document is encoded twice"
    assert len(before) < len(after) <= len(before) + len(more - few) + 8
    project.save(mixture={"pretrain_share": 0.1})
    project.candidate()
    assert texts_of(project)["train"] == few and encoded_rows(project) == after


def test_another_seed_draws_other_documents_and_encodes_none_again(project: Project) -> None:
    project.candidate()
    first = texts_of(project)
    project.save(seed=18)
    project.candidate()
    second, rows = texts_of(project), encoded_rows(project)
    assert len(first["train"] - second["train"]) > 5 and len(second["train"] - first["train"]) > 5
    assert len(rows) == len(set(rows)), "no document is encoded twice"


def test_what_was_built_before_leaves_no_trace(project: Project) -> None:
    for seed, share in ((3, 0.2), (18, 0.1), (17, 0.15)):
        project.save(seed=seed, mixture={"pretrain_share": share})
        with_history = project.candidate()
    pieces = project.workspace().result("tokens", "pages").value["objects"]
    assert len(pieces) > 1, "the documents lie in several pieces"
    whole = digests(with_history)
    shutil.rmtree(with_history)
    shutil.rmtree(project.folder / "store")
    assert digests(project.candidate()) == whole


def test_encode_all_encodes_everything_once_and_for_every_seed_and_share(project: Project) -> None:
    project.save(encode_all=True)
    manifest = manifest_of(project.candidate())
    assert manifest["mixture"]["not_drawn"]["documents"] == manifest["mixture"]["not_drawn"]["bytes"] == 0
    assert manifest["mixture"]["not_drawn"]["windows"] > 10
    workspace = project.workspace()
    assert ("draw", "") not in workspace.nodes()
    texts, rows = texts_of(project), encoded_rows(project)
    assert len(texts["train"] | texts["validation"]) == 190 == len(rows)
    for changes in ({"seed": 5}, {"mixture": {"pretrain_share": 0.1}}, {"window": 96}, {"validation": 0.3}):
        project.save(**changes)
        project.candidate()
        assert encoded_rows(project) == rows
    project.save(encode_all=False)
    project.candidate()
    assert encoded_rows(project) == rows, "what is drawn was encoded already"


def test_too_little_text_is_all_drawn_and_said_so_by_the_mixture(project: Project) -> None:
    project.file("data/pages.jsonl", json_lines(PAGES[:2]))
    project.file("data/notes.jsonl", json_lines(NOTES[:1]))
    project.save(validation=0, mixture={"pretrain_share": 0.2, "max_repetition": 9})
    manifest = manifest_of(project.candidate())
    assert manifest["mixture"]["not_drawn"]["documents"] == 0 and manifest["mixture"]["repetition"] > 1


def test_the_order_depends_on_content_and_seed_alone() -> None:
    from tokenization.stages.selection import seeded_order

    hashes = np.random.default_rng(1).integers(0, 2**63, (500, 2), np.uint64)
    order = seeded_order(hashes, 7)
    assert sorted(order) == list(range(500)) and not (order == np.arange(500)).all()
    mixed = np.random.default_rng(2).permutation(500)
    assert (hashes[mixed][seeded_order(hashes[mixed], 7)] == hashes[order]).all()
    assert not (seeded_order(hashes, 8) == order).all()
