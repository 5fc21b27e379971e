"""Places on the command line: a local path, or a URL that is turned into the path of its mirror."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tokenization.build.layout import readable
from tokenization.errors import TokenmillError
from tokenization.object_store import is_url, located


class Place(click.ParamType[Path]):
    """Where something is kept or will be: `--store` and `--out`."""

    name = "path or url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        return located(value) if is_url(str(value)) else Path(value)


class BuildDirectory(click.ParamType[Path]):
    """A build to read: its directory, or the URL it was published at, from where it is fetched once."""

    name = "path or url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        try:
            return readable(value)
        except TokenmillError as error:
            self.fail(str(error), param, ctx)
