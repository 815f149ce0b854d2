"""The actor that embeds the texts of one part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.encoder import Encoder

SCHEMA = pa.schema([("text_id", pa.int64()), ("embedding", pa.list_(pa.float32()))])
ROWS = 4096  # texts that are in memory at a time


class TextJob(Protocol):
    """`texts`: Parquet with text_id int64 and norm string. `out`: the Parquet to write."""

    @property
    def texts(self) -> str: ...

    @property
    def out(self) -> str: ...


class TextEmbedder:
    """Loads its model once, then turns parts of texts into parts of embeddings."""

    def __init__(self, model_path: str) -> None:
        self._encoder = Encoder(model_path)

    def __call__(self, job: TextJob) -> str:
        """Write text_id and embedding (list of float32, length 1) per row of `job.texts`; gives `job.out`."""
        out = Path(job.out)
        aside = out.with_name(f".{out.name}.{os.getpid()}")
        with (
            pq.ParquetFile(job.texts) as source,
            pq.ParquetWriter(aside, SCHEMA, compression="zstd") as sink,
        ):
            for batch in source.iter_batches(batch_size=ROWS, columns=["text_id", "norm"]):
                vectors = self._encoder.encode_texts(batch.column("norm").to_pylist())
                sink.write_batch(_as_batch(batch.column("text_id"), vectors.ravel(), self._encoder.width))
        os.replace(aside, out)
        return job.out


def _as_batch(ids: pa.Array, flat: object, width: int) -> pa.RecordBatch:
    offsets = pa.array(range(0, (len(ids) + 1) * width, width), pa.int32())
    embeddings = pa.ListArray.from_arrays(offsets, pa.array(flat, pa.float32()))
    return pa.record_batch([ids.cast(pa.int64()), embeddings], schema=SCHEMA)
