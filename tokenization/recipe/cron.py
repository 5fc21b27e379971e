"""Cron lines: the five-field form, checked without a scheduler.

The plain dialect is accepted, and nothing a scheduler may read in its own way: numbers, ranges, lists,
steps, month and weekday names, and the five nicknames such as `@daily`.
"""

from __future__ import annotations

import re

NICKNAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
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
