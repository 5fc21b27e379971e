"""What a training left behind: losses that are no numbers, losses that do not fall, curves of both."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import orjson
import pytest

from tokenization.errors import BuildError
from tokenization.preview.curve import POINTS, curve_svg, loss_curve
from tokenization.run_records import RunRecords, check_falling, check_finite


def run(
    folder: Path, losses: list[float | None], held_out: tuple[float | None, float | None] = (5.0, 3.0)
) -> RunRecords:
    lines = [{"step": i, "loss": loss, "grad_norm": 1.0} for i, loss in enumerate(losses, 1)]
    (folder / "metrics.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    before, after = held_out
    summary: dict[str, Any] = {
        "held_out": [{"step": 0, "loss": before}, {"step": len(losses), "loss": after}],
        "held_out_loss_before": before,
        "held_out_loss": after,
    }
    (folder / "summary.json").write_bytes(orjson.dumps(summary))
    return RunRecords.open(folder)


def test_a_run_that_learns_passes_and_each_check_says_its_figure(tmp_path: Path) -> None:
    found = run(tmp_path, [6 - i / 10 for i in range(40)])
    finite, falling = check_finite(found), check_falling(found)
    assert finite.passed and finite.looked_at == "40 steps and 2 held-out losses"
    assert falling.passed and "held out 5.000 to 3.000" in falling.figure


def test_a_loss_that_is_no_number_is_named_with_its_step(tmp_path: Path) -> None:
    """JSON writes NaN as null."""
    found = run(tmp_path, [5.0, math.nan, 4.0])
    assert check_finite(found).problems == ["step 2: loss is None"]
    assert not check_finite(run(tmp_path, [5.0, 4.0], (5.0, None))).passed
    assert not check_finite(run(tmp_path, [])).passed


def test_losses_that_rise_or_do_not_carry_over_fail_the_other_check_alone(tmp_path: Path) -> None:
    rising = run(tmp_path, [3 + i / 10 for i in range(40)])
    assert check_finite(rising).passed and not check_falling(rising).passed
    learnt_by_heart = run(tmp_path, [6 - i / 10 for i in range(40)], (5.0, 5.5))
    assert check_falling(learnt_by_heart).problems == ["the held-out loss went from 5.000 to 5.500"]


def test_a_run_that_never_finished_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no training has finished there"):
        RunRecords.open(tmp_path)


@pytest.mark.parametrize("losses", [[], [2.0], [math.nan], [7 - i / 900 for i in range(5000)]])
def test_a_curve_is_a_small_picture_whatever_the_run(losses: list[float]) -> None:
    held_out = [{"step": 0, "loss": 5.0}, {"step": 9, "loss": None}]
    svg = curve_svg(losses, held_out)
    assert ET.fromstring(svg).tag.endswith("svg")
    assert svg.count("L") <= POINTS and len(loss_curve(losses, held_out)) < 4_000
    assert "nan" not in svg
