"""A prepared tokenizer, opened: text to ids as fast as the machine, ids back to text.

    tokenizer = open_tokenizer("prepared")
    ids, offsets = tokenizer.encode_batch(["One text.", "And another."])
    ids[offsets[1]:offsets[2]]  # the second text's

Guarantees: exactly the ids of the Hugging Face tokenizer for text in which nothing is a marker; a typed
`<|endoftext|>` or `<think>` stays text; no BOS or other token is added. A text that goes on from an
earlier one (`continuing`) gets no dummy prefix. The engine is the recorded one (see identity), so that
every worker and every run gives the same ids.
Price: opening costs 0.3-2 s, once a process; encoding runs at the engine's speed, and no Python object
is made for a token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from tokenization.tokenizer.batches import in_batches, interleave
from tokenization.tokenizer.definition import Definition, PrefixScope
from tokenization.tokenizer.engines import (
    EngineName,
    FastEncoder,
    Ids,
    Offsets,
    OracleEncoder,
    PieceEncoder,
    TextEncoder,
)
from tokenization.tokenizer.identity import EngineChoice, decide_engine, proof_texts
from tokenization.tokenizer.layout import (
    ENGINE_FILE,
    FACTS_FILE,
    MODEL_FILE,
    TEMPLATE_FILE,
    TOKENIZER_FILE,
    Facts,
    read_facts,
)
from tokenization.tokenizer.sentencepiece_proto import without_dummy_prefix
from tokenization.tokenizer.vocabulary import vocabulary_of

_OPENING = threading.Lock()


class Encoder(Protocol):
    """What rendering and encoding ask of a tokenizer; PreparedTokenizer is the one that builds use."""

    @property
    def added_tokens(self) -> dict[str, int]:
        """Every added or control token and its id."""
        ...

    def encode_batch(self, texts: list[str], continuing: list[bool] | None = None) -> tuple[Ids, Offsets]:
        """Plain text to ids; text i's are `ids[offsets[i]:offsets[i + 1]]`."""
        ...

    def decode(self, ids: Iterable[int], *, continuing: bool = False) -> str:
        """The text of a run of ids."""
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for."""
        ...


class PreparedTokenizer:
    """One prepared directory, read-only; threads may share it."""

    def __init__(self, directory: Path, facts: Facts, definition: Definition, choice: EngineChoice) -> None:
        self.directory = directory
        self.facts = facts
        self.definition = definition
        self.engine: EngineName = choice.engine
        self.engine_note = choice.note  # why a fallback serves; "" for fastokens
        self._vocabulary = vocabulary_of(definition)
        self._encoders: dict[bool, TextEncoder] = {}
        self._building = threading.Lock()

    # -- what it is -------------------------------------------------------------------------------------

    @property
    def vocab_size(self) -> int:
        """Number of distinct tokens, added ones included."""
        return self.facts.vocab_size

    @property
    def largest_id(self) -> int:
        """The largest id, added tokens included: storage types and embedding rows are sized by it."""
        return self.facts.largest_id

    @property
    def fingerprint(self) -> str:
        """Names tokenizer.json, the document end and the pad token."""
        return self.facts.fingerprint

    @property
    def document_end_token(self) -> str:
        """What separates documents."""
        return self.facts.document_end_token

    @property
    def document_end_token_id(self) -> int:
        """Its id."""
        return self.facts.document_end_token_id

    @property
    def pad_token(self) -> str:
        """What fills a window; may be the document end."""
        return self.facts.pad_token

    @property
    def pad_token_id(self) -> int:
        """Its id."""
        return self.facts.pad_token_id

    @property
    def bos_token(self) -> str | None:
        """The tokenizer's own; templates use it, `encode_batch` never adds it."""
        return self.facts.bos_token

    @property
    def eos_token(self) -> str | None:
        """The tokenizer's own; not the document end where it ends a turn."""
        return self.facts.eos_token

    @property
    def unk_token_id(self) -> int | None:
        """What stands for characters that the vocabulary lacks; None where it lacks none."""
        return self.definition.id_of(self.facts.unk_token) if self.facts.unk_token else None

    @property
    def added_tokens(self) -> dict[str, int]:
        """Every added or control token and its id."""
        return self.definition.added_tokens

    @cached_property
    def special_ids(self) -> frozenset[int]:
        """Ids that never come out of text: the markers'."""
        return frozenset(self.definition.markers.values())

    @property
    def prefix_scope(self) -> PrefixScope:
        """Where serving puts a space before text: never, first (a string's start), always (also behind
        each special token)."""
        return self.definition.prefix_scope

    @cached_property
    def chat_template(self) -> str | None:
        """The tokenizer's own chat template."""
        path = self.directory / TEMPLATE_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def token_to_id(self, token: str) -> int | None:
        """The id of a token by its own string, or None."""
        return self.definition.id_of(token)

    # -- text to ids ------------------------------------------------------------------------------------

    def encode_batch(self, texts: list[str], continuing: list[bool] | None = None) -> tuple[Ids, Offsets]:
        """uint32 ids and int64 offsets [len(texts) + 1]; text i's ids are `ids[offsets[i]:offsets[i+1]]`.

        `continuing[i]`: text i does not stand at a string's start, so no space is put before it. The ids
        may be a read-only view of the engine's buffer.
        """
        if continuing is None or self.prefix_scope == "never" or not any(continuing):
            return in_batches(self._encoder(continuing=False), texts)
        if all(continuing):
            return in_batches(self._encoder(continuing=True), texts)
        goes_on = np.asarray(continuing, bool)
        starting = [text for text, late in zip(texts, continuing, strict=True) if not late]
        later = [text for text, late in zip(texts, continuing, strict=True) if late]
        return interleave(
            goes_on,
            in_batches(self._encoder(continuing=False), starting),
            in_batches(self._encoder(continuing=True), later),
        )

    def _encoder(self, *, continuing: bool) -> TextEncoder:
        """The engine at a string's start or within one; built on first use, once."""
        with self._building:
            if continuing not in self._encoders:
                self._encoders[continuing] = self._build(continuing=continuing)
            return self._encoders[continuing]

    def _build(self, *, continuing: bool) -> TextEncoder:
        if self.engine == "sentencepiece":
            model = (self.directory / MODEL_FILE).read_bytes()
            return PieceEncoder(without_dummy_prefix(model) if continuing else model)
        view = self.definition.text_view(continuing=continuing)
        return FastEncoder(view) if self.engine == "fastokens" else OracleEncoder(view)

    # -- ids to text ------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], *, continuing: bool = False) -> str:
        """The text of a run of ids, markers as their text; `continuing` keeps a leading space."""
        return self._vocabulary.decode(ids, continuing=continuing)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes a token stands for; a marker's are its text."""
        return self._vocabulary.token_bytes(token_id)

    @property
    def byte_table(self) -> tuple[NDArray[np.uint8], Offsets]:
        """The bytes of every id laid end to end, and where each one's begin, int64 [num_ids + 1]."""
        with self._building:
            return self._vocabulary.byte_table


def open_tokenizer(directory: str | Path) -> PreparedTokenizer:
    """The prepared tokenizer in this directory, opened once a process."""
    directory = Path(directory).absolute()
    stamps = tuple(_stamp(directory / name) for name in (FACTS_FILE, ENGINE_FILE))
    with _OPENING:
        return _open(directory, stamps)


@lru_cache(maxsize=8)
def _open(directory: Path, stamps: tuple[int, ...]) -> PreparedTokenizer:
    """`stamps` is part of the cache's key: a directory prepared anew is read anew."""
    facts = read_facts(directory)
    definition = Definition.read(directory / TOKENIZER_FILE)
    return PreparedTokenizer(directory, facts, definition, _recorded_choice(directory, definition, facts))


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def _recorded_choice(directory: Path, definition: Definition, facts: Facts) -> EngineChoice:
    """The choice in engine.json; without one, the proof on the odd texts is made here."""
    path = directory / ENGINE_FILE
    if not path.is_file():
        if facts.inexact:
            return EngineChoice("sentencepiece", facts.inexact, 0, 0)
        return decide_engine(definition, proof_texts())
    record = orjson.loads(path.read_bytes())
    return EngineChoice(record["engine"], record["note"], record["texts"], record["tokens"])
