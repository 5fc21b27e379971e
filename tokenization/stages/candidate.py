"""Stage `candidate`: the build directory, whole, beside the place where it will be published.

Shards (on all workers), items, ledger, quarantine, tokenizer, preview, and the manifest last. It is written to a folder
of its own and renamed to `OUT.versions/FINGERPRINT` when it is whole; nothing is published here. The fingerprint covers
what a reader of the dataset can see: shards, items, tokenizer, template.

Guarantees: a folder with a manifest is a whole build; the same plan gives the same bytes.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tokenization import shards
from tokenization.build.choosing import Chosen
from tokenization.build.layout import replace_folder, version_manifest, versions_folder
from tokenization.chat.templates import ChatTemplate
from tokenization.hashing import file_digest, key_of
from tokenization.memory import give_back
from tokenization.object_store import shown
from tokenization.stages import chat_tokens, items, leaks, quarantine
from tokenization.stages.accounts import ledger_of, source_accounts
from tokenization.stages.catalogue import measures
from tokenization.stages.documents import INDEX
from tokenization.stages.near_duplicates import NAME as NEAR_DUPLICATES
from tokenization.stages.shard_jobs import ShardJob, write_shard_job
from tokenization.stages.tables import write_table
from tokenization.stages.tokenizer import opened, tokenizer_path
from tokenization.stages.tokens import load_sequences
from tokenization.stages.windows import SPLITS, Rows
from tokenization.stages.workspace import Workspace
from tokenization.store import write_json
from tokenization.tokenizer.save import save_tokenizer

MOST_BESIDE = 250_000  # items: a million of them take 0.2 GB here, and as much for the names in shards
PACKAGES = ("tokenmill", "fastokens", "tokenizers", "numpy", "pyarrow", "polars", "jinja2")


def parts(workspace: Workspace, name: str) -> list[Any] | None:
    inputs = inputs_of(workspace)
    return None if inputs is None else [*inputs, shown(workspace.out.absolute())]


def inputs_of(workspace: Workspace) -> list[Any] | None:
    """All that the folder's files hold: the plan alone says neither which tokens nor what was set aside on the way."""
    recipe = workspace.recipe
    sources = [source.name for source in recipe.sources]
    results = [
        *(workspace.find(stage) for stage in ("selection", "tokenizer", "windows")),
        *([workspace.find("leaks")] if measures(recipe) else []),
        *(workspace.find(stage, source) for stage in ("documents", "tokens") for source in sources),
    ]
    if any(result is None for result in results):
        return None
    return [[result.fingerprint for result in results if result], recipe.fingerprint, recipe.name, versions()]


def valid(workspace: Workspace, value: dict[str, Any]) -> bool:
    """Whether the folder that the summary speaks of is still there, and still holds what these inputs gave."""
    manifest = version_manifest(workspace.out, value["fingerprint"])
    return manifest is not None and manifest.get("inputs_fingerprint") == key_of(inputs_of(workspace))


def run(workspace: Workspace, name: str, key: str) -> dict[str, Any]:
    folder = versions_folder(workspace.out)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".writing-{uuid.uuid4().hex[:12]}"
    part.mkdir()
    try:
        manifest = fill(workspace, part)
        replace_folder(
            part, folder / manifest["fingerprint"]
        )  # the same data under other notes: the newer stand
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {
        "fingerprint": manifest["fingerprint"],
        "splits": manifest["splits"],
        "mixture": manifest["mixture"],
        "proof": manifest["proof"],
        "template_fingerprint": manifest["template_fingerprint"],
    }


def fill(workspace: Workspace, folder: Path) -> dict[str, Any]:
    """Write everything into the folder; the manifest, which is written last."""
    from tokenization.build.showing import facts, page_of_build
    from tokenization.preview.page import html_page, page_data

    template = chat_tokens.template_of(workspace) if workspace.recipe.chat_sources else None
    with items_beside(workspace, folder / "items.parquet") as chosen:
        splits = write_dataset(workspace, folder)
        give_back()
        write_set_asides(workspace, folder / "quarantine")
        save_tokenizer(
            tokenizer_path(workspace),
            folder / "tokenizer",
            chat_template=template.source if template else None,
            stop_token_ids=chat_tokens.stop_token_ids(workspace),
        )
        manifest = manifest_of(workspace, template, splits)
        page = page_of_build(folder, manifest, chosen())
        data = page_data(page)
    give_back()
    ledger = ledger_of(workspace, splits)
    write_json(folder / "ledger.json", {"entries": [entry.as_json() for entry in ledger]}, indent=True)
    manifest["fingerprint"] = key_of(
        [[split, [shard["sha256"] for shard in splits[split]["shards"]]] for split in SPLITS],
        file_digest(folder / "items.parquet"),
        manifest["tokenizer"]["fingerprint"],
        manifest["template_fingerprint"],
        manifest["window"],
    )
    written = html_page(replace(page, facts=facts(manifest)), data=data)
    (folder / "preview.html").write_text(written, encoding="utf-8")
    write_json(folder / "manifest.json", manifest, indent=True)
    return manifest


