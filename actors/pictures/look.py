"""What one actor does with one fetched part: look at each picture once and write what was seen."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.pictures.decode import Fault, Pixels, decode
from actors.pictures.measures import Measures, measure
from filters.chosen import chosen, first_reasons
from filters.recipe import Pictures

if TYPE_CHECKING:
    from actors.models.encoder import Encoder

_BATCH = 64  # rows; bounds the memory that bytes and pixels take, two batches being under way at a time
# Pixels of the shorter side that the measures and most models need. 640x480 then decodes at half its size: 788/s
# of decode and measures on a core against 458/s at 256; 799 of 803 photos keep ImageHash's hash, 4 differ by 2 bits.
_SCALE_TO = 224
_BEFORE_DECODING = "image_hash_listed"  # the one filter that stands before the decoder's own reasons

_FETCHED = ("url", "reason", "detail", "bytes", "sha256", "md5", "nbytes")
_CARRIED = ("url", "sha256", "md5", "nbytes")

SCHEMA = pa.schema(
    {
        "url": pa.string(),
        "image_id": pa.int64(),
        "sha256": pa.string(),
        "md5": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "format": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "nbytes": pa.int64(),
        "phash": pa.int64(),
        "std": pa.float32(),
        "entropy": pa.float32(),
        "sharpness": pa.float32(),
        "mean": pa.float32(),
        "embedding": pa.list_(pa.float32()),
    }
)

Row = dict[str, Any]


@dataclass(frozen=True)
class LookJob:
    """`part` is a Parquet file that a fetch wrote, `out` the file to write, in a folder that exists."""

    part: str
    out: str


@dataclass(frozen=True)
class _Sight:
    """One picture of a batch under way: what goes into its row, and its pixels if it was decoded."""

    row: Row
    pixels: Pixels | None


class Looker:
    """Looks at parts: decodes each distinct picture once, measures, filters and, with a model, embeds it."""

    def __init__(self, pictures: Pictures, model_path: str | None, threads: int = 1) -> None:
        """`model_path`: folder of an open_clip model, or null for no embeddings; `threads` decode beside the model."""
        self._max_pixels = pictures.max_pixels
        self._filters = chosen(pictures.filters, "picture")
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._encoder = _encoder(model_path) if model_path else None
        self._scale_to = max(_SCALE_TO, _model_side(model_path) if model_path else 0)
        cv2.setNumThreads(0)  # the pool is the parallelism

    def __call__(self, job: LookJob) -> str:
        """Write the look part of `job.part`, one row per row in its order; the name of the file written."""
        seen: dict[str, Row] = {}
        rows: list[Row] = []
        for batch, sights in self._ahead(_batches(job.part)):
            self._judge(sights)
            for sight in sights:
                seen[sight.row["sha256"]] = sight.row
            rows += [_looked_at(row, seen) for row in batch]
        _write(pa.Table.from_pylist(rows, SCHEMA), job.out)
        return job.out

    def _ahead(self, batches: Iterator[list[Row]]) -> Iterator[tuple[list[Row], list[_Sight]]]:
        """Each batch with the sights of its new pictures; the next one decodes while this one is judged."""
        begun: set[str] = set()
        waiting: tuple[list[Row], list[Future[_Sight]]] | None = None
        for batch in chain(batches, [None]):
            started = None if batch is None else (batch, self._start(batch, begun))
            if waiting is not None:
                yield waiting[0], [future.result() for future in waiting[1]]
            waiting = started

    def _start(self, batch: list[Row], begun: set[str]) -> list[Future[_Sight]]:
        started = []
        for row in batch:
            if row["reason"] is None and row["sha256"] not in begun:
                begun.add(row["sha256"])
                started.append(self._pool.submit(self._see, row))
        return started

    def _see(self, fetched: Row) -> _Sight:
        picture = decode(fetched["bytes"], self._max_pixels, self._scale_to)
        row = {name: fetched[name] for name in _CARRIED}
        row |= {"image_id": image_id(fetched["sha256"])}
        row |= {"format": picture.format, "width": picture.width, "height": picture.height}
        if isinstance(picture, Fault):
            return _Sight(row | {"reason": picture.reason, "detail": picture.detail}, None)
        return _Sight(row | _measured(measure(picture.pixels)), picture.pixels)

    def _judge(self, sights: Sequence[_Sight]) -> None:
        """Put the first reason that applies, or the embedding, into each row."""
        batch = pa.RecordBatch.from_pylist([sight.row for sight in sights], SCHEMA)
        reasons, details = first_reasons(batch, self._filters)
        for sight, reason, detail in zip(sights, reasons.to_pylist(), details.to_pylist(), strict=True):
            if reason is not None and (sight.pixels is not None or reason == _BEFORE_DECODING):
                sight.row.update(reason=reason, detail=detail)
        self._embed([sight for sight in sights if sight.row.get("reason") is None])

    def _embed(self, sights: Sequence[_Sight]) -> None:
        pixels = [sight.pixels for sight in sights if sight.pixels is not None]
        if self._encoder is None or not pixels:
            return
        for sight, vector in zip(sights, self._encoder.encode_images(pixels), strict=True):
            sight.row["embedding"] = np.asarray(vector, np.float32)


def image_id(sha256: str) -> int:
    """The 63-bit id of a picture, of the hex sha256 of its original bytes."""
    return int(sha256[:16], 16) >> 1


def _batches(part: str) -> Iterator[list[Row]]:
    with pq.ParquetFile(part) as file:
        for batch in file.iter_batches(_BATCH, columns=list(_FETCHED)):
            yield batch.to_pylist()


def _measured(measures: Measures) -> Row:
    return {
        "mean": measures.mean,
        "std": measures.std,
        "entropy": measures.entropy,
        "sharpness": measures.sharpness,
        "phash": measures.phash,
    }


def _looked_at(fetched: Row, seen: dict[str, Row]) -> Row:
    """The row to write: what was seen on these bytes, whichever address they came from."""
    if fetched["reason"] is None:
        return seen[fetched["sha256"]] | {"url": fetched["url"]}
    return {name: fetched[name] for name in (*_CARRIED, "reason", "detail")}


def _write(table: pa.Table, out: str) -> None:
    """Under another name first: a file of the name `out` is always a whole one."""
    unfinished = f"{out}.{os.getpid()}.part"
    pq.write_table(table, unfinished, compression="zstd")
    os.replace(unfinished, out)


def _model_side(model_path: str) -> int:
    """Pixels of the shorter side that an open_clip folder's model is given."""
    config = json.loads((Path(model_path) / "open_clip_config.json").read_text("utf-8"))
    stated = config.get("preprocess_cfg", {}).get("size") or config["model_cfg"]["vision_cfg"].get("image_size", 224)
    return max(stated) if isinstance(stated, list) else int(stated)


def _encoder(model_path: str) -> Encoder:
    from actors.models.encoder import Encoder  # torch takes seconds to import, and most lookers have no model

    return Encoder(model_path)
