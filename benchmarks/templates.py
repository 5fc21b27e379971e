"""Every chat template × every chat set: what is proven, and what is set aside for which reason.

    python -m benchmarks.templates DATA [--limit N] [--only NAME …] [--workers N] > templates.md

DATA is a folder with `templates/*.jinja`, `chat/` and `tokenizers/`. Each template goes with a tokenizer that has its
markers, or with one to which they are added, and every session goes through the jobs that a build runs: rendered,
proved, made to fit the window. Prints Markdown; a session is counted once, whatever number of cuts it gives.
`--limit` takes that many sessions of each file, evenly spread, for a busy machine: all of them take about 20 s of one
core a template. The exit code is 1 where a session could be neither proven nor explained (`unproven`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tokenization.chat.report import report_on
from tokenization.errors import RecipeError
from tokenization.hashing import key_of
from tokenization.ingest.chunks import plan_chunks
from tokenization.ingest.files import resolve_files
from tokenization.ingest.sessions import ChatOptions, read_sessions
from tokenization.recipe.model import ChatSpec
from tokenization.recipe.parts import TokenizerSpec
from tokenization.stages.chat_chunk import ASIDE, RenderJob
from tokenization.stages.chat_jobs import encode_chunk, fit_chunk
from tokenization.stages.chat_tools import renderer_of
from tokenization.stages.documents import ROWS
from tokenization.stages.tables import open_table, write_table
from tokenization.store import Store
from tokenization.tokenizer.prepare import prepare_tokenizer

ROLE_NAMES = {"client": "user", "counselor": "assistant", "character": "assistant"}
ROLES: Mapping[str, Any] = {"narrator": {"trained": False}, "background": {"trained": False}}
PHI = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
GEMMA = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>")
GLM = ("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>")
GPT_OSS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>")
_TOOLS = [f"<｜tool▁{part}｜>" for part in ("calls▁begin", "calls▁end", "call▁begin", "call▁end", "outputs▁begin",
          "outputs▁end", "output▁begin", "output▁end", "sep")]  # fmt: skip
DEEPSEEK = ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>", "<think>", "</think>", *_TOOLS)

# The first part of a template's name that is found here -> its tokenizer, and the markers to add to it.
FITTING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "deepseek": ("llama3", DEEPSEEK),
    "glm4moe": ("qwen3", GLM),
    "gptoss": ("qwen3", GPT_OSS),
    "gemma": ("llama2", GEMMA),
    "phi": ("llama2", PHI),
    "llama-2": ("llama2", ()),
    "alpaca": ("llama2", ()),
    "vicuna": ("llama2", ()),
    "zephyr": ("llama2", ()),
    "llama": ("llama3", ()),
    "mistral": ("mistral-v3", ()),
    "qwen2": ("qwen2.5", ()),
    "minimind": ("minimind", ()),
    "": ("qwen3", ()),
}


@dataclass(frozen=True)
class Work:
    """One template and all sessions."""

    name: str
    choice: str  # as a recipe's chat.template
    tokenizer: Path  # prepared
    tokenizer_name: str
    templates: Path
    store: Path
    window: int


@dataclass(frozen=True)
class Row:
    """What became of them."""

    name: str
    tokenizer: str
    method: str
    sessions: int
    proven: int
    sequences: int
    set_aside: Mapping[str, int]
    details: Sequence[str]  # of what is unproven


# -- sessions ----------------------------------------------------------------------------------------------


def read_chats(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """(file, its sessions) of every chat set; what is no session never gets as far as a template."""
    roles = ChatSpec(roles=ROLES).role_names
    options = ChatOptions(role_names=ROLE_NAMES, roles=frozenset(roles))
    for file in resolve_files(str(folder / "**" / "*.json*"), Path(), source="benchmark"):
        tables = [
            batch.sessions
            for chunk in plan_chunks([file], ["0"])
            for batch in read_sessions(chunk, options)
            if len(batch.sessions)
        ]
        if tables:
            yield file.relative, pa.concat_tables(tables)


# -- one template ------------------------------------------------------------------------------------------


def measure(work: Work) -> Row:
    """Every session through the jobs of a build."""
    store = Store(work.store)
    chat = ChatSpec(template=work.choice, roles=ROLES)
    try:
        found = report_on(renderer_of(work.tokenizer, chat.model_dump_json(), work.templates))
    except RecipeError as refused:
        return Row(work.name, work.tokenizer_name, f"refused: {refused}", 0, 0, 0, {}, ())
    method = {"generation": "marks", "prefix": "renderings"}[found.method]
    if not found.prefix_stable:
        method += ", cut"
    totals: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    details: list[str] = []
    for folder in sorted((work.store / "objects" / "rows").glob("*/*")):
        chunk = folder.name
        count = len(open_table(folder / ROWS))
        job = RenderJob(
            store,
            f"{work.name} {chunk}",
            chunk,
            np.arange(count, dtype=np.int32),
            work.tokenizer,
            chat,
            work.templates,
        )
        encode_chunk(job)
        meta = store.meta("tokens", job.key)
        if meta["longest"] > work.window:
            job = RenderJob(
                store,
                f"{job.key} fitted",
                chunk,
                job.rows,
                work.tokenizer,
                chat,
                work.templates,
                job.key,
                work.window,
            )
            fit_chunk(job)
            meta = store.meta("tokens", job.key)
        totals.update(sessions=count, proven=meta["proven"], sequences=meta["sequences"])
        reasons.update(meta["set_aside"])
        aside = open_table(store.path("tokens", job.key) / ASIDE).to_pylist()
        details += [f"{chunk} row {e['row']}: {e['detail']}" for e in aside if e["reason"] == "unproven"]
    return Row(
        work.name,
        work.tokenizer_name,
        method,
        totals["sessions"],
        totals["proven"],
        totals["sequences"],
        dict(reasons.most_common()),
        details,
    )


def fitting(name: str) -> tuple[str, tuple[str, ...]]:
    """The tokenizer of a template, and the markers to add to it."""
    return next(made for part, made in FITTING.items() if part in name)


def works(data: Path, scratch: Path, only: Sequence[str], window: int, limit: int) -> list[Work]:
    """Sessions stored, tokenizers prepared: what is to be measured."""
    store = Store(scratch / "store")
    for name, sessions in read_chats(data / "chat"):
        taken = np.unique(
            np.linspace(0, len(sessions) - 1, min(limit or len(sessions), len(sessions))).astype(int)
        )
        with store.writing("rows", name.replace("/", " ")) as folder:
            write_table(sessions.take(pa.array(taken)).combine_chunks(), folder / ROWS)
    templates = data / "templates"
    choices = {path.stem: path.name for path in sorted(templates.glob("*.jinja"))}
    choices |= {"chatml (built in)": "chatml", "minimind (its own)": "tokenizer"}
    made = []
    for name, choice in choices.items():
        if only and not any(part in name for part in only):
            continue
        tokenizer, markers = fitting(name)
        out = scratch / "tokenizers" / key_of(tokenizer, list(markers))
        if not out.exists():
            spec = TokenizerSpec(path=str(data / "tokenizers" / tokenizer), add_special_tokens=markers)
            prepare_tokenizer(spec, Path(), out)
        shown = f"{tokenizer} + {len(markers)}" if markers else tokenizer
        made.append(Work(name, choice, out, shown, templates, store.root, window))
    return made


# -- the table ---------------------------------------------------------------------------------------------


def as_markdown(rows: Sequence[Row]) -> Iterator[str]:
    """The table, and what it comes to."""
    yield "| template | tokenizer | targets from | sessions | proven | sequences | set aside | unproven |"
    yield "|---|---|---|--:|--:|--:|---|--:|"
    for row in rows:
        reasons = ", ".join(f"{k} {n:,}" for k, n in row.set_aside.items() if k != "unproven") or "–"
        unproven = row.set_aside.get("unproven", 0)
        yield (
            f"| {row.name} | {row.tokenizer} | {row.method} | {row.sessions:,} | {row.proven:,} | "
            f"{row.sequences:,} | {reasons} | {unproven:,} |"
        )
    reasons = Counter[str]()
    for row in rows:
        reasons.update(row.set_aside)
    sessions, proven = sum(row.sessions for row in rows), sum(row.proven for row in rows)
    yield ""
    yield (
        f"{sessions:,} renderings of sessions: {proven:,} proven, {sum(reasons.values()):,} set aside ("
        + ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common())
        + ")."
    )


def main() -> int:
    """Print the table; 1 where something is neither proven nor explained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="templates with one of these in their names")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0, help="sessions a file; 0: all")
    parser.add_argument("--window", type=int, default=4096)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        todo = works(asked.data.resolve(), Path(scratch), asked.only, asked.window, asked.limit)
        with ProcessPoolExecutor(asked.workers, mp_context=get_context("spawn")) as pool:
            rows = []
            for row in pool.map(measure, todo):
                rows.append(row)
                print(row, file=sys.stderr, flush=True)
    print("\n".join(as_markdown(rows)))
    for row in rows:
        for detail in row.details[:10]:
            print(f"{row.name}: {detail}", file=sys.stderr)
        if row.sessions != row.proven + sum(row.set_aside.values()):
            raise SystemExit(f"{row.name}: sessions are not proven + set aside")
    return int(any(row.details for row in rows))


if __name__ == "__main__":
    sys.exit(main())
