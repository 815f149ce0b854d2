"""A sample is drawn from all of a source, and what only the whole knows puts its fates right."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from warehouse.forecast import Drawn, draw
from warehouse.ingest import ingest
from warehouse.lake import prepare

ROWS = 3000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("forecast") / "lake")
    prepare(place)
    return place


def _rows() -> list[dict[str, Any]]:
    return [
        {"url": f"http://h/{n}", "title": f"text {n}", "impressions": "x" if n == 9 else str(n), "clicks": "1"}
        for n in range(ROWS)
    ]


def _drawn(lake: str, place: Path, rows: Sequence[dict[str, Any]], count: int, seed: int) -> tuple[Drawn, pa.Table]:
    place.mkdir()
    pq.write_table(pa.Table.from_pylist(list(rows)), place / "log.parquet")
    ingest(str(place / "log.parquet"), str(place / "part.parquet"), lake)
    told = draw(lake, str(place / "part.parquet"), str(place / "sample.parquet"), rows=count, seed=seed)
    return told, pq.read_table(place / "sample.parquet")


def test_rows_are_drawn_from_everywhere_by_seed_and_content(lake: str, tmp_path: Path) -> None:
    told, sample = _drawn(lake, tmp_path / "one", _rows(), 400, 0)
    assert told == Drawn(ROWS, ROWS, 400)
    places = [int(url.rpartition("/")[2]) for url in sample["url"].to_pylist()]
    for third in range(3):  # 133 of each third are to be expected, with a deviation of 9
        assert 100 < sum(third * 1000 <= place < third * 1000 + 1000 for place in places) < 166
    _, turned = _drawn(lake, tmp_path / "two", _rows()[::-1], 400, 0)
    assert turned.equals(sample)
    _, other = _drawn(lake, tmp_path / "three", _rows(), 400, 1)
    assert len(set(other["url"].to_pylist()) & set(sample["url"].to_pylist())) < 100


def test_a_source_that_is_no_larger_than_the_sample_is_taken_whole(lake: str, tmp_path: Path) -> None:
    told, sample = _drawn(lake, tmp_path / "one", _rows()[:50], 50, 3)
    assert told.whole
    assert sample.num_rows == 50


def test_a_count_that_cannot_be_read_cannot_be_read_in_the_sample_either(lake: str, tmp_path: Path) -> None:
    _, sample = _drawn(lake, tmp_path / "one", _rows()[:50], 50, 0)
    place = tmp_path / "again.parquet"
    ingest(str(tmp_path / "one" / "sample.parquet"), str(place), lake)
    faults = {row["url"]: row["fault"] for row in pq.read_table(place).to_pylist() if row["fault"]}
    assert list(faults) == ["http://h/9"]
    assert "is not a number" in faults["http://h/9"]
    assert sorted(sample["source_row"].to_pylist()) == list(range(50))
