"""Items become token sequences: documents closed, sessions made to fit, every one accounted for."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_recipes import Project, chat_source, json_lines, sentence, text_source

from tokenization.build.verify import verify
from tokenization.errors import BuildError
from tokenization.ledger import Entry, problems
from tokenization.stages.tables import TableWriter
from tokenization.stages.text_tokens import batches, close_documents, kept_texts


@given(st.lists(st.lists(st.integers(1, 60_000), max_size=6), max_size=8))
def test_every_document_keeps_its_ids_and_gains_its_end(documents: list[list[int]]) -> None:
    ids = np.array([token for document in documents for token in document], np.uint32)
    offsets = np.cumsum([0, *(len(document) for document in documents)])
    closed, lengths = close_documents(ids, offsets, 7, np.dtype(np.uint16))
    assert closed.tolist() == [token for document in documents for token in [*document, 7]]
    assert lengths.tolist() == [len(document) + 1 for document in documents]
    assert closed.dtype == np.uint16


def test_batches_hold_every_text_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from tokenization.stages import text_tokens

    monkeypatch.setattr(text_tokens, "BATCH_BYTES", 10)
    texts = ["a" * 4, "b" * 7, "", "c" * 30, "d"]
    column = pa.array(["zz", *texts], pa.large_string())
    assert list(batches(column.slice(1))) == [["aaaa"], ["bbbbbbb", ""], ["c" * 30], ["d"]]
    assert list(batches(column.slice(1, 0))) == []


@given(st.lists(st.lists(st.text(max_size=3), max_size=4), min_size=1, max_size=5), st.data())
def test_kept_texts_are_those_of_the_rows_asked_for_however_the_rows_are_stored(
    stored: list[list[str]], data: st.DataObject
) -> None:
    texts = [text for batch in stored for text in batch]
    chosen = data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts)))
    rows = np.flatnonzero(np.array(chosen, bool)).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.arrow"
        with TableWriter(path) as writer:
            for batch in stored:
                place = pa.array(range(len(batch)), pa.int64())
                writer.write(pa.table({"place": place, "text": pa.array(batch, pa.large_string())}))
        kept = [text for array in kept_texts(path, rows) for text in array.to_pylist()]
    assert kept == [text for text, keep in zip(texts, chosen, strict=True) if keep]


def long_talks() -> list[dict[str, Any]]:
    """One short session, one of many turns, one whose only answer is longer than any window."""
    import random

    chance = random.Random(9)

    def turns(count: int) -> list[dict[str, str]]:
        made = [{"role": "system", "content": "Be brief."}]
        for _ in range(count):
            made += [
                {"role": "user", "content": sentence(chance)},
                {"role": "assistant", "content": sentence(chance)},
            ]
        return made

    endless = [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "word " * 400}]
    return [
        {"id": "short", "messages": turns(1)},
        {"id": "long", "messages": turns(12)},
        {"id": "endless", "messages": endless},
    ]


@pytest.mark.parametrize("policy", ["drop_turns", "set_aside", "split"])
def test_no_session_is_longer_than_the_window_and_the_policy_is_on_record(
    new_project: Callable[..., Project], policy: str
) -> None:
    project = new_project(
        name="long",
        sources=[chat_source("long", "data/long.jsonl")],
        mixture=None,
        validation=0,
        chat={"template": "chatml", "default_system": "none", "overlong": policy},
    )
    project.file("data/long.jsonl", json_lines(long_talks()))
    build = project.candidate()
    assert [finding.line() for finding in verify(build) if not finding.passed] == []
    items = {row["item"]: row for row in pq.read_table(build / "items.parquet").to_pylist()}
    manifest = json.loads((build / "manifest.json").read_text())
    assert max(row["num_tokens"] for row in items.values()) <= 128
    assert items["short"]["cut"] is None and items["short"]["actions"] == []
    names = Counter(name.split("#")[0] for name in items)
    assert names["endless"] == 0 and sum(manifest["sources"]["long"]["set_aside"].values()) >= 1
    if policy == "drop_turns":
        assert names["long"] == 1 and items["long"]["actions"][0].startswith("drop_turns:")
        kept = json.loads(items["long"]["messages"])
        assert kept[0]["role"] == "system" and len(kept) < 25
    if policy == "set_aside":
        assert names["long"] == 0 and sum(manifest["sources"]["long"]["set_aside"].values()) == 2
    if policy == "split":
        assert names["long"] > 2 and items["long#1"]["cut"] == 1
        assert sum(entry["added"].get("cuts", 0) for entry in entries(build) if entry["stage"] == "cut") == (
            names["long"] - 1
        )
    assert problems([Entry.from_json(entry) for entry in entries(build)]) == []


def test_sessions_fitted_with_the_rest_of_their_chunk_are_those_fitted_to_a_window_asked_for_later(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenization.stages import chat_jobs

    def fitted(first_window: int) -> dict[str, bytes]:
        project = new_project(
            name="long",
            sources=[chat_source("long", "data/long.jsonl")],
            mixture=None,
            validation=0,
            window=first_window,
        )
        project.file("data/long.jsonl", json_lines(long_talks()))
        later = []
        with monkeypatch.context() as patch:
            patch.setattr(chat_jobs, "fit_chunk", lambda job: later.append(job) or fit_chunk(job))
            for window in (first_window, 128):
                project.save(window=window)
                project.candidate()
        assert len(later) == (first_window != 128)
        workspace = project.workspace()
        (key,) = workspace.result("tokens", "long").value["objects"]
        folder = workspace.store.path("tokens", key)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    fit_chunk = chat_jobs.fit_chunk
    at_once, afterwards = fitted(128), fitted(1024)
    assert at_once.keys() == afterwards.keys() > {"ids.bin", "mask.bin", "sequences.arrow", "meta.json"}
    assert at_once == afterwards


def entries(build: Path) -> list[dict[str, Any]]:
    return list(json.loads((build / "ledger.json").read_text())["entries"])


def test_a_stage_that_lacks_its_inputs_says_what_to_run(new_project: Callable[..., Project]) -> None:
    workspace = new_project().workspace()
    assert workspace.find("windows") is None and workspace.key("windows") is None
    with pytest.raises(BuildError, match="materialise documents first"):
        workspace.result("documents", "books")
    with pytest.raises(BuildError, match="tokens of 'books' has not been made"):
        workspace.run("tokens", "books")


def test_a_result_that_is_forgotten_is_made_again_and_the_same(good: Project) -> None:
    workspace = good.workspace()
    first = workspace.result("selection")
    workspace.forget("selection")
    assert workspace.find("selection") is None
    again = workspace.run("selection")
    assert not again.reused and again.fingerprint == first.fingerprint
    assert good.workspace().find("selection") is not None


def test_duplicates_are_dropped_within_a_kind_and_kept_where_that_is_asked(
    new_project: Callable[..., Project],
) -> None:
    text = [{"text": "The same words."}] * 3 + [{"text": "Other words."}]
    project = new_project(
        name="twice",
        mixture=None,
        chat=None,
        validation=0,
        sources=[text_source("first", "data/a.jsonl"), text_source("second", "data/b.jsonl")],
    )
    project.file("data/a.jsonl", json_lines(text))
    project.file("data/b.jsonl", json_lines(text))
    for dedup, kept in ((True, (2, 0)), (False, (4, 4))):
        project.save(cleaning={"exact_dedup": dedup})
        workspace = project.workspace()
        for source in ("first", "second"):
            workspace.run("documents", source)
        counts = workspace.run("selection").value["counts"]
        assert (counts["first"]["train"], counts["second"]["train"]) == kept


def test_a_file_behind_the_tokenizer_s_sample_leaves_its_proof_alone(
    new_project: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = new_project(
        name="proved", mixture=None, chat=None, sources=[text_source("pages", "data/pages/*.jsonl")]
    )
    rows = [{"text": f"Page {number} of many."} for number in range(480)]
    first = project.file("data/pages/a.jsonl", json_lines(rows[:450]))
    project.file("data/pages/b.jsonl", json_lines(rows[450:]))

    def key() -> str | None:
        workspace = project.workspace()
        workspace.run("documents", "pages")
        return workspace.key("tokenizer")

    monkeypatch.setenv("TOKENMILL_CHUNK_BYTES", "4000")
    before = key()
    project.file("data/pages/b.jsonl", json_lines(rows[451:]))
    assert key() == before
    first.write_text(json_lines(rows[1:450]))
    assert key() != before
