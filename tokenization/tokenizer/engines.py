"""The encoders of plain text: one fast, one that is the measure, one for SentencePiece models.

Each takes texts and gives flat ids with offsets, adds nothing of its own and reads no marker out of a
text. `fastokens` gives its ids as one buffer, so no Python object is made for a token; the other two
cost a list a text.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tokenization.sequences import offsets_of

Ids = NDArray[np.uint32]
Offsets = NDArray[np.int64]
EngineName = Literal["fastokens", "tokenizers", "sentencepiece"]
_LOADING = threading.Lock()


class TextEncoder(Protocol):
    """Plain text in; ids out, text i's at `ids[offsets[i]:offsets[i + 1]]`."""

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        """Encode each text on its own."""
        ...


class FastEncoder:
    """fastokens on a text view; releases the GIL and uses its own threads."""

    def __init__(self, text_view: str) -> None:
        with _LOADING:  # who asks while it is being loaded waits for that
            self._tokenizer: Any = _loaded(text_view)

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        """See TextEncoder."""
        # A text alone is encoded on the thread that asks, whose cache takes 5 ms to make; two go to the engine's own.
        asked = texts if len(texts) > 1 else [*texts, ""]
        ids, offsets = self._tokenizer.encode_batch_flat(asked, split_special_tokens=True)
        return np.frombuffer(ids, "<u4"), np.frombuffer(offsets, "<u8")[: len(texts) + 1].astype(np.int64)


_held: dict[str, OracleEncoder] = {}  # opened before they are asked for: text view -> encoder


def hold_oracle(text_view: str) -> None:
    """Open the reference on this view for the one who asks for it next."""
    _held[text_view] = OracleEncoder(text_view)


def oracle_of(text_view: str) -> OracleEncoder:
    """The reference on this view; one that was held is handed over, and none is held any longer."""
    found = _held.pop(text_view, None)
    _held.clear()
    return found or OracleEncoder(text_view)


@lru_cache(maxsize=2)
def _loaded(text_view: str) -> Any:
    """fastokens' tokenizer of this view, loaded once a process: 150,000 ids take it 2 s."""
    import fastokens

    return fastokens.Tokenizer.from_json_str(text_view)


class OracleEncoder:
    """Hugging Face `tokenizers` on a text view: slow, and right by definition."""

    def __init__(self, text_view: str) -> None:
        import tokenizers

        self._tokenizer: Any = tokenizers.Tokenizer.from_str(text_view)
        self._tokenizer.encode_special_tokens = True

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        """See TextEncoder."""
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return flatten([encoding.ids for encoding in encodings])


class PieceEncoder:
    """A SentencePiece model itself, for models that no tokenizer.json reproduces exactly."""

    def __init__(self, model: bytes) -> None:
        import sentencepiece

        self._processor: Any = sentencepiece.SentencePieceProcessor(model_proto=model)

    def encode(self, texts: list[str]) -> tuple[Ids, Offsets]:
        """See TextEncoder."""
        return flatten(self._processor.encode(texts, out_type=int, num_threads=1))


def flatten(rows: list[list[int]]) -> tuple[Ids, Offsets]:
    """Lists of ids laid end to end."""
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    ids = np.fromiter((i for row in rows for i in row), np.uint32, int(lengths.sum()))
    return ids, offsets_of(lengths)
