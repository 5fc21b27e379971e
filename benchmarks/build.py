"""How long the demo's build takes: from nothing, with nothing changed, and after a change of the seed.

    python -m benchmarks.build [--recipe recipes/demo.yaml]

One JSON line a case: seconds of the whole process, megabytes of input a second. Each case runs in a process of its own;
the store is fresh for the first. The demo's raw data must be staged (make demo, or python -m demo.stage).
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

from tokenization.ingest.files import resolve_files
from tokenization.recipe.load import load_recipe

CASES = (("from nothing", ()), ("nothing changed", ()), ("another seed", ("--set", "seed=18")))


def main() -> None:
    """Run the cases in order on one store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.yaml"))
    path = parser.parse_args().recipe
    recipe = load_recipe(path)
    size = sum(
        file.size
        for source in recipe.sources
        for file in resolve_files(source.path, recipe.directory, source=source.name)
    )
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "DAGSTER_HOME": f"{folder}/dagster",
            "TOKENMILL_STORE": f"{folder}/store",
        }
        for case, options in CASES:
            command = [
                sys.executable,
                "-m",
                "pipelines.cli",
                "build",
                str(path),
                "--out",
                f"{folder}/build",
                "--json",
            ]
            began = time.perf_counter()
            done = subprocess.run(
                [*command, *options], env=environment, check=True, capture_output=True, text=True
            )
            seconds = time.perf_counter() - began
            built = json.loads(done.stdout)
            row = {
                "benchmark": "build",
                "case": case,
                "process_seconds": round(seconds, 2),
                "build_seconds": built["seconds"],
                "input_mb": round(size / 1e6, 1),
                "mb_a_second": round(size / 1e6 / seconds, 2),
                "reused": built["reused"],
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
