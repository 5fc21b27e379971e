"""The prepared directory: a tokenizer made ready for a build, and nothing else needed to use it.

tokenizer.json          the Hugging Face definition: the file as it came, or the exact conversion
tokenizer_config.json   named tokens and whatever the original config said
chat_template.jinja     the tokenizer's own chat template, where it has one
tokenizer.model         the SentencePiece model, where the tokenizer came as one
tokenmill.json          `Facts`: document end, pad, sizes, fingerprint; written last
engine.json             which encoder serves, and why (see identity)
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from tokenization.errors import BuildError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"
MODEL_FILE = "tokenizer.model"
FACTS_FILE = "tokenmill.json"
ENGINE_FILE = "engine.json"


@dataclass(frozen=True)
class Facts:
    """What a build needs to know of its tokenizer; the content of tokenmill.json."""

    kind: str  # bpe | unigram | wordpiece | wordlevel
    source: str  # huggingface | vocab_and_merges | sentencepiece | tiktoken | trained
    document_end_token: str
    document_end_token_id: int
    pad_token: str  # may be the document end: padding is told by position, never by id
    pad_token_id: int
    bos_token: str | None
    bos_token_id: int | None
    eos_token: str | None  # the tokenizer's own; where that ends a turn it is not the document end
    eos_token_id: int | None
    unk_token: str | None
    vocab_size: int  # distinct tokens, added ones included
    largest_id: int  # a model needs largest_id + 1 embedding rows
    fingerprint: str  # of tokenizer.json, the document end and the pad token
    notes: list[str]  # what was assumed or differs, in sentences
    inexact: str  # why the conversion does not serve and the SentencePiece model encodes; "" where it does

    def write(self, directory: Path) -> None:
        """Write tokenmill.json, whole or not at all."""
        write_atomically(directory / FACTS_FILE, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


def read_facts(directory: str | Path) -> Facts:
    """The facts of a prepared directory; BuildError where it isn't one."""
    path = Path(directory) / FACTS_FILE
    if not path.is_file():
        raise BuildError(f"{directory} is not a prepared tokenizer: it has no {FACTS_FILE}; prepare it again")
    return Facts(**orjson.loads(path.read_bytes()))


def engine_versions() -> dict[str, str]:
    """The versions of the libraries that encode."""
    found = {}
    for name in ("fastokens", "tokenizers", "sentencepiece"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside and rename, so that a reader sees the old file or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    os.replace(beside, path)
