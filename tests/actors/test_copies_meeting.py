"""Pictures that are alike meet though a plane between two cells is between them; others do not look across."""

from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.copies.meeting import Matcher, MeetJob
from actors.copies.placing import CELLS, FitJob, PlaceJob, binary, centres_of, halves_of
from actors.copies.similar import Floats, unit

NUMBERS = count()
ANGLES = {1: -0.05, 2: 0.04, 3: 0.2, 4: -0.2}
"""Of pictures by id, from the plane between two cells: 1 and 2 stand near it, on either side of it."""


def placed(folder: Path, cells: str | None, *ids: int) -> str:
    rows = folder / f"{next(NUMBERS)}.parquet"
    vectors = [[float(np.cos(ANGLES[one])), float(np.sin(ANGLES[one]))] for one in ids]
    areas = pa.array([10] * len(ids), pa.int64())
    pq.write_table(pa.table({"image_id": pa.array(ids, pa.int64()), "area": areas, "vector": vectors}), rows)
    return Matcher()(PlaceJob(str(rows), (0, len(ids)), "m", cells, str(folder / f"placed-{rows.name}")))


@pytest.fixture
def cells(tmp_path: Path) -> str:
    """Two of them, on both sides of the plane."""
    centres = unit(np.array([[1, -1], [1, 1]], np.float32)).tolist()
    table = pa.table([["m"] * 2, [0, 1], centres, [2, 2]], schema=CELLS)
    pq.write_table(table, tmp_path / "cells.parquet")
    return str(tmp_path / "cells.parquet")


def met(folder: Path, new: str, held: tuple[str, ...] = (), cells: range = range(2)) -> set[tuple[int, int]]:
    out = folder / f"pairs-{next(NUMBERS)}.parquet"
    Matcher()(MeetJob(cells.start, cells.stop, "m", (new,), held, None, str(out)))
    return {(row["image_id"], row["other"]) for row in pq.read_table(out).to_pylist()}


def test_who_stands_near_a_plane_looks_across_and_who_does_not_does_not(tmp_path: Path, cells: str) -> None:
    table = pq.read_table(placed(tmp_path, cells, 1, 2, 3, 4)).sort_by("image_id")
    assert table["cell"].to_pylist() == [0, 1, 1, 0]
    assert table["probes"].to_pylist() == [[1], [0], [], []]
    np.testing.assert_allclose(table["gaps"].to_pylist()[0], [np.sin(0.05)], atol=1e-3)


def test_a_newcomer_finds_one_held_across_the_plane_and_is_found_by_it(tmp_path: Path, cells: str) -> None:
    assert met(tmp_path, placed(tmp_path, cells, 2), (placed(tmp_path, cells, 1, 4),)) == {(2, 1), (4, 2)}
    assert met(tmp_path, placed(tmp_path, cells, 1), (placed(tmp_path, cells, 2, 3),)) == {(2, 1), (3, 1)}
    assert met(tmp_path, placed(tmp_path, cells, 3), (placed(tmp_path, cells, 1, 4),)) == set()


def test_newcomers_find_one_another_across_the_plane_in_jobs_of_a_cell_each(tmp_path: Path, cells: str) -> None:
    new = placed(tmp_path, cells, 1, 2, 3, 4)
    both = met(tmp_path, new)
    assert both == {(2, 1), (3, 2), (4, 1)}
    apart = met(tmp_path, new, cells=range(1)) | met(tmp_path, new, cells=range(1, 2))
    assert {(2, 1), (4, 1)} <= apart <= both | {(3, 1), (4, 2)}


def test_pictures_held_for_another_model_are_left_out(tmp_path: Path) -> None:
    held = pq.read_table(placed(tmp_path, None, 1))
    pq.write_table(held.set_column(0, "model", [["another"]]), tmp_path / "another.parquet")
    assert met(tmp_path, placed(tmp_path, None, 2), (str(tmp_path / "another.parquet"),), range(1)) == set()


def test_half_precision_is_little_endian_and_read_as_it_was_written() -> None:
    halves = unit(np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)).astype(np.float16)
    stored = binary(halves)
    assert stored[1].as_py() == halves[1].astype("<f2").tobytes()
    np.testing.assert_array_equal(halves_of(pa.chunked_array([stored[:2], stored[2:]])), halves)


def test_cells_are_those_of_the_collection_whichever_run_brought_its_pictures(tmp_path: Path) -> None:
    """Rows of the warehouse are halves, newcomers are numbers; no more cells than pictures."""
    vectors: Floats = unit(np.random.default_rng(1).normal(size=(40, 8)).astype(np.float32)).astype(np.float16)
    numbers, halves = tmp_path / "numbers.parquet", tmp_path / "halves.parquet"
    as_halves = pa.table({"image_id": range(20, 40), "vector": binary(vectors[20:])})
    pq.write_table(as_halves, halves)
    pq.write_table(pa.table({"image_id": range(20), "vector": unit(vectors[:20]).tolist()}), numbers)
    jobs = [FitJob(files, "m", 60, 40, str(tmp_path / name)) for name, files in
            (("one", (str(numbers), str(halves))), ("other", (str(halves), str(numbers))))]  # fmt: skip
    one, other = (centres_of(Matcher()(job)) for job in jobs)
    assert one.shape == (40, 8)
    np.testing.assert_array_equal(one, other)
