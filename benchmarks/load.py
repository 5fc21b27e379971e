"""How long the code location takes to load, beside bare Python and Dagster alone.

    python -m benchmarks.load [--runs 9] [--recipes FOLDER] [--against CHECKOUT]

One JSON line a case: medians of fresh processes, the cases in turn, bytecode kept. Seconds and CPU seconds are of the
whole process; `own` is what the case takes beyond `import dagster`. `--against` measures another checkout's code
location in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
LOADED = "import pipelines.definitions as found; "
CASES = {
    "python": "pass",
    "import dagster": "import dagster",
    "load": LOADED,
    "load, every job resolved": f"{LOADED}found.defs.resolve_all_job_defs()",
}


def measured(code: str, checkout: Path, recipes: Path) -> tuple[float, float]:
    """(seconds, CPU seconds) of a fresh process that runs the code on this checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TOKENMILL_RECIPES": str(recipes)}
    before, began = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=checkout, env=environment, check=True)
    seconds, after = time.perf_counter() - began, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, cpu


def main() -> None:
    """Measure the cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--recipes", type=Path, default=ROOT / "recipes")
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same rounds")
    options = parser.parse_args()
    cases = {name: (code, ROOT) for name, code in CASES.items()}
    if options.against:
        cases |= {f"load, {options.against.name}": (LOADED, options.against.absolute())}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for code, checkout in cases.values():  # once for the bytecode
        measured(code, checkout, options.recipes.absolute())
    for _ in range(options.runs):
        for name, (code, checkout) in cases.items():
            found[name].append(measured(code, checkout, options.recipes.absolute()))
    dagster = median(seconds for seconds, _ in found["import dagster"])
    for name, taken in found.items():
        seconds, cpu = (median(column) for column in zip(*taken, strict=True))
        row = {
            "benchmark": "load",
            "case": name,
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu, 3),
            "own": round(seconds - dagster, 3),
            "runs": options.runs,
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
