"""How fast near duplicates are found, and how well that agrees with the exact similarity: one line of JSON a result.

    python benchmarks/near_duplicates.py --data ../shared/data
    python benchmarks/near_duplicates.py --data ../shared/data --peer-python ../peers/bin/python --repeats 3

Documents: English (PEPs, EIPs, web pages, novels, the Rust book and its print edition, two editions of the Devil's
Dictionary in pieces, copies with doubled blank lines or a paragraph cut) and Chinese (poems, encyclopedia, the Rust
book, two editions of a novel by chapters), each with planted near copies of some documents; those of fewer than five
words are left out, as the peer has no signature for them.

The truth is exact: the Jaccard similarity of the sets of word 5-grams (lower case; single characters of Chinese) of
every pair that shares one, from a plain reading with `re`, closed over chains. `removed_*` compares who goes under the
exact clusters with who goes here; `pairs_*` compares pairs in one cluster. `planted` is the share of planted copies
that were put with their original, by their exact similarity.

The peer is datatrove's MinHash (signatures, buckets, clusters) with its defaults, one task, English only (its word
tokenizer is made for one language): `pip install "datatrove[processing]" spacy` into an environment of its own. Each
run is a process of its own on one core, both in turn; the seconds are from opening the JSON Lines file to the list of
clusters, start-up and imports not counted. `cpu_s` is what to compare on a busy machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

PLANTED = (0.95, 0.9, 0.85, 0.8, 0.7, 0.5, 0.3)
WORD = re.compile(
    r"[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)


# --- the documents


def rows(path: Path) -> Iterator[str]:
    """The texts of JSON Lines, plain or gzip."""
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if path.suffix == ".gz"
        else open(path, encoding="utf-8") as file
    ):
        for line in file:
            yield json.loads(line)["text"] or ""


def files(folder: Path, pattern: str = "*.md") -> Iterator[str]:
    return (path.read_text("utf-8-sig") for path in sorted(folder.rglob(pattern)))


def english(raw: Path) -> Iterator[str]:
    yield from rows(raw / "jsonl" / "peps.jsonl.gz")
    for folder in ("eips", "rust-book", "rust-book-nostarch"):
        yield from files(raw / "md" / folder)
    yield from rows(raw / "jsonl" / "c4-demo.jsonl")
    for version in ("v1", "v0"):
        yield from (
            (raw / "dirt" / f"devils-dictionary.{version}.txt").read_text("utf-8", "replace").split("\n\n")
        )
    yield from rows(raw / "dirt" / "dups-and-empties.jsonl")
    for novel in files(raw / "txt" / "novels-en", "*.txt"):
        yield from (novel[start : start + 6000] for start in range(0, len(novel), 6000))


def chinese(raw: Path) -> Iterator[str]:
    yield from rows(raw / "jsonl" / "tang-poems.jsonl")
    yield from rows(raw / "jsonl" / "cmrc2018-wiki-zh.jsonl.gz")
    yield from files(raw / "md" / "trpl-zh-cn")
    for path, encoding in (("txt-zh/honglou-meng.txt", "utf-8"), ("dirt/honglou-meng.gbk.txt", "gb18030")):
        yield from re.split(r"(?=第[一二三四五六七八九十百零〇]+回\s)", (raw / path).read_text(encoding))


def planted(texts: list[str], join: str, rng: random.Random) -> Iterator[tuple[int, str]]:
    """Originals and copies whose end is replaced by the words of other documents, shuffled."""
    pieces = [text.split() if join else list("".join(text.split())) for text in texts]
    usable = [at for at, words in enumerate(pieces) if 200 <= len(words) <= 3000]
    strange = [word for at in rng.sample(usable, 50) for word in pieces[at]]
    for number, at in enumerate(rng.sample(usable, min(len(usable), 50 * len(PLANTED)))):
        similarity, words = PLANTED[number % len(PLANTED)], pieces[at]
        kept = round((len(words) - 4) * 2 * similarity / (1 + similarity)) + 4
        yield at, join.join([*words[:kept], *rng.choices(strange, k=len(words) - kept)])


def corpus(language: str, raw: Path) -> tuple[list[str], list[tuple[int, int]]]:
    """The texts, and where each planted copy's original and the copy stand."""
    every = english(raw) if language == "en" else chinese(raw)
    texts = [text for text in every if len(WORD.findall(text)) >= 5]
    copies = list(planted(texts, " " if language == "en" else "", random.Random(17)))
    places = [(at, len(texts) + number) for number, (at, _) in enumerate(copies)]
    return texts + [text for _, text in copies], places


# --- the exact truth


