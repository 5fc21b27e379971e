"""The process that trains: its signals, its parent, its cores and its memory."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenization.errors import RecipeError
from tokenization.orphans import PARENT_VARIABLE, end_with

PATIENCE_S = 20.0  # a trainer that was told to end is gone by then


def stop_on_signals(last_words: Callable[[], str], tidy: Callable[[], None] = lambda: None) -> None:
    """SIGTERM and SIGINT end the process at once, with one line: 128 + the signal's number.

    At once and without unwinding, because whatever is on disk is whole at any moment (checkpoints are
    renamed when finished), and because an exception raised by a handler can be swallowed on its way up.
    `tidy` takes away what was being written.
    """

    def stop(number: int, _: Any) -> None:
        sys.stdout.flush()
        tidy()
        line = f"stopped by {signal.Signals(number).name}: {last_words()}\n"
        os.write(2, line.encode())
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def end_with_parent() -> None:
    """On Linux: SIGTERM when the launching process dies, so that no orphan trains beside its retry.

    One that died while this process was starting is noticed by its number, which it gave us.
    """
    launcher = os.environ.pop(PARENT_VARIABLE, "")
    end_with(int(launcher) if launcher else None)


@contextmanager
def claim(run: Path, patience: float = PATIENCE_S) -> Iterator[None]:
    """Hold the run directory for this process, so that a retry never trains beside the trainer it replaces.

    Waits for one that is about to end. Raises RecipeError where another still trains there. However the process
    ends, the system lets go of the directory.
    """
    run.mkdir(parents=True, exist_ok=True)
    handle = os.open(run, os.O_RDONLY)
    deadline = time.monotonic() + patience
    try:
        while not _locked(handle):
            if time.monotonic() >= deadline:
                raise RecipeError(
                    f"{run} has another trainer at work; wait for it, end it, or give another --out"
                )
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def usable_cores() -> int:
    """Cores this process may use; containers and `taskset` give fewer than the machine has."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def use_threads(asked: int | None) -> None:
    """As many threads as asked for; else what OMP_NUM_THREADS says; else the cores this process may use."""
    import torch

    if asked is not None or "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(asked or usable_cores())


def wait_passively() -> None:
    """Let threads that wait for each other sleep; to be called before torch is imported.

    By default they spin, and on cores that others use too a step then waits for the scheduler at every
    barrier: several times slower beside a build, for a few percent gained on a machine of one's own.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def peak_memory() -> int:
    """Largest resident size so far, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
