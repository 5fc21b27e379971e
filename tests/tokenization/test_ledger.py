"""The ledger: at every stage, in + added = out + removed, and what leaves a stage enters the next."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from tokenization.ledger import Entry, problems

counts = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(0, 1000))


def closed(stage: str, unit: str, coming_in: int, added: dict[str, int], removed: dict[str, int]) -> Entry:
    out = coming_in + sum(added.values()) - sum(removed.values())
    return Entry(stage, unit, coming_in, out, "docs", added=added, removed=removed)


@given(st.integers(0, 10_000), counts, counts)
def test_an_entry_that_closes_has_no_problem_and_one_unit_more_is_one(
    coming_in: int, added: dict[str, int], removed: dict[str, int]
) -> None:
    entry = closed("cut", "cuts", coming_in, added, removed)
    assert entry.difference == 0
    assert problems([entry]) == []
    lost = dataclasses.replace(entry, going_out=entry.going_out - 1)
    assert lost.difference == 1
    (problem,) = problems([lost])
    assert "cut docs loses 1 cuts" in problem


@given(st.integers(0, 10_000), counts, counts)
def test_an_entry_is_the_same_after_json(
    coming_in: int, added: dict[str, int], removed: dict[str, int]
) -> None:
    entry = closed("mix", "tokens", coming_in, added, removed)
    assert Entry.from_json(entry.as_json()) == entry


def test_what_leaves_a_stage_must_enter_the_next_summed_over_sources() -> None:
    read = [
        Entry("ingest", "documents", 5, 5, "a"),
        Entry("ingest", "documents", 4, 3, "b", removed={"empty": 1}),
    ]
    chosen = [Entry("select", "documents", 5, 5, "a"), Entry("select", "documents", 3, 3, "b")]
    drawn = [Entry("draw", "documents", 8, 6, removed={"not_drawn": 2})]
    encoded = [Entry("encode", "documents", 6, 6)]
    assert problems([*read, *chosen, *drawn, *encoded]) == []
    assert problems([*read, chosen[0], *drawn, *encoded]) == [
        "8 documents leave ingest and 5 enter select",
        "5 documents leave select and 8 enter draw",
    ]
    assert problems([*read, *chosen, *encoded]) == [
        "8 documents leave select and 0 enter draw",
        "0 documents leave draw and 6 enter encode",
    ]


def test_units_are_kept_apart() -> None:
    rows = [
        Entry("ingest", "documents", 2, 2),
        Entry("select", "documents", 2, 2),
        Entry("draw", "documents", 2, 2),
        Entry("encode", "documents", 2, 2),
        Entry("ingest", "sessions", 7, 7),
        Entry("select", "sessions", 7, 7),
        Entry("render", "sessions", 7, 7),
    ]
    assert problems(rows) == []
    assert problems(rows[:-1]) == ["7 sessions leave select and 0 enter render"]
