"""`map_shards`: the only parallelism. One pure function, one job in, one result out, order kept.

The result never depends on the engine or the number of workers: every job is deterministic, writes its own
object and returns a small value, and the values come back in the order of the jobs.

Workers are processes started by forkserver or spawn, never fork (polars hangs after a fork). One worker means
in this process, where the encoder itself still uses every core; with more, each worker gets its share of
the cores. Price: about 1 s to start workers, so small work stays in process unless workers are asked for.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from tokenization.errors import BuildError, RecipeError, TokenmillError

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

    def processes(self, jobs: int, work_bytes: int) -> int:
        """How many processes these jobs get."""
        wanted = self.workers if self.workers is not None else available_cores()
        if self.workers is None and work_bytes < SMALL_WORK:
            return 1
        return max(1, min(wanted, jobs))


def available_cores() -> int:
    """Cores this process may use (an affinity mask or container counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_shards(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    engine: Engine,
    *,
    work_bytes: int = 0,
    on_done: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Run every job and return their results in order; `on_done(index, result)` as each one ends."""
    if not jobs:
        return []
    if engine.name == "ray":
        return _map_ray(function, jobs, engine, on_done)
    processes = engine.processes(len(jobs), work_bytes)
    if processes == 1:
        results = []
        for index, job in enumerate(jobs):
            results.append(function(job))
            if on_done:
                on_done(index, results[-1])
        return results
    return _map_processes(function, jobs, processes, on_done)


def _map_processes(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    processes: int,
    on_done: Callable[[int, Result], None] | None,
) -> list[Result]:
    threads = max(1, available_cores() // processes)
    context = multiprocessing.get_context("spawn")
    results: list[Result] = []
    with (
        _environment({name: str(threads) for name in THREAD_VARIABLES}),
        ProcessPoolExecutor(processes, mp_context=context) as pool,
    ):
        futures: list[Future[Result]] = [pool.submit(function, job) for job in jobs]
        try:
            for index, future in enumerate(futures):
                results.append(future.result())
                if on_done:
                    on_done(index, results[-1])
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(error, TokenmillError) or not isinstance(error, Exception):
                raise
            raise BuildError(
                f"a worker failed on job {len(results)}: {type(error).__name__}: {error}"
            ) from error
    return results


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
    try:
        import ray
    except ImportError as error:
        raise RecipeError(
            "--engine ray needs the package ray: pip install ray, or use --engine local"
        ) from error
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(num_cpus=engine.workers or available_cores(), include_dashboard=False, log_to_driver=False)
    try:
        remote: Any = ray.remote(function)
        references = [remote.remote(job) for job in jobs]
        results: list[Result] = []
        for index, reference in enumerate(references):
            results.append(ray.get(reference))
            if on_done:
                on_done(index, results[-1])
        return results
    finally:
        if started_here:
            ray.shutdown()
