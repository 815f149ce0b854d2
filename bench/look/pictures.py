"""What the looking benches look at: real photos at about 640x480, each with different bytes, and parts of them."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import random
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from actors.web.parts import SCHEMA
from demo.world import random_scene

DATA = "ZEROMILL_TEST_DATA"
WIDE, TALL = (640, 480), (480, 640)
QUALITY = 88
"""Of the JPEG files: about 80 kB each, as COCO's are at this size."""

LEAST_SIDE = 300
"""Pixels of a photo's shorter side: what is enlarged further has no detail that a decoder would meet."""


def photos() -> list[Path]:
    """The real photos, in the order of their names; empty without the folder that ZEROMILL_TEST_DATA names."""
    folder = Path(os.environ.get(DATA, "")) / "data" / "photos"
    if DATA not in os.environ or not (folder / "captions.jsonl").is_file():
        return []
    return sorted(folder / told["file"] for told in _told(folder))


def captions(count: int) -> list[str]:
    """As many texts, people's own captions of the photos where these are here."""
    folder = Path(os.environ.get(DATA, "")) / "data" / "photos"
    if not photos():
        rng = random.Random(0)
        return [random_scene(rng).describe(rng, "en") for _ in range(count)]
    said = [caption for told in _told(folder) for caption in told["captions_en"]]
    return [said[place % len(said)] for place in range(count)]


def build(folder: Path, count: int) -> list[Path]:
    """Write `count` JPEG files of 640x480 or 480x640 to `folder`; the same ones whenever the photos are the same.

    The photos are gone through again and again, mirrored and cut a little closer each time, so that no two files have
    the same bytes. Without photos the demo's rendered pictures are taken.
    """
    folder.mkdir(parents=True)
    large = [photo for photo in photos() if _shorter(photo) >= LEAST_SIDE]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(_write, folder, large), range(count), chunksize=50))


def write_parts(files: Sequence[Path], folder: Path, rows: int) -> list[Path]:
    """Parts of so many rows as a fetch would leave them, of these files in their order."""
    folder.mkdir()
    parts = []
    for start in range(0, len(files), rows):
        fetched = pa.Table.from_pylist([_fetched(file) for file in files[start : start + rows]], SCHEMA)
        parts.append(folder / f"{start:06d}.parquet")
        pq.write_table(fetched, parts[-1], row_group_size=16)  # about 1 MB each, as the fetch writes them
    return parts


def _told(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines()]


def _shorter(photo: Path) -> int:
    with Image.open(photo) as image:
        return min(image.size)


def _write(folder: Path, large: Sequence[Path], row: int) -> Path:
    file = folder / f"{row:06d}.jpg"
    image = _photo(large[row % len(large)], row // len(large)) if large else _rendered(row)
    packed = io.BytesIO()
    image.save(packed, "JPEG", quality=QUALITY)
    file.write_bytes(packed.getvalue())
    return file


def _photo(photo: Path, turn: int) -> Image.Image:
    """A photo brought to the size of the bench: every second turn mirrored, cut closer from two to two."""
    image = Image.open(photo).convert("RGB")
    size = WIDE if image.width >= image.height else TALL
    fitted = ImageOps.fit(image, size, Image.Resampling.LANCZOS, bleed=0.005 * (turn // 2 % 40))
    return ImageOps.mirror(fitted) if turn % 2 else fitted


def _rendered(row: int) -> Image.Image:
    return ImageOps.fit(random_scene(random.Random(row)).draw(480), WIDE, Image.Resampling.LANCZOS)


def _fetched(file: Path) -> dict[str, object]:
    body = file.read_bytes()
    digests = {"sha256": hashlib.sha256(body).hexdigest(), "md5": hashlib.md5(body, usedforsecurity=False).hexdigest()}
    return {"url": file.as_uri(), "bytes": body, "nbytes": len(body), **digests}
