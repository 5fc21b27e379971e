"""What near duplicates may take: below 1 GiB for each million texts, and far less from the scratch file."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from tokenization.duplicates.near import cluster

CHUNK = 5_000


def random_signatures(number: int) -> Iterator[NDArray[np.uint32]]:
    """Chunk after chunk, a fifth of each near copies of its beginning."""
    rng = np.random.default_rng(0)
    for _ in range(0, number, CHUNK):
        rows = rng.integers(0, 2**32, (CHUNK, 128), dtype=np.uint32)
        rows[-CHUNK // 5 :] = rows[: CHUNK // 5]
        rows[-CHUNK // 5 :, ::9] += np.uint32(1)
        yield rows


def peak_bytes(number: int, memory: int) -> int:
    tracemalloc.start()
    try:
        near = cluster(random_signatures(number), 0.8, memory=memory)
        assert 0.15 * number < number - near.kept.sum() <= 0.2 * number
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "most"), [(1 << 30, 1 << 30), (4 << 20, 100_000_000)])
def test_memory_a_million_texts_stays_below_its_bound(memory: int, most: int) -> None:
    """From the growth between two sizes, so that what a call always takes does not count."""
    small, large = peak_bytes(50_000, memory), peak_bytes(150_000, memory)
    assert (large - small) * 10 < most
