"""How fast quality rules and the replacement of personal data run over real text: one line of JSON.

    python benchmarks/quality.py DATA                     a folder, a file or a glob, as in a recipe's path
    python benchmarks/quality.py DATA --threads 2 --repeats 5 --language

`mb_per_second` counts raw UTF-8 against the clock, `cpu_mb_per_second` against the processor time of one
core: on a machine that does other things too, the second times the number of cores is what an idle one can
reach. Each family runs alone, then all rules together, with the figures of what is rejected; medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.cleaning import CleaningOptions
from tokenization.ingest.corpus import TextOptions, read_documents
from tokenization.ingest.files import resolve_files
from tokenization.quality.apply import apply_rules, merge_counts
from tokenization.quality.personal_data import PersonalDataSpec, replace_personal_data
from tokenization.quality.rules import GROUPS, parse_rules

ALL: list[Any] = [
    *("gopher", "c4", "fineweb", {"min_length": {"min": 1}}, {"max_length": {"max": 10_000_000}}),
    {"script": {"keep": ["Latin", "Han"], "min_share": 0.5}},
]
LANGUAGE = {"language": {"keep": ["en", "zh"]}}


def read_columns(path: str) -> list[pa.LargeStringArray]:
    """The cleaned texts, in batches of about 8 MB as a build has them."""
    files = resolve_files(path, Path(), source="benchmark")
    chunks = plan_chunks(files, [str(number) for number in range(len(files))])
    columns = [
        batch.documents.column("text").combine_chunks()
        for chunk in chunks
        for batch in read_documents(chunk, TextOptions(), CleaningOptions())
        if len(batch.documents)
    ]
    return [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]


def measure(
    work: Callable[[pa.LargeStringArray], Any],
    columns: Sequence[pa.LargeStringArray],
    threads: int,
    repeats: int,
) -> dict[str, float]:
    """MB of text a second, by the clock and by processor time."""
    megabytes = sum(_num_bytes(column) for column in columns) / 1e6
    clock, processor = [], []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(repeats):
            begin, used = time.perf_counter(), time.process_time()
            list(pool.map(work, columns))
            clock.append(time.perf_counter() - begin)
            processor.append(time.process_time() - used)
    return {
        "mb_per_second": round(megabytes / statistics.median(clock), 1),
        "cpu_mb_per_second": round(megabytes / statistics.median(processor), 1),
    }


def _num_bytes(column: pa.LargeStringArray) -> int:
    return int(pl.Series(pl.from_arrow(column)).str.len_bytes().sum())


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="a folder, a file or a glob of text")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--language", action="store_true", help="also the rule language, by py3langid")
    arguments = parser.parse_args()
    columns = read_columns(arguments.data)
    cases: dict[str, list[Any]] = {**{group: [group] for group in GROUPS}, "all": ALL}
    if arguments.language:
        cases["language"] = [LANGUAGE]
    works: dict[str, Callable[[pa.LargeStringArray], Any]] = {
        name: partial(apply_rules, rules=parse_rules(entries)) for name, entries in cases.items()
    }
    works["personal_data"] = partial(replace_personal_data, spec=PersonalDataSpec())
    for work in works.values():  # tables and models are loaded once
        work(columns[0].slice(0, 1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results = {
        name: measure(work, columns, arguments.threads, arguments.repeats) for name, work in works.items()
    }
    counts = merge_counts(works["all"](column).counts for column in columns)
    report = {
        "benchmark": "quality",
        "threads": arguments.threads,
        "megabytes": round(sum(map(_num_bytes, columns)) / 1e6, 1),
        "documents": sum(map(len, columns)),
        **results,
        "rejected": {name: [count.first, count.alone] for name, count in counts.items() if count.alone},
        "peak_mb_above_data": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "machine": {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1), "cpu": platform.machine()},
        "versions": {"polars": pl.__version__, "pyarrow": pa.__version__},
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
