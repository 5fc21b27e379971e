"""Who is working on a store: a running build's hold on what it uses, while another process prunes.

A build takes a *lease* on its store: a locked file in `running/`, whose time is when it began. Whatever the build
finds it touches, and whatever it makes is new, so "used since the oldest lease began" is what no pruning may take. A
lock dies with its process, so a killed build holds nothing. The steps of one run in Dagster's page are processes of
their own; a lease that *lingers* counts for a while after its end, so that the next step still finds what the last one
made.

Touching (`hold`) and taking away (`store_upkeep.prune`) pass one gate, a lock on `gate`: many may touch at once, one
may take away, and never both. Works for processes of one machine.
Price: one system call an object held.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LINGERS_S = 120.0  # until the next step of a run has started and looked at what it needs


class Lease:
    """A hold on a store from its making to `release`, the end of the process, or when nobody has it any more."""

    def __init__(self, root: Path, *, lingers: bool = False) -> None:
        self.root = root
        folder = root / "running"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
        with gate(root):
            file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(file, fcntl.LOCK_EX)
        self.began = os.fstat(file).st_mtime_ns
        self.release = weakref.finalize(self, _release, file, path, self.began if lingers else None)

    def hold(self, paths: Iterable[Path]) -> bool:
        """Keep these objects until the lease ends; False where one is not there."""
        with gate(self.root):
            return all(_touch(path) for path in paths)


def _touch(path: Path) -> bool:
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:  # somebody else's store, to read: nothing of it is pruned by us
        return path.exists()
    return True


def _release(file: int, path: Path, began: int | None) -> None:
    if began is None:
        path.unlink(missing_ok=True)
    else:
        os.write(file, str(began).encode())  # the file's time is now that of the end
    os.close(file)


@contextmanager
def gate(root: Path, *, alone: bool = False) -> Iterator[None]:
    """Pass the store's gate, with others or `alone`."""
    root.mkdir(parents=True, exist_ok=True)
    file = os.open(root / "gate", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(file)


def running(root: Path) -> list[int]:
    """When each of the store's leases began (ns), oldest first; those of killed builds are cleared away.

    Only inside the gate, alone."""
    found = []
    for path in sorted((root / "running").glob("*")):
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:  # released since it was listed
            continue
        try:
            modified = os.fstat(file).st_mtime_ns
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.append(modified)
        else:
            began = os.read(file, 32)
            if began and time.time_ns() - modified < LINGERS_S * 1e9:
                found.append(int(began))
            else:
                path.unlink(missing_ok=True)
        finally:
            os.close(file)
    return sorted(found)
