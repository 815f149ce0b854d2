"""Pictures that others are held against: the vectors of a protected set, of a release, or of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse.errors import WarehouseError
from warehouse.ids import fingerprint
from warehouse.lake import connect, exists, shown
from warehouse.releases import find_release
from warehouse.tables import tables_of
from warehouse.vectors import picture_vectors

ALL = 1 << 62


def check_target(warehouse: str, kind: str, name: str, model: str) -> None:
    """Raise WarehouseError where the target is not there, or has no vector of the model."""
    target_key(warehouse, kind, name, model)
    if kind == "release":
        picture_vectors(warehouse, name, model, 1)
    if kind == "vectors":
        _of_file(name, model)


def target_key(warehouse: str, kind: str, name: str, model: str) -> str:
    """What stands for the content of a target of the kind `protected`, `release` or `vectors`, by a model.

    Raises WarehouseError where it is not there.
    """
    if kind == "release":
        found = find_release(warehouse, name).fingerprint
        return f"release-{found[:16]}"
    if kind == "vectors":
        return f"file-{_digest(name)}"
    count, told = _protected(warehouse, name, model)
    if not count:
        raise WarehouseError(
            f"The target {name} is no protected set of {shown(warehouse)} with vectors by the model {model}.\n"
            f"Make it one: zeromill protect {name} FOLDER --recipe R, by a recipe whose first model this is."
        )
    return f"protected-{fingerprint(str(count), str(told))}"


def target_vectors(warehouse: str, kind: str, name: str, model: str) -> NDArray[np.float32]:
    """The unit vectors (n, width) of a target by a model."""
    if kind == "release":
        return picture_vectors(warehouse, name, model, ALL)
    if kind == "vectors":
        return _of_file(name, model)
    with connect(warehouse, read_only=True) as con:
        table = (
            con.execute(
                """SELECT image_id, any_value(vector) AS vector FROM lake.protected_vectors
                   WHERE name = $1 AND model = $2 GROUP BY image_id ORDER BY image_id""",
                [name, model],
            )
            .to_arrow_reader(8192)
            .read_all()
        )
    return _unfolded(table["vector"])


def _protected(warehouse: str, name: str, model: str) -> tuple[int, int]:
    """How many vectors the set has by the model, and what stands for its pictures."""
    if not exists(warehouse):
        return 0, 0
    with connect(warehouse, read_only=True) as con:
        if "protected_vectors" not in tables_of(con):
            return 0, 0
        count, told = con.execute(
            """SELECT count(*), bit_xor(md5_number_lower(image_id || '')) FROM
               (SELECT DISTINCT image_id FROM lake.protected_vectors WHERE name = $1 AND model = $2)""",
            [name, model],
        ).fetchall()[0]
    return count, told


def _digest(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    except OSError as error:
        raise WarehouseError(
            f"The target {file} cannot be read: {error.strerror}.\n"
            "It is a Parquet file with a column `vector` (lists of floats), and `model` where it has several."
        ) from error


def _of_file(file: str, model: str) -> NDArray[np.float32]:
    """Vectors of a file, made unit vectors; where it has a column `model`, those of this one."""
    try:
        table = pq.read_table(file)
        if "model" in table.column_names:
            table = table.filter(pc.equal(table["model"], model))
        vectors = _unfolded(table["vector"])
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise WarehouseError(
            f"The target {file} has no vectors: {str(error).splitlines()[0]}.\n"
            "It is a Parquet file with a column `vector` (lists of floats), and `model` where it has several."
        ) from error
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit


def _unfolded(vectors: pa.ChunkedArray) -> NDArray[np.float32]:
    if not len(vectors):
        raise ValueError("it is empty")
    flat = vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    unfolded: NDArray[np.float32] = flat.reshape(len(vectors), -1)
    return unfolded
