"""Orders of many small things, in time that follows their number.

`stable_argsort` sorts by one 16-bit digit after another, the lowest first, because NumPy's stable sort is a
radix sort for 16-bit integers and a comparison sort for wider ones: some 10 to 30 ns a value and digit.
`shuffled_within` shuffles every group of an array at once by sorting numbers made of (group, chance, place):
about 50 ns a member, and no memory is read out of order. Both give the same order on every machine.
"""

from __future__ import annotations

import numpy as np

from tokenization.sequences import IntArray

DIGIT_BITS = 16


def stable_argsort(values: IntArray, upper: int) -> IntArray:
    """Where each of the values 0 … upper comes from in ascending order, equal ones as they stood."""
    order: IntArray = np.argsort(_digit(values, 0), kind="stable")
    for shift in range(DIGIT_BITS, int(upper).bit_length(), DIGIT_BITS):
        order = order[np.argsort(_digit(values, shift)[order], kind="stable")]
    return order


def _digit(values: IntArray, shift: int) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    return (values >> shift if shift else values).astype(np.uint16)  # keeps the low 16 bits


def shuffled_within(offsets: IntArray, rng: np.random.Generator) -> IntArray:
    """An order that shuffles each group, `offsets[i]:offsets[i + 1]`, within itself."""
    sizes = np.diff(offsets)
    place_bits = int(sizes.max(initial=1)).bit_length()
    group_bits = len(sizes).bit_length()
    chance_bits = 64 - group_bits - place_bits  # 24 for 100 million groups of up to 8,191 members
    if chance_bits < 1:
        raise ValueError(
            f"{len(sizes):,} groups of up to {int(sizes.max()):,} members are too many to shuffle"
        )

    begins = np.repeat(offsets[:-1], sizes)
    keys = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes) << np.uint64(64 - group_bits)
    keys |= rng.integers(0, 1 << chance_bits, len(begins), np.uint64) << np.uint64(place_bits)
    keys |= (np.arange(len(begins)) - begins).astype(np.uint64)
    keys.sort()
    keys &= np.uint64((1 << place_bits) - 1)
    return begins + keys.astype(np.int64)
