"""A model for machines without pretrained weights: the tiny one, trained here on photos that nobody judged."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.alignment.judgements import Photo
from filters.recipe import Training
from training.contrastive import Progress, TrainJob, train


def train_small(
    folder: Path, out: Path, photos: Sequence[Photo], judged: Collection[str], said: Collection[str], samples: int,
    progress: Progress | None = None,
) -> int:  # fmt: skip
    """Train the tiny model into `out` on the photos whose name is not in `judged`; how many these are.

    A caption in `said`, those that were judged, is left out too: no text of the measure was ever seen with a picture.
    """
    rows = [
        {
            "image_id": int.from_bytes(hashlib.sha256(body).digest()[:8], "big") >> 1,
            "bytes": body,
            "texts": texts,
            "weights": [1.0] * len(texts),
        }
        for photo in photos
        if photo.name not in judged
        and (texts := [caption for caption in photo.captions if caption not in said])
        and (body := (folder / "photos" / photo.file).read_bytes())
    ]
    part = out.with_name(f"{out.name}.parquet")
    pq.write_table(pa.Table.from_pylist(rows), part)
    train(TrainJob((str(part),), str(out), Training(samples=samples)), progress)
    part.unlink()
    return len(rows)
