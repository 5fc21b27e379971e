"""The process that trains: its signals, its parent, its cores and its memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def stop_on_signals(last_words: Callable[[], str]) -> None:
    """SIGTERM and SIGINT end the process at once, with one line: 128 + the signal's number.

    At once and without unwinding, because whatever is on disk is whole at any moment (checkpoints are
    renamed when finished), and because an exception raised by a handler can be swallowed on its way up.
    """

    def stop(number: int, _: Any) -> None:
        sys.stdout.flush()
        line = f"stopped by {signal.Signals(number).name}: {last_words()}\n"
        os.write(2, line.encode())
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


def end_with_parent() -> None:
    """On Linux: SIGTERM when the launching process dies, so that no orphan trains beside its retry."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


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
