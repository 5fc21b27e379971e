"""One box a token, as an SVG that brings its own white background, fonts and colours.

Trained boxes are green, bold and underlined; masked ones grey; special tokens have a dashed frame. A
character that spans several tokens is one box with a foot for each token. A line ends where the text's
does, and before each turn.

Guarantees: at most `max_bytes` of UTF-8, the rest counted in a last line; well-formed XML whatever the
content; no character is cut. Price: 60 to 80 bytes and about 25 µs a token, because boxes of one colour
share one path.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenization.preview.characters import NEWLINE, Group, character_groups
from tokenization.preview.model import PreviewSequence
from tokenization.preview.runs import turns

WIDTH, CELL, LINE, BOX = 760, 7.3, 23, 17  # pixels; CELL = one column of the monospaced face at 12 px
MARGIN, PAD, GAP = 9, 3, 4
LONGEST_BOX = 40  # characters

_STYLE = (
    "text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Noto Sans Mono CJK SC',"
    "monospace;fill:#525b68;text-anchor:middle}.c{text-anchor:start}"
    ".t{fill:#0b5233;font-weight:600}path{stroke-linejoin:round;stroke-width:2}.b{fill:#eceff2;stroke:#eceff2}"
    ".g{fill:#cff0dc;stroke:#cff0dc}.s{fill:none;stroke:#7d6fc4;stroke-width:1;stroke-dasharray:2 2}"
    ".f{stroke:#16834f}.m{stroke:#aeb6c1}"
)
_LAYERS = ("b", "g", "s", "m", "f")  # masked boxes, trained boxes, special frames, masked feet, trained feet


@dataclass(frozen=True)
class _Box:
    stop: int  # the first token behind the box
    line: int
    text: str  # its <tspan>
    paths: dict[str, str]  # layer → path data

    @property
    def num_bytes(self) -> int:
        return len(self.text.encode()) + sum(map(len, self.paths.values()))


def token_svg(seq: PreviewSequence, max_bytes: int) -> str:
    """The boxes from the beginning on, as many as fit into `max_bytes`."""
    left = max_bytes - len(_document([], f"… {len(seq):,} more of {len(seq):,} tokens").encode()) - 16
    boxes: list[_Box] = []
    for box in _laid_out(seq):
        opens_line = not boxes or boxes[-1].line != box.line
        left -= box.num_bytes + (len('<text y="99999"></text>') if opens_line else 0)
        if left < 0:
            break
        boxes.append(box)
    rest = len(seq) - (boxes[-1].stop if boxes else 0)
    return _document(boxes, f"… {rest:,} more of {len(seq):,} tokens" if rest else "")


def _laid_out(seq: PreviewSequence) -> Iterator[_Box]:
    """Boxes from left to right; a line ends with the text's own, with a turn, and at the right edge."""
    opens = {turn.start for turn in turns(seq)}
    x, line = MARGIN, 0
    for group in character_groups(seq):
        label = _label(group)
        width = round(_columns(label) * CELL) + 2 * PAD
        if x > MARGIN and (group.start in opens or x + width > WIDTH - MARGIN):
            x, line = MARGIN, line + 1
        mask = [bool(trained) for trained in seq.loss_mask[group.start : group.stop]]
        trained = ' class="t"' if any(mask) else ""
        text = f'<tspan x="{x + width // 2}"{trained}>{_escaped(label)}</tspan>'
        yield _Box(group.stop, line, text, _paths(group, mask, x, MARGIN + line * LINE, width))
        x += width + GAP
        if "\n" in group.text:
            x, line = MARGIN, line + 1


def _paths(group: Group, mask: Sequence[bool], x: int, y: int, width: int) -> dict[str, str]:
    outline = f"M{x} {y}h{width}v{BOX}h-{width}z"
    paths = {"g" if any(mask) else "b": outline}
    if group.special:
        paths["s"] = outline
    if any(mask) or len(mask) > 1:
        each = width / len(mask)
        gap = 2 if len(mask) > 1 and each > 5 else 0
        for i, trained in enumerate(mask):
            foot = f"M{x + i * each:.4g} {y + BOX + 1}h{each - gap:.3g}"
            layer = "f" if trained else "m"
            paths[layer] = paths.get(layer, "") + foot
    return paths


def _label(group: Group) -> str:
    text = group.text.replace("\n", NEWLINE)
    if len(text) > LONGEST_BOX:
        text = text[: LONGEST_BOX - 1] + "…"
    return text.replace(" ", "·") or "∅"


def _columns(label: str) -> int:
    """Columns of a monospaced face: two for an ideograph or an emoji, none for an accent."""
    columns = 0
    for char in label:
        if unicodedata.category(char) not in ("Mn", "Me", "Cf"):
            columns += 2 if unicodedata.east_asian_width(char) in "WF" else 1
    return columns


def _document(boxes: Sequence[_Box], closing: str) -> str:
    lines: dict[int, str] = {}
    for box in boxes:
        lines[box.line] = lines.get(box.line, "") + box.text
    below = boxes[-1].line + 1 if boxes else 0
    if closing:
        lines[below] = f'<tspan class="c" x="{MARGIN}">{closing}</tspan>'
    height = 2 * MARGIN + LINE * max(1, below + bool(closing))
    paths = "".join(
        f'<path class="{layer}" d="{"".join(box.paths.get(layer, "") for box in boxes)}"/>'
        for layer in _LAYERS
    )
    texts = "".join(f'<text y="{MARGIN + line * LINE + 13}">{text}</text>' for line, text in lines.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{paths}{texts}</svg>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
