"""Links from the page to HTML files: the loopback server of `make ui` shows what lies below its folder.

Dagster renders http links and not file ones. Where no server was started, the path stands there to be copied.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

import dagster as dg

PAGES = "TOKENMILL_PAGES"  # the server's address, set by what started it
REMEMBERED = "pages.json"  # in the instance's folder


def remember(home: Path, address: str) -> None:
    """Note below the instance where pages of the present folder are served, so that links of builds from the command
    line lead there, and the next server takes the same port: links of earlier materialisations stay good."""
    (home / REMEMBERED).write_text(json.dumps({"address": address, "folder": str(Path.cwd().resolve())}))


def remembered(home: Path) -> str | None:
    """The address where this folder's pages were last served, or None."""
    path = home / REMEMBERED
    told = json.loads(path.read_text()) if path.is_file() else {}
    return told["address"] if told.get("folder") == str(Path.cwd().resolve()) else None


def page_url(path: Path) -> str | None:
    """Where the file can be opened in a browser, or None."""
    home = os.environ.get("DAGSTER_HOME")
    base, here = os.environ.get(PAGES) or (remembered(Path(home)) if home else None), Path.cwd().resolve()
    whole = path.resolve()
    if not base or not whole.is_relative_to(here):
        return None
    return f"{base.rstrip('/')}/{quote(whole.relative_to(here).as_posix())}"


def link(path: Path) -> dg.MetadataValue[str]:
    """The file as metadata: a link where it is served, else its path."""
    url = page_url(path)
    return dg.MetadataValue.url(url) if url else dg.MetadataValue.path(str(path))
