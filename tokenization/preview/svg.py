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
    "monospace;fill:#525b68;text-anchor:middle}.c,.h{text-anchor:start}"
    ".h{fill:#1b2330;font-weight:600}"
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


def token_sheet(sequences: Sequence[tuple[str, PreviewSequence]], max_bytes: int) -> str:
    """Several sequences below each other, each under its heading and with `max_bytes` for its boxes."""
    parts, top = [], 0
    for heading, seq in sequences:
        boxes, closing = _within(seq, max_bytes)
        parts.append(f'<text class="h" x="{MARGIN}" y="{top + 19}">{_escaped(heading)}</text>')
        parts.append(f'<svg y="{top + 22}">{_drawn(boxes, closing)}</svg>')
        top += 30 + _height(boxes, closing)
    return _document("".join(parts), max(top, LINE))


def token_svg(seq: PreviewSequence, max_bytes: int) -> str:
    """The boxes from the beginning on, as many as fit into `max_bytes`."""
    boxes, closing = _within(seq, max_bytes)
    return _document(_drawn(boxes, closing), _height(boxes, closing))


def _within(seq: PreviewSequence, max_bytes: int) -> tuple[list[_Box], str]:
    """The boxes that fit, and what is said of the rest."""
    left = max_bytes - len(_document(_drawn([], _rest(len(seq), seq)), 9999).encode()) - 16
    boxes: list[_Box] = []
    for box in _laid_out(seq):
        opens_line = not boxes or boxes[-1].line != box.line
        left -= box.num_bytes + (len('<text y="99999"></text>') if opens_line else 0)
        if left < 0:
            break
        boxes.append(box)
    rest = len(seq) - (boxes[-1].stop if boxes else 0)
    return boxes, _rest(rest, seq) if rest else ""


def _rest(missing: int, seq: PreviewSequence) -> str:
    return f"… {missing:,} more of {len(seq):,} tokens"


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


def _below(boxes: Sequence[_Box]) -> int:
    """The first line without boxes."""
    return boxes[-1].line + 1 if boxes else 0


def _height(boxes: Sequence[_Box], closing: str) -> int:
    return 2 * MARGIN + LINE * max(1, _below(boxes) + bool(closing))


def _drawn(boxes: Sequence[_Box], closing: str) -> str:
    """Boxes, their texts, and the closing line below them."""
    lines: dict[int, str] = {}
    for box in boxes:
        lines[box.line] = lines.get(box.line, "") + box.text
    if closing:
        lines[_below(boxes)] = f'<tspan class="c" x="{MARGIN}">{closing}</tspan>'
    paths = "".join(
        f'<path class="{layer}" d="{"".join(box.paths.get(layer, "") for box in boxes)}"/>'
        for layer in _LAYERS
    )
    texts = "".join(f'<text y="{MARGIN + line * LINE + 13}">{text}</text>' for line, text in lines.items())
    return paths + texts


def _document(content: str, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"><style>{_STYLE}</style>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{content}</svg>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
