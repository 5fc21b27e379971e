"""Sessions to token sequences: rendered, masked, proved, and made to fit the window.

A chunk's object is made in two steps. The first renders every session whole, whatever the window; the second, only for
chunks with sessions longer than the window, applies the recipe's overlong policy to those and keeps the rest as it is,
as another object. So another window length renders the few overlong sessions again and nothing else; the first time,
both steps are one job.

Every sequence is proved (see build.proof) before it is kept: one that cannot be proved is set aside as `unproven`.
Price: about 19 µs of CPU a plain session of 134 tokens to render and encode, and 6 µs to prove; see benchmarks.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.chat.rendering import Renderer, plain_of
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
        recipe.window,
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
    """Render one chunk's kept sessions, whole; then those to fit that are longer than the window which is asked for
    beside. The worker's number."""
    sessions = sessions_of(job)
    if len(job.rows) < len(sessions):
        sessions = sessions.take(pa.array(job.rows))
    renderer = opened_renderer(job)
    made = Chunk.of(
        renderer, job, sessions, renderer.render(sessions, prompted_among(job, job.rows)), job.rows
    )
    made.save(job)
    if made.longest > job.window:
        fitted(renderer, fitting(job), made).save(fitting(job))
    return worker_id()


def fit(
    workspace: Workspace, jobs: list[RenderJob], metas: list[dict[str, Any]], name: str, *, threads: bool
) -> tuple[list[str], list[dict[str, Any]], int]:
    """Every chunk's object and meta once no sequence is longer than the window; how many chunks were fitted."""
    chosen = [
        fitting(base) if meta["longest"] > base.window else base
        for base, meta in zip(jobs, metas, strict=True)
    ]
    over = [job for job in chosen if job.base]
    if over:
        run_jobs(workspace, "tokens", fit_chunk, over, 0, name, threads=threads)
    metas = [workspace.store.meta("tokens", job.key) for job in chosen]
    return [job.key for job in chosen], metas, len(over)


def fitting(base: RenderJob) -> RenderJob:
    """The job that starts from another's whole rendering."""
    return replace(base, key=key_of("fit", base.key, base.window), base=base.key)


def fit_chunk(job: RenderJob) -> int:
    """Apply the overlong policy to one chunk's long sessions, rendered whole before; the worker's number."""
    fitted(opened_renderer(job), job, Chunk.load(job.store.path("tokens", job.base))).save(job)
    return worker_id()


def fitted(renderer: Renderer, job: RenderJob, base: Chunk) -> Chunk:
    """The chunk, its long sessions rendered again under the overlong policy."""
    rows = base.table.column("row").to_numpy()
    long_rows = np.unique(rows[base.table.column("length").to_numpy() > job.window])
    sessions = sessions_of(job).take(pa.array(long_rows))
    whole = renderer.render(sessions, prompted_among(job, long_rows))
    rendered = renderer.fit(sessions, whole, job.window)
    return base.without(long_rows).joined(Chunk.of(renderer, job, sessions, rendered, long_rows))


def sessions_of(job: RenderJob) -> pa.Table:
    """The chunk's sessions, all of them."""
    return open_table(job.store.path("rows", job.chunk) / ROWS).select(READ)


def opened_renderer(job: RenderJob) -> Renderer:
    return renderer_of(job.tokenizer, job.chat.model_dump_json(), job.folder)
