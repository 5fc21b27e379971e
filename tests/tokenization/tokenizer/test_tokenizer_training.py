"""A trained tokenizer is the same bytes run after run, and depends on its text and seed alone."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tokenization.errors import RecipeError
from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.tokenizer.identity import ODD_TEXTS, choose_engine
from tokenization.tokenizer.prepare import prepare_tokenizer
from tokenization.tokenizer.train import (
    SHOWN_TOKENS,
    SPECIAL_TOKENS,
    sample_texts,
    train_bpe,
    train_tokenizer,
)

ELSEWHERE = """
import hashlib, sys
sys.path[:0] = [{root!r}, {here!r}]
from conftest import TEXTS
from tokenization.tokenizer.train import train_tokenizer
for kind in ("bpe", "unigram"):
    print(hashlib.sha256(train_tokenizer(kind, TEXTS, 400, ["<|x|>"], 17).definition).hexdigest())
"""


def test_the_bytes_are_the_same_in_another_process_with_another_number_of_threads(texts: list[str]) -> None:
    import hashlib

    here = Path(__file__).resolve().parent
    script = ELSEWHERE.format(root=str(here.parents[2]), here=str(here))
    environment = {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    there = done.stdout.split()
    shuffled = random.Random(3).sample(texts, len(texts))
    raws = [train_tokenizer(kind, shuffled, 400, ["<|x|>"], 17) for kind in ("bpe", "unigram")]
    assert [hashlib.sha256(raw.definition).hexdigest() for raw in raws] == there


def test_special_tokens_come_first_in_the_recorded_order(tiny) -> None:
    expected = [*SPECIAL_TOKENS, *SHOWN_TOKENS, "<|narrator|>"]
    assert [tiny.added_tokens[token] for token in expected] == list(range(len(expected)))
    assert tiny.token_to_id("<|endoftext|>") == tiny.document_end_token_id == 0
    assert (tiny.eos_token, tiny.pad_token, tiny.facts.source) == ("<|im_end|>", "<|pad|>", "trained")


def test_a_digit_is_a_token_of_its_own(texts: list[str]) -> None:
    tokenizer = train_bpe([*texts, "2026 " * 200], 400, list(SPECIAL_TOKENS), 0)
    assert tokenizer.encode("2026", add_special_tokens=False).tokens == [*"2026"]


def test_the_sample_is_bounded_and_no_order_changes_it() -> None:
    texts = [f"text number {place} " * 9 for place in range(500)]
    shuffled = random.Random(1).sample(texts, len(texts))
    kept = sample_texts(texts, 17, limit=5_000)
    assert kept == sample_texts(shuffled, 17, limit=5_000) == sample_texts(texts * 2, 17, limit=5_000)
    assert 4_000 < sum(map(len, kept)) <= 5_000
    assert kept != sample_texts(texts, 18, limit=5_000), "the seed chooses others"
    assert sorted(sample_texts(texts, 17)) == sorted(texts), "what fits is kept whole"


def test_a_long_document_does_not_fill_the_sample() -> None:
    long = "".join(f"{place} " for place in range(200_000))
    short = [f"short {place}" for place in range(200)]
    kept = sample_texts([long, *short], 17, limit=200_000)
    assert sum(map(len, kept)) <= 200_000 and any(text in kept for text in short)


def test_a_text_too_small_for_the_vocabulary_gives_a_smaller_one_and_says_so(texts: list[str]) -> None:
    for kind in ("bpe", "unigram"):
        raw = train_tokenizer(kind, texts[:1], 5_000, [], 0)
        assert "instead of the 5,000 asked" in raw.notes[0]
    assert train_tokenizer("bpe", texts, 300, [], 0).notes == []


def test_what_cannot_be_trained_is_said(tmp_path: Path, make_spec) -> None:
    with pytest.raises(RecipeError, match=r"vocab_size is 260, .* use at least 266"):
        train_tokenizer("bpe", ["text"], 260, [], 0)
    with pytest.raises(RecipeError, match="no text to train on"):
        train_tokenizer("bpe", [], 400, [], 0)
    with pytest.raises(RecipeError, match="no text to train on"):
        train_tokenizer("unigram", ["", "\n"], 400, [], 0)
    with pytest.raises(RecipeError, match="can be bpe or unigram"):
        train_tokenizer("wordpiece", ["text"], 400, [], 0)
    with pytest.raises(RecipeError, match="neither a path nor text"):
        prepare_tokenizer(make_spec(kind="bpe", vocab_size=400), tmp_path, tmp_path / "out")


def test_a_unigram_keeps_texts_whole_and_typed_markers_and_bytes_text(
    texts, tmp_path: Path, make_spec
) -> None:
    spec = make_spec(kind="unigram", vocab_size=420, add=("<|narrator|>",))
    facts = prepare_tokenizer(spec, tmp_path, tmp_path, training_texts=iter(texts))
    choose_engine(tmp_path, texts)
    tokenizer = open_tokenizer(tmp_path)
    assert (facts.kind, facts.document_end_token_id, tokenizer.prefix_scope) == ("unigram", 0, "never")
    assert tokenizer.engine_note or tokenizer.engine == "fastokens"
    given = [*texts[:5], *ODD_TEXTS, "<0x0A> <|narrator|></think>", " \ufffe<|narrator|>"]
    ids, offsets = tokenizer.encode_batch(given)
    for place, text in enumerate(given):
        row = ids[offsets[place] : offsets[place + 1]].tolist()
        assert tokenizer.decode(row) == text or "▁" in text, "U+2581 itself is how a space is spelt"
        assert not tokenizer.special_ids.intersection(row)
