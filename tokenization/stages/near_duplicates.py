"""Near duplicates among a recipe's texts: signatures chunk by chunk, clusters over all of them.

A chunk's signatures are an object of their own, so a rebuild signs only what changed; the clusters are looked for anew
over all sources, on signatures alone. What each document is like is written out to look at (`near_duplicates.parquet`).
Price: about 40 MB a second and core to sign; at most 1 GiB for each million documents to cluster.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from tokenization.duplicates.clusters import write_clusters
from tokenization.duplicates.near import NearDuplicates, cluster
from tokenization.duplicates.signatures import algorithm, signatures
from tokenization.hashing import key_of
from tokenization.stages.documents import ROWS, load_index
from tokenization.stages.running import run_jobs
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import Workspace
from tokenization.store import META, Store

NAME = "near_duplicates.parquet"


@dataclass(frozen=True)
class SignJob:
    store: Store
    key: str
    chunk: str


def sign_chunk(job: SignJob) -> int:
    """Sign one chunk's documents; the worker's process id."""
    texts = open_table(job.store.path("rows", job.chunk) / ROWS).column("text")
    with job.store.writing("signatures", job.key) as folder:
        np.save(folder / "signatures.npy", signatures(texts))
        (folder / META).write_bytes(orjson.dumps({"documents": len(texts)}))
    return os.getpid()


def find_near_duplicates(
    workspace: Workspace, names: list[str], threshold: float, eligible: NDArray[np.bool_]
) -> NearDuplicates:
    """Clusters over these sources' documents in recipe order; `eligible` leaves exact duplicates out."""
    jobs: list[SignJob] = []
    size = 0
    for name in names:
        value = workspace.result("documents", name).value
        size += value["text_bytes"]
        jobs += [
            SignJob(workspace.store, key_of("signatures", algorithm(), chunk), chunk)
            for chunk in value["chunks"]
        ]
    run_jobs(workspace, "signatures", sign_chunk, jobs, size, "near duplicates")
    return cluster(signature_arrays(workspace, names), threshold, eligible=eligible)


def signature_arrays(workspace: Workspace, names: list[str]) -> Iterator[NDArray[Any]]:
    """The chunks' signatures in recipe order, as many rows as the indices have."""
    for name in names:
        left = len(load_index(workspace, name))  # a limit may leave a source's last rows out
        for chunk in workspace.result("documents", name).value["chunks"]:
            key = key_of("signatures", algorithm(), chunk)
            signed = np.load(workspace.store.path("signatures", key) / "signatures.npy", mmap_mode="r")
            yield signed[:left]
            left -= min(left, len(signed))


def write_near_duplicates(workspace: Workspace, names: list[str], near: NearDuplicates, folder: Path) -> int:
    """The clusters as a table to look at; how many there are."""
    indices = [load_index(workspace, name) for name in names]
    ends = np.cumsum([len(index) for index in indices])

    def describe(places: NDArray[np.int64]) -> pa.Table:
        rows: dict[str, list[str]] = {"source": [], "item": [], "text": []}
        for place in places.tolist():
            owner = int(np.searchsorted(ends, place, side="right"))
            position = place - (int(ends[owner - 1]) if owner else 0)
            entry = indices[owner].slice(position, 1).to_pylist()[0]
            chunk = workspace.result("documents", names[owner]).value["chunks"][entry["chunk"]]
            stored = open_table(workspace.store.path("rows", chunk) / ROWS).column("text")
            rows["source"].append(names[owner])
            rows["item"].append(entry["item"])
            rows["text"].append(stored[entry["row"]].as_py())
        return pa.table(rows)

    return write_clusters(folder / NAME, near, describe)
