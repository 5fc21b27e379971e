"""A converted SentencePiece model gives the model's ids, or the model itself encodes."""

from __future__ import annotations

import io
import itertools
from pathlib import Path

import numpy as np
import orjson
import pytest
import sentencepiece

from tokenization.errors import RecipeError
from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.tokenizer.engines import OracleEncoder, PieceEncoder
from tokenization.tokenizer.identity import ODD_TEXTS, choose_engine, prove_identity
from tokenization.tokenizer.prepare import prepare_tokenizer
from tokenization.tokenizer.sentencepiece_model import convert
from tokenization.tokenizer.sentencepiece_proto import (
    PieceType,
    looks_like_model,
    read_model,
    with_controls,
    without_dummy_prefix,
)

PLAIN = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}


def trained(texts: list[str], **options: object) -> bytes:
    model = io.BytesIO()
    lines = [line for text in texts for line in text.split("\n")]
    options = {"vocab_size": 420, "hard_vocab_limit": False, "minloglevel": 2, "num_threads": 1} | options
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **options)
    return model.getvalue()


def test_the_fields_read_are_those_of_the_library(texts: list[str]) -> None:
    content = trained(texts, model_type="bpe", byte_fallback=True, user_defined_symbols=["<think>"], pad_id=3)
    model, library = read_model(content), sentencepiece.SentencePieceProcessor(model_proto=content)
    assert len(model.pieces) == library.get_piece_size() > 300
    for index, piece in enumerate(model.pieces):
        assert (piece.text, np.float32(piece.score)) == (library.id_to_piece(index), library.get_score(index))
        assert (piece.type is PieceType.CONTROL) == library.is_control(index)
        assert (piece.type is PieceType.BYTE) == library.is_byte(index)
    ids = (library.unk_id(), library.bos_id(), library.eos_id(), library.pad_id())
    assert (model.unk_id, model.bos_id, model.eos_id, model.pad_id) == ids
    assert model.byte_fallback and model.add_dummy_prefix


def test_a_rewritten_model_is_still_the_librarys(texts: list[str]) -> None:
    content = trained(texts, model_type="bpe", user_defined_symbols=["<think>"], **PLAIN)
    think = next(i for i, piece in enumerate(read_model(content).pieces) if piece.text == "<think>")
    plain = sentencepiece.SentencePieceProcessor(model_proto=content)
    spared = sentencepiece.SentencePieceProcessor(model_proto=with_controls(content, {think}))
    bare = sentencepiece.SentencePieceProcessor(model_proto=without_dummy_prefix(content))
    assert think in plain.encode("a<think>b") and think not in spared.encode("a<think>b")
    assert plain.encode("the", out_type=str)[0].startswith("▁")
    assert not bare.encode("the", out_type=str)[0].startswith("▁")
    assert spared.encode("the fox") == plain.encode("the fox")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("options", [PLAIN, {}, {"add_dummy_prefix": False, **PLAIN}], ids=str)
def test_a_conversion_gives_the_models_ids_or_says_why_not(
    texts: list[str], kind: str, options: dict
) -> None:
    raw = convert(trained(texts, model_type=kind, **options))
    view = Definition(orjson.loads(raw.definition)).text_view()
    report = prove_identity(OracleEncoder(view), PieceEncoder(raw.model), [*ODD_TEXTS, *texts])
    assert report.identical or raw.inexact
    assert report.tokens > 2_000


def test_plain_bpe_models_convert_exactly(texts: list[str]) -> None:
    raw = convert(trained(texts, model_type="bpe", byte_fallback=True, **PLAIN))
    assert raw.inexact == "" and raw.notes == []


def test_where_no_tokenizer_json_can_say_it_the_model_encodes(texts, tmp_path: Path, make_spec) -> None:
    content = trained(texts, model_type="bpe", treat_whitespace_as_suffix=True, byte_fallback=True, **PLAIN)
    (tmp_path / "odd.bin").write_bytes(content)
    prepare_tokenizer(make_spec("odd.bin"), tmp_path, tmp_path / "out")
    choice = choose_engine(tmp_path / "out", texts)
    tokenizer = open_tokenizer(tmp_path / "out")
    assert choice.engine == tokenizer.engine == "sentencepiece" and "spaces" in tokenizer.engine_note
    library = sentencepiece.SentencePieceProcessor(model_proto=content)
    ids, offsets = tokenizer.encode_batch(texts)
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)] == library.encode(texts)


def test_a_model_is_known_by_its_content(texts, tmp_path: Path, make_spec) -> None:
    content = trained(texts, model_type="bpe", **PLAIN)
    (tmp_path / "some.dir").mkdir()
    (tmp_path / "some.dir" / "anything.v7").write_bytes(content)
    facts = prepare_tokenizer(make_spec("some.dir"), tmp_path, tmp_path / "out")
    assert (facts.source, facts.document_end_token, facts.bos_token) == ("sentencepiece", "</s>", "<s>")
    assert looks_like_model(content)
    assert (
        not looks_like_model(content[:-3])
        and not looks_like_model(b"\x0a\x03abc")
        and not looks_like_model(b"")
    )


def test_models_of_other_types_are_refused(texts: list[str]) -> None:
    with pytest.raises(RecipeError, match="type char"):
        convert(trained(texts, model_type="char"))


@pytest.mark.shared
@pytest.mark.parametrize("name", ["llama2/tokenizer.model", "mistral-v3/tokenizer.model.v3"])
def test_real_models_encode_as_sentencepiece_does(prepared, shared: Path, real_texts, name: str) -> None:
    tokenizer = prepared(name)
    assert (tokenizer.engine, tokenizer.facts.inexact) == ("fastokens", "")
    library = sentencepiece.SentencePieceProcessor(model_file=str(shared / "data" / "tokenizers" / name))
    given = [*real_texts, *ODD_TEXTS]
    ids, offsets = tokenizer.encode_batch(given)
    expected = library.encode(given)
    assert [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)] == expected
    assert len(ids) > 10_000


@pytest.mark.shared
def test_mistrals_control_tokens_are_markers(prepared) -> None:
    tokenizer = prepared("mistral-v3/tokenizer.model.v3")
    assert tokenizer.added_tokens["[INST]"] == 3 and 3 in tokenizer.special_ids
    ids, _ = tokenizer.encode_batch(["[INST] typed [/INST]"])
    assert not tokenizer.special_ids.intersection(ids.tolist())
    assert tokenizer.decode(ids.tolist()) == "[INST] typed [/INST]"
