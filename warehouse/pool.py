"""The pool of pairs that policies measure: its ids, the vectors and texts of it, and what is known of it already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from warehouse import schemas
from warehouse.cosines import vectors_of
from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, view, write
from warehouse.scores import Scorer, scored

COLUMNS = "image_id BIGINT, text_id BIGINT, model VARCHAR"
ROWS = 8192


@dataclass(frozen=True)
class PoolFile:
    """A part of COLUMNS with every pair once, by model, picture and text; `key` stands for what it holds.

    `model` is that of the pair's score, empty where it has none.
    """

    file: str
    key: str
    pairs: int
    scored: int


def write_pool(warehouse: str, pairs: str, cosines: str, scorers: Sequence[Scorer], out: Path) -> PoolFile:
    """Write `pool.parquet`: the distinct pairs, whatever roles their texts have."""
    with connect(warehouse) as con:
        scored(con, pairs, cosines, scorers)
        con.execute("""CREATE TEMP TABLE pool AS SELECT DISTINCT image_id, text_id,
            CASE WHEN score IS NULL OR isnan(score) THEN '' ELSE model END AS model FROM scored""")
        told, count, with_score = (
            con.execute("""SELECT bit_xor(md5_number_lower(concat_ws(' ', image_id, text_id, model))),
            count(*), count(*) FILTER (model <> '') FROM pool""").fetchall()[0]
        )
        file = write(con, "FROM pool ORDER BY model, image_id, text_id", str(out / "pool.parquet"))
    return PoolFile(file, fingerprint(str(told), str(count)), count, with_score)


def read_pool(pool: PoolFile) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The ids of pictures and texts of the pairs, by model."""
    table = pq.read_table(pool.file)
    images, texts, models = (table[name].combine_chunks() for name in ("image_id", "text_id", "model"))
    ends: dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
    for model in sorted(set(models.unique().to_pylist())):
        rows = pa.compute.equal(models, model)
        ends[model] = (images.filter(rows).to_numpy(), texts.filter(rows).to_numpy())
    return ends


def stored(warehouse: str, pool: PoolFile, metric: str, file: str, *, every: bool) -> bool:
    """Whether the warehouse has the metric of all pairs, of those without a score too where it is of `every` one.

    It is written to `file` then, as a part of SCORES.
    """
    with connect(warehouse) as con:
        view(con, "pool", [pool.file], COLUMNS)
        con.execute(
            """CREATE TEMP TABLE known AS SELECT image_id, text_id, metric, model, min(value) AS value FROM lake.scores
               SEMI JOIN pool USING (image_id, text_id, model) WHERE metric = $1 GROUP BY ALL""",
            [metric],
        )
        (held,) = con.execute("SELECT count(*) FROM known").fetchall()[0]
        if held < (pool.pairs if every else pool.scored) or not held:
            return False
        write(con, "FROM known ORDER BY model, image_id, text_id", file)
        return True


def metric_rows(metric: str, model: str, ids: tuple[NDArray[np.int64], NDArray[np.int64]], values: object) -> pa.Table:
    """Values of pairs of one model as rows of SCORES."""
    count = len(ids[0])
    columns = [ids[0], ids[1], pa.repeat(metric, count), pa.repeat(model, count), pa.array(values, pa.float32())]
    return pa.table(columns, names=["image_id", "text_id", "metric", "model", "value"])


def matrix(
    warehouse: str, subject: str, parts: Sequence[str], ids: NDArray[np.int64], model: str, file: Path
) -> NDArray[np.float32]:
    """The vectors (n, width) of the distinct and ascending `ids` by a model, in a memory-mapped `file`.

    Rows of ids without a vector are zeros. They are read from the parts, else from the warehouse, a batch at a time.
    """
    with connect(warehouse) as con:
        view(con, "run", parts, schemas.VECTORS)
        con.register("wanted", pa.table({"subject_id": ids}))
        reader = con.execute(
            f"""SELECT subject_id, vector FROM ({vectors_of(subject, "run")})
                WHERE model = {quoted(model)} AND subject_id IN (SELECT subject_id FROM wanted)"""
        ).to_arrow_reader(ROWS)
        rows: NDArray[np.float32] | None = None
        for batch in reader:
            vectors = _unfolded(batch.column("vector"))
            if rows is None:
                rows = np.memmap(file, np.float32, "w+", shape=(len(ids), vectors.shape[1]))
            rows[np.searchsorted(ids, batch.column("subject_id").to_numpy())] = vectors
    return rows if rows is not None else np.zeros((len(ids), 1), np.float32)


def _unfolded(vectors: pa.ListArray) -> NDArray[np.float32]:
    flat: NDArray[np.float32] = vectors.flatten().to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    return flat


def texts_of(warehouse: str, parts: Sequence[str], pool: PoolFile) -> Iterator[pa.RecordBatch]:
    """`text_id`, `norm` and `language` of every text of the pool, from the parts and else from the warehouse."""
    with connect(warehouse) as con:
        view(con, "pool", [pool.file], COLUMNS)
        view(con, "told", parts, "text_id BIGINT, norm VARCHAR, language VARCHAR")
        yield from con.execute(
            """WITH wanted AS (SELECT DISTINCT text_id FROM pool),
               own AS (SELECT text_id, min(norm) AS norm, min(language) AS language FROM told
                       SEMI JOIN wanted USING (text_id) WHERE norm IS NOT NULL GROUP BY text_id)
               FROM own UNION ALL
               SELECT text_id, min(norm), min(language) FROM lake.texts SEMI JOIN wanted USING (text_id)
               WHERE text_id NOT IN (SELECT text_id FROM own) GROUP BY text_id"""
        ).to_arrow_reader(ROWS)
