"""How fast and how full windows are packed: one line of JSON a case.

    python benchmarks/packing.py                              every distribution at 1e5, 1e6 and 1e7 lengths
    python benchmarks/packing.py --n 1e6 --window 8192 --distribution alpaca --distribution mixed

`lower_bound` is a number of windows that no packing of whole sequences goes below, the largest of three;
`token_bound`, tokens over window, is the smallest of them. `over` is how far the windows are above the lower
bound. `seconds` is the best of the repeats, `cold_seconds` the first of them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tokenization.windows.packing import WindowPlan, pack_best_fit, pack_concat, shuffle_segments

Lengths = NDArray[np.int64]
Draw = Callable[[np.random.Generator, int, int], NDArray[np.floating] | Lengths]


def _lognormal(median: float, spread: float, shortest: int) -> Draw:
    def draw(rng: np.random.Generator, n: int, window: int) -> NDArray[np.floating]:
        return np.clip(rng.lognormal(np.log(median), spread, n), shortest, window)

    return draw


def _mixed(rng: np.random.Generator, n: int, window: int) -> NDArray[np.floating]:
    short = _lognormal(120, 0.9, 8)(rng, n, window)
    long = _lognormal(1400, 0.8, 20)(rng, n, window)
    return np.where(rng.random(n) < 0.7, short, long)


def _adversarial(rng: np.random.Generator, n: int, window: int) -> Lengths:
    """A third to half a window and a little more: nothing small is left to fill the gaps."""
    return rng.integers(window // 3, window // 2 + 200, n)


DISTRIBUTIONS: dict[str, Draw] = {
    "alpaca": _lognormal(95, 0.75, 8),
    "sharegpt": _lognormal(1100, 0.9, 20),
    "mixed": _mixed,
    "adversarial": _adversarial,
}


def lower_bound(lengths: Lengths, window: int) -> int:
    """Windows that any packing of whole sequences needs, whatever its order."""
    count = np.bincount(lengths, minlength=window + 1)
    return max(_bound_by_space(count, window), *(_bound_by_number(count, window, k) for k in range(1, 33)))


def _bound_by_space(count: Lengths, window: int) -> int:
    """Martello and Toth's L2: long sequences need windows of their own; the rest gets the room they leave."""
    number = np.append(0, np.cumsum(count))  # of lengths below each value
    tokens = np.append(0, np.cumsum(count * np.arange(window + 1)))
    small = np.arange(window // 2 + 1)  # lengths from `small` to half a window may share what others leave
    half, alone = window // 2 + 1, window - small + 1
    long = number[-1] - number[half]
    room = (number[alone] - number[half]) * window - (tokens[alone] - tokens[half])
    rest = np.maximum(tokens[half] - tokens[small] - room, 0)
    return int((long + -(-rest // window)).max())


def _bound_by_number(count: Lengths, window: int, k: int) -> int:
    """Fekete and Schepers' u(k): a length above a (k + 1)-th of a window counts as a k-th, and so on."""
    length = np.arange(window + 1)
    parts, left = np.divmod(length * (k + 1), window)
    weight = np.where(left == 0, length * k, parts * window)  # of k · window
    return -(-int((count * weight).sum()) // (k * window))


PACKERS: dict[str, Callable[[Lengths, int], WindowPlan]] = {
    "best_fit": lambda lengths, window: pack_best_fit(lengths, window, overlong="error"),
    "best_fit_shuffled": lambda lengths, window: shuffle_segments(
        pack_best_fit(lengths, window, overlong="error"), seed=0
    ),
    "concat": pack_concat,
}


def measure(name: str, n: int, distribution: str, window: int, repeats: int) -> dict[str, object]:
    """One case: seconds, windows and how near they are to the bounds."""
    drawn = DISTRIBUTIONS[distribution](np.random.default_rng(1), n, window)
    lengths = drawn.astype(np.int64)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        plan = PACKERS[name](lengths, window)
        seconds.append(time.perf_counter() - begin)
    token_bound = -(-int(lengths.sum()) // window)
    bound = token_bound if name == "concat" else lower_bound(lengths, window)
    return {
        "packing": name,
        "n": n,
        "distribution": distribution,
        "window": window,
        "seconds": round(min(seconds), 4),
        "cold_seconds": round(seconds[0], 4),
        "windows": plan.num_windows,
        "fill": round(plan.fill, 6),
        "lower_bound": bound,
        "token_bound": token_bound,
        "over": round(plan.num_windows / bound - 1, 6),
    }


def cases(arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Every packing of every distribution at every size asked for."""
    for n in arguments.n or [1e5, 1e6, 1e7]:
        for distribution in arguments.distribution or DISTRIBUTIONS:
            for name in arguments.packing or PACKERS:
                yield measure(name, int(n), distribution, arguments.window, arguments.repeats)


def main() -> None:
    """Prints one line of JSON a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--n", type=float, action="append", help="number of lengths; may be given again")
    parser.add_argument("--distribution", choices=list(DISTRIBUTIONS), action="append")
    parser.add_argument("--packing", choices=list(PACKERS), action="append")
    parser.add_argument("--window", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=3)
    for case in cases(parser.parse_args()):
        print(json.dumps(case), flush=True)


if __name__ == "__main__":
    main()
