"""Pictures of fetched parts as a captioner is shown them: their bytes, each once, and decoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow.parquet as pq

from actors.models.captioners.protocol import Shown, Unsaid
from actors.pictures.decode import Fault, decode

ROWS = 64
"""Whose bytes are in memory at a time."""


def bodies(fetched: str, ids: Mapping[str, int]) -> Iterator[tuple[int, bytes]]:
    """Image id and bytes of the pictures at these URLs, each picture once, in the order of the part."""
    left = set(ids.values())
    with pq.ParquetFile(fetched) as file:
        for group in range(file.num_row_groups):
            urls = file.read_row_group(group, columns=["url"])["url"].to_pylist()
            if not any(ids.get(url) in left for url in urls):
                continue
            for batch in file.iter_batches(ROWS, row_groups=[group], columns=["url", "bytes"]):
                for url, data in zip(batch.column("url").to_pylist(), batch.column("bytes").to_pylist(), strict=True):
                    if data is not None and ids.get(url) in left:
                        left.discard(ids[url])
                        yield ids[url], data


def see(image_id: int, data: bytes, max_pixels: int, side: int) -> Shown | Unsaid:
    """The picture, upright, its shorter side reduced to no less than `side`; why, where it cannot be decoded."""
    picture = decode(data, max_pixels, side)
    if isinstance(picture, Fault):
        return Unsaid(picture.reason, picture.detail)
    return Shown(image_id, picture.pixels, picture.height, picture.width)
