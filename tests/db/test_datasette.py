"""`datasette drbench.db --metadata docs/datasette.json` shows sensible tables; so its own client says."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from drbench_db import Store

METADATA = Path(__file__).parents[2] / "docs" / "datasette.json"
HIDDEN = {"sample", "outcome", "drbench_revision"}
ROWS = {"leaderboard": 5, "results": 140, "runs": 2, "record": 22, "machine": 2, "sample": 70, "outcome": 4}


class Browser:
    """Asks datasette for pages."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings():  # what datasette's own libraries are about to change is not ours
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            from datasette.app import Datasette

            self._app: Any = Datasette([str(path)], metadata=json.loads(METADATA.read_text()))

    def get(self, page: str) -> Any:
        async def ask() -> Any:
            await self._app.invoke_startup()
            return await self._app.client.get(page)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            found = asyncio.run(ask())
        assert found.status_code == 200, f"{page}: {found.text}"
        return found.json() if ".json" in page else found.text


@pytest.fixture
def browser(previous: Path) -> Browser:
    pytest.importorskip("datasette")
    Store.open(previous, write=True).close()
    path = previous.rename(previous.with_name("drbench.db"))
    return Browser(path)


def test_every_table_has_a_page(browser: Browser) -> None:
    found = browser.get("/drbench.json")
    tables = {table["name"]: table for table in found["tables"]}
    views = {view["name"] for view in found["views"]}
    assert views == {"leaderboard", "results", "runs"}
    assert {name for name, table in tables.items() if table["hidden"]} == HIDDEN
    for name in views | set(tables):
        page = browser.get(f"/drbench/{name}")
        assert "<table" in page
        rows = browser.get(f"/drbench/{name}.json?_shape=objects&_size=max")["rows"]
        assert len(rows) == ROWS.get(name, len(rows)) > 0


def test_the_leaderboard_says_what_it_shows(browser: Browser) -> None:
    page = browser.get("/drbench/leaderboard")
    for text in ("A network in a run.", "drconv m=2", "To the plain network, measured in alternation"):
        assert text in page
    rows = browser.get("/drbench/leaderboard.json?_shape=array&label=drconv+m=2")
    assert [(row["suite"], row["operator"], row["seeds"], row["records_not_done"]) for row in rows] == [
        ("previous", "drconv", 2, 0)
    ]
    assert rows[0]["latency_ratio"] > 0
    failed = browser.get("/drbench/results.json?_shape=array&status=failed&_facet=stage")
    assert len(failed) == 6
    assert all(row["error"] for row in failed)


def test_blobs_and_references_can_be_followed(browser: Browser, previous: Path) -> None:
    assert "previous" in browser.get("/drbench/run")  # the suite's name stands where its number is
    page = browser.get("/drbench/sample?record_id=7")
    with closing(sqlite3.connect(previous.with_name("drbench.db"))) as connection:
        sizes = connection.execute("SELECT LENGTH(float64) FROM sample WHERE record_id = 7").fetchall()
    assert all(f"&lt;Binary:&nbsp;{size}&nbsp;bytes&gt;" in page for (size,) in sizes)
    assert "drconv m=2" in browser.get("/drbench/record/4")


def test_the_metadata_names_only_what_there_is(browser: Browser, previous: Path) -> None:
    with closing(sqlite3.connect(previous.with_name("drbench.db"))) as connection:
        there = {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info('{name}')")}
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")
        }
    described = json.loads(METADATA.read_text())["databases"]["drbench"]["tables"]
    assert set(described) == set(there)
    for name, about in described.items():
        named = {*about.get("columns", {}), *about.get("facets", [])}
        named |= {about[key] for key in ("sort_desc", "label_column") if key in about}
        assert named <= there[name], name
