"""A cron line that we accept is one that Dagster accepts, and comes round."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.recipe.cron import NICKNAMES, cron_problem, longest_pause

GOOD = (
    "0 2 * * *",
    "*/5 * * * mon-fri",
    "0 0 1,15 * *",
    "5/10 8-18/2 * JAN-mar 0",
    "0 0 * * 7",
    "0 0 29 2 *",
    *NICKNAMES,
)
BAD = {
    "": "has 0",
    "0 2 * *": "has 4",
    "0 0 2 * * *": "has 6",
    "60 * * * *": "'60' is no minute",
    "0 24 * * *": "no hour",
    "0 0 0 * *": "no day of the month",
    "0 0 * 13 *": "no month",
    "0 0 * * 8": "no weekday",
    "*/0 * * * *": "no minute",
    "5-1 * * * *": "no minute",
    "1, * * * *": "no minute",
    "0 0 * * noon": "no weekday",
    "0 0 31 2 *": "day 31 never comes",
    "0 0 31 4,6 1": "day 31 never comes",
    "@reboot": "five fields",
    "٣ * * * *": "no minute",
}


def dagster_accepts(line: str) -> bool:
    @dg.job
    def nothing() -> None: ...

    try:
        dg.ScheduleDefinition(job=nothing, cron_schedule=line)
    except dg.DagsterInvalidDefinitionError:
        return False
    return True


@pytest.mark.parametrize("line", GOOD)
def test_sound_lines_are_sound_to_dagster_too(line: str) -> None:
    assert cron_problem(line) is None and dagster_accepts(line)


@pytest.mark.parametrize(("line", "part"), BAD.items())
def test_a_bad_line_is_answered_with_the_field_that_is_wrong(line: str, part: str) -> None:
    assert part in (cron_problem(line) or "")


FIELD = st.from_regex(r"(\*|[0-9]{1,2}|[0-9]{1,2}-[0-9]{1,2}|fri|may)(/[0-9]{1,2})?(,[0-9])?", fullmatch=True)


@settings(max_examples=200, deadline=None)
@given(st.lists(FIELD, min_size=5, max_size=5).map(" ".join))
def test_whatever_is_accepted_here_dagster_accepts(line: str) -> None:
    if cron_problem(line) is None:
        assert dagster_accepts(line)


PAUSES = {
    "@hourly": timedelta(hours=1),
    "@daily": timedelta(days=1),
    "@weekly": timedelta(days=7),
    "@monthly": timedelta(days=31),
    "@yearly": timedelta(days=366),
    "*/15 * * * *": timedelta(minutes=15),
    "7 * * * *": timedelta(hours=1),
    "0 2 * * *": timedelta(days=1),
    "0 8-18/2 * * *": timedelta(hours=14),
    "30 9,17 * * 1-5": timedelta(days=2, hours=16),
    "0 0 31 * *": timedelta(days=61),
    "0 0 1,15 * *": timedelta(days=17),
    "0 0 13 * 5": timedelta(days=7),
    "0 0 * 3 *": timedelta(days=336),
    "0 0 * * 7": timedelta(days=7),
    "0 0 29 2 *": timedelta(days=4 * 365 + 1),
}


@pytest.mark.parametrize(("line", "pause"), PAUSES.items())
def test_the_longest_pause_between_two_ticks_is_known_for_lines_of_every_kind(
    line: str, pause: timedelta
) -> None:
    assert cron_problem(line) is None and longest_pause(line) == pause


def sound_field(least: int, most: int) -> st.SearchStrategy[str]:
    numbers = st.integers(least, most)
    ranges = st.integers(least, most - 1).flatmap(lambda a: st.integers(a + 1, most).map(f"{a}-{{}}".format))
    return st.one_of(
        st.just("*"),
        numbers.map(str),
        ranges,
        st.integers(2, max(2, most // 2)).map("*/{}".format),
        st.lists(numbers.map(str), min_size=2, max_size=3, unique=True).map(",".join),
    )


SOUND = st.tuples(*(sound_field(*ends) for ends in ((0, 59), (0, 23), (1, 28), (1, 12), (0, 6)))).map(
    " ".join
)


@settings(max_examples=40, deadline=None)
@given(SOUND, st.integers(0, 3000))
def test_no_two_ticks_of_dagster_s_are_further_apart_than_the_longest_pause(line: str, day: int) -> None:
    assert cron_problem(line) is None
    begin = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)).timestamp()
    ticks = list(islice(cron_string_iterator(begin, line, "UTC"), 30))
    assert max(after - before for before, after in pairwise(ticks)) <= longest_pause(line)
