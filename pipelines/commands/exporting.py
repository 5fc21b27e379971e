"""`tokenmill export`: a build's windows in the form that another trainer reads."""

from __future__ import annotations

from pathlib import Path

import click
import orjson


def export_build(directory: Path, *, form: str, out: str, as_json: bool) -> None:
    """Write it; what was written and what the form has no place for, for people or as one JSON line."""
    from tokenization.exporting.export import export, local

    exported = export(directory, form, local(out))
    if as_json:
        click.echo(orjson.dumps(exported.as_json()).decode())
        return
    click.echo(f"{out}: for {exported.form.reader}")
    for split, counts in exported.splits.items():
        click.echo(
            f"  {split}: {counts['windows']:,} windows, {counts['tokens']:,} tokens, {counts['targets']:,} targets"
        )
    for split in exported.left_out:
        click.echo(f"  {split}: no window, and no files")
    for lost in exported.loses:
        click.echo(f"  does not carry {lost}")
    for told in exported.form.mind:
        click.echo(f"  mind: {told}")
    click.echo(f"  how to read it: {exported.out / 'README.md'}")
