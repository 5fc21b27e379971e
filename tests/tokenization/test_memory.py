"""What a stage no longer uses goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tokenization import memory
from tokenization.memory import give_back

STATUS = Path("/proc/self/smaps_rollup")


def resident() -> int:
    """Bytes of this process."""
    lines = STATUS.read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


@pytest.mark.skipif(sys.platform != "linux" or not STATUS.exists(), reason="needs Linux's account of memory")
def test_memory_freed_in_small_pieces_is_given_back() -> None:
    give_back(above=0)
    before = resident()
    held = [bytes(1000 + number % 7) for number in range(200_000)]
    pins = held[::4000]  # what keeps the pieces between from going back by themselves
    most = resident()
    assert most - before > 150e6
    del held
    give_back(above=0)
    assert resident() - before < (most - before) / 3 and len(pins) == 50


@pytest.mark.skipif(sys.platform != "linux" or not STATUS.exists(), reason="needs Linux's account of memory")
@pytest.mark.parametrize(("beside", "trims"), [(1 << 30, 0), (-(1 << 30), 1)])
def test_a_process_smaller_than_the_bound_keeps_what_is_free(
    monkeypatch: pytest.MonkeyPatch, beside: int, trims: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory, "_trim", lambda: asked.append)
    give_back(above=max(0, memory.resident() + beside))
    assert len(asked) == trims
    assert abs(memory.resident() - resident()) < 64 << 20, "what it goes by is what the system counts"


@pytest.mark.parametrize("at_once", [True, False])
def test_a_process_that_ends_at_once_is_not_looked_over_once_more(at_once: bool) -> None:
    script = f"""
import atexit
from tokenization.memory import end_at_once

class Loop:
    def __init__(self):
        self.itself = self

    def __del__(self):
        print("looked at")

loop = Loop()
atexit.register(print, "ended in order")
if {at_once}:
    end_at_once()
del loop
"""
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert told.splitlines() == (["ended in order"] if at_once else ["ended in order", "looked at"])
