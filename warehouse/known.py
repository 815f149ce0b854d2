"""What the warehouse knows already of pictures that were fetched again, by their content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted

ROWS = 4096  # vectors that are in memory at a time


def known_vectors(warehouse: str, fetched: Sequence[str], models: Sequence[str], folder: Path) -> dict[str, str]:
    """Write the vectors that pictures of fetched parts have from earlier runs; parts of vectors, by fetched part."""
    if not fetched or not models:
        return {}
    with connect(warehouse) as con:
        listed = ", ".join(quoted(part) for part in fetched)
        con.execute(
            f"""CREATE TEMP TABLE met AS
                SELECT DISTINCT filename AS part, (('0x' || substr(sha256, 1, 16))::UBIGINT >> 1)::BIGINT AS image_id
                FROM read_parquet([{listed}], filename = true) WHERE reason IS NULL AND sha256 IS NOT NULL"""
        )
        held = con.execute(
            """SELECT met.part, e.subject_id, e.model, e.vector FROM lake.embeddings e
               JOIN met ON met.image_id = e.subject_id
               WHERE e.subject = 'picture' AND list_contains($1, e.model) ORDER BY met.part, e.model, e.subject_id""",
            [list(models)],
        )
        return _written(held.to_arrow_reader(ROWS), folder)


def _written(held: pa.RecordBatchReader, folder: Path) -> dict[str, str]:
    """Rows in the order of their parts as a file a part, of which one is open at a time."""
    files: dict[str, str] = {}
    writer: pq.ParquetWriter | None = None
    for batch in held:
        for part in pc.unique(batch.column("part")).to_pylist():
            if part not in files:
                if writer is not None:
                    writer.close()
                files[part] = str(folder / f"known-{fingerprint(part)}.parquet")
                writer = pq.ParquetWriter(files[part], batch.schema.remove(0), compression="none")
            assert writer is not None
            writer.write_batch(batch.filter(pc.equal(batch.column("part"), part)).drop_columns(["part"]))
    if writer is not None:
        writer.close()
    return files
