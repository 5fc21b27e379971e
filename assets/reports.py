"""A stage's summary as metadata: numbers as numbers, so that the Plots tab shows them over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from assets.links import link, page_url
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
    "diff",
    "headings",
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


def items_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of documents or sessions: what Dagster counts as rows, and what did not come along."""
    return {
        "dagster/row_count": value["items"],
        "set_aside_total": sum(value["set_aside"].values()),
    }


def tokens_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of token sequences: fractions and speed, as the Plots tab wants them."""
    told: dict[str, Any] = {
        "dagster/row_count": value["sequences"],
        "set_aside_total": sum(value["set_aside"].values()),
        "trained_fraction": round(value["target_tokens"] / max(1, value["tokens"]), 6),
    }
    if value.get("seconds"):
        told["tokens_per_second"] = round(value["tokens"] / value["seconds"], 1)
    return told


def split_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of windows in both splits: counts, what is trained, and the mixture."""
    told: dict[str, Any] = {
        f"{split}/{name}": number
        for split, counts in value["splits"].items()
        for name, number in counts.items()
        if isinstance(number, (int, float))
    }
    train = value["splits"]["train"]
    if "num_target_tokens" in train:
        told["dagster/row_count"] = train["num_windows"]
        told["trained_fraction"] = round(train["num_target_tokens"] / max(1, train["num_tokens"]), 6)
    if value["mixture"]:
        told["share/asked"] = value["mixture"]["asked"]
        told |= {f"share/{unit}": share for unit, share in value["mixture"]["achieved"].items()}
        told["repetition"] = value["mixture"]["repetition"]
    return told


def windows_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of the plan: the same, and how full each kind's windows are."""
    fill = {f"fill/{row['kind']}/{row['split']}": row["fill"] for row in value["pack"] if row["windows"]}
    return {**split_numbers(value), **fill, "dagster/row_count": value["splits"]["train"]["windows"]}


def preview_metadata(result: StageResult, folder: Path) -> dict[str, Any]:
    """The three layers of the preview: strips and diff inline, token boxes by link where somebody serves them."""
    value = result.value
    told = {
        "windows": dg.MetadataValue.md(value["windows"]),
        "diff": dg.MetadataValue.md(value["diff"]),
        "page": link(Path(value["page"])),
    }
    urls = [page_url(folder / f"session-{number}.svg") for number in range(len(value["headings"]))]
    if all(urls):
        boxes = [
            f"{name}\n\n![token boxes]({url})" for name, url in zip(value["headings"], urls, strict=True)
        ]
        return {**told, "sessions": dg.MetadataValue.md("\n\n".join(boxes))}
    return {**told, "sessions": dg.MetadataValue.md(value["markdown"])}


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
