"""Stage `preview`: the candidate's loss masks for the Dagster page, in three layers.

    windows    windows as strips, 512 pixels wide: one SVG where somebody serves it, else the first of each kind inline
    diff       one telling session, a line a mask run: inline in the page
    sessions   token boxes of the telling sessions: one SVG where somebody serves it, else a few inside the Markdown

The page loads the metadata of an asset's last hundred materialisations at once, so a materialisation should weigh under
2 KB; the boxes inside the Markdown (20 KB) are for where no page server runs. The whole page, `preview.html`, is part
of the candidate itself; this reads the candidate and nothing else.
"""

from __future__ import annotations

from typing import Any

from tokenization.build.layout import version_folder
from tokenization.hashing import key_of
from tokenization.object_store import shown as shown_place
from tokenization.preview import SHEET, STRIPS
from tokenization.preview.markdown import markdown_preview, mask_diff, plain_heading
from tokenization.preview.model import PreviewWindow
from tokenization.preview.strip import strip_sheet, window_strip
from tokenization.preview.svg import token_sheet
from tokenization.stages.workspace import Workspace

INLINE = 1000  # characters of Markdown that the page shows without a click
DIFF = 400  # of those, for a diff that comes with every build
PICTURES, PICTURE_BYTES = 8, 60_000
WINDOWS = 8


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    candidate = workspace.find("candidate")
    if candidate is None:
        return None
    return [candidate.fingerprint, workspace.recipe.name, shown_place(workspace.out.absolute())]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    from tokenization.build.showing import (  # and the prover: 0.2 s that a look-up needs not
        page_of_build,
        telling,
    )

    build = version_folder(workspace.out, workspace.result("candidate").fingerprint)
    page = page_of_build(build)
    shown = telling(page.sequences)
    sheet = token_sheet([(plain_heading(each), each) for each in shown[:PICTURES]], PICTURE_BYTES)
    all_strips = strip_sheet(page.windows[:WINDOWS])
    with workspace.store.writing("preview", key) as folder:
        (folder / STRIPS).write_text(all_strips, encoding="utf-8")
        (folder / SHEET).write_text(sheet, encoding="utf-8")
    markdown = markdown_preview(shown)
    windows = strips(page.windows)
    diff = mask_diff(shortest_chat(shown), DIFF) if shown else ""
    return {
        "fingerprint": key_of(markdown, windows, diff, sheet, all_strips),
        "windows": windows,
        "diff": diff,
        "markdown": markdown,
        "page": str(build / "preview.html"),
        "sequences": len(page.sequences),
    }


def strips(windows: list[PreviewWindow]) -> str:
    """The first window of each kind that fits inline, one strip a line."""
    first = list({window.kind: window for window in reversed(windows)}.values())[::-1]
    lines: list[str] = []
    for window in first:
        line = f"{window.kind} row {window.row}  \n{window_strip(window)}"
        if len("\n\n".join([*lines, line])) < INLINE:
            lines.append(line)
    return "\n\n".join(lines)


def shortest_chat(shown: list[Any]) -> Any:
    """The telling session with the fewest tokens: a diff of it can be read whole."""
    chats = [each for each in shown if each.kind == "sft"]
    return min(chats or shown, key=len)
