"""How heavy the pages of assets become: each loads its last hundred materialisations."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest
from small_recipes import Project

from assets.reports import preview_metadata

LIMIT, SHOWN = 300_000, 100
OWN = 640  # bytes of an event that are Dagster's own: its run, where that came from, step, times, names
OF_TAG, OF_ENTRY = 42, 84  # around a tag's key and value; around an entry's label and value
OF_PAGE = 40_000  # everything else that the page of an asset asks for


def weight(materialization: dg.AssetMaterialization) -> int:
    """Bytes of a materialisation in the answer to the page; measured against the real one in tests/page."""
    tags = sum(OF_TAG + len(f"{key}{value}".encode()) for key, value in (materialization.tags or {}).items())
    return OWN + tags + weight_of(materialization.metadata)


def weight_of(metadata: Any) -> int:
    return sum(
        OF_ENTRY + len(label.encode()) + len(str(getattr(value, "value", value)).encode())
        for label, value in metadata.items()
    )


@pytest.fixture(scope="module")
def newest(good: Project) -> dict[str, dg.AssetMaterialization]:
    """Of every asset of the small project, which has four sources: its materialisation."""
    found = {}
    with dg.DagsterInstance.from_config(str(good.folder / "dagster")) as instance:
        for key in instance.get_asset_keys():
            for record in instance.fetch_materializations(key, limit=1).records:
                assert record.asset_materialization is not None
                found[key.to_user_string().removeprefix("small/")] = record.asset_materialization
    return found


def test_a_hundred_materialisations_of_any_asset_are_a_light_page(
    good: Project, newest: dict[str, dg.AssetMaterialization], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(good.folder)
    monkeypatch.setenv("TOKENMILL_PAGES", "http://127.0.0.1:65535")
    workspace = good.workspace()
    preview = workspace.result("preview")
    linked = preview_metadata(preview, workspace.store.path("preview", preview.key))
    unlinked = newest["loss_mask_preview"]
    newest["loss_mask_preview"] = unlinked.with_metadata({**linked, "reused": dg.MetadataValue.bool(False)})
    weights = {name: weight(materialization) for name, materialization in newest.items()}
    assert len(weights) == 26 and weights["windows"] > OWN
    heavy = {name: each for name, each in weights.items() if OF_PAGE + SHOWN * each > LIMIT}
    assert not heavy, f"above {LIMIT} bytes after {SHOWN} materialisations: {heavy}"


def test_an_asset_has_few_inputs_because_each_weighs_in_every_materialisation(
    newest: dict[str, dg.AssetMaterialization],
) -> None:
    """One a source where sources meet, and no more than a handful beside."""
    inputs = {
        name: sum(tag.startswith("dagster/input_data_version/") for tag in materialization.tags or {})
        for name, materialization in newest.items()
    }
    meeting = {"selection": 4, "tokenizer": 5, "windows": 5}
    assert inputs["candidate"] == 3 and {name: inputs[name] for name in meeting} == meeting
    assert all(count <= 4 for name, count in inputs.items() if name not in meeting), inputs
