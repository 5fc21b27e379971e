"""A dataset with a schedule says in the page when it is late: seen of the real daemon, on the recipe's own windows.

What takes hours is not waited for: a materialisation is recorded with an earlier hour, as if that long had passed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from servers import Page, dagster_services, wait_until
from small_recipes import Project

HOUR = 3600.0
STATUS = """query ($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
    freshnessStatusInfo { freshnessStatus } } } }"""


def status(page: Page, name: str) -> str | None:
    """The badge of the asset's page."""
    told = page.ask(STATUS, key={"path": ["small", name]})["assetNodeOrError"]["freshnessStatusInfo"]
    return None if told is None else str(told["freshnessStatus"])


def made_ago(home: Path, hours: float) -> None:
    """Record the dataset's newest materialisation once more, so many hours back."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        (newest,) = instance.fetch_materializations(dg.AssetKey(["small", "dataset"]), limit=1).records
        earlier = newest.event_log_entry._replace(timestamp=time.time() - hours * HOUR)
        instance.handle_new_event(earlier)


@pytest.mark.slow
def test_a_dataset_is_fresh_then_late_then_overdue_and_fresh_again_once_it_is_made(
    new_project: Callable[..., Project],
) -> None:
    project = new_project(schedule="@hourly")  # late after two hours, overdue after three
    project.built()
    home = project.folder / "dagster"
    environment = {
        **project.environment,
        "TOKENMILL_RECIPES": str(project.folder),
        "TOKENMILL_BUILDS": str(project.out.parent),
        "FRESHNESS_DAEMON_INTERVAL_SECONDS": "1",
    }
    with dagster_services(project.folder, environment) as page:

        def becomes(wanted: str) -> None:
            wait_until(lambda: status(page, "dataset") == wanted, f"a dataset that is {wanted}", 90)

        becomes("HEALTHY")
        assert status(page, "candidate") is None, "only what is published has a policy"
        made_ago(home, 1.9)
        time.sleep(3)  # the daemon looks every second
        assert status(page, "dataset") == "HEALTHY"
        made_ago(home, 2.1)
        becomes("WARNING")
        made_ago(home, 3.1)
        becomes("DEGRADED")
        assert page.ended(page.launch("small_build")) == "SUCCESS"
        becomes("HEALTHY")
