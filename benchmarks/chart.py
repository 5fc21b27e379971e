"""A bar chart as SVG text, on a logarithmic scale, without a library."""

from __future__ import annotations

from html import escape
from math import log10

WIDTH, LEFT, ROW, RIGHT = 780, 210, 22, 70
COLOURS = ("#2f6f4f", "#4878a8", "#a86b2f", "#7a4f8f")


def bars(title: str, groups: dict[str, dict[str, float]]) -> str:
    """One bar for each (group, name), names side by side by group; values above 0."""
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    values = [value for group in groups.values() for value in group.values()]
    low, high = min(values) / 2, max(values)
    height = 50 + ROW * len(values) + 8 * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>',
        f'<text x="10" y="22" font-size="15">{escape(title)} (logarithmic)</text>',
    ]
    y = 40
    for name in names:
        for number, (group, of_group) in enumerate(groups.items()):
            if name not in of_group:
                continue
            share = (log10(of_group[name]) - log10(low)) / (log10(high) - log10(low))
            length = max(1.0, share * (WIDTH - LEFT - RIGHT))
            colour = COLOURS[number % len(COLOURS)]
            label = escape(f"{name} · {group}")
            parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{label}</text>')
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>'
            )
            parts.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}">{of_group[name]:.3g}</text>')
            y += ROW
        y += 8
    return "\n".join([*parts, "</svg>", ""])
