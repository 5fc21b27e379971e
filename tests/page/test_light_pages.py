"""What the page of an asset loads once it was materialised a hundred times: in a real browser, from the real server.

Counted is every answer to the page's own questions, as the browser decoded it. Three pages are opened with a hundred
materialisations behind them; of the others the page's own question is asked about ten, which weigh a tenth.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from page_stage import Page, demo_project
from small_recipes import write_tokenizer
from stranger import Stranger, browser_or_skip

pytestmark = pytest.mark.slow
LIMIT, TIMES, FEW = 300_000, 100, 10
OPENED = ("loss_mask_preview", "dataset", "windows")  # in the browser; the others are asked for as it asks
QUESTION = "RecentAssetEventsQuery"

LISTEN = """
window.asked = []; const ask = window.fetch;
window.fetch = function (where, what) {
  if (what && typeof what.body === 'string') window.asked.push(what.body);
  return ask.apply(this, arguments);
};
"""
LOADED = """
return performance.getEntriesByType('resource').filter(each => each.name.includes('/graphql'))
  .reduce((sum, each) => sum + each.decodedBodySize, 0);
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    browser_or_skip()
    folder = tmp_path_factory.mktemp("page")
    page = Page(demo_project(folder, write_tokenizer(folder / "tokenizer")))
    try:
        page.start()
        assert page.ended(page.launch("demo_build")) == "SUCCESS"
        repeat(folder / "dagster")
        yield page
    finally:
        page.stop()


def repeat(home: Path) -> None:
    """The newest materialisation of every asset again and again, as if the same run had made it."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for key in instance.get_asset_keys():
            times = TIMES if key.path[-1] in OPENED else FEW
            for record in instance.fetch_materializations(key, limit=1).records:
                for _ in range(times - 1):
                    instance.handle_new_event(record.event_log_entry._replace(timestamp=time.time()))


def test_the_page_of_every_asset_stays_light_after_a_hundred_materialisations(
    page: Page, tmp_path: Path
) -> None:
    pictures = os.environ.get("TOKENMILL_PICTURES")
    stranger = Stranger(page.address, tmp_path / "profile", Path(pictures) if pictures else tmp_path)
    try:
        stranger.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": LISTEN})
        stranger.open("/")
        stranger.reads("Overview")
        settled(stranger)  # what belongs to no asset is loaded, once for all pages
        loaded = {}
        for name in OPENED:
            loaded[name], question = opened(stranger, name)
        rest = max(loaded[name] - size_of(page, question, name) for name in OPENED)
        for name, times in page.made().items():
            if times and name not in OPENED:
                loaded[name] = rest + size_of(page, question, name) * TIMES // FEW
    finally:
        stranger.close()
    print(sorted(loaded.items(), key=lambda pair: -pair[1]))
    assert len(loaded) == 21 and min(loaded.values()) > 100_000, "a hundred were loaded"
    assert rest < 60_000, f"an asset's page asks for {rest} bytes beside its events"
    assert {name: size for name, size in loaded.items() if size > LIMIT} == {}


def opened(stranger: Stranger, name: str) -> tuple[int, dict[str, object]]:
    """Bytes that the asset's page loads, and how it asks for the asset's events."""
    stranger.open(f"/assets/demo/{name}")
    stranger.reads(name, "Metadata")
    settled(stranger)
    stranger.picture(f"page-of-{name}")
    asked = [json.loads(body) for body in stranger.driver.execute_script("return window.asked")]
    (question, *_) = [each for each in asked if each.get("operationName") == QUESTION]
    return int(stranger.driver.execute_script(LOADED)), question


def settled(stranger: Stranger) -> None:
    """Wait until nothing has come for three seconds."""
    known, since = -1, time.monotonic()
    until = since + 60
    while time.monotonic() < min(until, since + 3):
        size = int(stranger.driver.execute_script(LOADED))
        if size != known:
            known, since = size, time.monotonic()
        time.sleep(0.2)


def size_of(page: Page, question: dict[str, object], name: str) -> int:
    """Bytes of the answer to that question, asked about this asset."""
    variables = {**dict(question["variables"]), "assetKey": {"path": ["demo", *name.split("/")]}}  # type: ignore[call-overload]
    page.ask(str(question["query"]), **variables)
    return page.size
