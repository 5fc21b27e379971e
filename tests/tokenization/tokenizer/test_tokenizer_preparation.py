"""From a recipe's section to a prepared directory: what is found, what is added, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tokenization.errors import BuildError, RecipeError
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.layout import read_facts
from tokenization.tokenizer.prepare import prepare_tokenizer


def write_tokenizer(
    directory: Path, tiny: PreparedTokenizer, drop: tuple[str, ...] = (), **config: object
) -> Path:
    """A Hugging Face directory like the tiny tokenizer's, some of its markers renamed away."""
    directory.mkdir()
    text = (tiny.directory / "tokenizer.json").read_text(encoding="utf-8")
    for token in drop:
        text = text.replace(token, token.replace("e", "3").replace("a", "4"))
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    (directory / "tokenizer_config.json").write_bytes(orjson.dumps(config))
    return directory


def test_a_definition_that_needs_no_change_is_copied_byte_for_byte(tiny, tmp_path: Path, make_spec) -> None:
    source = write_tokenizer(tmp_path / "source", tiny)
    prepare_tokenizer(make_spec("source", add=("<|im_end|>",)), tmp_path, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_a_lone_tokenizer_json_is_enough_and_its_neighbours_are_read(tiny, tmp_path: Path, make_spec) -> None:
    write_tokenizer(
        tmp_path / "source", tiny, chat_template="{{ messages }}", eos_token={"content": "<|im_end|>"}
    )
    prepare_tokenizer(make_spec("source/tokenizer.json"), tmp_path, tmp_path / "out")
    opened = open_tokenizer(tmp_path / "out")
    assert (opened.chat_template, opened.eos_token) == ("{{ messages }}", "<|im_end|>")
    assert (opened.document_end_token, opened.pad_token) == ("<|endoftext|>", "<|pad|>")


@pytest.mark.parametrize(
    "template", [[{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], "d"]
)
def test_the_default_chat_template_is_taken(tiny, tmp_path: Path, make_spec, template: object) -> None:
    source = write_tokenizer(tmp_path / "source", tiny, chat_template=template)
    prepare_tokenizer(make_spec("source"), tmp_path, tmp_path / "out")
    assert open_tokenizer(tmp_path / "out").chat_template == "d"
    (source / "chat_template.jinja").write_text("beside", encoding="utf-8")
    prepare_tokenizer(make_spec("source"), tmp_path, tmp_path / "out")
    assert open_tokenizer(tmp_path / "out").chat_template == "beside", "prepared anew, read anew"


def test_added_tokens_follow_the_vocabulary_and_existing_ids_stay(tiny, tmp_path: Path, make_spec) -> None:
    write_tokenizer(tmp_path / "source", tiny)
    wanted = make_spec("source", add=("<|new|>", "<|im_end|>"))
    facts = prepare_tokenizer(wanted, tmp_path, tmp_path / "out", extra_tokens=("<|scene|>", "<|new|>"))
    opened = open_tokenizer(tmp_path / "out")
    assert facts.vocab_size == tiny.vocab_size + 2 and facts.largest_id == tiny.largest_id + 2
    assert opened.added_tokens == tiny.added_tokens | {
        "<|new|>": tiny.largest_id + 1,
        "<|scene|>": tiny.largest_id + 2,
    }
    ids, _ = opened.encode_batch(["a <|new|> b"])
    assert opened.added_tokens["<|new|>"] not in ids and opened.decode(ids.tolist()) == "a <|new|> b"


def test_the_fingerprint_follows_the_tokens_the_document_end_and_nothing_else(
    tiny, tmp_path, make_spec
) -> None:
    write_tokenizer(tmp_path / "source", tiny)
    specs = {
        "same": make_spec("source"),
        "named": make_spec("source", document_end="<|endoftext|>"),
        "end": make_spec("source", document_end="<|im_end|>"),
        "added": make_spec("source", add=("<|new|>",)),
    }
    prints = {name: prepare_tokenizer(s, tmp_path, tmp_path / name).fingerprint for name, s in specs.items()}
    assert prints["same"] == prints["named"] and len(set(prints.values())) == 3


def test_the_document_end_is_the_first_that_the_vocabulary_has(tiny, tmp_path: Path, make_spec) -> None:
    write_tokenizer(tmp_path / "without", tiny, drop=("<|endoftext|>",), eos_token="<|im_end|>")
    with pytest.raises(RecipeError, match=r"document_end: auto finds none of .*add_special_tokens"):
        prepare_tokenizer(make_spec("without"), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenmill.json").exists()
    facts = prepare_tokenizer(make_spec("without", add=("<eos>", "</s>")), tmp_path, tmp_path / "out")
    assert facts.document_end_token == "</s>" and facts.document_end_token_id == tiny.largest_id + 2


def test_a_named_document_end_is_one_token_or_refused(tiny, tmp_path: Path, make_spec) -> None:
    write_tokenizer(tmp_path / "source", tiny)
    facts = prepare_tokenizer(make_spec("source", document_end="<|pad|>"), tmp_path, tmp_path / "out")
    assert facts.document_end_token_id == facts.pad_token_id == tiny.added_tokens["<|pad|>"]
    newline = prepare_tokenizer(make_spec("source", document_end="\n"), tmp_path, tmp_path / "out")
    assert tiny.token_bytes(newline.document_end_token_id) == b"\n"
    with pytest.raises(RecipeError, match=r"'<\|stop\|>' is \d+ tokens .* must be one"):
        prepare_tokenizer(make_spec("source", document_end="<|stop|>"), tmp_path, tmp_path / "out")


def test_padding_falls_back_to_a_pad_like_token_and_then_to_the_document_end(
    tiny, tmp_path, make_spec
) -> None:
    write_tokenizer(tmp_path / "named", tiny, pad_token="<|im_start|>")
    write_tokenizer(tmp_path / "like", tiny, pad_token="<nowhere>")
    write_tokenizer(tmp_path / "none", tiny, drop=("<|pad|>",))
    pads = [
        prepare_tokenizer(make_spec(n), tmp_path, tmp_path / "out").pad_token
        for n in ("named", "like", "none")
    ]
    assert pads == ["<|im_start|>", "<|pad|>", "<|endoftext|>"]


REFUSED: dict[str, tuple[str, bytes | None, str]] = {
    "nothing": ("nowhere.json", None, "there is nothing at"),
    "empty": ("empty.model", b"", "is an empty file"),
    "text": ("notes.txt", b"just some words\n" * 9, "begins with b'just some words"),
    "json": ("data.json", b'{"model_type": "llama", "layers": 2}', "JSON with the keys model_type, layers"),
    "list": ("list.json", b"[1, 2]", "a JSON list"),
    "broken": ("broken.json", b'{"model": {"vocab"', "broken JSON"),
    "tekken": ("tekken.json", b'{"config": {}, "vocab": [{"rank": 0}]}', "tekken"),
    "ranks": ("ranks.tiktoken", b"IQ== 0\nIg== 1\nIw== 7\n", "without a gap"),
    "rank line": ("ranks.tiktoken", b"IQ== 0\nIg== 1\nIw== 2\nnot a rank\n", "ranks.tiktoken:4 is not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_tokenizer_is_named(tmp_path: Path, make_spec, case: str) -> None:
    name, content, said = REFUSED[case]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        prepare_tokenizer(make_spec(name), tmp_path, tmp_path / "out")
    assert said in str(caught.value) and name in str(caught.value)


def test_a_directory_without_a_tokenizer_lists_what_it_has(tmp_path: Path, make_spec) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"\x00" * 64)
    with pytest.raises(RecipeError, match=r"directory with no tokenizer in it \(weights.bin\)"):
        prepare_tokenizer(make_spec("model"), tmp_path, tmp_path / "out")


def test_ids_that_the_library_would_renumber_are_refused(tiny, tmp_path: Path, make_spec) -> None:
    source = write_tokenizer(tmp_path / "source", tiny)
    document = orjson.loads((source / "tokenizer.json").read_bytes())
    document["added_tokens"].append(document["added_tokens"][0] | {"id": 9_000, "content": "<|far|>"})
    (source / "tokenizer.json").write_bytes(orjson.dumps(document))
    with pytest.raises(RecipeError, match=r"'<\|far\|>' has id 9000 in the file"):
        prepare_tokenizer(make_spec("source"), tmp_path, tmp_path / "out")


def test_a_directory_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"has no tokenmill\.json"):
        open_tokenizer(tmp_path)


def test_vocab_and_merges_follow_the_class_that_the_config_names(tiny, tmp_path: Path, make_spec) -> None:
    model = tiny.definition.model
    for name, config in (("plain", {}), ("qwen", {"tokenizer_class": "Qwen2Tokenizer"})):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "vocab.json").write_bytes(orjson.dumps(model["vocab"]))
        lines = [" ".join(pair) for pair in model["merges"]]
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), encoding="utf-8")
        (folder / "tokenizer_config.json").write_bytes(orjson.dumps(config))
        prepare_tokenizer(make_spec(name), tmp_path, tmp_path / f"{name}-out")
    plain, qwen = (open_tokenizer(tmp_path / f"{name}-out") for name in ("plain", "qwen"))
    assert plain.document_end_token == "<|endoftext|>" and plain.document_end_token_id in plain.special_ids
    assert qwen.definition.document["normalizer"] == {"type": "NFC"}
    assert plain.definition.document["normalizer"] is None
    ids, _ = qwen.encode_batch(["the quick brown fox"])
    theirs, _ = tiny.encode_batch(["the quick brown fox"])
    assert ids.tolist() == theirs.tolist()


ENDS = {
    "gpt2": ("<|endoftext|>", 50_256),
    "qwen2.5": ("<|endoftext|>", 151_643),
    "qwen3": ("<|endoftext|>", 151_643),
    "minimind": ("<|endoftext|>", 0),
    "llama2": ("</s>", 2),
    "mistral-v3/tokenizer.model.v3": ("</s>", 2),
}


SLOW = pytest.mark.slow


@pytest.mark.shared
@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW if n == "qwen2.5" else ()) for n in ENDS])
def test_the_document_end_of_real_tokenizers_is_not_a_turns_stop(
    prepared: Callable[[str], PreparedTokenizer], name: str
) -> None:
    tokenizer = prepared(name)
    facts = read_facts(tokenizer.directory)
    assert (facts.document_end_token, facts.document_end_token_id) == ENDS[name]
    assert facts.document_end_token_id in tokenizer.special_ids
    if name.startswith("qwen"):
        assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"
