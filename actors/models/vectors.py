"""Vectors as parts: of pictures and of texts, by the model that made them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Vectors = dict[str, dict[int, Vector]]
"""By the identity of a model and the id of what it embedded."""

SCHEMA = pa.schema({"subject_id": pa.int64(), "model": pa.string(), "vector": pa.list_(pa.float32())})


def recalled(parts: Iterable[str], ids: Collection[int], models: Collection[str]) -> Vectors:
    """The vectors of these subjects by these models, out of parts."""
    vectors: Vectors = {model: {} for model in models}
    wanted = pa.array(sorted(ids), pa.int64())
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches():
            batch = batch.filter(pc.is_in(batch.column("subject_id"), wanted))
            for model in models:
                _add(vectors[model], batch.filter(pc.equal(batch.column("model"), model)))
    return vectors


def _add(to: dict[int, Vector], batch: pa.RecordBatch) -> None:
    if batch.num_rows:
        flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
        to.update(zip(batch.column("subject_id").to_pylist(), flat.reshape(batch.num_rows, -1), strict=True))


def write_vectors(vectors: Mapping[str, Mapping[int, Vector]], out: str) -> None:
    """A part of SCHEMA, by model and id; not compressed, as vectors hardly are."""
    tables = [vector_table(model, list(held), np.stack(list(held.values()))) for model, held in vectors.items() if held]
    table = pa.concat_tables([SCHEMA.empty_table(), *tables]).sort_by(
        [("model", "ascending"), ("subject_id", "ascending")]
    )
    write(table, out, compression="none")


def vector_table(model: str, ids: Sequence[int] | pa.Array, vectors: NDArray[np.float32]) -> pa.Table:
    """`vectors` (n, width) as rows of SCHEMA."""
    offsets = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    lists = pa.ListArray.from_arrays(offsets, pa.array(vectors.ravel(), pa.float32()))
    return pa.table([pa.array(ids, pa.int64()), pa.repeat(model, len(vectors)), lists], schema=SCHEMA)


def write(table: pa.Table, out: str, compression: str = "zstd") -> None:
    """Under another name first: a file of the name `out` is always a whole one."""
    unfinished = f"{out}.{os.getpid()}.part"
    pq.write_table(table, unfinished, compression=compression)
    os.replace(unfinished, out)
