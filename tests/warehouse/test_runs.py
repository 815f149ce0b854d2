"""Which run is asked again, and a warehouse of an earlier version that learns what it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from warehouse.errors import UnknownRelease, WarehouseError
from warehouse.lake import connect, prepare
from warehouse.protected import protected_hash
from warehouse.runs import newest_round
from warehouse.tables import TABLES

if TYPE_CHECKING:
    from conftest import World

FIRST_RUNS = """run_id VARCHAR, flow_run_id VARCHAR, source VARCHAR, fingerprint VARCHAR, recipe_name VARCHAR,
    recipe VARCHAR, outcome VARCHAR, release VARCHAR, report VARCHAR, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ"""
"""The columns of `runs` before failures could be asked again."""


def _publish(world: World, run_id: str, name: str | None, **changed: Any) -> None:
    log = [{"candidate_id": 1, "url": "http://a.example/1", "texts": ["a cat"]}]
    milled = world.mill(log, {"http://a.example/1": world.shot("one")}, run_id=run_id)
    world.publish(replace(milled, run=replace(milled.run, **changed)), name)


def test_a_run_is_found_with_all_that_it_takes_to_run_it_again(world: World) -> None:
    with connect(world.warehouse) as con:
        con.execute("INSERT INTO lake.protected BY NAME SELECT 'a set' AS name, 'ff' AS sha256")
    held = protected_hash(world.warehouse)
    _publish(world, "r0", "first", recipe='{"name": "small"}', allow=("10.0.0.7:80", "a:81"), limit=7, protected=held)
    _publish(world, "other", "second", protected=held)
    run = newest_round(world.warehouse, "first")
    assert (run.run_id, run.recipe, run.allow, run.limit) == ("r0", '{"name": "small"}', ("10.0.0.7:80", "a:81"), 7)
    assert (run.round, run.release, run.protected) == (0, "first", held)


def test_without_a_release_it_is_the_latest_run_even_one_that_was_held_back(world: World) -> None:
    _publish(world, "r0", "first")
    _publish(world, "a-later-one", None)
    assert newest_round(world.warehouse, None).run_id == "a-later-one"


def test_of_a_run_whose_failures_were_asked_again_it_is_the_last_round(world: World) -> None:
    _publish(world, "r0", "first")
    _publish(world, "r1", None, round=1, earlier="r0")
    _publish(world, "r2", "third", round=2, earlier="r1")
    _publish(world, "r0", None)  # the first one was executed once more
    assert {newest_round(world.warehouse, name).run_id for name in ("first", "third", None)} == {"r2"}
    assert newest_round(world.warehouse, "first").round == 2


def test_where_nothing_was_run_it_says_so(world: World, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="Nothing was run"):
        newest_round(world.warehouse, None)
    with pytest.raises(WarehouseError, match="There is no warehouse"):
        newest_round(str(tmp_path / "none"), None)
    with pytest.raises(UnknownRelease, match="no release nix"):
        newest_round(world.warehouse, "nix")


def test_a_warehouse_of_an_earlier_version_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    prepare(lake)
    with connect(lake) as con:
        con.execute("DROP TABLE lake.runs")
        con.execute(f"CREATE TABLE lake.runs ({FIRST_RUNS})")
        con.execute("INSERT INTO lake.runs BY NAME SELECT 'old' AS run_id, '/a.csv' AS source, '{}' AS recipe")
    run = newest_round(lake, None)
    prepare(lake)
    with connect(lake) as con:
        rows = con.execute("DESCRIBE lake.runs").fetchall()
    assert [row[0] for row in rows] == [column.split()[0] for column in TABLES["runs"].split(",")]
    assert (run.run_id, run.allow, run.limit, run.round, run.protected) == ("old", (), None, 0, "")
