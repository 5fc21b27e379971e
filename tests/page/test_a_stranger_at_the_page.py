"""What somebody who was never here can do in the page, in a real browser against the real `dagster dev`.

Open, find the demo's graph, materialise it, watch it, open a preview and see coloured tokens.
One command: `make test-page`. Pictures go to TOKENMILL_PICTURES, or away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_stage import Page, demo_project
from small_recipes import write_tokenizer
from stranger import Stranger, browser_or_skip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser_or_skip()
    folder = tmp_path_factory.mktemp("page")
    page = Page(demo_project(folder, write_tokenizer(folder / "tokenizer")))
    try:
        page.start()
        yield page
    finally:
        page.stop()


@pytest.fixture(scope="module")
def stranger(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stranger]:
    pictures = os.environ.get("TOKENMILL_PICTURES")
    folder = tmp_path_factory.mktemp("browser")
    stranger = Stranger(page.address, folder / "profile", Path(pictures) if pictures else folder / "pictures")
    try:
        yield stranger
    finally:
        stranger.close()


def test_the_page_opens_and_the_graph_tells_the_stages(page: Page, stranger: Stranger) -> None:
    stranger.open("/")
    stranger.click("Lineage")
    stranger.reads(
        "Global asset lineage", "ingest", "select", "encode", "pack", "publish", "preview", "train"
    )
    time.sleep(2)  # the layout comes to rest
    stranger.picture("graph")


def test_the_demo_is_materialised_and_can_be_watched(page: Page, stranger: Stranger) -> None:
    stranger.open("/locations/tokenmill/jobs/demo_build")
    stranger.click("Materialize all")
    (run,) = page.wait_for("run", page.runs)
    stranger.open(f"/runs/{run['runId']}")
    stranger.reads("demo_build")
    page.wait_for("end of the first build", page.at_rest, seconds=420)
    assert page.runs()[0]["status"] == "SUCCESS"
    assert set(page.checks().values()) == {"SUCCEEDED"} and len(page.checks()) == 12
    stranger.reads("Success", "Succeeded")
    stranger.picture("run")


def test_a_preview_opens_and_its_tokens_are_coloured(page: Page, stranger: Stranger) -> None:
    stranger.open("/assets/demo/loss_mask_preview")
    stranger.reads("loss_mask_preview", "Metadata", "sessions")
    stranger.picture("preview")
    stranger.click("[Show Markdown]")
    colours = stranger.colours()
    assert colours["green"] > 500 and colours["grey"] > 500, (
        f"trained is green and the rest is grey: {colours}"
    )
    stranger.picture("tokens")
