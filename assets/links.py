"""Links from the page to HTML files: the loopback server of `make ui` shows what lies below its folder.

Dagster renders http links and not file ones. Where no server was started, the path stands there to be copied.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import dagster as dg

PAGES = "TOKENMILL_PAGES"  # the server's address, set by what started it


def page_url(path: Path) -> str | None:
    """Where the file can be opened in a browser, or None."""
    base, here = os.environ.get(PAGES), Path.cwd().resolve()
    whole = path.resolve()
    if not base or not whole.is_relative_to(here):
        return None
    return f"{base.rstrip('/')}/{quote(whole.relative_to(here).as_posix())}"


def link(path: Path) -> dg.MetadataValue[str]:
    """The file as metadata: a link where it is served, else its path."""
    url = page_url(path)
    return dg.MetadataValue.url(url) if url else dg.MetadataValue.path(str(path))
