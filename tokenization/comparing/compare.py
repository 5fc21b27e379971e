"""The whole comparison of two builds.

Items are known again by source, id and content; then by content alone (renamed: a place names them, and lines moved);
then by id alone (their content changed). What is left was added or removed, and the quarantines say of which it was set
aside, before or now. A text that no part of is listed may also just not be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenization.build.contents import Build
from tokenization.comparing.aside import set_aside
from tokenization.comparing.items import items_of
from tokenization.comparing.manifests import Difference, differences, facts, recipe_differences, totals, why
from tokenization.comparing.places import first_difference

if TYPE_CHECKING:
    import polars as pl

# Every kind of change, in the order in which they are told; a kept item may have several.
CHANGES = {
    "removed": "gone",
    "added": "new",
    "content": "another content under the same id",
    "ids": "other tokens for the same text",
    "mask": "other targets on the same tokens",
    "cuts": "cut into another number of sequences",
    "weight": "another weight in the loss",
    "split": "in the other split",
    "renamed": "another id or file for the same content",
    "drawn_now": "drawn now, and not before",
    "not_drawn_now": "drawn before, and not now",
    "shown": "other parts of the same text drawn",
}

FLAGS = "its row's training flags changed"
# Where no quarantine has it.
UNTOLD = {"removed": "no longer in its source", "added": "not in its source before"}


@dataclass(frozen=True)
class Change:
    """Items that changed in one way."""

    change: str  # one of CHANGES
    count: int
    sources: dict[str, int]
    reasons: dict[str, int]  # what is known of single items: why they were set aside, before or now; flags
    why: list[str]  # recipe keys and facts that differ and can have caused it
    samples: list[dict[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """Two builds beside each other."""

    same: bool  # the datasets' fingerprints agree
    before: dict[str, Any]  # path, name, fingerprint
    after: dict[str, Any]
    recipe: list[Difference]
    made_with: list[Difference]  # tokenizer, template, versions
    totals: dict[str, dict[str, tuple[int, int]]]
    set_aside: list[Difference]  # source: reason, where the counts differ
    unchanged: int  # items that are the same in every way
    # Items that neither dataset shows: drawn in neither, so that nothing is known of their tokens.
    unseen: int
    changes: list[Change]

    def as_json(self) -> dict[str, Any]:
        """JSON-able, with stable keys."""
        return asdict(self)


def compare(before: Path, after: Path, *, limit: int = 5) -> Comparison:
    """What changed from one build to the other, with up to `limit` samples of each kind."""
    old, new = Build.open(before), Build.open(after)
    same = old.manifest["fingerprint"] == new.manifest["fingerprint"]
    recipe = recipe_differences(old.manifest, new.manifest)
    made_with = facts(old.manifest, new.manifest)
    unchanged, unseen, changes = 0, 0, []
    if same:
        unchanged = sum(source["items"] for source in new.manifest["sources"].values())
    else:
        unchanged, unseen, found = _changes(old, new)
        for change, rows in found.items():
            told = why(change, recipe, made_with)
            changes.append(_change(change, rows, told, old, new, limit))
    return Comparison(
        same=same,
        before=_named(old),
        after=_named(new),
        recipe=recipe,
        made_with=made_with,
        totals=totals(old.manifest, new.manifest),
        set_aside=_set_aside(old.manifest, new.manifest),
        unchanged=unchanged,
        unseen=unseen,
        changes=changes,
    )


def _named(build: Build) -> dict[str, Any]:
    return {
        "path": str(build.path),
        "name": build.manifest["recipe"]["name"],
        "fingerprint": build.manifest["fingerprint"],
    }


def _set_aside(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    def counts(manifest: Mapping[str, Any]) -> dict[str, int]:
        return {
            f"{source}: {reason}": count
            for source, account in manifest["sources"].items()
            for reason, count in account["set_aside"].items()
        }

    return differences(counts(before), counts(after))


def _changes(old: Build, new: Build) -> tuple[int, int, dict[str, pl.DataFrame]]:
    """How many items are the same, how many neither shows, and those of each change; columns of the later build end in
    _after."""
    import polars as pl

    pairs, changed, removed, added = matched(items_of(old), items_of(new))
    flags = _flags(old, new)
    flagged = pairs.with_columns(**{f"is_{name}": flag for name, flag in flags.items()})
    found = {name: flagged.filter(pl.col(f"is_{name}")) for name in flags}
    removed, not_drawn = _explained(removed, new)
    added, drawn = _explained(added, old)
    unlisted = [("not_drawn_now", not_drawn), ("drawn_now", drawn)]
    changed, reflagged = _reflagged(changed)
    found |= {"content": changed, "removed": removed, "added": added}
    found["mask"] = pl.concat([found["mask"], reflagged], how="diagonal")
    for name, rows in unlisted:
        found[name] = pl.concat([found[name], rows], how="diagonal")
    same = flagged.filter(~pl.any_horizontal(f"is_{name}" for name in flags))
    unseen = len(same.filter(pl.col("shown") == 0))
    return len(same) - unseen, unseen, {name: found[name] for name in CHANGES if len(found[name])}


def matched(
    old: pl.DataFrame, new: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Items of both builds with the same content; those of the same id and another content; the rest of each."""
    import polars as pl

    def ranked(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(rank=pl.int_range(pl.len()).over("source", "content_hash"))

    pairs = []
    for keys, rank in (
        (["source", "item", "content_hash"], False),
        (["source", "content_hash", "rank"], True),
        (["source", "item"], False),
    ):
        left, right = (ranked(old), ranked(new)) if rank else (old, new)
        both = left.join(right, on=keys, how="inner", suffix="_after", coalesce=False, maintain_order="left")
        pairs.append(both.drop("rank", "rank_after", strict=False))
        old = old.join(both, on=["source", "item"], how="anti", maintain_order="left")
        after = both.select(source="source_after", item="item_after")
        new = new.join(after, on=["source", "item"], how="anti", maintain_order="left")
    return pl.concat(pairs[:2]), pairs[2], old, new


def _flags(old: Build, new: Build) -> dict[str, pl.Expr]:
    """What changed of an item that both builds have with the same content."""
    import polars as pl

    def differs(name: str) -> pl.Expr:
        return pl.col(name).ne_missing(pl.col(f"{name}_after"))

    is_chat = pl.col("kind") == "sft"
    both_shown = (pl.col("shown") > 0) & (pl.col("shown_after") > 0)
    whole = (pl.col("shown") == pl.col("tokens")) & (pl.col("shown_after") == pl.col("tokens_after"))
    same_tokenizer = old.manifest["tokenizer"]["fingerprint"] == new.manifest["tokenizer"]["fingerprint"]
    told_apart = whole | pl.lit(not same_tokenizer)
    other_ids = ~differs("cuts") & (differs("tokens") | (both_shown & differs("ids") & told_apart))
    return {
        "ids": other_ids,
        "mask": is_chat & both_shown & ~differs("cuts") & ~differs("ids") & differs("mask"),
        "cuts": differs("cuts"),
        "weight": both_shown & differs("weight"),
        "split": differs("split"),
        "renamed": differs("item") | differs("file"),
        "drawn_now": (pl.col("shown") == 0) & (pl.col("shown_after") > 0),
        "not_drawn_now": (pl.col("shown") > 0) & (pl.col("shown_after") == 0),
        "shown": ~is_chat & both_shown & ~other_ids & differs("ids"),
    }


def _reflagged(changed: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of the items whose content changed those that are left, and sessions of which only the training flags did: the
    tokens are the same and the targets are not."""
    import polars as pl

    same_ids = (pl.col("ids") == pl.col("ids_after")) & (pl.col("cuts") == pl.col("cuts_after"))
    only_flags = (
        (pl.col("kind") == "sft")
        & (pl.col("shown") > 0)
        & same_ids
        & (pl.col("mask") != pl.col("mask_after"))
    )
    return changed.filter(~only_flags), changed.filter(only_flags).with_columns(reason=pl.lit(FLAGS))


def _explained(rows: pl.DataFrame, other: Build) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that only one build has, with the reason for which the other set them aside; and, apart, texts of sources
    of which the other did not draw everything."""
    import polars as pl

    aside = set_aside(other.path)
    by_id = (
        aside.drop_nulls("item").unique(["source", "item"], keep="first").select("source", "item", "reason")
    )
    by_place = (
        aside.filter(pl.col("item").is_null())
        .unique(["source", "file", "place"], keep="first")
        .select("source", "file", "place", place_reason="reason")
    )
    told = (
        rows.join(by_id, on=["source", "item"], how="left", maintain_order="left")
        .join(by_place, on=["source", "file", "place"], how="left", maintain_order="left")
        .with_columns(reason=pl.coalesce("reason", "place_reason"))
        .drop("place_reason")
    )
    partly = [name for name, told_of in other.manifest["sources"].items() if told_of.get("not_drawn")]
    not_drawn = pl.col("reason").is_null() & pl.col("source").is_in(partly)
    return told.filter(~not_drawn), told.filter(not_drawn)


def _change(change: str, rows: pl.DataFrame, told: list[str], old: Build, new: Build, limit: int) -> Change:
    import polars as pl

    reasons: dict[str, int] = {}
    if "reason" in rows.columns:
        counted = rows.group_by("reason").len().sort("len", "reason", descending=[True, False])
        reasons = {reason or UNTOLD.get(change, ""): count for reason, count in counted.iter_rows()}
        reasons.pop("", None)
    sources = dict(rows.group_by("source", maintain_order=True).agg(pl.len()).iter_rows())
    samples = []
    for row in rows.head(limit).to_dicts():
        sample = _sample(row)
        if change in ("ids", "mask") and not row["cuts"] and row["shown"] and row["shown_after"]:
            sample |= first_difference(old, new, row)
        samples.append(sample)
    return Change(change, len(rows), sources, reasons, told, samples)


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    """What is told of one item: its names, and of its figures those that differ."""
    told: dict[str, Any] = {name: row[name] for name in ("source", "item", "kind", "file", "place")}
    if row.get("reason"):
        told["reason"] = row["reason"]
    for name in ("item", "place", "split", "tokens", "targets", "shown", "cuts", "weight", "actions"):
        before, after = row[name], row.get(f"{name}_after")
        if (
            before != after
            and row.get("item_after") is not None
            and (name != "weight" or None not in (before, after))
        ):
            told[f"{name}_differs"] = [before, after]
    return told
