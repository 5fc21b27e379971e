"""A stage's summary as metadata: numbers as numbers, so that the Plots tab shows them over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from tokenization.errors import TokenmillError
from tokenization.stages.workspace import StageResult

HIDDEN = {
    "fingerprint",
    "chunks",
    "objects",
    "kept",
    "encoded",
    "slices",
    "prompted",
    "pack",
    "splits",
    "mixture",
    "proof",
    "sources",
    "markdown",
    "page",
}


def materialized(result: StageResult, **extra: Any) -> dg.MaterializeResult[Any]:
    """The materialisation of a stage: its summary, and its content as the data version."""
    metadata: dict[str, Any] = {
        name: plain(value) for name, value in flat(result.value) if name.split("/")[0] not in HIDDEN
    }
    metadata["reused"] = result.reused
    return dg.MaterializeResult(
        metadata={**metadata, **extra}, data_version=dg.DataVersion(result.fingerprint)
    )


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers as `outer/inner`; lists are left out."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flat(inner, f"{prefix}{name}/")
        elif isinstance(inner, (int, float, str, bool)):
            yield f"{prefix}{name}", inner


def plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, bool)) else dg.MetadataValue.text(str(value))


@contextmanager
def explained() -> Iterator[None]:
    """What tokenmill can explain fails the step with its one message instead of a traceback."""
    try:
        yield
    except TokenmillError as error:
        raise dg.Failure(
            description=str(error), metadata={"exit_code": error.exit_code}, allow_retries=False
        ) from error
