"""All vectors with all on one device in half precision, against its roofline: how far it goes without cells."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from actors.copies.similar import Floats
from app.show import say
from bench.copies.vectors import realistic
from bench.look.loops import settle
from bench.report import Line, short

if TYPE_CHECKING:
    import torch

COUNT = {"cpu": 20_000, "cuda": 1_000_000}
WIDTH, ABOVE = 512, 0.95
ROWS = {"cpu": 1024, "cuda": 8192}
COLUMNS = {"cpu": 8192, "cuda": 65_536}

OFF = 0.01
"""What a product in half precision may be off; pairs within it of ABOVE are computed again in single precision."""

CEILING_S = 1.0  # for which the largest product is repeated


@dataclass(frozen=True)
class Met:
    """Pairs above ABOVE by their places, the seconds that it took, and the products of two vectors that it needed."""

    pairs: frozenset[tuple[int, int]]
    seconds: float
    products: float


def card(device: str, count: int | None = None, width: int = WIDTH) -> Iterator[Line]:
    """`count` x `width` with themselves, against the best that this device does of the same products alone."""
    import torch

    count = count or COUNT[device]
    vectors = realistic(count, width)
    here = torch.from_numpy(vectors).to(device)
    ceiling = _ceiling(here, device)
    met = _all_with_all(here, device)
    rate = met.products / met.seconds
    operations, peak = 2 * width * rate, f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB" if device == "cuda" else ""
    say(f"{met.seconds:.2f} s, {operations / 1e12:.3g} of {2 * width * ceiling / 1e12:.3g} TFLOP/s {peak}".rstrip())
    say(
        f"{_intensity(width, device):.0f} operations a byte that must move, {short(len(met.pairs))} pairs above {ABOVE}"
    )
    work = f"all of {count:,} x {width} with all on {device}"
    yield Line(
        f"{work}, against its own products alone", rate / 1e9, ceiling / 1e9, "G products/s", rate / ceiling, 0.5
    )
    yield _recall(f"{work}: pairs of the first {ROWS[device]} found", vectors, met.pairs, ROWS[device])


def _all_with_all(vectors: torch.Tensor, device: str) -> Met:
    """The best before each and all pairs above ABOVE: half-precision products of blocks on and below the diagonal."""
    import torch

    half, count = vectors.bfloat16(), len(vectors)
    best, found, products = torch.full((count,), -2.0, dtype=half.dtype, device=device), [], 0.0
    settle(device)
    began = time.monotonic()
    for row in range(0, count, ROWS[device]):
        queries = half[row : row + ROWS[device]]
        for column in range(0, row + len(queries), COLUMNS[device]):
            others = half[column : min(column + COLUMNS[device], row + len(queries))]
            block = queries @ others.T
            products += block.numel()
            if column + len(others) > row:
                block = block.tril(row - column - 1) - 2 * torch.ones_like(block).triu(row - column)
            torch.maximum(best[row : row + len(queries)], block.amax(1), out=best[row : row + len(queries)])
            near = (block > ABOVE - OFF).nonzero()
            found.append(near + torch.tensor([row, column], device=device))
    pairs = _verified(vectors, torch.cat(found))
    settle(device)
    return Met(pairs, time.monotonic() - began, products)


def _verified(vectors: torch.Tensor, near: torch.Tensor) -> frozenset[tuple[int, int]]:
    """Those of the pairs whose cosine is above ABOVE in single precision."""
    import torch

    pieces = (near[start : start + 65_536] for start in range(0, len(near), 65_536))
    kept = [some[(vectors[some[:, 0]] * vectors[some[:, 1]]).sum(1) > ABOVE] for some in pieces]
    return frozenset((later, earlier) for later, earlier in torch.cat([near[:0], *kept]).tolist())


def _ceiling(vectors: torch.Tensor, device: str) -> float:
    """Products of two vectors a second, of one block again and again with nothing done with it."""
    half = vectors.bfloat16()
    queries, others = half[: ROWS[device]], half[: COLUMNS[device]]
    queries @ others.T
    settle(device)
    began, done = time.monotonic(), 0
    while time.monotonic() - began < CEILING_S:
        for _ in range(8):
            queries @ others.T
        settle(device)
        done += 8
    return done * len(queries) * len(others) / (time.monotonic() - began)


def _intensity(width: int, device: str) -> float:
    """Operations of a block for each byte of its vectors and its products, which are written once and read twice."""
    rows, columns = ROWS[device], COLUMNS[device]
    return 2 * width * rows * columns / (2 * width * (rows + columns) + 3 * 2 * rows * columns)


def _recall(work: str, vectors: Floats, pairs: frozenset[tuple[int, int]], rows: int) -> Line:
    """Against NumPy in single precision, for those whose later one is among the first so many."""
    products = np.tril(vectors[:rows] @ vectors[:rows].T, -1)
    true = set(zip(*(places.tolist() for places in np.nonzero(products > ABOVE + 1e-5)), strict=True))
    found = len(true & pairs)
    return Line(work, found, len(true), "pairs", found / max(len(true), 1), 0.99)
