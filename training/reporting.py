"""Where a run's words and numbers go: standard output, `metrics.jsonl`, and Dagster where it launched us.

`metrics.jsonl` has one JSON line a step. A resumed run first drops the lines after its checkpoint, so
each step stands there once. Under Dagster Pipes the same progress lines become log entries and the end
an asset materialization whose numbers are numbers, so that its plots work; outside of Dagster nothing is
imported and nothing changes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

PIPES_VARIABLE = "DAGSTER_PIPES_CONTEXT"  # set by Dagster for a process that it launches
SECONDS_BETWEEN_LINES = 5.0


class Reporter:
    """Progress to standard output; at most one line of steps every few seconds."""

    def __init__(self) -> None:
        self._last_step_line = 0.0

    def say(self, text: str) -> None:
        print(text, flush=True)

    def step(self, text: str, always: bool) -> None:
        """A line about a step, left out where the last one is fresh."""
        now = time.monotonic()
        if always or now - self._last_step_line >= SECONDS_BETWEEN_LINES:
            self._last_step_line = now
            self.say(text)

    def finish(self, metadata: Mapping[str, Any], data_version: str) -> None:
        """The run is whole: these numbers describe its result."""


class PipesReporter(Reporter):
    """The same, and to the Dagster run that launched this process."""

    def __init__(self, context: Any) -> None:
        super().__init__()
        self._context = context

    def say(self, text: str) -> None:
        super().say(text)
        self._context.log.info(text)

    def finish(self, metadata: Mapping[str, Any], data_version: str) -> None:
        self._context.report_asset_materialization(metadata=dict(metadata), data_version=data_version)


def launched_by_dagster() -> bool:
    return PIPES_VARIABLE in os.environ


@contextmanager
def open_reporter() -> Iterator[Reporter]:
    """The reporter that fits how this process was started."""
    if not launched_by_dagster():
        yield Reporter()
        return
    from dagster_pipes import open_dagster_pipes

    with open_dagster_pipes() as context:
        yield PipesReporter(context)


class Metrics:
    """`metrics.jsonl` of a run."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Open for appending; lines after `last_step` (and half a line) are dropped."""
        kept = [line for line in _lines(path) if line["step"] <= last_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in kept))
        part.replace(path)
        self._path = path

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line, whole."""
        with self._path.open("ab") as file:
            file.write(orjson.dumps(record) + b"\n")


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(orjson.loads(line))
        except orjson.JSONDecodeError:  # a run that was killed may leave half a line
            break
    return found
