"""One export: both splits in a form, the build's tokenizer, and a note of what it is; whole or not there.

It is written beside OUT and renamed when it is whole. Windows, tokens and targets are counted on the way and are the
manifest's, or there is no export.
"""

from __future__ import annotations

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenization.build.contents import SPLITS
from tokenization.build.layout import read_manifest
from tokenization.errors import BuildError, RecipeError
from tokenization.exporting import huggingface
from tokenization.exporting.forms import FORMS, WEIGHTS, Form
from tokenization.exporting.task import Counted, Task
from tokenization.object_store import is_url
from tokenization.store import write_json
from tokenization.tokenizer.definition import Definition


@dataclass(frozen=True)
class Exported:
    """What was written."""

    form: Form
    out: Path
    fingerprint: str
    window: int | None  # None: rows have lengths of their own
    splits: dict[str, dict[str, int]]  # windows, tokens (without padding), targets
    left_out: list[str]  # splits without a window, for which the form has no file
    loses: list[str]

    def as_json(self) -> dict[str, Any]:
        """JSON-able, with stable keys."""
        return {
            "form": self.form.name,
            "out": str(self.out),
            "fingerprint": self.fingerprint,
            "window": self.window,
            "splits": self.splits,
            "left_out": self.left_out,
            "loses": self.loses,
            "mind": list(self.form.mind),
        }


def export(build: Path, name: str, out: Path) -> Exported:
    """Write the build in the form of this name. RecipeError where OUT is there; BuildError where the dataset is not
    what its manifest says."""
    form = FORMS[name]
    manifest = read_manifest(build)
    if out.exists() or out.is_symlink():
        raise RecipeError(f"{out} is there already; give another OUT, or move it away")
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.absolute().with_name(f".{out.name}.{uuid.uuid4().hex[:8]}")
    part.mkdir()
    try:
        exported = _fill(build, manifest, form, part, out)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return exported


def local(place: str) -> Path:
    """The path that somebody wrote; RecipeError where it is a URL."""
    if is_url(place):
        raise RecipeError(f"{place}: an export is written to a local folder; copy it from there")
    return Path(place)


def _fill(build: Path, manifest: dict[str, Any], form: Form, part: Path, out: Path) -> Exported:
    splits: dict[str, dict[str, int]] = {}
    left_out = []
    for split in SPLITS:
        told = manifest["splits"][split]
        if not told["num_windows"] and not form.writes_empty:
            left_out.append(split)
            continue
        (part / split).mkdir()
        counted = form.write(_task(build, manifest, split, part / split))
        _check(split, told, counted)
        splits[split] = {
            "windows": counted.windows,
            "tokens": counted.tokens,
            "targets": counted.targets,
        }
    if form.is_dataset:
        huggingface.finish(part, list(splits))
    shutil.copytree(build / "tokenizer", part / "tokenizer")
    loses = [*form.loses, *([WEIGHTS] if _has_weights(manifest) and not form.carries_weights else [])]
    window = _window(manifest)
    exported = Exported(form, out, manifest["fingerprint"], window, splits, left_out, loses)
    write_json(part / "export.json", {**exported.as_json(), "out": out.name}, indent=True)
    (part / "README.md").write_text(note(exported, manifest["recipe"]["name"]), encoding="utf-8")
    return exported


def _task(build: Path, manifest: dict[str, Any], split: str, folder: Path) -> Task:
    definition = Definition.read(build / "tokenizer" / "tokenizer.json")
    return Task(
        split=split,
        folder=folder,
        shards=[build / shard["path"] for shard in manifest["splits"][split]["shards"]],
        fingerprint=manifest["fingerprint"],
        window=_window(manifest),
        largest_id=definition.largest_id,
        weights=_has_weights(manifest),
    )


def _window(manifest: dict[str, Any]) -> int | None:
    return None if manifest["recipe"]["sft"]["layout"] == "rows" else int(manifest["window"])


def _has_weights(manifest: dict[str, Any]) -> bool:
    return bool(manifest.get("loss_weights"))


def _check(split: str, told: dict[str, Any], counted: Counted) -> None:
    found = (counted.windows, counted.tokens, counted.targets)
    due = (told["num_windows"], told["num_tokens"], told["num_target_tokens"])
    if found != due:
        raise BuildError(
            f"{split}: the dataset holds {found[0]:,} windows, {found[1]:,} tokens and {found[2]:,} targets, its "
            f"manifest says {due[0]:,}, {due[1]:,} and {due[2]:,}; run tokenmill verify on the build. Nothing was "
            "exported"
        )


def note(exported: Exported, recipe: str) -> str:
    """The README.md of an export."""
    form = exported.form
    size = "rows of differing length" if exported.window is None else f"windows of {exported.window:,} tokens"
    lines = [
        f"# {recipe}, for {form.reader}",
        "",
        f"Exported by tokenmill from the build {exported.fingerprint}, in {size}.",
        "",
        *(
            f"- {split}: {counts['windows']:,} windows, {counts['tokens']:,} tokens, {counts['targets']:,} targets"
            for split, counts in exported.splits.items()
        ),
        *(f"- {split}: no window, and no files" for split in exported.left_out),
        "",
        "| | |",
        "|---|---|",
        *(f"| `{column}` | {meaning} |" for column, meaning in form.columns.items()),
        "",
        f"Keeps: {form.keeps}.",
        "",
        *(line for lost in exported.loses for line in (f"Does not carry {lost}.", "")),
        *(line for told in form.mind for line in (f"Mind: {told}.", "")),
        "```",
        form.use.replace("WINDOW", str(exported.window or "the longest row")),
        "```",
        "",
        "`tokenizer/` is the build's, with its chat template and stop tokens.",
    ]
    return "\n".join(lines) + "\n"
