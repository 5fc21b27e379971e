"""Converted tiktoken ranks give tiktoken's ids; what the file does not say is taken from the known set."""

from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
import tiktoken

from tokenization.errors import RecipeError
from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.tokenizer.identity import ODD_TEXTS
from tokenization.tokenizer.patterns import CL100K
from tokenization.tokenizer.prepare import prepare_tokenizer
from tokenization.tokenizer.tiktoken_ranks import KNOWN_RANKS, read_ranks

MERGED = [b"th", b"the", b" the", b"  ", b"   ", b"aa", b"aaa", b"\xe5\xb0", b"\xe5\xb0\x8f", b"12", b"123"]


def rank_file() -> bytes:
    tokens = [bytes([byte]) for byte in range(256)] + MERGED
    lines = [base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens)]
    return b"".join(lines)


def test_ranks_of_an_unknown_vocabulary_take_cl100ks_pattern_and_say_so(tmp_path: Path, make_spec) -> None:
    (tmp_path / "my.ranks").write_bytes(rank_file())
    with pytest.raises(RecipeError, match="add_special_tokens"):
        prepare_tokenizer(make_spec("my.ranks"), tmp_path, tmp_path / "out")
    facts = prepare_tokenizer(make_spec("my.ranks", add=("<|endoftext|>",)), tmp_path, tmp_path / "out")
    assert facts.source == "tiktoken" and "no known vocabulary" in facts.notes[0]
    assert facts.document_end_token_id == 256 + len(MERGED)
    library = tiktoken.Encoding(
        "my", pat_str=CL100K, mergeable_ranks=read_ranks(rank_file(), ""), special_tokens={}
    )
    tokenizer = open_tokenizer(tmp_path / "out")
    texts = [*ODD_TEXTS, "the   theaaaaa 小小 12345 <|endoftext|>"]
    ids, offsets = tokenizer.encode_batch(texts)
    for place, text in enumerate(texts):
        row = ids[offsets[place] : offsets[place + 1]].tolist()
        assert row == library.encode_ordinary(text) and tokenizer.decode(row) == text


def test_known_vocabularies_have_special_tokens_of_their_own() -> None:
    llama3 = KNOWN_RANKS[128_000].special_tokens()
    assert len(llama3) == len(set(llama3)) == 256
    places = {token: 128_000 + place for place, token in enumerate(llama3)}
    assert places["<|end_of_text|>"] == 128_001 and places["<|eot_id|>"] == 128_009
    assert places["<|start_header_id|>"] == 128_006 and places["<|reserved_special_token_245|>"] == 128_255
    cl100k = KNOWN_RANKS[100_256].special_tokens()
    assert 100_256 + cl100k.index("<|endoftext|>") == 100_257
    assert 199_998 + KNOWN_RANKS[199_998].special_tokens().index("<|endoftext|>") == 199_999


@pytest.mark.shared
@pytest.mark.slow
def test_llama3_encodes_as_tiktoken_does(prepared, shared: Path, real_texts: list[str]) -> None:
    tokenizer = prepared("llama3")
    assert (tokenizer.document_end_token, tokenizer.document_end_token_id) == ("<|end_of_text|>", 128_001)
    assert (tokenizer.vocab_size, tokenizer.engine) == (128_256, "fastokens")
    assert tokenizer.bos_token == "<|begin_of_text|>"
    content = (shared / "data" / "tokenizers" / "llama3" / "tokenizer.model").read_bytes()
    library = tiktoken.Encoding(
        "l3", pat_str=CL100K, mergeable_ranks=read_ranks(content, ""), special_tokens={}
    )
    texts = [*real_texts, *ODD_TEXTS]
    ids, offsets = tokenizer.encode_batch(texts)
    rows = [ids[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert rows == [library.encode_ordinary(text) for text in texts] and len(ids) > 10_000
