"""The actor that embeds the texts of one part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pyarrow.parquet as pq

from actors.models.encoder import Encoder
from actors.models.files import FoundModel
from actors.models.vectors import SCHEMA, vector_table

ROWS = 4096  # texts that are in memory at a time


class TextJob(Protocol):
    """`texts`: Parquet with text_id int64 and norm string. `out`: the Parquet to write."""

    @property
    def texts(self) -> str: ...

    @property
    def out(self) -> str: ...


class TextEmbedder:
    """Loads its model once, then turns parts of texts into parts of vectors."""

    def __init__(self, found: FoundModel) -> None:
        self._encoder = Encoder(found)

    def __call__(self, job: TextJob) -> str:
        """Write the vector of every row of `job.texts`, by text_id; gives `job.out`."""
        out = Path(job.out)
        aside = out.with_name(f".{out.name}.{os.getpid()}")
        with (
            pq.ParquetFile(job.texts) as source,
            pq.ParquetWriter(aside, SCHEMA, compression="none") as sink,
        ):
            for batch in source.iter_batches(batch_size=ROWS, columns=["text_id", "norm"]):
                vectors = self._encoder.encode_texts(batch.column("norm").to_pylist())
                sink.write_table(vector_table(self._encoder.identity, batch.column("text_id"), vectors))
        os.replace(aside, out)
        return job.out
