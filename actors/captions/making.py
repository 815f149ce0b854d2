"""What one actor does with pictures that survived: reads their bytes, has them captioned, and writes a caption part."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

SCHEMA = pa.schema(
    {
        "image_id": pa.int64(),
        "captioner": pa.string(),
        "model": pa.string(),
        "language": pa.string(),
        "sample": pa.int32(),
        "prompt": pa.string(),
        "seed": pa.int64(),
        "raw": pa.string(),
        "tokens": pa.int32(),
        "ended": pa.bool_(),
        "reason": pa.string(),
        "detail": pa.string(),
    }
)


@dataclass(frozen=True)
class CaptionJob:
    """`fetched`: a part that a fetch wrote. `pictures`: Parquet of url and image_id, those of it to caption.

    `out` is to be written, in a folder that exists. `earlier` are parts that the same captioner or others wrote; what
    of this captioner stands in them is not asked again.
    """

    fetched: str
    pictures: str
    out: str
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """What a job came to: its part, the pictures in it, those the model was asked about, and those that failed."""

    out: str
    pictures: int
    forwards: int
    failed: int
