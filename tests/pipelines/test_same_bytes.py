"""The same recipe gives the same bytes, whoever does the work and however the files are cut into chunks."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from builds_read import dataset_of, decoder, segments_of
from small_recipes import Project, chat_source, json_lines, paragraph, question_rows, text_source

from tokenization.hashing import file_digest

CHUNK = "6000"  # bytes; the sources below have 30 kB to 60 kB
PAGES = [{"id": f"p{n}", "text": paragraph(random.Random(n), 4)} for n in range(120)]


def project_of(new_project: Callable[..., Project]) -> Project:
    """One source of each kind, each in several chunks with lines across their borders."""
    project = new_project(
        name="bytes",
        sources=[
            text_source("pages", "data/pages.jsonl"),
            chat_source("questions", "data/many.jsonl"),
        ],
    )
    project.file("data/pages.jsonl", json_lines(PAGES))
    project.file("data/many.jsonl", json_lines(question_rows()))
    return project


def digests(build: Path) -> dict[str, str]:
    """Every file of the dataset, and what else must be equal."""
    names = [path for path in build.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(build).as_posix(): file_digest(path) for path in sorted(names)}


def test_one_worker_and_two_give_the_same_build_and_two_did_share_the_work(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = project_of(new_project), project_of(new_project)
    for project, workers in ((one, 1), (two, 2)):
        told = project.built("--workers", workers, TOKENMILL_CHUNK_BYTES=CHUNK)
        assert told["reused"] is False and len(project.steps()) == 1
    assert one.manifest["fingerprint"] == two.manifest["fingerprint"]
    assert digests(one.out.resolve()) == digests(two.out.resolve())
    assert len(digests(one.out.resolve())) > 10

    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", CHUNK)
    for project, most in ((one, 1), (two, 2)):
        workspace = project.workspace()
        for stage in ("documents", "tokens"):
            for source in ("pages", "questions"):
                value = workspace.result(stage, source).value
                assert len(value["chunks"]) >= 3
        workers = [
            workspace.result(stage, source).value["workers"]
            for stage in ("documents", "tokens")
            for source in ("pages", "questions")
        ]
        assert max(workers) == most, workers
    crossing_borders(one)


def crossing_borders(project: Project) -> None:
    """The pieces' borders do fall inside lines, else the test above shows little."""
    text = (project.folder / "data" / "pages.jsonl").read_bytes()
    borders = range(int(CHUNK), len(text), int(CHUNK))
    assert sum(text[border - 1 : border] != b"\n" for border in borders) >= 3


def test_other_chunk_sizes_give_the_same_rows_and_the_same_fingerprint(
    new_project: Callable[..., Project],
) -> None:
    first, second = project_of(new_project), project_of(new_project)
    first.built(TOKENMILL_CHUNK_BYTES="9000")
    second.built(TOKENMILL_CHUNK_BYTES=str(1 << 20))
    rows = [dataset_of(project.out) for project in (first, second)]
    assert len(rows[0]["train"]) > 50 and rows[0] == rows[1]
    assert first.manifest["fingerprint"] == second.manifest["fingerprint"]
    parts = [project.manifest["splits"] for project in (first, second)]
    assert parts[0] == parts[1]


def test_every_page_comes_back_whole_from_a_build_of_texts_alone(new_project: Callable[..., Project]) -> None:
    project = new_project(
        name="texts", sources=[text_source("pages", "data/pages.jsonl")], mixture=None, chat=None
    )
    project.file("data/pages.jsonl", json_lines(PAGES))
    project.built(TOKENMILL_CHUNK_BYTES=CHUNK)
    manifest = project.manifest
    assert manifest["mixture"] is None and manifest["template_fingerprint"] is None
    assert manifest["proof"] == {"sessions": 0, "proven": 0, "set_aside": 0, "lossy": 0}
    assert manifest["tokenizer"]["stop_token_ids"] == [manifest["tokenizer"]["document_end_token_id"]]
    decode = decoder(project.out)
    shown = segments_of(dataset_of(project.out))
    texts = {
        item: decode([token for start in sorted(pieces) for token in pieces[start][0]])
        for (_, _, item), pieces in shown.items()
    }
    assert texts == {page["id"]: page["text"] + "<|endoftext|>" for page in PAGES}
    told = manifest["splits"]
    assert sum(split["num_pad_tokens"] > 0 for split in told.values()) <= 2
    assert all(split["num_pad_tokens"] < manifest["window"] for split in told.values())


def test_every_session_comes_back_from_a_build_of_chats_alone(new_project: Callable[..., Project]) -> None:
    project = new_project(
        name="chats",
        sources=[chat_source("questions", "data/questions.jsonl")],
        mixture=None,
        sft={"layout": "rows"},
    )
    project.built()
    assert project.manifest["mixture"] is None
    dataset = dataset_of(project.out)
    for row in [row for rows in dataset.values() for row in rows]:
        assert row["kind"] == "sft" and len(row["seq_lens"]) == 1
        assert row["seq_lens"][0] == len(row["input_ids"]) == len(row["loss_mask"])
    decode = decoder(project.out)
    shown = {item: decode(pieces[0][0]) for (_, _, item), pieces in segments_of(dataset).items()}
    assert len(shown) == 260
    for row in question_rows():
        asked, answered = (message["content"] for message in row["messages"])
        turns = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{answered}<|im_end|>\n"
        assert shown[row["id"]] == turns

