"""No process outlives the one it works for: workers and trainers end when whoever started them is killed.

A pool's workers wait on a queue that they hold open themselves, so without this they would wait for ever. On Linux the
kernel tells them (prctl's parent-death signal); elsewhere a killed build leaves its workers until somebody ends them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "TOKENMILL_PARENT"  # the process id of whoever starts a process that shall end with it
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with(parent: int | None) -> None:
    """SIGTERM to this process when its parent dies; at once where `parent` is given and is not its parent any more,
    because it died while this process was starting. A parent that ignored SIGTERM handed that down; here it counts."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if parent is not None and parent != os.getppid():
        os.kill(os.getpid(), signal.SIGTERM)
