"""Evaluation sets kept out: which documents and sessions hold n-grams of them, decided per item, shown with the n-gram.

The sets are read as sources are (`Workspace.source("evaluation:NAME")`), so rows that cannot be read are counted and a
changed file is seen. Their n-grams are one index; each chunk is looked up in it once and remembered, whatever the
threshold, so another threshold or a changed source looks up only what it must.

Guarded of a chat set are its messages but those of `system` and `tool`, which evaluations share with everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tokenization.duplicates import overlap
from tokenization.duplicates.overlap import NgramIndex
from tokenization.hashing import key_of
from tokenization.recipe.cleaning import DecontaminationSpec
from tokenization.stages.documents import ROWS, load_index
from tokenization.stages.overlaps import look_up_chunks
from tokenization.stages.session_texts import session_texts
from tokenization.stages.tables import open_table
from tokenization.stages.workspace import EVALUATION, Workspace

NOT_GUARDED = ("system", "tool")
EVIDENCE_SCHEMA = pa.schema(
    [
        ("position", pa.int64()),  # row of the source's index
        ("set", pa.string()),
        ("item", pa.string()),  # of the evaluation set
        ("share", pa.float64()),  # of the evaluation item's n-grams
        ("character", pa.int64()),  # where the n-gram begins; of a session, in what its messages say
        ("ngram", pa.large_string()),
    ]
)


def parts(workspace: Workspace) -> list[Any] | None:
    """JSON-able: the evaluation sets by content, and what is made of them; None where the recipe has none."""
    spec = workspace.recipe.cleaning.decontamination
    if spec is None:
        return None
    return [
        spec.model_dump(mode="json"),
        overlap.CODE,
        *(workspace.inputs(name)[1] for name in set_names(spec)),
    ]


def set_names(spec: DecontaminationSpec) -> list[str]:
    return [f"{EVALUATION}{each.name}" for each in spec.sets]


class EvaluationSets:
    """The recipe's evaluation sets, read and indexed."""

    def __init__(self, workspace: Workspace, spec: DecontaminationSpec) -> None:
        self.workspace, self.spec = workspace, spec
        self.names = set_names(spec)
        results = [workspace.run("documents", name) for name in self.names]
        self.key = key_of(
            "evaluation", overlap.CODE, spec.ngram, spec.shortest, [r.fingerprint for r in results]
        )
        indices = [load_index(workspace, name) for name in self.names]
        self.ends = np.cumsum([len(index) for index in indices])
        self.items = [index.column("item") for index in indices]
        if not workspace.keep("guarded", self.key):
            with workspace.store.writing("guarded", self.key) as folder:
                NgramIndex.build(self._texts(), spec.ngram, spec.shortest).save(folder)
            workspace.keep("guarded", self.key)
        self.index_sizes = np.load(workspace.store.path("guarded", self.key) / "ngrams.npy")

    def _texts(self) -> Iterator[pa.Array | pa.ChunkedArray]:
        """Every set's items in order, as many as its index has."""
        for name in self.names:
            left = len(load_index(self.workspace, name))
            for chunk in self.workspace.result("documents", name).value["chunks"]:
                table = open_table(self.workspace.store.path("rows", chunk) / ROWS).slice(0, left)
                left -= len(table)
                if "text" in table.column_names:
                    yield table.column("text")
                else:
                    yield session_texts(table.column("messages"), without=NOT_GUARDED)

    def owner(self, number: int) -> tuple[str, str]:
        """(set, item) of a guarded text."""
        place = int(np.searchsorted(self.ends, number, "right"))
        position = number - (int(self.ends[place - 1]) if place else 0)
        return self.spec.sets[place].name, self.items[place][position].as_py()

    def evidence(self, name: str) -> pa.Table:
        """The source's items that hold enough of an evaluation item, each with the one it holds most of."""
        value = self.workspace.result("documents", name).value
        paths = look_up_chunks(
            self.workspace,
            [(chunk, None) for chunk in value["chunks"]],
            self.key,
            "text",
            value["text_bytes"],
            f"{name} against evaluation sets",
        )
        index = load_index(self.workspace, name)
        chunk_of, row_of = index.column("chunk").to_numpy(), index.column("row").to_numpy()
        rows: list[dict[str, Any]] = []
        for chunk, path in enumerate(paths):
            first, last = np.searchsorted(chunk_of, [chunk, chunk + 1])
            for found in open_table(path).to_pylist():
                position = int(first + np.searchsorted(row_of[first:last], found["row"]))
                if position >= last or found["share"] < self.spec.threshold:  # beyond the source's limit
                    continue
                own_set, item = self.owner(found["guarded"])
                kept = {key: found[key] for key in ("share", "character", "ngram")}
                rows.append({"position": position, "set": own_set, "item": item, **kept})
        return pa.Table.from_pylist(rows, EVIDENCE_SCHEMA)

    def report(self, evidence: list[pa.Table]) -> dict[str, Any]:
        """For the manifest: of each set its items, those too short to look for, and those that were found."""
        found: dict[str, set[str]] = {each.name: set() for each in self.spec.sets}
        for table in evidence:
            for own_set, item in zip(
                table.column("set").to_pylist(), table.column("item").to_pylist(), strict=True
            ):
                found[own_set].add(item)
        sizes = np.split(self.index_sizes, self.ends[:-1]) if len(self.ends) else []
        return {
            each.name: {
                "items": len(own),
                "too_short": int((own == 0).sum()),
                "ngrams": int(own.sum()),
                "found": len(found[each.name]),
                "set_aside": self.workspace.result("documents", f"{EVALUATION}{each.name}").value[
                    "set_aside"
                ],
            }
            for each, own in zip(self.spec.sets, sizes, strict=True)
        }