def manifest_of(
    workspace: Workspace, template: ChatTemplate | None, splits: dict[str, Any]
) -> dict[str, Any]:
    """The manifest, but for its fingerprint: what that is made of is still being written."""
    recipe, tokenizer = workspace.recipe, opened(workspace)
    windows, selection = workspace.result("windows").value, workspace.result("selection").value
    return {
        "format": 1,
        "recipe": recipe.resolved(),
        "recipe_fingerprint": recipe.fingerprint,
        "fingerprint": "",
        "inputs_fingerprint": key_of(inputs_of(workspace)),
        "window": recipe.window,
        "seed": recipe.seed,
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            "vocab_size": tokenizer.vocab_size,
            "document_end_token_id": tokenizer.document_end_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            "stop_token_ids": chat_tokens.stop_token_ids(workspace),
            "engine": tokenizer.engine,
        },
        "template_fingerprint": template.fingerprint if template else None,
        "template": chat_tokens.template_report(workspace) if template else None,
        "versions": versions(),
        "splits": splits,
        "mixture": windows["mixture"],
        "loss_weights": windows["loss_weights"],
        "sources": source_accounts(workspace),
        "near_duplicate_clusters": selection["near_duplicate_clusters"],
        "decontamination": decontamination_account(workspace),
        "prompts": prompts_account(workspace),
        "proof": chat_tokens.proof_summary(workspace),
    }


@contextmanager
def items_beside(workspace: Workspace, path: Path) -> Iterator[Callable[[], Chosen]]:
    """Items written beside the rest where they are few, else when the block asks; gives what waits for the choice of
    those that the preview shows. On leaving the block they are written."""
    count = sum(
        workspace.result("documents", source.name).value["items"] for source in workspace.recipe.sources
    )
    with items.ItemsFile(path) as file:
        if count > MOST_BESIDE:
            yield lambda: items.write_items(workspace, file)
            return
        with ThreadPoolExecutor(1, thread_name_prefix="items") as beside:
            yield beside.submit(items.write_items, workspace, file).result


def write_set_asides(workspace: Workspace, folder: Path) -> None:
    """The quarantine, and what was found of near duplicates and leaks beside it."""
    quarantine.write_quarantine(workspace, folder)
    for stage, file in (("selection", NEAR_DUPLICATES), ("leaks", leaks.NAME)):
        found = workspace.find(stage) if stage == "selection" or measures(workspace.recipe) else None
        written = workspace.store.path(stage, found.key) / file if found else None
        if written and written.exists():
            shutil.copyfile(written, folder / file)


def prompts_account(workspace: Workspace) -> dict[str, Any] | None:
    """How repetitive the prompts are, what that suggests, and what was done; None where there are no chats."""
    measured: dict[str, Any] | None = workspace.result("selection").value["prompts"]
    if measured is None:
        return None
    asked = workspace.recipe.chat.train_on_prompt
    tokens = [workspace.result("tokens", source.name).value for source in workspace.recipe.chat_sources]
    trained = {
        "sessions_trained_on_prompt": sum(value["actions"].get("train_on_prompt", 0) for value in tokens)
    }
    return {**measured, "train_on_prompt": asked, **(trained if asked == "auto" else {})}


