"""Every text of a folder through both encoders: the one that a build uses and the one that is right by definition.

    python -m benchmarks.identity --data DATA --tokenizer DATA/tokenizers/qwen2.5 [--tokenizer …] [--least 1]

Files of all formats are read and cleaned as a build reads them (chats as their rows' text fields or, where there are
none, as plain text); each document's ids are compared token by token. One JSON line a tokenizer; exit 1 where any text
differs while the engine says it is exact.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import InputFile, resolve_files
from tokenization.ingest.text_fields import TEXT_FIELDS, head_fields
from tokenization.recipe.model import TokenizerSpec
from tokenization.tokenizer.encoder import open_tokenizer
from tokenization.tokenizer.engines import OracleEncoder, PieceEncoder
from tokenization.tokenizer.identity import choose_engine, prove_identity
from tokenization.tokenizer.layout import MODEL_FILE
from tokenization.tokenizer.prepare import prepare_tokenizer


def as_text(file: InputFile) -> InputFile:
    """A table without a text field read as one text: chats are JSON, and JSON is text too."""
    tabular = file.format in ("json", "jsonl", "csv", "tsv")
    if tabular and not set(TEXT_FIELDS) & set(head_fields(file)):
        return dataclasses.replace(file, format="text")
    return file


def texts_of(data: Path) -> Iterator[list[str]]:
    """All texts below a folder, some megabytes at a time."""
    files = [as_text(file) for file in resolve_files(str(data), Path.cwd(), source="data", skipped=[])]
    for chunk in plan_chunks(files, ["" for _ in files]):
        for batch in read_documents(chunk, TextOptions(), CleaningOptions()):
            if len(batch.documents):
                yield batch.documents.column("text").to_pylist()


def compare(data: Path, tokenizer: Path) -> dict[str, object]:
    """Both encoders over everything."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder)
        facts = prepare_tokenizer(TokenizerSpec(path=str(tokenizer.absolute())), prepared, prepared / "t")
        choice = choose_engine(prepared / "t")
        fast = open_tokenizer(prepared / "t")
        model = prepared / "t" / MODEL_FILE
        truth = (
            PieceEncoder(model.read_bytes())
            if model.is_file()
            else OracleEncoder(fast.definition.text_view())
        )
        fast_s = truth_s = 0.0
        texts = tokens = size = 0
        differing: list[str] = []

        class Timed:
            """The build's encoder, on a clock."""

            def encode(self, batch: list[str]):  # type: ignore[no-untyped-def]
                nonlocal fast_s
                began = time.perf_counter()
                found = fast.encode_batch(batch)
                fast_s += time.perf_counter() - began
                return found

        for batch in texts_of(data):
            began, before = time.perf_counter(), fast_s
            found = prove_identity(Timed(), truth, batch)
            truth_s += time.perf_counter() - began - (fast_s - before)
            texts, tokens = texts + found.texts, tokens + found.tokens
            size += sum(len(text.encode()) for text in batch)
            differing += [each.text[:80] for each in found.differing]
    return {
        "tokenizer": tokenizer.name,
        "kind": facts.kind,
        "engine": choice.engine,
        "reference": type(truth).__name__,
        "texts": texts,
        "tokens": tokens,
        "megabytes": round(size / 1e6, 1),
        "differing": len(differing),
        "first": differing[:3],
        "times_as_fast": round(truth_s / fast_s, 1),
    }


def main() -> int:
    """Each tokenizer over all the data."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, action="append", required=True)
    options = parser.parse_args()
    worst = 0
    for tokenizer in options.tokenizer:
        row = compare(options.data, tokenizer)
        print(json.dumps(row, ensure_ascii=False), flush=True)
        worst |= bool(row["differing"])
    return worst


if __name__ == "__main__":
    sys.exit(main())