def exact_pairs(texts: list[str], least: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of documents at least this alike: left, right, Jaccard similarity."""
    numbers: dict[tuple[str, ...], int] = {}
    members, sizes = [], []
    for text in texts:
        words = WORD.findall(text.lower())
        grams = {tuple(words[at : at + 5]) for at in range(len(words) - 4)}
        members.append(np.array([numbers.setdefault(gram, len(numbers)) for gram in grams], np.int64))
        sizes.append(len(grams))
    gram, owner = np.concatenate(members), np.repeat(np.arange(len(texts)), sizes)
    order = np.lexsort((owner, gram))
    gram, owner = gram[order], owner[order]
    begins = np.flatnonzero(np.diff(gram, prepend=-1))
    place = np.arange(len(gram)) - np.repeat(begins, np.diff(np.append(begins, len(gram))))
    keys, counts = np.zeros(0, np.int64), np.zeros(0, np.int64)
    for back in range(1, int(place.max()) + 1):
        later = np.flatnonzero(place >= back)
        more, number = np.unique(owner[later - back] * len(texts) + owner[later], return_counts=True)
        keys, inverse = np.unique(np.concatenate([keys, more]), return_inverse=True)
        counts = np.bincount(inverse, np.concatenate([counts, number]), len(keys)).astype(np.int64)
    left, right = np.divmod(keys, len(texts))
    size = np.array(sizes)
    jaccard = counts / (size[left] + size[right] - counts)
    alike = jaccard >= least
    return left[alike], right[alike], jaccard[alike]


def closure(left: np.ndarray, right: np.ndarray, number: int) -> np.ndarray:
    """The first of each document's component."""
    first = np.arange(number)
    while True:
        before = first.copy()
        low = np.minimum(first[left], first[right])
        np.minimum.at(first, left, low)
        np.minimum.at(first, right, low)
        first = first[first]
        if np.array_equal(first, before):
            return first


def agreement(first: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    removed, right = first != np.arange(len(first)), truth != np.arange(len(truth))
    result = {**scores("removed", int((removed & right).sum()), int(removed.sum()), int(right.sum()))}
    pairs = [
        int((n * (n - 1) // 2).sum()) for n in (np.unique(c, return_counts=True)[1] for c in (first, truth))
    ]
    both = np.unique(first * len(first) + truth, return_counts=True)[1]
    return result | scores("pairs", int((both * (both - 1) // 2).sum()), *pairs)


def planted_found(exact: np.ndarray, found: np.ndarray) -> dict[str, str]:
    """How many of how many copies were found, by exact similarity."""
    borders = [0, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.01]
    ranges = [(low, high, (exact >= low) & (exact < high)) for low, high in pairwise(borders)]
    return {f"{low}-{min(high, 1)}": f"{found[some].sum()}/{some.sum()}" for low, high, some in ranges}


def scores(name: str, hit: int, found: int, true: int) -> dict[str, float]:
    precision, recall = hit / max(1, found), hit / max(1, true)
    f1 = 2 * hit / max(1, found + true)
    return {
        f"{name}_precision": round(precision, 4),
        f"{name}_recall": round(recall, 4),
        f"{name}_f1": round(f1, 4),
    }


# --- the contestants, each in a process of its own


def run_ours(corpus_file: str, threshold: float) -> tuple[list[int], float, float, dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.json

    from tokenization.duplicates.near import cluster
    from tokenization.duplicates.signatures import signatures

    signatures(pa.array(["so that libraries are loaded 汉"]))
    clock = (time.perf_counter(), time.process_time())
    texts = pa.json.read_json(corpus_file, pa.json.ReadOptions(use_threads=False, block_size=8 << 20)).column(
        "text"
    )
    rows = [signatures(chunk) for chunk in texts.chunks]
    signed = time.perf_counter() - clock[0]
    near = cluster(rows, threshold)
    seconds = (time.perf_counter() - clock[0], time.process_time() - clock[1])
    counts = {
        "pairs_compared": near.pairs_compared,
        "pairs_joined": near.pairs_joined,
        "signatures_s": round(signed, 3),
    }
    return near.first.tolist(), *seconds, counts


def run_datatrove(corpus_file: str, _: float) -> tuple[list[int], float, float, dict[str, Any]]:
    import struct

    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    load_word_tokenizer("en").word_tokenize("so that libraries are loaded")
    config = MinhashConfig()
    source = Path(corpus_file)
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        clock = (time.perf_counter(), time.process_time())
        reader = JsonlReader(str(source.parent), glob_pattern=source.name)
        stages = (
            [reader, MinhashDedupSignature(f"{scratch}/signatures", config)],
            [MinhashDedupBuckets(f"{scratch}/signatures", f"{scratch}/buckets", config=config)],
            [MinhashDedupCluster(f"{scratch}/buckets", f"{scratch}/clusters", config, save_cluster_id=True)],
        )
        for number, (pipeline, tasks) in enumerate(zip(stages, (1, config.num_buckets, 1), strict=True)):
            for rank in range(tasks):
                executor = LocalPipelineExecutor(pipeline, tasks=tasks, logging_dir=f"{scratch}/log{number}")
                executor._run_for_rank(rank)
        seconds = (time.perf_counter() - clock[0], time.process_time() - clock[1])
        found = b"".join(path.read_bytes() for path in sorted(Path(scratch, "clusters").rglob("*.clusters")))
    first, heads = list(range(source.read_bytes().count(b"\n"))), {}
    for document, cluster in sorted(struct.iter_unpack("<II", found)):
        first[document] = heads.setdefault(cluster, document)
    return first, *seconds, {}


def worker(arguments: argparse.Namespace) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[-1]})
    run = run_ours if arguments.worker == "tokenmill" else run_datatrove
    first, wall, cpu, more = run(arguments.corpus, arguments.threshold[0])
    result = {"first": first, "wall_s": wall, "cpu_s": cpu, **more}
    with contextlib.suppress(OSError):  # unlike getrusage's, this one begins anew with the program
        status = Path("/proc/self/status").read_text()
        result["peak_mb"] = int(re.findall(r"VmHWM:\s*(\d+)", status)[0]) >> 10
    Path(arguments.result).write_text(json.dumps(result))


def measured(python: str, name: str, corpus_file: Path, threshold: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [python, __file__, "--worker", name, "--corpus", str(corpus_file), "--result", str(result)]
        environment = os.environ | {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        if name == "tokenmill":
            environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
        run = subprocess.run(
            [*command, "--threshold", str(threshold)], env=environment, capture_output=True, text=True
        )
        if run.returncode:
            raise SystemExit(f"{name} failed:\n{run.stderr[-3000:]}")
        return dict(json.loads(result.read_text()))


def compare(language: str, arguments: argparse.Namespace, folder: Path) -> None:
    texts, copies = corpus(language, Path(arguments.data) / "raw")
    corpus_file = folder / f"{language}.jsonl"
    corpus_file.write_text(
        "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), "utf-8"
    )
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    contestants = [("tokenmill", sys.executable)]
    if arguments.peer_python and language == "en":
        contestants.append(("datatrove", arguments.peer_python))
    left, right, jaccard = exact_pairs(texts, 0.05)
    similar = dict(zip(zip(left.tolist(), right.tolist(), strict=True), jaccard.tolist(), strict=True))
    exact = np.array([similar.get(pair, 0.0) for pair in copies])
    medians: dict[str, float] = {}
    for threshold in arguments.threshold:
        truth = closure(left[jaccard >= threshold], right[jaccard >= threshold], len(texts))
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in contestants}
        for _ in range(arguments.repeats):
            for name, python in contestants:
                runs[name].append(measured(python, name, corpus_file, threshold))
        for name, results in runs.items():
            first = np.array(results[0].pop("first"))
            wall, cpu = (statistics.median(result[key] for result in results) for key in ("wall_s", "cpu_s"))
            medians[name] = cpu
            line = {
                "case": language,
                "name": name,
                "threshold": threshold,
                "documents": len(texts),
                "megabytes": round(megabytes, 1),
                "wall_s": round(wall, 3),
                "cpu_s": round(cpu, 3),
                "mb_per_cpu_s": round(megabytes / cpu, 2),
                "documents_per_cpu_s": round(len(texts) / cpu),
                **{
                    key: value for key, value in results[0].items() if key not in ("wall_s", "cpu_s", "first")
                },
                "removed": int((first != np.arange(len(first))).sum()),
                "removed_exactly": int((truth != np.arange(len(truth))).sum()),
                **agreement(first, truth),
                "planted": planted_found(exact, np.array([first[a] == first[b] for a, b in copies])),
            }
            print(json.dumps(line), flush=True)
        if "datatrove" in medians:
            ratio = medians["datatrove"] / medians["tokenmill"]
            print(
                json.dumps({"case": language, "threshold": threshold, "times_datatrove": round(ratio, 1)}),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a folder that holds raw/ (see above)")
    parser.add_argument("--peer-python", help="a Python that has datatrove")
    parser.add_argument(
        "--threshold", type=float, action="append", help="repeatable; 0.8 and 0.75 if left out"
    )
    parser.add_argument("--language", choices=("en", "zh"), action="append")
    parser.add_argument("--repeats", type=int, default=1)
    for hidden in ("--worker", "--corpus", "--result"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.threshold = arguments.threshold or [0.8, 0.75]
    if arguments.worker:
        worker(arguments)
        return
    if not arguments.data:
        parser.error("--data is missing: a folder that holds raw/")
    with tempfile.TemporaryDirectory() as folder:
        for language in arguments.language or ("en", "zh"):
            compare(language, arguments, Path(folder))


if __name__ == "__main__":
    main()
