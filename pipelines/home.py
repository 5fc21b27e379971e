"""The Dagster instance: made on first use, inside the checkout, quiet."""

from __future__ import annotations

import os
from pathlib import Path

CONFIGURATION = """\
telemetry:
  enabled: false
nux:
  enabled: false
concurrency:
  pools:
    default_limit: 4
    granularity: run
"""


def dagster_home() -> Path:
    """`DAGSTER_HOME`, or `.tokenmill/dagster` here; made and configured where it is new."""
    home = Path(os.environ.get("DAGSTER_HOME") or ".tokenmill/dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        configuration.write_text(CONFIGURATION)
    os.environ["DAGSTER_HOME"] = str(home)
    return home


if __name__ == "__main__":
    dagster_home()
