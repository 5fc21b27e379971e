"""A stage's summary as metadata, in two sizes.

    numbers   a handful each, as numbers: the Plots tab shows them over time
    also      everything else that the stage counted, in one line of Markdown

The page of an asset loads its last hundred materialisations whole, so each should weigh about 2 kB there. Of those, 640
bytes are Dagster's own, 220 are two tags for every input, and a number is 100: hence few numbers, and few inputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import dagster as dg

from assets.links import link, page_url
from tokenization.errors import TokenmillError
from tokenization.preview import SHEET, STRIPS
from tokenization.stages.workspace import StageResult

VERSION = (
    16  # hex digits of a hash that tell the versions of one asset apart; every input's stands in each event
)
MOST_ROWS = 8  # of a table of sources
MOST_ALSO = 180  # characters: with the tags and numbers beside, an event of any source stays under 2.6 kB
ELSEWHERE = {  # in the numbers, in tables, in the preview, or of no meaning outside the store
    *(
        "fingerprint",
        "template_fingerprint",
        "chunks",
        "objects",
        "kept",
        "encoded",
        "slices",
        "prompted",
        "pack",
    ),
    *(
        "splits",
        "mixture",
        "proof",
        "sources",
        "markdown",
        "diff",
        "sheet",
        "windows",
        "page",
        "kind",
        "workers",
    ),
    *(
        "amounts",
        "counts",
        "megabytes_a_second",
        "items_a_second",
        "tokens_a_second",
        "sequences",
        "prompts",
        "seconds",
    ),
}


def materialized(
    result: StageResult, numbers: Mapping[str, Any], version: str | None = None
) -> dg.MaterializeResult[Any]:
    """The materialisation of a stage: its numbers, what else it counted, and its content as the data version."""
    metadata: dict[str, Any] = dict(numbers)
    rest = also(result.value, numbers)
    if rest:
        metadata["also"] = dg.MetadataValue.md(rest)
    metadata["reused"] = result.reused
    told = (version or result.fingerprint)[:VERSION]
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(told))


def also(value: Mapping[str, Any], numbers: Mapping[str, Any]) -> str:
    """What is not among the numbers, as `name` value; zeros and empty words are left out, and what is beyond MOST_ALSO
    characters is counted: the build's manifest and ledger have all of it."""
    told = [
        f"`{name}` {inner:,}" if isinstance(inner, int) else f"`{name}` {inner}"
        for name, inner in flat(value)
        if inner and name not in numbers and name.split("/")[0] not in ELSEWHERE
    ]
    fits = sum(size <= MOST_ALSO for size in accumulate(len(each) + 3 for each in told))
    rest = [f"{len(told) - fits} more in the build's files"] if fits < len(told) else []
    return " · ".join([*told[:fits], *rest])


def items_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of documents or sessions: what Dagster counts as rows, and what did not come along."""
    return {
        "dagster/row_count": value["items"],
        "rows_read": value["rows_read"],
        "bytes": value["bytes"],
        "set_aside_total": sum(value["set_aside"].values()),
        **{f"set_aside/{reason}": count for reason, count in largest(value["set_aside"])},
        **speed(value, "megabytes_a_second"),
    }


def tokens_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of token sequences: fractions and speed, as the Plots tab wants them."""
    told: dict[str, Any] = {
        "dagster/row_count": value["sequences"],
        "tokens": value["tokens"],
        "target_tokens": value["target_tokens"],
        "set_aside_total": sum(value["set_aside"].values()),
        "trained_fraction": round(value["target_tokens"] / max(1, value["tokens"]), 6),
    }
    if value.get("seconds"):
        told["tokens_per_second"] = round(value["tokens"] / value["seconds"], 1)
    return told


def tokenizer_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of the tokenizer: its size, and what it was proved on."""
    return {name: value[name] for name in ("vocab_size", "engine", "proved_on_texts")}


def leaks_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of what meets: how many items, of how many."""
    told = {
        f"{question}/{name}": value[question].get(name)
        for question in ("validation", "answers")
        for name in ("items", "leaks")
    }
    return {name: number for name, number in told.items() if isinstance(number, int)}


