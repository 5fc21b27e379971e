"""Peak memory of `tokenmill build`: the proportional set size of all its processes together, sampled.

    python -m benchmarks.memory --data DATA/raw --tokenizer DATA/tokenizers/qwen2.5 --cases 100 1000 text:1000 tiny:1e6

A case is a number of megabytes of ordinary documents as JSON Lines, `clean:N` for as many with every quality rule,
which reject nine tenths of them, `text:N` for one plain text file of N MB, or `tiny:N` for N documents of a few words.
One JSON line a case. Linux only (it reads /proc/PID/smaps_rollup).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from benchmarks.corpus import rounds, write_corpus
from benchmarks.raw_text import RULES

EVERY_S = 0.1


def pss(process: psutil.Process) -> int:
    """Bytes of the process and all below it, shared pages divided among their users."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended meanwhile
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024


def make_source(case: str, data: Path, folder: Path) -> tuple[Path, int]:
    """The case's one file, and the bytes of its text."""
    folder.mkdir(parents=True, exist_ok=True)
    kind, _, size = case.rpartition(":")
    if kind in ("", "clean"):
        told = write_corpus(data, folder, float(size), parquet=False)
        return folder / "corpus.jsonl", int(told["text_bytes"])  # type: ignore[call-overload]
    if kind == "tiny":
        count = int(float(size))
        numbers = pl.Series(np.arange(count))
        texts = pl.select(pl.format("tiny document {} of {}", numbers, count)).to_series()
        pl.DataFrame({"text": texts}).write_ndjson(folder / "tiny.jsonl")
        return folder / "tiny.jsonl", int(texts.str.len_bytes().sum())
    wanted, written = float(size) * 1e6, 0
    with open(folder / "text.txt", "wb") as file:
        for documents in rounds(data, 7):
            for text in documents.to_list():
                written += file.write(text.encode())
            if written >= wanted:
                break
    return folder / "text.txt", written


def measure(case: str, data: Path, tokenizer: Path, place: Path) -> dict[str, object]:
    """Build the case and watch."""
    source, size = make_source(case, data, place / "source")
    recipe: dict[str, Any] = {
        "name": "memory",
        "tokenizer": {"path": str(tokenizer.absolute())},
        "sources": [{"name": "web", "kind": "text", "path": str(source)}],
    }
    if case.startswith("clean:"):
        recipe["cleaning"] = {"rules": RULES}
    (place / "memory.yaml").write_text(json.dumps(recipe))
    environment = {**os.environ, "DAGSTER_HOME": f"{place}/dagster", "TOKENMILL_STORE": f"{place}/store"}
    command = [
        sys.executable,
        "-m",
        "pipelines.cli",
        "build",
        str(place / "memory.yaml"),
        "--out",
        f"{place}/out",
    ]
    began, peak, when = time.perf_counter(), 0, ""
    log = place / "log"
    with open(log, "wb") as told:
        running = subprocess.Popen(command, env=environment, stdout=told, stderr=told)
        while running.poll() is None:
            now = pss(psutil.Process(running.pid))
            if now > peak:
                peak, when = now, log.read_text(errors="replace").strip().rpartition("\n")[2]
            time.sleep(EVERY_S)
    return {
        "case": case,
        "text_mb": round(size / 1e6, 1),
        "peak_pss_mb": round(peak / 1e6),
        "at": when,
        "seconds": round(time.perf_counter() - began, 1),
        "exit_code": running.returncode,
    }


def main() -> None:
    """One case after another, each in a folder of its own that goes when it ends."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", default=["100", "1000", "text:1000", "tiny:1e6"])
    parser.add_argument("--work", type=Path, help="scratch: five times a case's text [the temporary folder]")
    options = parser.parse_args()
    for case in options.cases:
        with tempfile.TemporaryDirectory(dir=options.work) as place:
            print(json.dumps(measure(case, options.data, options.tokenizer, Path(place))), flush=True)


if __name__ == "__main__":
    main()
