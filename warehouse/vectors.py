"""The stored vectors of a release's pictures, for what is fitted on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError
from warehouse.lake import connect
from warehouse.releases import find_release

_VECTORS = """
    WITH wanted AS (
        SELECT DISTINCT subject_id FROM lake.embeddings
        WHERE subject = 'picture' AND model = $2
          AND subject_id IN (SELECT image_id FROM lake.release_pairs WHERE release = $1)
        ORDER BY subject_id LIMIT $3)
    SELECT subject_id, any_value(vector) AS vector FROM lake.embeddings SEMI JOIN wanted USING (subject_id)
    WHERE subject = 'picture' AND model = $2 GROUP BY subject_id ORDER BY subject_id"""


def picture_vectors(warehouse: str, release: str, model: str, most: int) -> NDArray[np.float32]:
    """The vectors (n, width) by the model of that identity, in the order of the pictures' ids; at most `most`.

    As ids are hashes, those with the smallest are a fair sample. Raises UnknownRelease, and WarehouseError where
    the release has no vector of that model.
    """
    find_release(warehouse, release)
    with connect(warehouse, read_only=True) as con:
        table = con.execute(_VECTORS, [release, model, most]).to_arrow_reader(4096).read_all()
    if not table.num_rows:
        raise WarehouseError(
            f"No picture of {release} has a vector by the model {model}.\n"
            "Curate its source with a recipe that names this model; what is embedded already is not embedded again."
        )
    flat = table["vector"].combine_chunks().flatten().to_numpy()
    vectors: NDArray[np.float32] = flat.reshape(table.num_rows, -1)
    return vectors
