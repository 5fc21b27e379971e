"""A loaded tokenizer opened beside other work: while documents are read, or not at all.

Preparing a tokenizer of 150,000 ids, opening both engines for the proof of identity: 3 s of one core, and documents
leave a good part of the other one alone. `open_ahead` does that in a thread and leaves what it made where `prepare`,
`engines` and `identity` look first; `arrived` waits for it. Nothing depends on whether it ran: what is wrong with a
tokenizer is said by the stage that asks for it, in its own words.

Price: the reference's memory (0.1 GB for 150,000 ids) until the proof has taken it.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path

from tokenization.recipe.model import TokenizerSpec

_running: list[threading.Thread] = []


def open_ahead(spec: TokenizerSpec, base: Path) -> None:
    """Begin to open the tokenizer that the recipe names, if that has not begun; one that is to be trained needs the
    documents first."""
    if spec.path is None or _running:
        return
    thread = threading.Thread(target=_open, args=(spec, base), name="tokenizer-ahead", daemon=True)
    _running.append(thread)
    thread.start()


def arrived() -> None:
    """Wait for what `open_ahead` began, if it did."""
    while _running:
        _running.pop().join()


def _open(spec: TokenizerSpec, base: Path) -> None:
    from tokenization.tokenizer.definition import Definition
    from tokenization.tokenizer.engines import FastEncoder, hold_oracle
    from tokenization.tokenizer.layout import TOKENIZER_FILE
    from tokenization.tokenizer.prepare import prepare_tokenizer

    with contextlib.suppress(Exception), tempfile.TemporaryDirectory() as folder:
        prepare_tokenizer(spec, base, Path(folder))
        definition = Definition.read(Path(folder) / TOKENIZER_FILE)
        view = definition.text_view()
        FastEncoder(view)  # first: where the tokenizer itself is as it was, this alone is waited for
        hold_oracle(view)
