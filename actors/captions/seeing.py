"""Whether the objects that captions name are seen on their pictures, read off the pictures' vectors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.captions.reading import CHECKS, KEY
from actors.models.objects import Seen
from filters.captioning import Objects
from filters.objects import judge_objects

ROWS = 4096
"""Captions held against their pictures at a time; bounds memory."""


def check_objects(rows: str, seen: Seen, asked: Objects, out: str) -> str:
    """Hold captions against their pictures' vectors; the part of CHECKS, `out`.

    `rows` is Parquet of KEY, `objects` (those that the caption names) and `vector` (its picture's, null where there is
    none). What is not known to be seen is not: a caption that names an object on a picture without a vector goes.
    """
    with pq.ParquetWriter(out, CHECKS, compression="zstd") as writer:
        for batch in pq.ParquetFile(rows).iter_batches(ROWS):
            writer.write_table(_checked(pa.Table.from_batches([batch]), seen, asked))
    return out


def _checked(table: pa.Table, seen: Seen, asked: Objects) -> pa.Table:
    shown = table.filter(pc.is_valid(table["vector"]))
    blind = table.filter(pc.is_null(table["vector"]))
    tables = [CHECKS.empty_table()]
    if shown.num_rows:
        held = seen.held([one or () for one in shown["objects"].to_pylist()], _matrix(shown["vector"]))
        tables.append(_told(shown, held.column("presence"), *judge_objects(held, asked.min_presence)))
    if blind.num_rows:
        naming = pc.greater(pc.fill_null(pc.list_value_length(blind["objects"].combine_chunks()), 0), 0)
        reason, detail = (pc.if_else(naming, words, None) for words in ("caption_absent_object", "no vector"))
        tables.append(_told(blind, pa.nulls(blind.num_rows, pa.float32()), reason, detail))
    return pa.concat_tables(tables)


def _matrix(vectors: pa.ChunkedArray) -> NDArray[np.float32]:
    """Lists of equal length as an array (n, width)."""
    flat: NDArray[np.float32] = pc.list_flatten(vectors).to_numpy().astype(np.float32, copy=False)
    return flat.reshape(len(vectors), -1)


def _told(table: pa.Table, presence: pa.Array, reason: pa.Array, detail: pa.Array) -> pa.Table:
    metric = pa.array(["presence"] * table.num_rows, pa.string())
    columns = {"metric": metric, "value": presence.cast(pa.float64()), "reason": reason, "detail": detail}
    return pa.table({name: table[name] for name in KEY} | columns).cast(CHECKS)
