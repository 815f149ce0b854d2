"""Hashes that long texts share when they share most of their character 5-grams: MinHash, cut into bands.

The share of 5-grams that two texts have in common (Jaccard similarity s) is the chance that one random order of all
5-grams puts the same one first in both (A. Broder, On the resemblance and containment of documents, 1997). A band is
`rows` such orders taken together: two texts agree in at least one of `bands` with probability
1 - (1 - s ** rows) ** bands (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4). For 0.8 there are
21 bands of 6: pairs of similarity 0.8 are missed 1.7 times in 1,000, of 0.85 5 times in 100,000, of 0.9 never to speak
of; of those of 0.5 a quarter is found, which whoever compares the texts themselves then turns away.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

GRAM = 5
"""Characters that are compared together: of Chinese two or three words, of English one."""

HASHES = 128
"""At most: what a text costs grows with them."""

MISSED = 0.005
"""At most this share of pairs at the very bound has no band in common."""

BLOCK = 1 << 15
"""5-grams at once: their hashes and what is computed of them stay in a core's own cache."""

Hashes32 = NDArray[np.uint32]
Hashes64 = NDArray[np.uint64]


class Banding(NamedTuple):
    """How hashes are taken together: so many `bands` of `rows` each."""

    bands: int
    rows: int


def banding(similarity: float) -> Banding:
    """The longest bands, of at most HASHES in all, that miss no more than MISSED of the pairs of that similarity."""
    fits = (Banding(HASHES // rows, rows) for rows in range(HASHES, 0, -1))
    return next(one for one in fits if (1 - similarity**one.rows) ** one.bands <= MISSED)


def band_hashes(norm: pa.StringArray, characters: int, cut: Banding) -> pa.ListArray:
    """Per text a hash of each band (list of int64); null for null and for texts of less than `characters`.

    A text's hashes are its own, whatever stands beside it. `characters` is at least GRAM.
    """
    words = norm.dictionary_encode()
    texts = words.dictionary
    long = pc.greater_equal(pc.utf8_length(texts), characters)
    hashed = _bands(texts.filter(long), cut)
    place = pc.if_else(long, pc.subtract(pc.cumulative_sum(long.cast(pa.int32())), 1), None)
    return hashed.take(place.take(words.indices))


def _bands(texts: pa.StringArray, cut: Banding) -> pa.ListArray:
    sizes = pc.utf8_length(texts).to_numpy(zero_copy_only=False).astype(np.int64) - (GRAM - 1)
    ends = np.cumsum(sizes)
    out = np.empty((len(texts), cut.bands), np.uint64)
    start = 0
    while start < len(texts):
        taken = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, taken + BLOCK, side="right")))
        signature = _signature(_grams(texts[start:stop], sizes[start:stop]), sizes[start:stop], cut)
        out[start:stop] = _folded(signature, cut)
        start = stop
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * cut.bands
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(out.reshape(-1).view(np.int64)))


def _grams(texts: pa.StringArray, sizes: NDArray[np.int64]) -> Hashes32:
    """A hash of every 5-gram of the texts, one text after the other: none reaches over the end of its text."""
    codes = np.frombuffer("".join(texts.to_pylist()).encode("utf-32-le"), "<u4").astype(np.uint64)
    count = len(codes) - GRAM + 1
    rolled = np.zeros(count, np.uint64)
    for place in range(GRAM):
        rolled = rolled * _ODD + codes[place : place + count]
    begins = np.repeat(np.arange(len(sizes)) * (GRAM - 1), sizes)
    return (_mixed(rolled[begins + np.arange(len(begins))]) >> np.uint64(32)).astype(np.uint32)


def _signature(grams: Hashes32, sizes: NDArray[np.int64], cut: Banding) -> Hashes32:
    """(hashes, texts): the smallest of each text's 5-grams in each of the orders."""
    starts = np.cumsum(sizes) - sizes
    least = np.empty((cut.bands * cut.rows, len(sizes)), np.uint32)
    turned = np.empty_like(grams)
    for row, (factor, shift) in enumerate(zip(_FACTORS, _SHIFTS, strict=True)):
        if row == len(least):
            break
        np.multiply(grams, factor, out=turned)
        np.add(turned, shift, out=turned)
        np.minimum.reduceat(turned, starts, out=least[row])
    return least


def _folded(signature: Hashes32, cut: Banding) -> Hashes64:
    """(texts, bands): the rows of each band as one number, in which the band's place counts."""
    rows = signature.reshape(cut.bands, cut.rows, -1).astype(np.uint64)
    folded = np.repeat(np.arange(1, cut.bands + 1, dtype=np.uint64)[:, None], rows.shape[2], axis=1)
    for row in range(cut.rows):
        folded = _mixed(folded ^ rows[:, row])
    return folded.T


def _mixed(values: Hashes64) -> Hashes64:
    """Every bit of a number made to depend on all of them: the finaliser of SplitMix64."""
    values = (values + _ODD) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


_ODD = np.uint64(0x9E3779B97F4A7C15)
# an odd factor and a shift turn 32 bits into one another: an order of all 5-grams. The same in every process
_FACTORS = (_mixed(np.arange(HASHES, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
_SHIFTS = (_mixed(np.arange(HASHES, 2 * HASHES, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)
