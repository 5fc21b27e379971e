"""The repetition of a recipe's prompts, measured chunk by chunk and then over all sources; see `chat.prompts`.

A chunk's hashes are an object of their own, so a rebuild hashes only what changed; the measuring is anew over all chat
sources. Price: about 1 µs a plain session to hash.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tokenization.chat import prompts
from tokenization.chat.prompts import PromptTexts
from tokenization.engine import worker_id
from tokenization.hashing import key_of
from tokenization.plain_sessions import of_turns
from tokenization.stages.documents import ROWS, load_index
from tokenization.stages.running import run_jobs
from tokenization.stages.tables import open_table, read_arrays, write_arrays
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store

CODE = "2"  # of how a chunk's hashes are stored
HASHES = "hashes.arrow"


@dataclass(frozen=True)
class PromptJob:
    store: Store
    key: str
    chunk: str
    trained_roles: frozenset[str]


def hash_chunk(job: PromptJob) -> int:
    """Hash one chunk's prompts; the worker's number."""
    sessions = open_table(job.store.path("rows", job.chunk) / ROWS)
    plain = of_turns(sessions.column("turns"))
    texts = prompts.prompt_texts(sessions.column("messages"), job.trained_roles, plain)
    with job.store.writing("prompts", job.key) as folder:
        write_arrays(
            {field.name: getattr(texts, field.name) for field in fields(PromptTexts)}, folder / HASHES
        )
        (folder / META).write_bytes(orjson.dumps({"messages": len(texts.session)}))
    return worker_id()


def trained_roles(workspace: Workspace) -> frozenset[str]:
    """The roles whose messages are no prompts."""
    roles = workspace.recipe.chat.roles
    return frozenset({"assistant"}) | {name for name, role in roles.items() if role.trained}


def measure_prompts(
    workspace: Workspace, names: list[str], kept: list[NDArray[np.bool_]]
) -> tuple[dict[str, Any], list[NDArray[np.bool_]]]:
    """The manifest's `prompts`, and for each of these sources which of its sessions have unique prompts; `kept` says
    which of its sessions are in the dataset."""
    roles = trained_roles(workspace)
    size = sum(workspace.result("documents", name).value["text_bytes"] for name in names)
    jobs = {
        name: [
            PromptJob(
                workspace.store,
                key_of("prompts", CODE, prompts.hashing(), sorted(roles), chunk),
                chunk,
                roles,
            )
            for chunk in workspace.result("documents", name).value["chunks"]
        ]
        for name in names
    }
    every = [job for own in jobs.values() for job in own]
    run_jobs(workspace, "prompts", hash_chunk, every, size, "repetition", threads=True)
    parts, counts = [], []
    borders = [0]
    for name, own in zip(names, kept, strict=True):
        parts += [load(workspace.store, job.key) for job in jobs[name]]
        rows = sum(len(part.answers) for part in parts) - borders[-1]
        over = np.zeros(
            rows - len(load_index(workspace, name)), bool
        )  # a limit may leave a source's last rows out
        counts += [own, over]
        borders.append(borders[-1] + rows)
    all_counts = np.concatenate(counts)
    measured = prompts.measure(prompts.joined(parts), all_counts)
    sources = {name: slice(borders[i], borders[i + 1]) for i, name in enumerate(names)}
    unique = measured.unique_sessions()
    own_unique = [unique[borders[i] : borders[i] + len(own)] for i, own in enumerate(kept)]
    return prompts.report(measured, sources, all_counts), own_unique


def load(store: Store, key: str) -> PromptTexts:
    return PromptTexts(**read_arrays(store.path("prompts", key) / HASHES))
