"""A cron line that we accept is one that Dagster accepts, and comes round."""

from __future__ import annotations

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenization.recipe.cron import NICKNAMES, cron_problem

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
