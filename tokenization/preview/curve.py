"""A loss curve as a small SVG in Markdown: training loss as a line, held-out losses as dots.

Guarantees: at most POINTS points whatever the number of steps, so a few kilobytes; well-formed for losses that are no
numbers. Price: one pass over the losses.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 520, 160, 44, 20, 10
POINTS = 120


def loss_curve(losses: Sequence[float], held_out: Sequence[Mapping[str, Any]]) -> str:
    """The curve as a Markdown image."""
    svg = base64.b64encode(curve_svg(losses, held_out).encode()).decode()
    return f"![loss over {len(losses)} steps](data:image/svg+xml;base64,{svg})"


def curve_svg(losses: Sequence[float], held_out: Sequence[Mapping[str, Any]]) -> str:
    """Losses in nats over steps, from 1."""
    line = thinned([(step, loss) for step, loss in enumerate(losses, 1) if math.isfinite(loss)])
    dots = [(int(each["step"]), float(each["loss"])) for each in held_out if each["loss"] is not None]
    values = [loss for _, loss in (*line, *dots)] or [0.0]
    low, high = min(values), max(values)
    steps = max([step for step, _ in (*line, *dots)] or [1])

    def place(point: tuple[float, float]) -> str:
        x = LEFT + point[0] / max(1, steps) * (WIDTH - LEFT - 8)
        y = TOP + (high - point[1]) / ((high - low) or 1) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.0f} {y:.0f}"

    path = "M" + "L".join(place(point) for point in line) if line else "M0 0"
    marks = "".join('<circle cx="{}" cy="{}" r="3"/>'.format(*place(point).split()) for point in dots)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/><path d="{path}" fill="none" '
        f'stroke="#7d6fc4" stroke-width="1.5"/><g fill="#16834f">{marks}</g><g fill="#525b68">'
        f'<text x="4" y="{TOP + 8}">{high:.2f}</text><text x="4" y="{HEIGHT - BOTTOM}">{low:.2f}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}">nats a target; line: training, dots: held out; {steps} steps</text>'
        "</g></svg>"
    )


def thinned(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """At most POINTS points, each the mean of its neighbours."""
    size = -(-len(points) // POINTS) or 1
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [
        (sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group)) for group in groups
    ]
