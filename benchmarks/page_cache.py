"""What the page cache costs a file that nobody reads soon: written and hashed through it, and without staying in it.

    python -m benchmarks.page_cache [--megabytes 587] [--pause 12] [--runs 2] [--folder DIR]

One JSON line a case: gigabytes a second of wall time, and the CPU seconds of this process. `pause` seconds lie between
cases, because the host of a virtual machine takes free pages back after some, and a page that is given anew is what
costs. `hash` reads what `write, uncached` has just written, which is not in the cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tokenization.hashing import file_digest
from tokenization.uncached import UncachedFile, uncached_digest

BUFFER = 8 << 20  # bytes: what a shard gives at a time


def write(path: Path, buffer: bytes, count: int) -> None:
    """As files are written."""
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            file.write(buffer)


def write_uncached(path: Path, buffer: bytes, count: int) -> None:
    """As shards are written."""
    with UncachedFile(path) as file:
        for _ in range(count):
            file.write(buffer)


def timed(case: str, size: int, work: Callable[[], object]) -> None:
    """Do it, and tell what it took."""
    began, cpu = time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    told = {
        "case": case,
        "megabytes": size // 10**6,
        "gb_a_second": round(size / 1e9 / seconds, 2),
        "cpu": round(cpu, 3),
    }
    print(json.dumps(told), flush=True)


def main() -> None:
    """Every case, `--runs` times in turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=587)
    parser.add_argument("--pause", type=float, default=12)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="on the disk to be measured [the temporary folder]")
    options = parser.parse_args()
    buffer = np.random.default_rng(0).bytes(BUFFER)
    count = options.megabytes * 10**6 // BUFFER
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "file"
        for _ in range(options.runs):
            for hashed in (file_digest, uncached_digest):
                write_uncached(path, buffer, count)
                time.sleep(options.pause)
                name = "hash" if hashed is file_digest else "hash, uncached"
                timed(name, count * BUFFER, lambda hashed=hashed: hashed(path))  # type: ignore[misc]
                path.unlink()
            for written in (write, write_uncached):
                time.sleep(options.pause)
                name = "write" if written is write else "write, uncached"
                timed(name, count * BUFFER, lambda written=written: written(path, buffer, count))  # type: ignore[misc]
                path.unlink()


if __name__ == "__main__":
    main()
