"""The loss weights of a whole build, worked out again from items.parquet, the masks and the recipe.

A segment of text weighs what its source weighs; a session that, times the mean of its target tokens' weights (their
message's own times their role's; prompt text 1); padding nothing. A build without the column weighs 1 throughout.
Price: about 20 µs a session where messages or roles have weights, else nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tokenization.build.contents import Build, Rows


class Weights:
    """What the segments of a build must weigh."""

    def __init__(self, build: Build) -> None:
        recipe = build.manifest["recipe"]
        self.of_source = {source["name"]: float(source.get("weight", 1.0)) for source in recipe["sources"]}
        roles = (recipe.get("chat") or {}).get("roles") or {}
        self.of_role = {name: float(role.get("weight", 1.0)) for name, role in roles.items()}
        self.declared = bool(build.manifest.get("loss_weights", False))

    def are_per_message(self, sessions: pa.Table) -> bool:
        """Whether any of these sessions may weigh otherwise than its source."""
        if any(weight != 1 for weight in self.of_role.values()):
            return True
        return bool(pc.any(pc.match_substring(sessions.column("messages"), '"weight":')).as_py())

    def of_session(self, row: Mapping[str, Any], mask: NDArray[np.bool_]) -> float:
        """The mean weight of a session's target tokens."""
        messages = orjson.loads(row["messages"])
        weights = np.ones(len(mask))
        for span in row["spans"] or ():
            if span["message"] >= len(messages):
                continue  # another law's business
            message = messages[span["message"]]
            weight = message.get("weight", 1.0) * self.of_role.get(message["role"], 1.0)
            weights[span["start"] : span["stop"]] = weight
        own = weights[mask]
        return float(own.mean()) if len(own) else 1.0


def weight_problems(
    rows: Rows,
    weights: Weights,
    session: Callable[[tuple[str, str]], Mapping[str, Any] | None] | None,
    split: str,
) -> list[str]:
    """The segments of these rows that do not weigh what they must; `session` gives a row of items.parquet by source and
    item, and is None where no session can weigh otherwise than its source."""
    if (rows.loss_weights is not None) != weights.declared:
        return [f"{split}: the manifest says loss_weights {weights.declared}, the dataset says otherwise"]
    found = rows.loss_weights if rows.loss_weights is not None else np.ones(len(rows.seq_lens), np.float32)
    if len(found) != len(rows.seq_lens):
        return [f"{split}: {len(found)} loss_weights for {len(rows.seq_lens)} segments"]
    sources = rows.sources.to_pylist()
    due = np.array([weights.of_source.get(source, 1.0) for source in sources])
    if session is not None:
        begins = rows.begins
        of_text = np.repeat(rows.pretrain, np.diff(rows.segment_offsets))
        for place in np.flatnonzero(~of_text & ~rows.is_padding).tolist():
            row = session((sources[place], rows.items[place].as_py()))
            if row is not None:
                own = slice(int(begins[place]), int(begins[place]) + int(rows.seq_lens[place]))
                due[place] *= weights.of_session(row, rows.loss_mask[own])
    if weights.declared:
        due[rows.is_padding] = 0
    wrong = np.flatnonzero(~np.isclose(found, due, rtol=1e-6, atol=0))
    return [
        f"{split}: {sources[place] or 'padding'} {rows.items[place].as_py()} weighs {found[place]:g} and must weigh "
        f"{due[place]:g}"
        for place in wrong.tolist()
    ]
