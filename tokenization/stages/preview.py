"""Stage `preview`: the candidate's loss masks for the Dagster page, in three layers.

    windows    the first window of each kind as a strip, 512 pixels wide: inline in the page
    diff       one telling session, a line a mask run: inline in the page
    sessions   token boxes of the telling sessions: SVG files where somebody serves them, else a few inside the Markdown

The page loads the metadata of an asset's last hundred materialisations at once, so a materialisation should weigh under
3 KB; the boxes inside the Markdown (20 KB) are for where no page server runs. The whole page, `preview.html`, is part
of the candidate itself; this reads the candidate and nothing else.
"""

from __future__ import annotations

from typing import Any

from tokenization.build.layout import version_folder
from tokenization.build.showing import page_of_build, telling
from tokenization.hashing import key_of
from tokenization.object_store import shown as shown_place
from tokenization.preview.markdown import heading, markdown_preview, mask_diff
from tokenization.preview.model import PreviewWindow
from tokenization.preview.strip import window_strip
from tokenization.preview.svg import token_svg
from tokenization.stages.workspace import Workspace

CODE = "2"
INLINE = 1000  # characters of Markdown that the page shows without a click
PICTURES, PICTURE_BYTES = 8, 60_000


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    candidate = workspace.find("candidate")
    if candidate is None:
        return None
    return [candidate.fingerprint, workspace.recipe.name, shown_place(workspace.out.absolute())]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    build = version_folder(workspace.out, workspace.result("candidate").fingerprint)
    page = page_of_build(build)
    shown = telling(page.sequences)
    pictures = [token_svg(each, PICTURE_BYTES) for each in shown[:PICTURES]]
    with workspace.store.writing("preview", key) as folder:
        for number, picture in enumerate(pictures):
            (folder / picture_name(number)).write_text(picture, encoding="utf-8")
    markdown = markdown_preview(shown)
    windows = strips(page.windows)
    diff = mask_diff(shortest_chat(shown), INLINE - 20) if shown else ""
    return {
        "fingerprint": key_of(markdown, windows, diff, pictures),
        "windows": windows,
        "diff": diff,
        "markdown": markdown,
        "headings": [heading(each) for each in shown[:PICTURES]],
        "page": str(build / "preview.html"),
        "sequences": len(page.sequences),
    }


def picture_name(number: int) -> str:
    return f"session-{number}.svg"


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