def built_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of a build: windows, tokens and targets of training, and the mixture."""
    train = value["splits"]["train"]
    return {
        "dagster/row_count": train["num_windows"],
        "train/num_tokens": train["num_tokens"],
        "train/num_target_tokens": train["num_target_tokens"],
        "trained_fraction": round(train["num_target_tokens"] / max(1, train["num_tokens"]), 6),
        **share(value),
    }


def windows_numbers(value: Mapping[str, Any]) -> dict[str, Any]:
    """Of the plan: how many windows, how full each kind's are, the mixture."""
    fill = {
        f"fill/{row['kind']}/{row['split']}": round(row["fill"], 6) for row in value["pack"] if row["windows"]
    }
    train = value["splits"]["train"]
    return {
        "dagster/row_count": train["windows"],
        **{name: part for name, part in fill.items() if name.endswith("/train")},
        **asked_share(value),
        "held_out_windows": value["splits"]["validation"]["windows"],
    }


def share(value: Mapping[str, Any]) -> dict[str, float]:
    """The mixture as it came out, in every unit that is a share of tokens."""
    if not value["mixture"]:
        return {}
    achieved = value["mixture"]["achieved"]
    return {f"share/{unit}": round(part, 6) for unit, part in achieved.items() if unit.endswith("tokens")}


def asked_share(value: Mapping[str, Any]) -> dict[str, float]:
    """The mixture as it came out, in the unit that the recipe asks for."""
    mixture = value["mixture"]
    return {f"share/{mixture['unit']}": round(mixture["achieved"][mixture["unit"]], 6)} if mixture else {}


def by_source(rows: Mapping[str, Mapping[str, int]]) -> str:
    """A table, a row for each of the largest and one for the others' sums; columns that are zero in all of them are
    left out. Each source's own counts stand on its slice, however many there are."""
    rows = with_others(rows)
    columns = dict.fromkeys(name for numbers in rows.values() for name, number in numbers.items() if number)
    lines = [
        ["source", *(name.replace("_", " ") for name in columns)],
        ["-"] * (1 + len(columns)),
        *([name, *(f"{numbers.get(column, 0):,}" for column in columns)] for name, numbers in rows.items()),
    ]
    return "\n".join("|".join(cells) for cells in lines)


def with_others(rows: Mapping[str, Mapping[str, int]]) -> Mapping[str, Mapping[str, int]]:
    """The rows with the largest counts as they stand, and what the others sum up to."""
    if len(rows) <= MOST_ROWS:
        return rows
    by_size = sorted(rows, key=lambda name: -max(rows[name].values(), default=0))
    shown, others = set(by_size[: MOST_ROWS - 1]), by_size[MOST_ROWS - 1 :]
    names = dict.fromkeys(name for other in others for name in rows[other])
    sums = {name: sum(rows[other].get(name, 0) for other in others) for name in names}
    kept = {name: numbers for name, numbers in rows.items() if name in shown}
    return {**kept, f"*{len(others)} others*": sums}


def largest(counts: Mapping[str, int], most: int = 3) -> list[tuple[str, int]]:
    """The reasons that set most aside; the others are in `also`."""
    return sorted(counts.items(), key=lambda pair: -pair[1])[:most]


def speed(value: Mapping[str, Any], name: str) -> dict[str, float]:
    return {name: value[name]} if name in value else {}


def preview_metadata(result: StageResult, folder: Path) -> dict[str, Any]:
    """The three layers of the preview: the diff inline, strips and token boxes by link where somebody serves them."""
    value = result.value
    strips, boxes = page_url(folder / STRIPS), page_url(folder / SHEET)
    return {
        "windows": dg.MetadataValue.md(f"![strips]({strips})" if strips else value["windows"]),
        "diff": dg.MetadataValue.md(value["diff"]),
        "sessions": dg.MetadataValue.md(f"![token boxes]({boxes})" if boxes else value["markdown"]),
        "page": link(Path(value["page"])),
    }


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested numbers as `outer/inner`; lists are left out."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flat(inner, f"{prefix}{name}/")
        elif isinstance(inner, (int, float, str, bool)):
            yield f"{prefix}{name}", inner


@contextmanager
def explained() -> Iterator[None]:
    """What tokenmill can explain fails the step with its one message instead of a traceback."""
    try:
        yield
    except TokenmillError as error:
        raise dg.Failure(
            description=str(error), metadata={"exit_code": error.exit_code}, allow_retries=False
        ) from error
