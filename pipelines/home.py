"""The Dagster instance: made on first use, inside the checkout, quiet.

Several processes may come first at once: one of them lays out the databases, the others wait for it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.databases import held_databases

CONFIGURATION = Path(__file__).with_name("dagster.yaml")
READY = ".ready"  # an empty file: the databases are laid out


def dagster_home() -> Path:
    """`DAGSTER_HOME`, or `.tokenmill/dagster` here; made and configured where it is new."""
    home = Path(os.environ.get("DAGSTER_HOME") or ".tokenmill/dagster").absolute()
    home.mkdir(parents=True, exist_ok=True)
    os.environ["DAGSTER_HOME"] = str(home)
    if not (home / READY).exists():
        with alone(home):
            prepare(home)
    return home


def prepare(home: Path) -> None:
    """Write the configuration where there is none, lay out the databases, and note that both are done."""
    import dagster as dg

    if (home / READY).exists():  # somebody else was first
        return
    configuration = home / "dagster.yaml"
    if not configuration.exists():
        part = home / ".dagster.yaml.part"
        part.write_text(CONFIGURATION.read_text(encoding="utf-8"), encoding="utf-8")
        part.replace(configuration)
    with held_databases(), dg.DagsterInstance.from_config(str(home)) as instance:
        instance.get_runs(limit=1)
    (home / READY).touch()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let nobody else in who asks the same; held by the open folder, so that a killed process lets go."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    dagster_home()
