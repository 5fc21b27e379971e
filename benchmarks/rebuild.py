"""What a rebuild costs after each kind of change, on a corpus of a hundred files.

    python -m benchmarks.rebuild --data DATA/raw --tokenizer DATA/tokenizers/qwen2.5 [--megabytes 300] [--scratch DIR]

One JSON line a case, each a `tokenmill build` in a process of its own on one store: seconds of the process and of the
build, how many documents were cleaned and encoded over those of one file, seconds of every stage that ran. The last
line writes the windows of the build once more in this process: bytes of shards a second, with and without their hashes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from benchmarks.corpus import write_corpus
from tokenization.hashing import file_digest
from tokenization.recipe.load import load_recipe
from tokenization.stages import candidate
from tokenization.stages.workspace import Workspace
from tokenization.store import Store

FILES = 100
CASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("from nothing", ()),
    ("nothing changed", ()),
    ("one file changed", ()),
    ("another seed", ("--set", "seed=18")),
    ("another window", ("--set", "seed=18", "--set", "window=8192")),
)


def prepare(scratch: Path, data: Path, tokenizer: Path, megabytes: float) -> int:
    """The corpus in a hundred files, and its recipe; documents in the file that will change."""
    write_corpus(data, scratch / "corpus", megabytes, parquet=False)
    lines = (scratch / "corpus" / "corpus.jsonl").read_bytes().splitlines(keepends=True)
    (scratch / "data").mkdir(exist_ok=True)
    each = -(-len(lines) // FILES)
    for number in range(FILES):
        part = lines[number * each : (number + 1) * each]
        (scratch / "data" / f"part-{number:03d}.jsonl").write_bytes(b"".join(part))
    recipe = {
        "name": "rebuild",
        "tokenizer": {"path": str(tokenizer.absolute())},
        "sources": [{"name": "corpus", "kind": "text", "path": "data/*.jsonl"}],
    }
    (scratch / "rebuild.yaml").write_text(json.dumps(recipe))
    return each


def change(scratch: Path) -> None:
    """Every document of one file gets another first word."""
    path = scratch / "data" / "part-050.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"text":"', b'"text":"Changed '))


def documents_in(store: Store, stage: str, field: str, known: set[str]) -> int:
    """Documents in the stage's objects that are not known yet; now they are."""
    count = 0
    for path in (store.root / "objects" / stage).glob("*/*"):
        if path.name not in known:
            known.add(path.name)
            count += int(orjson.loads((path / "meta.json").read_bytes())[field])
    return count


def cases(scratch: Path, each: int) -> Iterator[dict[str, Any]]:
    """Build after each change."""
    store = Store(scratch / "store")
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(scratch / "dagster"),
        "TOKENMILL_STORE": str(store.root),
    }
    command = [sys.executable, "-m", "pipelines.cli", "build", str(scratch / "rebuild.yaml"), "--json"]
    rows: set[str] = set()
    pieces: set[str] = set()
    for case, options in CASES:
        if case == "one file changed":
            change(scratch)
        began, used = time.perf_counter(), children_cpu()
        done = subprocess.run(
            [*command, "--out", str(scratch / "build"), *options],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - began
        built = json.loads(done.stdout)
        yield {
            "benchmark": "rebuild",
            "case": case,
            "process_seconds": round(seconds, 2),
            "cpu_seconds": round(children_cpu() - used, 2),
            "build_seconds": built["seconds"],
            "reused": built["reused"],
            "files_cleaned": round(documents_in(store, "rows", "rows_read", rows) / each, 2),
            "files_encoded": round(documents_in(store, "tokens", "sequences", pieces) / each, 2),
            "stages": stage_seconds(scratch, options),
        }


def children_cpu() -> float:
    """CPU seconds of all ended child processes: what a machine busy with other work does not stretch."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def stage_seconds(scratch: Path, options: tuple[str, ...]) -> dict[str, float]:
    """Seconds of each stage when it last ran on these inputs."""
    overrides = [option for option in options if "=" in option]
    workspace = opened(scratch, overrides)
    return {stage: workspace.result(stage, name).value["seconds"] for stage, name in workspace.nodes()}


def opened(scratch: Path, overrides: list[str]) -> Workspace:
    return Workspace(
        load_recipe(scratch / "rebuild.yaml", overrides), Store(scratch / "store"), scratch / "build"
    )


def rewrite(scratch: Path) -> dict[str, Any]:
    """The windows of the last build, written once more, after a first time that opens what is needed for it."""
    workspace = opened(scratch, ["seed=18", "window=8192"])
    for _ in range(2):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            began, used = time.perf_counter(), time.process_time()
            candidate.write_dataset(workspace, Path(folder))
            seconds, cpu = time.perf_counter() - began, time.process_time() - used
            shards = list(Path(folder).rglob("*.arrow"))
            size = sum(path.stat().st_size for path in shards)
            used = time.process_time()
            for path in shards:
                file_digest(path)
            hashing = time.process_time() - used
    return {
        "benchmark": "rebuild",
        "case": "windows written once more",
        "shard_mb": round(size / 1e6, 1),
        "gb_a_second": round(size / 1e9 / seconds, 2),
        "gb_a_cpu_second": round(size / 1e9 / cpu, 2),
        "gb_a_cpu_second_without_hashes": round(size / 1e9 / (cpu - hashing), 2),
    }


def main() -> None:
    """Every case in order."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=300)
    parser.add_argument("--scratch", type=Path, help="Where corpus and store go [a temporary folder].")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        each = prepare(scratch, options.data, options.tokenizer, options.megabytes)
        for row in cases(scratch, each):
            print(json.dumps(row), flush=True)
        print(json.dumps(rewrite(scratch)), flush=True)


if __name__ == "__main__":
    main()
