"""The same recipe gives the same bytes, whoever does the work and however the files are cut into chunks."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from builds_read import dataset_of, decoder, segments_of
from small_recipes import (
    Project,
    chat_source,
    json_lines,
    paragraph,
    question_rows,
    small_project,
    text_source,
)

from tokenization.engine import Engine
from tokenization.hashing import file_digest

CHUNK = "6000"  # bytes; the sources below have 30 kB to 60 kB
PAGES = [{"id": f"p{n}", "text": paragraph(random.Random(n), 4)} for n in range(120)]


def project_of(new_project: Callable[..., Project], sessions: int = 260) -> Project:
    """One source of each kind, in several chunks with lines across their borders."""
    project = new_project(
        name="bytes",
        sources=[
            text_source("pages", "data/pages.jsonl"),
            chat_source("questions", "data/many.jsonl"),
        ],
    )
    project.file("data/pages.jsonl", json_lines(PAGES))
    project.file("data/many.jsonl", json_lines(question_rows()[:sessions]))
    return project


def digests(build: Path) -> dict[str, str]:
    """Every file of the dataset, and what else must be equal."""
    names = [path for path in build.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(build).as_posix(): file_digest(path) for path in sorted(names)}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, small_tokenizer: Path) -> Project:
    folder = tmp_path_factory.mktemp("bytes") / "project"
    return project_of(lambda **changes: small_project(folder, small_tokenizer, **changes))


@pytest.fixture(scope="module")
def whole(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build with chunks of the usual size, put aside."""
    return Path(project.candidate()).rename(tmp_path_factory.mktemp("whole") / "build")


@pytest.mark.parametrize(
    ("sessions", "in_chunks"),
    [(20, ["pages"]), pytest.param(260, ["pages", "questions"], marks=pytest.mark.slow)],
)
def test_one_worker_and_two_give_the_same_build_and_two_did_share_the_work(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch, sessions: int, in_chunks: list[str]
) -> None:
    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", CHUNK)
    one, two = project_of(new_project, sessions), project_of(new_project, sessions)
    alone = one.candidate(engine=Engine(workers=1))
    told = two.built("--workers", 2)
    assert told["reused"] is False and told["fingerprint"] == alone.name
    assert digests(alone) == digests(two.out.resolve())
    assert len(digests(alone)) > 10

    for project, most in ((one, 1), (two, 2)):
        workspace = project.workspace()
        for stage in ("documents", "tokens"):
            for source in in_chunks:
                value = workspace.result(stage, source).value
                assert len(value["chunks"]) >= 3
        workers = [
            workspace.result(stage, source).value["workers"]
            for stage in ("documents", "tokens")
            for source in in_chunks
        ]
        assert max(workers) == most, workers
    crossing_borders(one)


def crossing_borders(project: Project) -> None:
    """The pieces' borders do fall inside lines, else the test above shows little."""
    text = (project.folder / "data" / "pages.jsonl").read_bytes()
    borders = range(int(CHUNK), len(text), int(CHUNK))
    assert sum(text[border - 1 : border] != b"\n" for border in borders) >= 3


@pytest.mark.parametrize("size", [5000, 9000, 1 << 20])
def test_other_chunk_sizes_give_the_same_build(
    project: Project,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    shutil.rmtree(project.folder / "store")
    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", str(size))
    assert len(dataset_of(whole)["train"]) > 50
    made = project.candidate()
    assert dataset_of(made) == dataset_of(whole) and digests(made) == digests(whole)
    fingerprints = [
        json.loads((build / "manifest.json").read_text())["fingerprint"] for build in (made, whole)
    ]
    assert fingerprints[0] == fingerprints[1]


def test_every_page_comes_back_whole_from_a_build_of_texts_alone(new_project: Callable[..., Project]) -> None:
    project = new_project(
        name="texts", sources=[text_source("pages", "data/pages.jsonl")], mixture=None, chat=None
    )
    project.file("data/pages.jsonl", json_lines(PAGES))
    build = project.candidate()
    manifest = json.loads((build / "manifest.json").read_text())
    assert manifest["mixture"] is None and manifest["template_fingerprint"] is None
    assert manifest["proof"] == {"sessions": 0, "proven": 0, "set_aside": 0, "lossy": 0}
    assert manifest["tokenizer"]["stop_token_ids"] == [manifest["tokenizer"]["document_end_token_id"]]
    decode = decoder(build)
    shown = segments_of(dataset_of(build))
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
    build = project.candidate()
    assert json.loads((build / "manifest.json").read_text())["mixture"] is None
    dataset = dataset_of(build)
    for row in [row for rows in dataset.values() for row in rows]:
        assert row["kind"] == "sft" and len(row["seq_lens"]) == 1
        assert row["seq_lens"][0] == len(row["input_ids"]) == len(row["loss_mask"])
    decode = decoder(build)
    shown = {item: decode(pieces[0][0]) for (_, _, item), pieces in segments_of(dataset).items()}
    assert len(shown) == 260
    for row in question_rows():
        asked, answered = (message["content"] for message in row["messages"])
        turns = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{answered}<|im_end|>\n"
        assert shown[row["id"]] == turns
