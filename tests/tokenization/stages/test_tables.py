"""Arrow files of the stages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokenization.stages.tables import read_arrays, write_arrays


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_arrays_come_back_as_they_were_each_with_its_own_length_and_type(tmp_path: Path, size: int) -> None:
    arrays = {
        "hash": np.arange(size, dtype=np.uint64) * np.uint64(2**61 + 1),
        "flag": np.arange(2 * size) % 3 == 0,
        "place": np.arange(3, dtype=np.int32),
        "none": np.zeros(0, np.int64),
    }
    write_arrays(arrays, tmp_path / "arrays.arrow")
    found = read_arrays(tmp_path / "arrays.arrow")
    assert list(found) == list(arrays)
    for name, values in arrays.items():
        assert found[name].dtype == values.dtype and np.array_equal(found[name], values), name
