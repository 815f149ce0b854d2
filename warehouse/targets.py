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
from warehouse.pool import matrix
from warehouse.releases import find_release
from warehouse.tables import tables_of
from warehouse.vectors import picture_vectors

ALL = 1 << 62


def check_target(warehouse: str, kind: str, name: str, model: str, width: int | None) -> None:
    """Raise WarehouseError where the target is not there, has no vector of the model, or has some of another width.

    `width` is how many numbers the model's vectors have, None where nobody knows.
    """
    target_key(warehouse, kind, name, model)
    if kind == "release":
        picture_vectors(warehouse, name, model, 1)
    if kind == "vectors":
        check_width(name, _of_file(name, model), width)


def check_width(name: str, vectors: NDArray[np.float32], width: int | None) -> None:
    """Raise WarehouseError where the vectors (n, m) of the target are of another width than the model's."""
    if width is not None and vectors.shape[1] != width:
        raise WarehouseError(
            f"The target {name} has vectors of {vectors.shape[1]} numbers, the model's have {width}.\n"
            "They must be made by the recipe's model; where the file has those of several, by a column `model`."
        )


def vector_width(warehouse: str, model: str) -> int | None:
    """How many numbers the stored vectors of the model have; None where none is stored."""
    if not exists(warehouse):
        return None
    with connect(warehouse, read_only=True) as con:
        if "embeddings" not in tables_of(con):
            return None
        rows = con.execute("SELECT len(vector) FROM lake.embeddings WHERE model = $1 LIMIT 1", [model]).fetchall()
    return rows[0][0] if rows else None


def target_key(warehouse: str, kind: str, name: str, model: str) -> str:
    """What stands for the content of a target of the kind `protected`, `release` or `vectors`, by a model.

    Raises WarehouseError where it is not there.
    """
    if kind == "release":
        find_release(warehouse, name)
        ids = _released(warehouse, name, model)
        return f"release-{fingerprint(str(len(ids)), hashlib.sha256(ids.tobytes()).hexdigest())}"
    if kind == "vectors":
        return f"file-{_digest(name)}"
    count, told = _protected(warehouse, name, model)
    if not count:
        raise WarehouseError(
            f"The target {name} is no protected set of {shown(warehouse)} with vectors by the model {model}.\n"
            f"Make it one: zeromill protect {name} FOLDER --recipe R, by a recipe whose first model this is."
        )
    return f"protected-{fingerprint(str(count), str(told))}"


def target_vectors(warehouse: str, kind: str, name: str, model: str, file: Path | None = None) -> NDArray[np.float32]:
    """The unit vectors (n, width) of a target by a model; those of a release, which may be many, mapped in `file`.

    Without a file they are all in memory.
    """
    if kind == "release" and file is None:
        return picture_vectors(warehouse, name, model, ALL)
    if kind == "release" and file is not None:
        return matrix(warehouse, "picture", [], _released(warehouse, name, model), model, file)
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


def _released(warehouse: str, name: str, model: str) -> NDArray[np.int64]:
    """The ids, ascending, of the pictures of a release that have a vector by the model; more may have one later."""
    with connect(warehouse, read_only=True) as con:
        ids: NDArray[np.int64] = con.execute(
            """SELECT DISTINCT subject_id FROM lake.embeddings WHERE subject = 'picture' AND model = $2
               AND subject_id IN (SELECT image_id FROM lake.release_pairs WHERE release = $1) ORDER BY subject_id""",
            [name, model],
        ).fetchnumpy()["subject_id"]
    return np.ascontiguousarray(ids, np.int64)


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
    widths = pc.min_max(pc.list_value_length(vectors))
    if widths["min"] != widths["max"]:
        raise ValueError(f"they are of {widths['min']} to {widths['max']} numbers")
    flat = vectors.combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    unfolded: NDArray[np.float32] = flat.reshape(len(vectors), -1)
    return unfolded
