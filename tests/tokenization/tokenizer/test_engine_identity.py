"""The fast engine is proven on every tokenizer, and one wrong document is enough to do without it."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import orjson
import pytest

from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.tokenizer.engines import FastEncoder, Ids, Offsets, OracleEncoder, flatten
from tokenization.tokenizer.identity import (
    ODD_TEXTS,
    choose_engine,
    decide_engine,
    proof_texts,
    prove_identity,
)


class WrongOnOneDocument(FastEncoder):
    """Right, except that it drops the last token of one document."""

    poison = "the 17th document"

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        ids, offsets = super().encode(texts)
        rows = [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]
        return flatten(
            [row[:-1] if text == self.poison else row for row, text in zip(rows, texts, strict=True)]
        )


def test_one_wrong_document_is_found_and_named(tiny) -> None:
    view = tiny.definition.text_view()
    texts = [f"the {place}th document" for place in range(40)]
    report = prove_identity(WrongOnOneDocument(view), OracleEncoder(view), texts)
    assert report.texts == 40 and report.tokens > 40
    assert [difference.text for difference in report.differing] == ["the 17th document"]
    assert report.differing[0].fast == [] and len(report.differing[0].oracle) == 1


def test_a_wrong_engine_is_not_taken_and_the_reason_is_said(tiny) -> None:
    choice = decide_engine(tiny.definition, proof_texts(["the 17th document"]), WrongOnOneDocument)
    assert choice.engine == "tokenizers"
    assert "1 of" in choice.note and "the 17th document" in choice.note
    assert decide_engine(tiny.definition, proof_texts(["the 17th document"])).engine == "fastokens"


def test_an_engine_that_cannot_load_is_replaced_and_the_reason_is_said(tiny) -> None:
    def refuse(view: str) -> FastEncoder:
        raise ValueError("unsupported decoder type")

    choice = decide_engine(tiny.definition, list(ODD_TEXTS), refuse)
    assert (choice.engine, choice.texts) == ("tokenizers", 0)
    assert "unsupported decoder type" in choice.note


def test_nothing_compared_proves_nothing(tiny) -> None:
    view = tiny.definition.text_view()
    assert not prove_identity(FastEncoder(view), OracleEncoder(view), []).identical


def test_the_recorded_choice_is_the_one_every_worker_takes(
    tiny_directory: Path, tiny, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(tiny_directory, copy)
    assert open_tokenizer(copy).engine == "fastokens"
    record = orjson.loads((copy / "engine.json").read_bytes())
    record |= {"engine": "tokenizers", "note": "it was wrong on one document"}
    (copy / "engine.json").write_bytes(orjson.dumps(record))
    fallback = open_tokenizer(copy)
    assert (fallback.engine, fallback.engine_note) == ("tokenizers", "it was wrong on one document")
    ours, theirs = fallback.encode_batch(list(ODD_TEXTS)), tiny.encode_batch(list(ODD_TEXTS))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_sample_is_bounded_and_keeps_the_odd_texts() -> None:
    texts = proof_texts("x" * 60_000 for _ in range(10_000))
    assert texts[: len(ODD_TEXTS)] == list(ODD_TEXTS)
    assert len(texts) == len(ODD_TEXTS) + 20 and max(map(len, texts)) == 50_000


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["gpt2", "minimind", "llama2", "qwen3", pytest.param("qwen2.5", marks=pytest.mark.slow)]
)
def test_the_fast_engine_serves_the_real_tokenizers(prepared, real_texts: list[str], name: str) -> None:
    tokenizer = prepared(name)
    choice = choose_engine(tokenizer.directory, real_texts)
    assert (choice.engine, choice.note) == ("fastokens", "")
    assert choice.texts >= len(ODD_TEXTS) + len(real_texts) and choice.tokens > 10_000
