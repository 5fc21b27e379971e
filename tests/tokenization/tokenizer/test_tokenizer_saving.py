"""What is saved serves as it trained: transformers opens it, with the same ids and the same stops."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from tokenization.tokenizer.identity import ODD_TEXTS
from tokenization.tokenizer.save import save_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MESSAGES = [{"role": "user", "content": "the fox <think>"}, {"role": "assistant", "content": "a dog"}]


def reopened(out: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(out)


def test_a_saved_tokenizer_serves_as_it_trained(tiny, texts, tmp_path: Path) -> None:
    stop = tiny.added_tokens["<|im_end|>"]
    save_tokenizer(tiny.directory, tmp_path, chat_template=CHATML, stop_token_ids=[stop, 0, stop])
    served = reopened(tmp_path)
    assert len(served) == tiny.vocab_size
    assert (served.eos_token_id, served.pad_token_id) == (stop, tiny.pad_token_id)
    ids, offsets = tiny.encode_batch(texts)
    for place, text in enumerate(texts):
        row = ids[offsets[place] : offsets[place + 1]].tolist()
        assert served(text)["input_ids"] == row and served.decode(row) == text
    rendered = served.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
    assert rendered.startswith("<|im_start|>user\nthe fox") and rendered.endswith("<|im_start|>assistant\n")
    chat_ids = served.apply_chat_template(MESSAGES)["input_ids"]
    assert chat_ids.count(stop) == 2
    generation = orjson.loads((tmp_path / "generation_config.json").read_bytes())
    assert generation == {"eos_token_id": [stop, 0], "pad_token_id": tiny.pad_token_id}


def test_the_generation_config_is_one_that_transformers_reads(tiny, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    save_tokenizer(tiny.directory, tmp_path, chat_template=None, stop_token_ids=[])
    assert GenerationConfig.from_pretrained(tmp_path).eos_token_id == [tiny.document_end_token_id]
    assert reopened(tmp_path).chat_template is None


def test_a_stop_outside_the_vocabulary_is_refused(tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop token id 99999"):
        save_tokenizer(tiny.directory, tmp_path, chat_template=CHATML, stop_token_ids=[99_999])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["gpt2", "qwen3", "minimind", "llama2", "mistral-v3/tokenizer.model.v3"])
def test_real_tokenizers_keep_their_ids_and_their_template(
    prepared, real_texts, tmp_path: Path, name: str
) -> None:
    tokenizer = prepared(name)
    template = tokenizer.chat_template
    stops = [tokenizer.added_tokens["<|im_end|>"]] if template else []
    save_tokenizer(tokenizer.directory, tmp_path, chat_template=template, stop_token_ids=stops)
    served = reopened(tmp_path)
    texts = [
        text
        for text in (*real_texts, *ODD_TEXTS)
        if not any(token in text for token in tokenizer.added_tokens)
    ]
    assert len(texts) > 30
    ids, offsets = tokenizer.encode_batch(texts)
    for place, text in enumerate(texts):
        row = ids[offsets[place] : offsets[place + 1]].tolist()
        assert served(text, add_special_tokens=False)["input_ids"] == row
    if template:
        assert served.eos_token == "<|im_end|>"
        assert served.apply_chat_template(MESSAGES)["input_ids"].count(stops[0]) >= 2
