"""Run a stage's jobs whose objects are missing, and tell how far they are: chunks, documents, MB a second, time left.

Guarantees: every job's meta comes back in the order of the jobs. Price: a stat call a job that is there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tokenization.engine import map_shards
from tokenization.stages.workspace import Workspace

EVERY_S = 1.0  # a line of progress at most so often
COUNTED = ("rows_read", "sequences", "documents")  # what a job's meta may call its documents


@dataclass
class Progress:
    """Says what has been done of some work, at most once a second, and always at its end."""

    say: Callable[[str], None]
    what: str
    jobs: int
    work_bytes: int  # of all the jobs together
    clock: Callable[[], float] = time.perf_counter
    done: int = 0
    documents: int = 0
    began: float = field(init=False)
    told: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.told = self.clock()

    def add(self, documents: int) -> None:
        """One job more is done, with so many documents."""
        self.done += 1
        self.documents += documents
        now = self.clock()
        if self.done == self.jobs or now - self.told >= EVERY_S:
            self.told = now
            self.say(self.line(now - self.began))

    def line(self, seconds: float) -> str:
        """For people: what is done, how fast, and what is left."""
        parts = [f"{self.what}: {self.done} of {self.jobs} chunks"]
        if self.documents:
            parts.append(f"{self.documents:,} documents")
        if self.work_bytes and seconds > 0:
            parts.append(f"{self.work_bytes * self.done / self.jobs / seconds / 1e6:.1f} MB/s")
        if self.done < self.jobs:
            parts.append(f"{seconds * (self.jobs - self.done) / self.done:.0f} s left")
        return ", ".join(parts)


def run_jobs(
    workspace: Workspace,
    stage: str,
    function: Callable[[Any], int],
    jobs: list[Any],
    work_bytes: int,
    name: str,
    *,
    threads: bool = False,
) -> tuple[list[dict[str, Any]], int]:
    """Run the jobs whose object is missing; every job's meta in order, and how many workers had a part in it.

    `threads`: the function's time goes by in libraries that release the GIL (see engine).
    """
    missing = [job for job in jobs if not workspace.keep(stage, job.key)]
    unique = list({job.key: job for job in missing}.values())
    share = work_bytes * len(unique) // max(1, len(jobs))
    progress = Progress(workspace.say, f"{stage} {name}", len(unique), share)

    def done(index: int, _worker: int) -> None:
        meta = workspace.store.meta(stage, unique[index].key)
        progress.add(next((int(meta[field]) for field in COUNTED if field in meta), 0))

    workers = map_shards(function, unique, workspace.engine, work_bytes=share, threads=threads, on_done=done)
    for job in unique:
        workspace.keep(stage, job.key)
    return [workspace.store.meta(stage, job.key) for job in jobs], len(set(workers))
