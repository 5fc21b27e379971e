"""Stage `preview`: the candidate's loss masks as a few kilobytes of Markdown for the page.

The whole page, `preview.html`, is part of the candidate itself; this reads the candidate and nothing else.
"""

from __future__ import annotations

from typing import Any

from tokenization.build.layout import version_folder
from tokenization.build.showing import in_turn, page_of_build
from tokenization.hashing import key_of
from tokenization.object_store import shown
from tokenization.preview.markdown import markdown_preview
from tokenization.stages.workspace import Workspace

CODE = "1"


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    candidate = workspace.find("candidate")
    if candidate is None:
        return None
    return [candidate.fingerprint, workspace.recipe.name, shown(workspace.out.absolute())]


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    build = version_folder(workspace.out, workspace.result("candidate").fingerprint)
    page = page_of_build(build)
    markdown = markdown_preview(in_turn(page.sequences))
    return {
        "fingerprint": key_of(markdown),
        "markdown": markdown,
        "page": str(build / "preview.html"),
        "sequences": len(page.sequences),
        "markdown_bytes": len(markdown.encode()),
    }
