"""Where a warehouse is, and what is said where there is none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from warehouse.errors import WarehouseError
from warehouse.lake import connect, exists, locate, prepare
from warehouse.query import query
from warehouse.tables import TABLES, VIEWS


def test_a_folder_holds_catalogue_data_and_parts(tmp_path: Path) -> None:
    place = locate(f"{tmp_path}/a/../lake")
    assert place.catalog == f"sqlite:{tmp_path}/lake/catalog.sqlite"
    assert place.data == f"{tmp_path}/lake/data/"
    assert place.work == tmp_path / "lake" / "work"


@pytest.mark.parametrize(
    ("named", "catalog"),
    [
        ("postgres:dbname=zeromill host=db", "postgres:dbname=zeromill host=db"),
        ("postgresql:dbname=zeromill", "postgres:dbname=zeromill"),
        # DuckLake takes `postgresql://...` alone for a file
        ("postgresql://user@db:5432/zeromill", "postgres:postgresql://user@db:5432/zeromill"),
        ("postgres://user@db/zeromill", "postgres:postgresql://user@db/zeromill"),
    ],
)
def test_a_teams_warehouse_names_connection_data_and_work(named: str, catalog: str) -> None:
    place = locate(f"{named}#s3://bucket/lake/#/shared/work")
    assert (place.catalog, place.data, place.work) == (catalog, "s3://bucket/lake/", Path("/shared/work"))
    assert place.extensions == ("ducklake", "postgres_scanner", "httpfs")
    assert "httpfs" not in locate(f"{named}#/shared/data/#/shared/work").extensions


def test_a_teams_warehouse_without_its_folders_is_told_how_it_is_named() -> None:
    with pytest.raises(WarehouseError, match=r"CONNECTION#DATA_PATH#WORK_FOLDER"):
        locate("postgres:dbname=zeromill")


def test_a_server_that_does_not_answer_is_a_message() -> None:
    with pytest.raises(WarehouseError, match="cannot be opened") as told:
        exists("postgres:host=127.0.0.1 port=1 dbname=x connect_timeout=2#/nowhere/data/#/nowhere/work")
    assert len(str(told.value).splitlines()) <= 3


def test_a_folder_that_cannot_be_written_is_told_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WarehouseError, match="Cannot write to the warehouse") as told:
        prepare(str(tmp_path / "file" / "lake"))
    assert "--warehouse" in str(told.value)
    assert len(str(told.value).splitlines()) <= 3


def test_reading_where_there_is_no_warehouse_is_told_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="There is no warehouse"):
        query(str(tmp_path / "none"), "SELECT 1")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_catalogue_is_told(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(WarehouseError, match="cannot be opened"), connect(str(tmp_path)):
        pass


def test_preparing_twice_keeps_what_is_there_and_a_block_that_is_left_early_is_undone(tmp_path: Path) -> None:
    prepare(str(tmp_path))
    with connect(str(tmp_path)) as con:
        con.execute("INSERT INTO tombstones VALUES ('url', 'kept', '', now())")
        con.execute("BEGIN")
        con.execute("INSERT INTO tombstones VALUES ('url', 'undone', '', now())")
    prepare(str(tmp_path))
    assert query(str(tmp_path), "SELECT value FROM tombstones")[1] == [("kept",)]
    assert {row[0] for row in query(str(tmp_path), "SHOW TABLES")[1]} == {*TABLES, *VIEWS}


def test_a_warehouse_that_was_made_anew_in_its_place_is_another(tmp_path: Path) -> None:
    warehouse = tmp_path / "lake"
    prepare(str(warehouse))
    with connect(str(warehouse)) as con:
        con.execute("INSERT INTO tombstones VALUES ('url', 'old', '', now())")
    assert query(str(warehouse), "SELECT count(*) FROM tombstones")[1] == [(1,)]
    shutil.rmtree(warehouse)
    prepare(str(warehouse))
    assert query(str(warehouse), "SELECT count(*) FROM tombstones")[1] == [(0,)]
