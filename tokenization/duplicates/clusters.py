"""The clusters of near duplicates as a table to look at: who stays, who goes, how alike they are.

One row a text of a cluster, cluster after cluster, the one that stays first; Parquet, or JSON Lines where the path ends
in .jsonl. The similarity is the estimate to the text that stays; below the threshold it tells that a text hangs on
through others. Price: BATCH texts in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tokenization.duplicates.components import Places
from tokenization.duplicates.near import NearDuplicates
from tokenization.errors import BuildError

BATCH = 1024  # texts asked for at a time
SHOWN = 200  # characters of each text

SCHEMA = pa.schema(
    [
        ("cluster", pa.int64()),  # counted from 0 in recipe order of the texts that stay
        ("source", pa.string()),
        ("item", pa.string()),
        ("kept", pa.bool_()),
        ("similarity", pa.float32()),
        ("text", pa.string()),  # its first SHOWN characters
    ]
)

Describe = Callable[[Places], pa.Table]  # positions in recipe order → columns source, item, text


def write_clusters(path: str | Path, near: NearDuplicates, describe: Describe) -> int:
    """Write every cluster of two and more; the number of clusters."""
    path = Path(path)
    members, begins = near.clusters()
    number = np.repeat(np.arange(len(begins) - 1), np.diff(begins))
    with _writer(path) as write:
        for first in range(0, len(members), BATCH):
            some = members[first : first + BATCH]
            described = describe(some)
            if len(described) != len(some):
                raise BuildError(f"{len(some)} texts of clusters were asked for and {len(described)} came")
            columns = {
                "cluster": pa.array(number[first : first + BATCH]),
                "source": described.column("source"),
                "item": described.column("item"),
                "kept": pa.array(near.kept[some]),
                "similarity": pa.array(near.similarity[some]),
                "text": pc.utf8_slice_codeunits(described.column("text"), 0, SHOWN),
            }
            write(pa.table(columns).cast(SCHEMA))
    return len(begins) - 1


@contextmanager
def _writer(path: Path) -> Iterator[Callable[[pa.Table], object]]:
    if path.suffix == ".jsonl":
        with open(path, "wb") as file:
            yield lambda table: file.writelines(
                orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in table.to_pylist()
            )
        return
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        yield writer.write_table
