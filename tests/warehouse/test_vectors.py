"""The stored vectors of a release's pictures, in the order of their ids."""

from pathlib import Path

import numpy as np
import pytest

from warehouse.errors import UnknownRelease, WarehouseError
from warehouse.lake import connect, prepare
from warehouse.vectors import picture_vectors

HERE, ELSEWHERE = "a" * 32, "b" * 32


@pytest.fixture
def warehouse(tmp_path: Path) -> str:
    """A release of the pictures 1, 2 and 5 (2 with two texts); vectors in no order, one of them stored twice."""
    rows = [(5, HERE, 0.5), (1, HERE, 0.1), (2, HERE, 0.2), (1, HERE, 0.1), (3, HERE, 0.3), (1, ELSEWHERE, 9.0)]
    prepare(str(tmp_path))
    with connect(str(tmp_path)) as con:
        con.execute(
            """INSERT INTO lake.releases BY NAME
               SELECT 'first' AS release, '{}' AS recipe, 'r' AS recipe_name, 's' AS source, 'f' AS fingerprint,
                      '{}' AS counts, '{}' AS cuts, '{}' AS metrics, now() AS created_at"""
        )
        con.executemany(
            "INSERT INTO lake.release_pairs BY NAME SELECT 'first' AS release, $1 AS image_id, $2 AS text_id",
            [(1, 7), (2, 7), (2, 8), (5, 7)],
        )
        con.executemany(
            """INSERT INTO lake.embeddings BY NAME
               SELECT 'picture' AS subject, $1 AS subject_id, $2 AS model, [$3::FLOAT, 1] AS vector""",
            rows,
        )
        con.execute(
            """INSERT INTO lake.embeddings BY NAME
               SELECT 'text' AS subject, 7 AS subject_id, $1 AS model, [7::FLOAT, 1] AS vector""",
            [HERE],
        )
    return str(tmp_path)


def test_each_picture_of_the_release_comes_once_and_in_the_order_of_ids(warehouse: str) -> None:
    vectors = picture_vectors(warehouse, "first", HERE, 10)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [[0.1, 1], [0.2, 1], [0.5, 1]])
    np.testing.assert_allclose(picture_vectors(warehouse, "first", HERE, 2), [[0.1, 1], [0.2, 1]])


def test_a_release_without_vectors_of_the_model_and_one_that_is_not_there_are_told(warehouse: str) -> None:
    np.testing.assert_allclose(picture_vectors(warehouse, "first", ELSEWHERE, 10), [[9, 1]])
    with pytest.raises(WarehouseError, match=f"No picture of first has a vector by the model {'c' * 32}"):
        picture_vectors(warehouse, "first", "c" * 32, 10)
    with pytest.raises(UnknownRelease, match="no release second"):
        picture_vectors(warehouse, "second", HERE, 10)
