"""One HTML file to look at a build's loss masks: no server, no request, nothing to install.

The file carries its style, its script and its data; the script builds a session's tokens when that session
is opened. What it looks like is in `page.html`, `page.css` and `page.js` beside this module.

Guarantees: no external address; a content security policy that allows this one script and this one style by
their hashes and nothing else; content is data, never markup; at most `max_bytes`. Price: about 9 µs
and 9 bytes a token, 45 KB of frame.
"""

from __future__ import annotations

import base64
import hashlib
import html
from importlib.resources import files
from string import Template

from tokenization.preview.characters import one_line
from tokenization.preview.model import PreviewPage
from tokenization.preview.page_data import page_json

MAX_BYTES = 3_000_000
FRAME_BYTES = 65_536  # left for all that is not data; long facts may take more
SMALLEST_DATA = 1_000


def page_data(page: PreviewPage, max_bytes: int = MAX_BYTES) -> str:
    """What the page's script reads, which does not depend on the facts: it can be made before they are known."""
    return page_json(page, max(max_bytes - FRAME_BYTES, SMALLEST_DATA))


def html_page(page: PreviewPage, max_bytes: int = MAX_BYTES, data: str | None = None) -> str:
    """The whole file as text, to be written as UTF-8; `data` is what `page_data` made of the same page before."""
    style, script = _asset("page.css"), _asset("page.js")
    values = {
        "title": _escaped(page.title),
        "policy": _policy(style, script),
        "style": style,
        "script": script,
        "facts": "\n".join(
            f"<div><dt>{_escaped(name)}</dt><dd>{_escaped(value)}</dd></div>" for name, value in page.facts
        ),
    }
    template = Template(_asset("page.html"))
    frame = len(template.substitute(values, data="").encode())
    if frame > FRAME_BYTES:
        data = page_json(page, max(max_bytes - frame, SMALLEST_DATA))
    return template.substitute(values, data=page_data(page, max_bytes) if data is None else data)


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """Nothing may load, connect or be submitted; only our own script and style, as they are, may act."""
    return (
        f"default-src 'none'; script-src '{_sha256(script)}'; style-src '{_sha256(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
