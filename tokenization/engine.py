"""`map_shards`: the only parallelism. One pure function, one job in, one result out, order kept.

The result never depends on the engine or the number of workers: every job is deterministic, writes its own
object and returns a small value, and the values come back in the order of the jobs.

Workers are threads of this process where the function says so: one whose time goes by in libraries that release the
GIL (Arrow, polars, NumPy, the encoder). Threads share one opened tokenizer, start at once and add no memory of their
own; ten copies of a tokenizer in ten processes would cost 0.3 GB and 2 s each. Other functions get processes, started
by spawn, never fork (polars hangs after a fork), each with its share of the cores; they end with this process. One
worker means in this process, where the encoder itself still uses every core. Price of processes: about 1 s to start, so
small work stays in process unless workers are asked for.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tokenization.errors import BuildError, RecipeError, TokenmillError
from tokenization.orphans import end_with

Job = TypeVar("Job")
Result = TypeVar("Result")

SMALL_WORK = 24 << 20  # bytes: below this, starting workers (about 1 s) costs more than it brings
THREAD_VARIABLES = ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Engine:
    """Where jobs run: `local` or `ray`; `workers` None means as many as the cores, where it pays."""

    name: str = "local"
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.name not in ("local", "ray"):
            raise RecipeError(f"engine is {self.name!r}; it can be local or ray")
        if self.workers is not None and self.workers < 1:
            raise RecipeError(f"workers is {self.workers}; give at least 1")

    def workers_for(self, jobs: int, work_bytes: int, *, threads: bool = False) -> int:
        """How many workers these jobs get."""
        wanted = self.workers if self.workers is not None else available_cores()
        if self.workers is None and work_bytes < SMALL_WORK and not threads:
            return 1
        return max(1, min(wanted, jobs))


def available_cores() -> int:
    """Cores this process may use (an affinity mask or container counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_id() -> int:
    """A number that this worker shares with no other of this machine: its thread's."""
    return threading.get_native_id()


def map_shards(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    engine: Engine,
    *,
    work_bytes: int = 0,
    threads: bool = False,
    on_done: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Run every job and return their results in order; `on_done(index, result)` as each one ends, in this thread.

    `threads` says that the function's time goes by in libraries that release the GIL.
    """
    if not jobs:
        return []
    if engine.name == "ray":
        return _map_ray(function, jobs, engine, on_done)
    workers = engine.workers_for(len(jobs), work_bytes, threads=threads)
    if workers == 1:
        results = []
        for index, job in enumerate(jobs):
            results.append(function(job))
            if on_done:
                on_done(index, results[-1])
        return results
    if threads:
        with ThreadPoolExecutor(workers, thread_name_prefix="worker") as pool:
            return _map_pool(function, jobs, pool, on_done)
    share = max(1, available_cores() // workers)
    with (
        _environment({name: str(share) for name in THREAD_VARIABLES}),
        ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=end_with,
            initargs=(os.getpid(),),
        ) as pool,
    ):
        return _map_pool(function, jobs, pool, on_done)


def _map_pool(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    pool: Executor,
    on_done: Callable[[int, Result], None] | None,
) -> list[Result]:
    futures: dict[Future[Result], int] = {pool.submit(function, job): index for index, job in enumerate(jobs)}
    try:
        for future in as_completed(futures):
            result = future.result()
            if on_done:
                on_done(futures[future], result)
    except Exception as error:
        pool.shutdown(cancel_futures=True)
        index, cause = min(_failures(futures), default=(-1, error), key=lambda failure: failure[0])
        if index < 0 or isinstance(cause, TokenmillError) or not isinstance(cause, Exception):
            raise cause from None
        raise BuildError(f"a worker failed on job {index}: {type(cause).__name__}: {cause}") from cause
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return [future.result() for future in futures]


def _failures(futures: dict[Future[Result], int]) -> Iterator[tuple[int, BaseException]]:
    """(job, what it raised) of those that failed: the first of them is told, whichever failed first."""
    for future, index in futures.items():
        if future.done() and not future.cancelled():
            error = future.exception()
            if error is not None:
                yield index, error


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the workers about to start, and put the old ones back."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _map_ray(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    engine: Engine,
    on_done: Callable[[int, Result], None] | None,
) -> list[Result]:
    """One task a job; the cluster stays until this process ends, because starting it takes seconds."""
    try:
        import ray
        from ray.exceptions import RayTaskError
    except ImportError as error:
        raise RecipeError(
            "--engine ray needs the package ray: pip install 'tokenmill[ray]', or use --engine local"
        ) from error
    if not ray.is_initialized():
        own = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": engine.workers or available_cores()}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="warning", **own)
    remote: Any = ray.remote(function)
    references = [remote.remote(job) for job in jobs]
    results: list[Result] = []
    for index, reference in enumerate(references):
        try:
            results.append(ray.get(reference))
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, TokenmillError):
                raise cause from None
            raise BuildError(f"a worker failed on job {index}: {type(cause).__name__}: {cause}") from error
        if on_done:
            on_done(index, results[-1])
    return results
