"""Sessions to token sequences: rendered, masked, proved, and made to fit the window.

A chunk's object is made in two steps. The first renders every session whole, whatever the window; the second, only for
chunks with sessions longer than the window, applies the recipe's overlong policy to those and keeps the rest as it is.
So another window length renders the few overlong sessions again and nothing else.

Every sequence is proved (see build.proof) before it is kept: one that cannot be proved is set aside as `unproven`.
Price: about 19 µs of CPU a plain session of 134 tokens to render and encode, and 6 µs to prove; see benchmarks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.chat.rendering import plain_of
from tokenization.engine import worker_id
from tokenization.hashing import key_of
from tokenization.stages.chat_chunk import Chunk, RenderJob
from tokenization.stages.chat_tools import renderer_of
from tokenization.stages.documents import ROWS
from tokenization.stages.running import run_jobs
from tokenization.stages.tables import open_table
from tokenization.stages.tokenizer import tokenizer_path
from tokenization.stages.workspace import Workspace

# Of a chunk's rows: copying the others costs time where rows are left out.
READ = ["messages", "tools", "turns"]
PLAIN_LOOK = 500  # sessions of a source that say whether threads serve it


def job(
    workspace: Workspace,
    chunk: str,
    rows: NDArray[np.int32],
    key: str,
    prompted: NDArray[np.int32] | None = None,
) -> RenderJob:
    recipe = workspace.recipe
    return RenderJob(
        workspace.store,
        key,
        chunk,
        rows,
        tokenizer_path(workspace),
        recipe.chat,
        recipe.directory,
        prompted=prompted,
    )


def threads_serve(jobs: list[RenderJob]) -> bool:
    """Whether most of the first sessions are plain: their time goes by in libraries that release the GIL, while tools,
    reasoning and flags are Python's work, for which processes are worth their start."""
    if not jobs:
        return True
    sessions = open_table(jobs[0].store.path("rows", jobs[0].chunk) / ROWS).slice(0, PLAIN_LOOK)
    return 2 * len(plain_of(sessions)) >= len(sessions)


def prompted_among(job: RenderJob, rows: NDArray[np.int32]) -> list[int]:
    """Where among these rows of the chunk those are whose prompts are trained."""
    places: list[int] = [] if job.prompted is None else np.flatnonzero(np.isin(rows, job.prompted)).tolist()
    return places


def encode_chunk(job: RenderJob) -> int:
    """Render one chunk's kept sessions, whole; the worker's number."""
    sessions = open_table(job.store.path("rows", job.chunk) / ROWS).select(READ)
    if len(job.rows) < len(sessions):
        sessions = sessions.take(pa.array(job.rows))
    renderer = renderer_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
    made = Chunk.of(
        renderer, job, sessions, renderer.render(sessions, prompted_among(job, job.rows)), job.rows
    )
    made.save(job)
    return worker_id()


def fit(
    workspace: Workspace, jobs: list[RenderJob], metas: list[dict[str, Any]], name: str, *, threads: bool
) -> tuple[list[str], list[dict[str, Any]], int]:
    """Every chunk's object and meta once no sequence is longer than the window; how many chunks were fitted."""
    window = workspace.recipe.window
    fitted = [
        replace(base, key=key_of("fit", base.key, window), base=base.key, window=window)
        if meta["longest"] > window
        else base
        for base, meta in zip(jobs, metas, strict=True)
    ]
    over = [job for job in fitted if job.window]
    if over:
        run_jobs(workspace, "tokens", fit_chunk, over, 0, name, threads=threads)
    metas = [workspace.store.meta("tokens", job.key) for job in fitted]
    return [job.key for job in fitted], metas, len(over)


def fit_chunk(job: RenderJob) -> int:
    """Apply the overlong policy to one chunk's long sessions; the worker's number."""
    base = Chunk.load(job.store.path("tokens", job.base))
    rows = base.table.column("row").to_numpy()
    long_rows = np.unique(rows[base.table.column("length").to_numpy() > job.window])
    sessions = open_table(job.store.path("rows", job.chunk) / ROWS).select(READ).take(pa.array(long_rows))
    renderer = renderer_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
    whole = renderer.render(sessions, prompted_among(job, long_rows))
    rendered = renderer.fit(sessions, whole, job.window)
    refitted = Chunk.of(renderer, job, sessions, rendered, long_rows)
    base.without(long_rows).joined(refitted).save(job)
    return worker_id()
