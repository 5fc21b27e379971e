"""The tokenizer as people serve it: OUT/tokenizer, which `AutoTokenizer.from_pretrained` opens.

tokenizer.json is copied as it is and the config names the class that takes it as it is: model-specific
classes rebuild the text splitting themselves and may differ from the file that the build was made with.
Where there is a chat template, `eos_token` is the token that ends an answer, and generation_config.json
lists every stop, so that serving stops where training stopped.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from tokenization.tokenizer.definition import Definition
from tokenization.tokenizer.layout import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    read_facts,
    write_atomically,
)

GENERATION_FILE = "generation_config.json"

# Keys of the original config that would rebuild or override what tokenizer.json says.
_REPLACED = {
    "tokenizer_class", "tokenizer_file", "vocab_file", "merges_file", "auto_map", "added_tokens_decoder",
    "add_bos_token", "add_eos_token", "add_prefix_space", "legacy", "from_slow", "chat_template", "backend",
    "sp_model_kwargs", "split_special_tokens", "name_or_path", "is_local", "special_tokens_map_file",
}  # fmt: skip
_UNBOUNDED = 1e15  # transformers writes 1e30 for "no limit"


def save_tokenizer(
    prepared: str | Path,
    out: str | Path,
    *,
    chat_template: str | None,
    stop_token_ids: Sequence[int],
    model_max_length: int | None = None,
) -> None:
    """Write tokenizer.json, tokenizer_config.json and generation_config.json into `out`.

    Without stops (a recipe of text only) generation stops at the document end.
    """
    prepared, out = Path(prepared), Path(out)
    facts = read_facts(prepared)
    definition = Definition.read(prepared / TOKENIZER_FILE)
    stops = list(dict.fromkeys(stop_token_ids)) or [facts.document_end_token_id]
    eos = _token_of(definition, stops[0]) if stop_token_ids else facts.eos_token or facts.document_end_token
    config = _kept(orjson.loads((prepared / CONFIG_FILE).read_bytes()))
    config |= {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": facts.bos_token,
        "eos_token": eos,
        "pad_token": facts.pad_token,
        "unk_token": facts.unk_token,
        "clean_up_tokenization_spaces": False,
    }
    longest = model_max_length or config.pop("model_max_length", None)
    if longest is not None and longest < _UNBOUNDED:
        config["model_max_length"] = longest
    if chat_template is not None:
        config["chat_template"] = chat_template
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(prepared / TOKENIZER_FILE, out / TOKENIZER_FILE)
    _write_json(out / CONFIG_FILE, config)
    generation = {
        "bos_token_id": facts.bos_token_id,
        "eos_token_id": stops,
        "pad_token_id": facts.pad_token_id,
    }
    _write_json(out / GENERATION_FILE, {k: v for k, v in generation.items() if v is not None})


def _kept(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _REPLACED}


def _token_of(definition: Definition, token_id: int) -> str:
    for tokens in (definition.added_tokens, definition.model_vocab):
        for token, index in tokens.items():
            if index == token_id:
                return token
    raise ValueError(f"stop token id {token_id} is not in the vocabulary")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
