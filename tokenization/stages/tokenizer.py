"""Stage `tokenizer`: the recipe's tokenizer, loaded or trained, as a prepared folder that every worker opens.

A trained tokenizer sees the recipe's own text, chats included, so it depends on every source's documents; a loaded one
depends on its files alone. Where the fast encoder and the reference disagree on a sample of the recipe's own text,
the reference is used and the summary says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from tokenization.hashing import content_digest
from tokenization.memory import give_back
from tokenization.stages.documents import ROWS
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import Workspace
from tokenization.tokenizer.ahead import arrived
from tokenization.tokenizer.encoder import PreparedTokenizer, open_tokenizer
from tokenization.tokenizer.identity import choose_engine
from tokenization.tokenizer.prepare import prepare_tokenizer

SAMPLE_DOCUMENTS = 400  # of the recipe's own text, on which the fast encoder must equal the reference
SAMPLE_LENGTH = 1500  # characters of each


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    spec = workspace.recipe.tokenizer
    described = spec.model_dump(mode="json")
    if spec.path is not None:
        described["path"] = content_digest(workspace.recipe.directory / spec.path)
    results = [workspace.find("documents", source.name) for source in workspace.recipe.sources]
    if any(result is None for result in results):
        return None
    if spec.train is not None:
        return [described, [result.fingerprint for result in results if result]]
    # A loaded tokenizer needs text only as a sample for the identity proof, which costs seconds: it is proved again
    # where the first chunks of a source changed, not with every file.
    return [described, [sample_chunks(workspace, source.name) for source in workspace.recipe.sources]]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    recipe = workspace.recipe
    arrived()
    texts = all_texts(workspace) if recipe.tokenizer.train is not None else None
    with workspace.store.writing("tokenizer", key) as folder:
        prepare_tokenizer(recipe.tokenizer, recipe.directory, folder, training_texts=texts, seed=recipe.seed)
        report = choose_engine(folder, list(sample_texts(workspace)))
    give_back(above=0)  # two encoders, 0.2 GB of qwen2.5's, that nobody asks for again
    tokenizer = open_tokenizer(workspace.store.path("tokenizer", key))
    if tokenizer.engine != "fastokens":
        workspace.say(f"tokenizer: encoding with {tokenizer.engine}: {tokenizer.engine_note}")
    return {
        "fingerprint": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "document_end_token_id": tokenizer.document_end_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "engine": tokenizer.engine,
        "engine_note": tokenizer.engine_note,
        "proved_on_texts": report.texts,
        "proved_on_tokens": report.tokens,
    }


def all_texts(workspace: Workspace) -> Iterator[str]:
    """Every document's text and every session's messages, in recipe order."""
    for source in workspace.recipe.sources:
        for table in row_tables(workspace, source.name):
            for batch in table.to_batches(max_chunksize=1024):
                yield from texts_of(batch)


def texts_of(batch: Any, longest: int | None = None) -> Iterator[str]:
    """The texts of some rows; of documents, where a length is given, no more than so many characters are read."""
    if "text" in batch.schema.names:
        texts = batch.column("text")
        if longest is not None:  # a document may be a file of gigabytes
            texts = pc.utf8_slice_codeunits(texts, 0, longest)
        yield from texts.to_pylist()
        return
    import orjson

    for messages in batch.column("messages").to_pylist():
        for message in orjson.loads(messages):
            yield from (message[field] for field in ("content", "reasoning_content") if message.get(field))


def sample_texts(workspace: Workspace) -> Iterator[str]:
    """The first documents of each source, cut to a length that keeps the proof under a second."""
    each = sample_of_each(workspace)
    for source in workspace.recipe.sources:
        texts = (
            text
            for table in row_tables(workspace, source.name, sample_chunks(workspace, source.name))
            for batch in table.to_batches(64)
            for text in texts_of(batch, SAMPLE_LENGTH)
        )
        yield from (text[:SAMPLE_LENGTH] for text in islice(texts, each))


def sample_of_each(workspace: Workspace) -> int:
    """How many documents of each source are in the sample."""
    return max(1, SAMPLE_DOCUMENTS // len(workspace.recipe.sources))


def sample_chunks(workspace: Workspace, source: str) -> list[str]:
    """The source's first chunks, as many as the sample needs."""
    chosen: list[str] = []
    documents = 0
    for chunk in workspace.result("documents", source).value["chunks"]:
        if documents >= sample_of_each(workspace):
            break
        chosen.append(chunk)
        documents += int(workspace.store.meta("rows", chunk)["kept"])
    return chosen


def row_tables(workspace: Workspace, source: str, chunks: list[str] | None = None) -> Iterator[Any]:
    """The rows of a source chunk by chunk; of these chunks, where some are named."""
    for chunk in workspace.result("documents", source).value["chunks"] if chunks is None else chunks:
        path = workspace.store.path("rows", chunk) / ROWS
        if path.exists():
            yield open_table(path)


def opened(workspace: Workspace) -> PreparedTokenizer:
    """The recipe's tokenizer, ready to encode."""
    return open_tokenizer(tokenizer_path(workspace))


def tokenizer_path(workspace: Workspace) -> Path:
    return workspace.store.path("tokenizer", workspace.result("tokenizer").key)
