"""Pictures with their texts as a trainer holds them: read from Parquet, decoded once, at the model's size."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

PICTURES = 64  # pictures of a part that are in memory undecoded at a time


@dataclass
class Pool:
    """`pixels` uint8 (n, height, width, 3), a file mapped into memory; texts and weights of each of the n pictures.

    `skipped` counts pictures that would not open.
    """

    pixels: NDArray[np.uint8]
    image_ids: list[int] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    weights: list[list[float]] = field(default_factory=list)
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)

    def draw_text(self, row: int, rng: random.Random) -> str:
        """One text of a picture, by weight."""
        return rng.choices(self.texts[row], self.weights[row])[0]


def load_pairs(parts: Sequence[str], transform: Any, side: tuple[int, int], store: Path) -> Pool:
    """The pictures of parts with columns image_id, bytes, texts, weights; rows of one image_id become one.

    `transform` is open_clip's for the model, `side` its height and width. Pixels go to the file `store`.
    ValueError where a part lacks a column.
    """
    columns = ["image_id", "bytes", "texts", "weights"]
    pool = Pool(_mapped(parts, side, store))
    places: dict[int, int] = {}
    for row in _rows(parts, columns):
        texts, weights = row["texts"], row["weights"] or [1.0] * len(row["texts"])
        if row["image_id"] in places:
            place = places[row["image_id"]]
            pool.texts[place] += texts
            pool.weights[place] += weights
        elif texts and sum(weights) > 0 and _decode_into(pool, row["bytes"], transform):
            places[row["image_id"]] = len(pool)
            _append(pool, row["image_id"], texts, weights)
    return pool


def load_evaluation(file: str, transform: Any, side: tuple[int, int], store: Path) -> Pool:
    """The pairs of a Parquet file with columns bytes and text; rows of the same bytes are texts of one picture."""
    pool = Pool(_mapped([file], side, store))
    places: dict[bytes, int] = {}
    for row in _rows([file], ["bytes", "text"]):
        key = hashlib.sha256(row["bytes"]).digest()
        if key in places:
            pool.texts[places[key]].append(row["text"])
            pool.weights[places[key]].append(1.0)
        elif _decode_into(pool, row["bytes"], transform):
            places[key] = len(pool)
            _append(pool, int.from_bytes(key[:8], "big") >> 1, [row["text"]], [1.0])
    return pool


def is_held_out(image_id: int, seed: int, share: float) -> bool:
    """Whether a picture is kept out of training; it depends on nothing but its id and the seed."""
    digest = hashlib.sha256(f"{seed}:{image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _mapped(parts: Sequence[str], side: tuple[int, int], store: Path) -> NDArray[np.uint8]:
    # On disk and mapped: the system keeps in memory what there is room for, whatever the size of the release.
    rows = sum(pq.read_metadata(part).num_rows for part in parts)
    return np.lib.format.open_memmap(store, "w+", np.uint8, (max(rows, 1), *side, 3))


def _rows(parts: Sequence[str], columns: list[str]) -> Iterator[dict[str, Any]]:
    for part in parts:
        with pq.ParquetFile(part) as file:
            lacks = [name for name in columns if name not in file.schema_arrow.names]
            if lacks:
                raise ValueError(f"{part} has no column {lacks[0]}; it needs {', '.join(columns)}.")
            for batch in file.iter_batches(batch_size=PICTURES, columns=columns):
                yield from batch.to_pylist()


def _decode_into(pool: Pool, body: bytes, transform: Any) -> bool:
    """Put the picture at the pool's end; False and one more skipped where it does not open."""
    try:
        with Image.open(io.BytesIO(body)) as picture:
            pool.pixels[len(pool)] = geometry(transform)(picture.convert("RGB"))
    except (OSError, ValueError, Image.DecompressionBombError):
        pool.skipped += 1
        return False
    return True


def geometry(transform: Any) -> Any:
    """What open_clip's transform does to a picture before it becomes numbers: resize, crop, squash."""
    from torchvision.transforms import Compose, Normalize, ToTensor

    return Compose([step for step in transform.transforms if not isinstance(step, ToTensor | Normalize)])


def _append(pool: Pool, image_id: int, texts: list[str], weights: list[float]) -> None:
    pool.image_ids.append(image_id)
    pool.texts.append(list(texts))
    pool.weights.append(list(weights))
