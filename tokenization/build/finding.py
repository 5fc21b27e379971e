"""What a check found: the one value that `verify`, the advice, the look at a training and the page speak in."""

from __future__ import annotations

from dataclasses import dataclass, field

SHOWN = 5  # offending items named in a message


@dataclass(frozen=True)
class Finding:
    """What one check looked at, the figure, the limit, and what breaks it."""

    name: str
    passed: bool
    looked_at: str
    figure: str
    limit: str
    problems: list[str] = field(default_factory=list)
    is_warning: bool = False  # where it fails, the build is whole all the same

    def line(self) -> str:
        """One line for a terminal."""
        word = "ok  " if self.passed else "warn" if self.is_warning else "FAIL"
        head = f"{word} {self.name}: {self.looked_at}; {self.figure} (limit: {self.limit})"
        return "\n".join([head, *(f"       {problem}" for problem in self.problems[:SHOWN])])


def finding(name: str, problems: list[str], looked_at: str, limit: str) -> Finding:
    figure = "no problem" if not problems else f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    return Finding(name, not problems, looked_at, figure, limit, problems)
