"""What is found to be most similar replaces what was found before where it is nearer, or as near and earlier."""

from pathlib import Path

import duckdb
import pytest

from warehouse.lake import connect, prepare
from warehouse.similar import settle

MODEL = "m" * 32
EARLIER_LARGE, EARLIER_SMALL, LATE = 7, 8, 9


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    """LATE is nearest to 8, at 0.5; 7 is larger than 8."""
    prepare(str(tmp_path / "lake"))
    with connect(str(tmp_path / "lake")) as con:
        con.execute(f"INSERT INTO lake.similarities VALUES (9, '{MODEL}', 8, 0.5), (8, '{MODEL}', NULL, NULL)")
        con.execute(f"INSERT INTO lake.cell_members SELECT '{MODEL}', 0, * FROM (VALUES (8, 20, ''), (9, 10, ''))")
        con.execute("INSERT INTO lake.similarities VALUES (9, 'another', 1, 0.9)")
    return str(tmp_path / "lake")


def settled(warehouse: str, folder: Path, *pairs: tuple[int, int, int, float]) -> tuple[list[object], list[object]]:
    """Rows and edges above 0.4, after pairs of a picture, another, its area and their cosine, with 7 as newcomer."""
    with duckdb.connect() as con:
        con.execute("CREATE TABLE pairs (image_id BIGINT, other BIGINT, other_area BIGINT, similarity FLOAT)")
        con.executemany("INSERT INTO pairs VALUES ($1, $2, $3, $4)", [*pairs, pairs[0]])
        con.execute(f"COPY pairs TO '{folder}/pairs.parquet'")
        con.execute(
            f"COPY (SELECT 7::BIGINT AS image_id, 1::BIGINT AS area, [1.0::FLOAT] AS vector) TO '{folder}/new.parquet'"
        )
        names = settle(warehouse, MODEL, f"{folder}/new.parquet", [f"{folder}/pairs.parquet"], 0.4, folder)
        rows, edges = (con.execute(f"FROM '{name}'").fetchall() for name in names)
    assert all(row[1] == MODEL for row in rows)
    return [(image_id, nearest) for image_id, _, nearest, _ in rows], [edge[:2] for edge in edges]


def test_a_nearer_one_and_an_earlier_one_as_near_take_the_place(warehouse: str, tmp_path: Path) -> None:
    assert settled(warehouse, tmp_path, (9, 7, 15, 0.6)) == ([(7, None), (9, 7)], [(9, 7)])
    assert settled(warehouse, tmp_path, (9, 7, 30, 0.5)) == ([(7, None), (9, 7)], [(9, 7)])
    assert settled(warehouse, tmp_path, (9, 7, 20, 0.5)) == ([(7, None), (9, 7)], [(9, 7)])


def test_a_later_one_as_near_and_a_farther_one_do_not(warehouse: str, tmp_path: Path) -> None:
    assert settled(warehouse, tmp_path, (9, 7, 15, 0.5)) == ([(7, None)], [(9, 7)])
    assert settled(warehouse, tmp_path, (9, 7, 30, 0.3)) == ([(7, None)], [])


def test_the_first_of_its_cell_gets_one_before_it_when_that_comes(warehouse: str, tmp_path: Path) -> None:
    assert settled(warehouse, tmp_path, (8, 7, 30, 0.1), (9, 7, 30, 0.1))[0] == [(7, None), (8, 7)]
