"""Where results and builds are kept where nobody says: the environment's choice, or folders below this one."""

from __future__ import annotations

import os
from pathlib import Path

from tokenization.object_store import located
from tokenization.recipe.model import Recipe


def default_store() -> Path:
    """`TOKENMILL_STORE`, a path or a URL, or `.tokenmill/store` here."""
    return located(os.environ.get("TOKENMILL_STORE") or ".tokenmill/store")


def default_out(recipe: Recipe) -> Path:
    """NAME below `TOKENMILL_BUILDS`, a path or a URL, or below `builds` here."""
    return located(f"{(os.environ.get('TOKENMILL_BUILDS') or 'builds').rstrip('/')}/{recipe.name}")
