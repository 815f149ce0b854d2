"""What benches mill: distinct pictures with copies among them, and a log whose rows all pass the sift."""

from __future__ import annotations

import io
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

COPIES_EVERY = 25
"""Of so many pictures one has the bytes of another, and one is another made smaller and packed anew."""

PHOTOS = 400
"""Pictures that differ among those of a long list: a fetcher does not look, and the kernel's cache holds them."""

KINDS = ("old", "small", "wooden", "bright", "quiet", "round", "narrow", "heavy", "painted", "broken", "empty", "warm")
THINGS = ("boat", "bridge", "kettle", "garden", "horse", "lamp", "violin", "market", "window", "tower", "apple", "road")
KINDS_ZH = ("古老的", "小小的", "木制的", "明亮的", "安静的", "圆形的", "狭窄的", "沉重的", "彩绘的", "破旧的")
THINGS_ZH = ("小船", "石桥", "水壶", "花园", "骏马", "台灯", "小提琴", "集市", "窗户", "高塔", "苹果", "道路")


def build(folder: Path, rows: int) -> None:
    """Write `rows` pictures, 640x480 in the middle and about 34 kB each, to `folder`/files."""
    (folder / "files").mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(_write, folder), range(rows), chunksize=50))


def build_photos(folder: Path, count: int) -> None:
    """Write `count` names of pictures, 640x480 in the middle and about 66 kB each, to `folder`/files; few differ."""
    (folder / "files").mkdir(parents=True)
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(partial(_write_photo, folder), range(min(count, PHOTOS)), chunksize=10))
    for row in range(PHOTOS, count):
        os.link(folder / photo(row % PHOTOS), folder / photo(row))


def photo(row: int) -> str:
    """Where in the folder a row's picture lies, and under the site's address."""
    return f"files/{row:06d}.jpg"


def log(folder: Path, base: str, rows: int) -> Path:
    """A Parquet log over the first `rows` pictures: url, query, title, surrounding, impressions, clicks."""
    said = [_texts(row) for row in range(rows)]
    columns = {name: [texts[name] for texts in said] for name in ("query", "title", "surrounding")}
    counts = {"impressions": [100 + row % 900 for row in range(rows)], "clicks": [10 + row % 50 for row in range(rows)]}
    file = folder / f"log-{rows}.parquet"
    pq.write_table(pa.table({"url": [f"{base}/{photo(row)}" for row in range(rows)], **columns, **counts}), file)
    return file


def _write(folder: Path, row: int) -> None:
    (folder / photo(row)).write_bytes(_picture(row))


def _write_photo(folder: Path, row: int) -> None:
    (folder / photo(row)).write_bytes(_drawn(np.random.default_rng(row), 0.1, (86, 97)))


def _picture(row: int) -> bytes:
    """The bytes of a row's picture: its own, or a copy of the picture before it."""
    place = row % COPIES_EVERY
    if place == COPIES_EVERY - 1:
        return _picture(row - 1)
    if place == COPIES_EVERY // 2:
        original = Image.open(io.BytesIO(_picture(row - 1)))
        return _packed(original.resize((original.width * 3 // 4, original.height * 3 // 4)), 80)
    return _drawn(np.random.default_rng(row), 0.04, (75, 90))


def _drawn(rng: np.random.Generator, grain_share: float, qualities: tuple[int, int]) -> bytes:
    width = 8 * int(rng.integers(40, 111))
    size = width, width * 3 // 4
    # coarse colours tell the perceptual hashes apart, fine grain makes the file as large as a photo's
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(rng.integers(0, 256, (size[1] // 3, size[0] // 3), np.uint8)).resize(size).convert("RGB")
    return _packed(Image.blend(coarse, grain, grain_share), int(rng.integers(*qualities)))


def _packed(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _texts(row: int) -> dict[str, str]:
    """Three texts; few rows share one, so that none is boilerplate."""
    rng = np.random.default_rng([row, 1])
    one, two, three, four = (int(place) for place in rng.integers(0, 10, 4))
    return {
        "query": f"{KINDS_ZH[one]}{THINGS_ZH[two]}和{KINDS_ZH[three]}{THINGS_ZH[four]}的照片，编号{row}",
        "title": f"A {KINDS[one]} {THINGS[two]} beside a {KINDS[three]} {THINGS[four]}, seen on walk {row}",
        "surrounding": f"We passed the {THINGS[four]} on day {row} and found a {KINDS[two]} {THINGS[one]} behind it",
    }