def decontamination_account(workspace: Workspace) -> dict[str, Any] | None:
    """The evaluation sets, what was found of them, and the leaks; None where the recipe asks for none."""
    spec = workspace.recipe.cleaning.decontamination
    if spec is None:
        return None
    measured = {
        k: v for k, v in workspace.result("leaks").value.items() if k not in ("fingerprint", "seconds")
    }
    return {
        "ngram": spec.ngram,
        "shortest": spec.shortest,
        "threshold": spec.threshold,
        "sets": workspace.result("selection").value["evaluation_sets"],
        "leaks": measured,
    }


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def write_dataset(workspace: Workspace, folder: Path) -> dict[str, Any]:
    """The shards of both splits and what `datasets` needs beside them; the manifest's `splits`."""
    from tokenization.engine import map_shards

    recipe = workspace.recipe
    plan = workspace.store.path("windows", workspace.result("windows").key)
    window = None if recipe.sft.layout == "rows" else recipe.window
    names: dict[str, list[str]] = {}
    jobs: list[ShardJob] = []
    places = write_places(workspace, folder / ".places")
    for split in SPLITS:
        target = folder / "dataset" / split
        target.mkdir(parents=True)
        borders = shard_borders(Rows.load(plan, split))
        names[split] = [shards.shard_name(number, len(borders) - 1) for number in range(len(borders) - 1)]
        jobs += [
            shard_job(workspace, target / file, plan, places, split, first, last, window)
            for file, first, last in zip(names[split], borders[:-1], borders[1:], strict=True)
        ]
    tokens = sum(workspace.result("windows").value["splits"][split]["tokens"] for split in SPLITS)
    written = map_shards(write_shard_job, jobs, workspace.engine, work_bytes=tokens, threads=True)
    shutil.rmtree(folder / ".places")
    weights = workspace.result("windows").value["loss_weights"]
    told = iter(written)  # in the order of the jobs: split by split, shard by shard
    described = {
        split: describe_split(split, {name: next(told) for name in names[split]}, workspace)
        for split in SPLITS
    }
    for split in SPLITS:
        digest = key_of([shard["sha256"] for shard in described[split]["shards"]])
        shards.write_split_metadata(folder / "dataset" / split, names[split], digest, split, window, weights)
    shards.write_dataset_metadata(folder / "dataset", SPLITS)
    return described


def write_places(workspace: Workspace, folder: Path) -> tuple[Path, ...]:
    """For each source, a table for the writers of shards: where each of its sequences lies."""
    folder.mkdir()
    paths = tuple(folder / f"{source.name}.arrow" for source in workspace.recipe.sources)
    for source, path in zip(workspace.recipe.sources, paths, strict=True):
        write_table(load_sequences(workspace, source.name).select(["object", "begin"]), path)
    return paths


def shard_borders(rows: Rows) -> list[int]:
    """Row numbers where shards begin, and the end: `[0, …, num_rows]`; one shard, also for no rows, or an even number,
    so that two workers end together."""
    count = max(1, -(-int(rows.width.sum(dtype=np.int64)) // shards.SHARD_TOKENS))
    count += count % 2 if count > 1 else 0
    return [round(len(rows.kind) * number / count) for number in range(count + 1)]


def shard_job(
    workspace: Workspace,
    path: Path,
    plan: Path,
    places: tuple[Path, ...],
    split: str,
    first: int,
    last: int,
    window: int | None,
) -> ShardJob:
    store, recipe = workspace.store, workspace.recipe
    return ShardJob(
        path=path,
        plan=plan,
        places=places,
        split=split,
        first=first,
        last=last,
        names=tuple(source.name for source in recipe.sources),
        objects=tuple(
            tuple(
                store.path("tokens", key) for key in workspace.result("tokens", source.name).value["objects"]
            )
            for source in recipe.sources
        ),
        indices=tuple(
            store.path("index", workspace.result("documents", source.name).key) / INDEX
            for source in recipe.sources
        ),
        window=window,
        pad_token_id=opened(workspace).pad_token_id,
    )


def describe_split(split: str, written: dict[str, shards.Written], workspace: Workspace) -> dict[str, Any]:
    """Counts of the split and the hash of each shard, taken as they were written; the checks read the files again."""
    described = [
        {"path": f"dataset/{split}/{name}", "num_windows": shard.rows, "sha256": shard.sha256}
        for name, shard in written.items()
    ]
    summary = workspace.result("windows").value["splits"][split]
    return {
        "num_windows": summary["windows"],
        "num_tokens": summary["tokens"],
        "num_target_tokens": sum(shard.targets for shard in written.values()),
        "num_pad_tokens": summary["padding"],
        "shards": described,
    }
