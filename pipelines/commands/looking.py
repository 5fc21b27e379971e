"""`tokenmill verify` and `tokenmill preview`: look at a build that is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson


def verify_build(directory: Path, as_json: bool) -> int:
    """Prove the build again; the exit code."""
    from tokenization.build.verify import verify

    findings = verify(directory)
    passed = all(finding.passed or finding.is_warning for finding in findings)
    if as_json:
        rows = [
            {
                "check": finding.name,
                "passed": finding.passed,
                "warning": finding.is_warning,
                "looked_at": finding.looked_at,
                "figure": finding.figure,
                "limit": finding.limit,
                "problems": finding.problems,
            }
            for finding in findings
        ]
        click.echo(orjson.dumps({"passed": passed, "findings": rows}).decode())
    else:
        for finding in findings:
            click.echo(finding.line())
        click.echo(f"{directory} is {'whole' if passed else 'NOT whole'}")
    return 0 if passed else 1


def preview_build(directory: Path, row: int | None, split: str, html: Path | None) -> None:
    """Loss masks in the terminal, or as a page."""
    from tokenization.build.showing import page_of_build, sequences_of_row
    from tokenization.preview.page import html_page
    from tokenization.preview.terminal import terminal_preview

    page = page_of_build(directory) if row is None else sequences_of_row(directory, split, row)
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(html_page(page), encoding="utf-8")
        click.echo(f"Wrote {html}")
        return
    for sequence in page.sequences if row is not None else page.sequences[:6]:
        click.echo(terminal_preview(sequence, colour=sys.stdout.isatty()), color=True)
