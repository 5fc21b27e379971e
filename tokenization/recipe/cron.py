"""Cron lines: the five-field form, checked without a scheduler, and how long one may rest between two ticks.

The plain dialect is accepted, and nothing a scheduler may read in its own way: numbers, ranges, lists,
steps, month and weekday names, and the five nicknames such as `@daily`.
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_WEEKDAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: tuple[tuple[str, int, int, list[str]], ...] = (
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _WEEKDAYS),
)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_BEGIN = date(2000, 1, 1)
_WEEKS, _LEAP_YEARS, _ALL = (
    15,
    9 * 366,
    29 * 366,
)  # days until weekdays, leap years, both have come round (until 2100)
_PART = re.compile(r"(\*|[0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?(?:/([0-9]{1,2}))?")


def cron_problem(line: str) -> str | None:
    """What is wrong with a cron line, in words that follow "it must be"; None where it is sound."""
    if line in NICKNAMES:
        return None
    words = line.split()
    if len(words) != len(_FIELDS):
        return f"five fields, minute hour day month weekday, and has {len(words)}"
    values: list[set[int]] = []
    for word, (name, least, most, names) in zip(words, _FIELDS, strict=True):
        found = _field(word.lower(), least, most, names)
        if not found:
            return f"a cron line, and {word!r} is no {name}: numbers {least} to {most}, *, a-b, a,b or */n"
        values.append(found)
    longest = max(_DAYS_IN_MONTH[month - 1] for month in values[3])
    if min(values[2]) > longest:
        return f"a day that exists, and day {min(values[2])} never comes in the months it names"
    return None


def longest_pause(line: str) -> timedelta:
    """The longest time between two ticks of a sound line, in one time zone without summer time."""
    words = NICKNAMES.get(line, line).lower().split()
    minutes, hours, days, months, weekdays = (
        _field(word, least, most, names) for word, (_, least, most, names) in zip(words, _FIELDS, strict=True)
    )
    ticks = sorted(60 * hour + minute for hour in hours for minute in minutes)
    within = max((after - before for before, after in pairwise(ticks)), default=0)
    any_day, any_weekday = len(days) == 31, len({weekday % 7 for weekday in weekdays}) == 7
    if any_day and any_weekday and len(months) == 12:
        apart = 1
    else:
        weekdays = {(weekday - 1) % 7 for weekday in weekdays}  # as Python counts: Monday is 0

        def comes(day: date) -> bool:
            """As cron has it: where day and weekday are both named, either will do."""
            on_day, on_weekday = day.day in days, day.weekday() in weekdays
            either = on_day and on_weekday if any_day or any_weekday else on_day or on_weekday
            return day.month in months and either

        count = _WEEKS if any_day and len(months) == 12 else _LEAP_YEARS if any_weekday else _ALL
        found = [number for number in range(count) if comes(_BEGIN + timedelta(days=number))]
        apart = max(after - before for before, after in pairwise(found))
    return timedelta(minutes=max(within, 24 * 60 * apart - ticks[-1] + ticks[0]))


def _field(word: str, least: int, most: int, names: list[str]) -> set[int]:
    """The values a field stands for; empty where it cannot be read."""
    found: set[int] = set()
    for part in word.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return set()
        first, last, step = match.groups()
        if first == "*" and last is not None:
            return set()
        start = least if first == "*" else _number(first, least, names)
        end = most if first == "*" or (last is None and step) else _number(last or first, least, names)
        if start < least or end > most or start > end:
            return set()
        by = int(step or 1)
        if by == 0 or (by > end and (step or last)):  # a step beyond its range: Dagster fires too often
            return set()
        found.update(range(start, end + 1, by))
    return found


def _number(word: str, least: int, names: list[str]) -> int:
    """A number or a name as a number; -1 where it is neither. Month names count from 1, weekdays from 0."""
    if word.isdigit():
        return int(word)
    return names.index(word) + least if word in names else -1
