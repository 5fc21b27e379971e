"""What a training run left behind, read without torch: its summary, its steps, and whether they make sense.

`summary.json` and `metrics.jsonl` are written by `training`; the asset checks and the evaluation read them here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tokenization.build.finding import Finding, finding
from tokenization.errors import BuildError

EDGE = 0.1  # the first and the last part of the steps that are compared


@dataclass(frozen=True)
class RunRecords:
    """A finished run."""

    path: Path
    summary: dict[str, Any]
    steps: list[dict[str, Any]]

    @classmethod
    def open(cls, path: Path) -> RunRecords:
        """BuildError where there is no finished run."""
        if not (path / "summary.json").is_file():
            raise BuildError(
                f"{path} has no summary.json: no training has finished there; materialise the checkpoint"
            )
        summary = dict(orjson.loads((path / "summary.json").read_bytes()))
        lines = (path / "metrics.jsonl").read_bytes().splitlines()
        return cls(path, summary, [orjson.loads(line) for line in lines])

    @property
    def losses(self) -> list[float]:
        """The training loss of each step, in nats a target; not a number where the run wrote none."""
        return [number(step["loss"]) for step in self.steps]


def number(value: Any) -> float:
    """JSON has no NaN: a null is one."""
    return float(value) if isinstance(value, (int, float)) else math.nan


def check_finite(run: RunRecords) -> Finding:
    """Every loss and every gradient norm is a number."""
    problems = [
        f"step {step['step']}: {name} is {step[name]}"
        for step in run.steps
        for name in ("loss", "grad_norm")
        if not math.isfinite(number(step[name]))
    ]
    problems += [
        f"after step {held['step']}: the held-out loss is {held['loss']}"
        for held in run.summary["held_out"]
        if not math.isfinite(number(held["loss"]))
    ]
    if not run.steps:
        problems.append("metrics.jsonl has no step")
    looked_at = f"{len(run.steps)} steps and {len(run.summary['held_out'])} held-out losses"
    return finding("finite_loss", problems, looked_at, "every loss and gradient norm finite")


def check_falling(run: RunRecords) -> Finding:
    """The last tenth of the steps is below the first tenth, and the held-out loss below where it began."""
    edge = max(1, round(len(run.losses) * EDGE))
    first, last = mean(run.losses[:edge]), mean(run.losses[-edge:])
    before, after = run.summary["held_out_loss_before"], run.summary["held_out_loss"]
    problems = []
    if not last < first:
        problems.append(f"the last {edge} steps have a loss of {last:.3f}, the first {edge} had {first:.3f}")
    if after is not None and not number(after) < number(before):
        problems.append(f"the held-out loss went from {number(before):.3f} to {number(after):.3f}")
    told = f"{first:.3f} to {last:.3f} nats"
    if after is not None:
        told += f", held out {number(before):.3f} to {number(after):.3f}"
    found = finding(
        "loss_falling", problems, f"{len(run.losses)} steps", "lower at the end than at the beginning"
    )
    return Finding(found.name, found.passed, found.looked_at, told, found.limit, problems)


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


RUN_CHECKS = {"finite_loss": check_finite, "loss_falling": check_falling}
