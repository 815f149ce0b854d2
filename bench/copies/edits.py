"""Which copies are found: edits of every real photo, told by the hashes that find and the one that decides."""

from __future__ import annotations

import io
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from actors.copies.near import FIND_BITS
from actors.pictures.decode import Picture, decode
from actors.pictures.hashes import Hashes, hashes
from app.show import say, table
from bench.look.pictures import photos
from bench.report import Line
from filters.recipe import Copies
from warehouse.hashes import TURNS, Words, apart_bits, pdq_words, turned_bits, turned_pdq

NEAR_BITS = Copies().near_bits or 0
Edit = Callable[[Image.Image], bytes]
WHITE, BLACK = (250, 250, 250), (0, 0, 0)


def edits() -> Iterator[Line]:
    """Of each edit the share of photos whose copy is found; and how many different photos are taken for one."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        seen = [one for one in pool.map(_seen, photos(), chunksize=16) if one]
    if not seen:
        say("without real photos nothing can be said: set ZEROMILL_TEST_DATA")
        return
    rows = []
    for name in list(EDITS):
        found = [_told(one["as it is"], one[name], turned=name in TURNED) for one in seen]
        shares = {key: sum(told[key] for told in found) / len(found) for key in found[0]}
        rows.append((name, *(f"{share:.3f}" for share in shares.values())))
        yield Line(f"copies found: {name}", shares["ours"], shares["phash 8"], "share", shares["ours"], 0.97)
    table(["edit of each photo", *_told(seen[0]["as it is"], seen[0]["as it is"], turned=False)], rows)
    joined, nearest = _strangers([one["as it is"] for one in seen])
    say(f"{len(seen)} photos: the nearest two that differ are {nearest} bits of PDQ apart; {joined} pairs are joined")
    yield Line("different photos taken for one, of 1,000", 1000 * joined / len(seen), 1.0, "pairs", 1.0 - joined, 1.0)


def _seen(photo: Path) -> dict[str, Hashes]:
    """The hashes of a photo as it is and of each edit; empty where it does not decode."""
    data = photo.read_bytes()
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    told = {"as it is": _hashes(data)} | {name: _hashes(edit(image)) for name, edit in EDITS.items()}
    return {name: one for name, one in told.items() if one is not None} if all(told.values()) else {}


def _hashes(data: bytes) -> Hashes | None:
    picture = decode(data, 100_000_000, 224)
    if not isinstance(picture, Picture):
        return None
    grey: NDArray[np.uint8] = cv2.cvtColor(picture.pixels, cv2.COLOR_RGB2GRAY)  # type: ignore[assignment]
    return hashes(grey)


def _told(one: Hashes, other: Hashes, *, turned: bool) -> dict[str, bool]:
    """Whether each rule takes the two for one."""
    bits = {name: _apart(one, other, name, turned) for name in ("phash", "dhash", "pdq")}
    found = min(bits["phash"], bits["dhash"]) <= FIND_BITS
    return {
        "phash 0": bits["phash"] == 0,
        "phash 8": bits["phash"] <= 8,
        "dhash 8": bits["dhash"] <= 8,
        "pdq 31": bits["pdq"] <= 31,
        f"pdq {NEAR_BITS}": bits["pdq"] <= NEAR_BITS,
        "ours": found and bits["pdq"] <= NEAR_BITS,
    }


def _apart(one: Hashes, other: Hashes, name: str, turned: bool) -> int:
    """Bits that differ, at the nearest of the turns that are asked about."""
    ours, theirs = _words(one, name), _words(other, name)
    forms = [
        turned_pdq(ours, turn) if name == "pdq" else _turned(name, ours, turn) for turn in TURNS[: 8 if turned else 1]
    ]
    return min(int(apart_bits(form, theirs)[0]) for form in forms if form is not None)


def _turned(name: str, words: Words, turn: Any) -> Words | None:
    told = turned_bits(name, words[:, 0], turn)
    return None if told is None else told[:, None]


def _words(one: Hashes, name: str) -> Words:
    if name == "pdq":
        return pdq_words([one.pdq or ""])
    return np.array([[getattr(one, name)]], np.int64).view(np.uint64)


def _strangers(seen: list[Hashes]) -> tuple[int, int]:
    """How many pairs of different photos are joined, and how near the nearest are."""
    words = pdq_words([one.pdq or "" for one in seen])
    apart = apart_bits(words[:, None], words[None])
    first, second = np.triu_indices(len(seen), 1)
    near = np.flatnonzero(apart[first, second] <= NEAR_BITS)
    joined = sum(_told(seen[first[place]], seen[second[place]], turned=False)["ours"] for place in near)
    return joined, int(apart[first, second].min())


def _jpeg(image: Image.Image, quality: int = 82) -> bytes:
    return _file(image, "JPEG", quality)


def _file(image: Image.Image, form: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, quality=quality)
    return buffer.getvalue()


def _scaled(image: Image.Image, share: float) -> bytes:
    sides = tuple(max(1, round(side * share)) for side in image.size)
    return _jpeg(image.resize((sides[0], sides[1]), Image.Resampling.LANCZOS))


def _cropped(image: Image.Image, share: float) -> bytes:
    width, height = image.size
    box = (int(width * share), int(height * share), int(width * (1 - share)), int(height * (1 - share)))
    return _jpeg(image.crop(box))


def _marked(image: Image.Image, box: tuple[float, float, float, float], fill: tuple[int, int, int]) -> bytes:
    """A filled box, its corners as shares of the sides."""
    marked = image.copy()
    (width, height), (left, top, right, bottom) = image.size, box
    ImageDraw.Draw(marked).rectangle((left * width, top * height, right * width, bottom * height), fill=fill)
    return _jpeg(marked)


EDITS: dict[str, Edit] = {
    "0.7 of its sides": lambda image: _scaled(image, 0.7),
    "half of its sides": lambda image: _scaled(image, 0.5),
    "JPEG, quality 45": lambda image: _jpeg(image, 45),
    "JPEG, quality 20": lambda image: _jpeg(image, 20),
    "WebP, quality 70": lambda image: _file(image, "WEBP", 70),
    "grey": lambda image: _jpeg(image.convert("L").convert("RGB")),
    "brighter by 15 %": lambda image: _jpeg(ImageEnhance.Brightness(image).enhance(1.15)),
    "brighter by 40 %": lambda image: _jpeg(ImageEnhance.Brightness(image).enhance(1.4)),
    "more contrast, 30 %": lambda image: _jpeg(ImageEnhance.Contrast(image).enhance(1.3)),
    "logo in a corner, 1 %": lambda image: _marked(image, (8 / 9, 11 / 12, 0.99, 0.99), WHITE),
    "logo in a corner, 2.5 %": lambda image: _marked(image, (0.02, 0.02, 0.22, 0.145), BLACK),
    "bar, 5 %": lambda image: _marked(image, (0, 0.95, 1, 1), BLACK),
    "bar, 10 %": lambda image: _marked(image, (0, 0.9, 1, 1), WHITE),
    "cropped by 2 % a side": lambda image: _cropped(image, 0.02),
    "cropped by 4 % a side": lambda image: _cropped(image, 0.04),
    "mirrored, with `turned`": lambda image: _jpeg(ImageOps.mirror(image)),
    "turned by 90°, with `turned`": lambda image: _jpeg(image.rotate(90, expand=True)),
    "turned by 180°, with `turned`": lambda image: _jpeg(image.rotate(180)),
}
TURNED = frozenset(name for name in EDITS if "turned`" in name)
