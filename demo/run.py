"""`make demo`: stage the raw data, build the recipe through Dagster, train on it, and say what to look at.

A second run finds nothing changed and ends in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import orjson

from demo.stage import main as stage
from pipelines.cli import main as tokenmill

RECIPE, BUILD, RUN = Path("recipes/demo.yaml"), Path("builds/demo"), Path("runs/demo")


def main() -> int:
    """The whole demonstration; its exit code."""
    began = time.perf_counter()
    print(
        "1. Raw data: this Python's standard library, questions about it, and sessions we wrote", flush=True
    )
    failed = stage([])
    if failed:
        return failed
    print("2. Build and train: raw text and chats to proven windows, windows to a checkpoint", flush=True)
    tokenmill(["build", str(RECIPE), "--out", str(BUILD), "--train"], standalone_mode=False)
    print(closing(time.perf_counter() - began))
    return 0


def closing(seconds: float) -> str:
    """What came out, and what to look at next."""
    run = orjson.loads((RUN / "summary.json").read_bytes())
    side = "below" if run["below_unigram_entropy"] else "NOT below"
    return "\n".join(
        [
            "",
            f"Done in {seconds:.0f} s.",
            f"  The model's held-out loss went from {run['held_out_loss_before']:.2f} to "
            f"{run['held_out_loss']:.2f} nats in {run['steps']} steps, {side} the {run['unigram_entropy']:.2f} that "
            f"token counts alone would reach.",
            "",
            "Look at",
            f"  {BUILD / 'preview.html'}    what is trained and what is only read, in a browser",
            "  make ui                     the same in Dagster: the graph, the checks, the numbers over time",
            f"  .venv/bin/tokenmill verify {BUILD}         prove every mask again",
            f"  .venv/bin/tokenmill generate {RUN} --prompt 'What does textwrap.dedent do?'",
            "  .venv/bin/tokenmill init    a commented recipe for your own data",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
