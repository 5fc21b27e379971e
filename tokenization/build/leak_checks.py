"""What a build says of evaluation sets and leaks, held against its own files.

Contamination: no content stands in both splits; every row that the quarantine calls contaminated is in neither, holds
the n-gram that it is said to hold, at the place and with the share that the recipe asks for, and there are as many as
the manifest counts. Leaks: the listed ones are as many as the manifest counts, and not more than the recipe's limit.
Price: one pass over items.parquet's ids and hashes, in columns, and two over the quarantine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from tokenization.build.contents import Build

LEAKS = "quarantine/leaks.parquet"


def contamination_problems(build: Build) -> tuple[str, list[str]]:
    """(what was looked at, problems)"""
    columns = ["split", "source", "item", "content_hash"]
    table = pq.read_table(build.path / "items.parquet", columns=columns, read_dictionary=columns[:2])
    problems = [
        f"{row['split']}: {row['source']} {row['item']} has the content of an item of the other split"
        for row in in_both_splits(table).to_pylist()
    ]
    told = build.manifest.get("decontamination")
    asked = build.manifest["recipe"]["cleaning"].get("decontamination", "off")
    if asked == "off":
        return f"{len(table)} items of both splits", problems
    if told is None:
        return "no figures", [
            *problems,
            "the recipe asks for decontamination, the manifest has no figures of it",
        ]
    present = present_among(table, {row["item"] for row in contaminated_rows(build)})
    counted: Counter[str] = Counter()
    found: dict[str, set[str]] = {name: set() for name in told["sets"]}
    for row in contaminated_rows(build):
        counted[row["source"]] += 1
        found.setdefault(row["overlap"]["set"], set()).add(row["overlap"]["item"])
        problems += row_problems(row, told["threshold"], present)
    for name, source in build.manifest["sources"].items():
        if counted[name] != source["set_aside"].get("contaminated", 0):
            problems.append(
                f"{name}: the manifest counts {source['set_aside'].get('contaminated', 0)} contaminated items, the "
                f"quarantine holds {counted[name]}"
            )
    sets = sum(one["items"] for one in told["sets"].values())
    return (
        f"{len(table)} items of both splits, {sum(counted.values())} set aside for {sets} of evaluation",
        problems,
    )


def in_both_splits(items: pa.Table) -> pa.Table:
    """The items whose content stands in train and in validation."""
    digests = items.column("content_hash")
    held_out = pc.equal(pc.cast(items.column("split"), pa.string()), "validation")
    others = digests.filter(pc.invert(held_out))
    both = others.filter(pc.is_in(others, value_set=digests.filter(held_out).combine_chunks()))
    return items.filter(pc.is_in(digests, value_set=both.combine_chunks()))


def present_among(items: pa.Table, names: set[str]) -> set[tuple[str, str]]:
    """(source, item) of the items in the build that have one of these names, a cut's session counted as well."""
    wanted = pa.array(sorted(names), pa.string())
    whole = items.column("item")
    sessions = pc.replace_substring_regex(whole, r"#[^#]*$", "")
    present: set[tuple[str, str]] = set()
    for column in (whole, sessions):
        hit = pc.is_in(column, value_set=wanted)
        present.update(
            zip(items.column("source").filter(hit).to_pylist(), column.filter(hit).to_pylist(), strict=True)
        )
    return present


def contaminated_rows(build: Build) -> Iterator[dict[str, Any]]:
    for path in sorted((build.path / "quarantine").glob("*.jsonl")):
        with open(path, "rb") as lines:
            for line in lines:
                if b'"contaminated"' in line:
                    row = orjson.loads(line)
                    if row["reason"] == "contaminated":
                        yield row


def row_problems(row: dict[str, Any], threshold: float, present: set[tuple[str, str]]) -> Iterator[str]:
    """What is wrong with one contaminated row."""
    overlap, where = row["overlap"], f"{row['source']} {row['item']}"
    if (row["source"], row["item"]) in present:
        yield f"{where} is contaminated and in the dataset"
    if not (0 < overlap["share"] <= 1 and overlap["share"] >= threshold):
        yield f"{where} is set aside for a share of {overlap['share']}; the recipe's threshold is {threshold}"
    begin, ngram = overlap["character"], overlap["ngram"]
    if not ngram or said(orjson.loads(row["row"]))[begin : begin + len(ngram)] != ngram:
        yield f"{where} does not hold {ngram[:80]!r} at character {begin}"


def said(row: dict[str, Any]) -> str:
    """A document's text, or what a session's messages say, as it is looked up."""
    if "text" in row:
        return str(row["text"])
    parts = [
        part
        for message in row["messages"]
        for part in (message.get("reasoning_content"), message["content"])
        if part is not None
    ]
    return "\n".join(parts)


def leak_problems(build: Build) -> tuple[str, list[str], str]:
    """(what was looked at, problems, limit)"""
    told = (build.manifest.get("decontamination") or {}).get("leaks")
    if told is None:
        return "not measured: the recipe has no cleaning.decontamination", [], "none"
    problems = []
    listed: Counter[str] = Counter()
    if (build.path / LEAKS).is_file():
        listed.update(pq.read_table(build.path / LEAKS, columns=["question"]).column("question").to_pylist())
    for question, about in (("validation", "validation items"), ("answers", "answers of training sessions")):
        figures = told[question]
        if listed[question] != figures["leaked"]:
            problems.append(
                f"the manifest counts {figures['leaked']} leaks of {about}, {LEAKS} lists {listed[question]}"
            )
        part = figures["leaked"] / figures["looked_for"] if figures["looked_for"] else 0.0
        if part > told["limit"]:
            problems.append(
                f"{figures['leaked']:,} of {figures['looked_for']:,} {about} ({part:.1%}) stand in a training item "
                f"with at least {told['threshold']:.0%} of their n-grams; look at {LEAKS}"
            )
    sizes = ", ".join(f"{told[each]['looked_for']:,} {each}" for each in ("validation", "answers"))
    return sizes, problems, f"at most {told['limit']:.1%} of them stand in what is trained"
