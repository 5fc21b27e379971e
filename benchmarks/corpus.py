"""A corpus of any size from a folder of real texts: distinct documents, the same ones for the same seed.

    python -m benchmarks.corpus --data DATA/raw --out FOLDER --megabytes 512

Every text below DATA is read and cleaned, cut at its blank lines, and its paragraphs go into one of three pools:
Western, Chinese, code. A round shuffles each pool by (seed, round) and lays paragraphs end to end into documents of
log-normal size, so that no two documents are equal and words come as often as they do in real text. FOLDER gets
`corpus.jsonl` and `corpus.parquet` (columns id, text) and `corpus.json` (what it holds).

Price: about 400 MB a second; one round (the size of the data) in memory.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from tokenization.hashing import file_digest
from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import resolve_files

MEDIAN = {"western": 2500, "chinese": 3600, "code": 4000}  # bytes of a document
SPREAD = 1.1  # sigma of the log-normal
ROW_GROUP = 4096  # rows


def paragraphs(data: Path) -> dict[str, pa.LargeStringArray]:
    """The pools' paragraphs, each with its blank line behind it."""
    files = resolve_files(str(data), Path.cwd(), source="data", skipped=[])
    texts = [
        text
        for chunk in plan_chunks(files, ["" for _ in files])
        for batch in read_documents(chunk, TextOptions(), CleaningOptions())
        for text in batch.documents.column("text").to_pylist()
    ]
    pieces = pl.Series(texts).str.split("\n\n").explode().drop_nulls()
    pieces = pieces.filter(pieces.str.strip_chars().str.len_bytes() > 0).unique(maintain_order=True) + "\n\n"
    chinese = pieces.str.count_matches(r"\p{Han}") * 3 * 5 > pieces.str.len_bytes()  # a fifth of the bytes
    code = ~chinese & pieces.str.contains(r"(?m)^(?:    |\t|def |class |import |func |public |const )")
    pools = {
        "western": pieces.filter(~chinese & ~code),
        "chinese": pieces.filter(chinese),
        "code": pieces.filter(code),
    }
    return {name: pool.to_arrow(compat_level=pl.CompatLevel.oldest()) for name, pool in pools.items()}


def rounds(data: Path, seed: int) -> Iterator[pl.Series]:
    """Documents for ever, a round of the whole data at a time."""
    pools = paragraphs(data)
    number = 0
    while True:
        rng = np.random.default_rng([seed, number])
        documents = [documents_of(pool, MEDIAN[name], rng) for name, pool in pools.items()]
        whole = pl.concat([pl.Series(pl.from_arrow(each)) for each in documents])
        yield whole.gather(rng.permutation(len(whole)))
        number += 1


def documents_of(pool: pa.LargeStringArray, median: int, rng: np.random.Generator) -> pa.LargeStringArray:
    """The pool's paragraphs in a new order, a log-normal number of bytes of them in each document."""
    taken = pool.take(pa.array(rng.permutation(len(pool))))
    _, offsets, data = taken.buffers()
    bounds = np.frombuffer(offsets, np.int64, len(taken) + 1, taken.offset * 8)
    wanted = median * rng.lognormal(0, SPREAD, 2 * int(bounds[-1]) // median + 2)
    cuts = bounds[np.unique(np.searchsorted(bounds, bounds[0] + np.cumsum(wanted)).clip(0, len(taken)))]
    edges = np.unique(np.concatenate([bounds[:1], cuts, bounds[-1:]]))
    return pa.LargeStringArray.from_buffers(len(edges) - 1, pa.py_buffer(edges.tobytes()), data)


def write_corpus(
    data: Path, out: Path, megabytes: float, seed: int = 7, parquet: bool = True
) -> dict[str, object]:
    """Write the corpus where it isn't yet; what it holds."""
    note = out / "corpus.json"
    if note.is_file():
        found: dict[str, object] = json.loads(note.read_text())
        return found
    out.mkdir(parents=True, exist_ok=True)
    schema = pa.schema([("id", pa.int64()), ("text", pa.large_string())])
    written = count = 0
    with (
        open(out / "corpus.jsonl", "wb") as lines,
        pq.ParquetWriter(out / "corpus.parquet", schema, compression="zstd") as table,
    ):
        for documents in rounds(data, seed):
            sizes = np.cumsum(documents.str.len_bytes().to_numpy().astype(np.int64))
            keep = int(np.searchsorted(sizes, megabytes * 1e6 - written)) + 1
            frame = pl.DataFrame(
                {"id": np.arange(count, count + len(documents[:keep])), "text": documents[:keep]}
            )
            frame.write_ndjson(lines)
            if parquet:
                table.write_table(
                    frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema),
                    row_group_size=ROW_GROUP,
                )
            written += int(sizes[len(frame) - 1])
            count += len(frame)
            if keep <= len(documents):
                break
    told = {
        "megabytes": megabytes,
        "seed": seed,
        "documents": count,
        "text_bytes": written,
        "jsonl_sha256": file_digest(out / "corpus.jsonl"),
    }
    note.write_text(json.dumps(told) + "\n")
    return told


def main() -> None:
    """Write one corpus and say what it holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=512)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(json.dumps(write_corpus(options.data, options.out, options.megabytes, options.seed)))


if __name__ == "__main__":
    main()
