"""Near pairs of hashes: ours beside FAISS's multi-hash index, and new pictures against histories of three sizes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.copies.matching import match, match_jobs
from actors.copies.near import FIND_BITS, WIDTHS, near_pairs, shelve
from actors.copies.shelves import SHELVES, write_shelves
from actors.pictures.decode import Picture, decode
from actors.pictures.hashes import hashes as hashes_of
from app.show import say
from bench.environments import FAISS
from bench.look.pictures import photos
from bench.processes import own_peak
from bench.report import Line, mb
from filters.recipe import Copies
from warehouse.files import files_of
from warehouse.hashes import Words
from warehouse.lake import connect, prepare, quoted

HASHES = 1_000_000
FLIPPED = 20
"""Random bits by which each hash differs from a real photo's: as different as photos are, and crowded as theirs."""

PLANTED = 100
"""Of so many hashes one is another's with at most as many bits flipped as the bound is."""

CONFIGURATIONS: dict[int, tuple[tuple[int, int, int], ...]] = {
    6: ((4, 16, 1), (3, 21, 2)),
    8: ((3, 21, 2), (4, 16, 2)),
}
"""Tables, bits and flips of FAISS that miss no pair within a bound; the fastest on a sample runs whole."""

SAMPLE = 2_000
COMMON = 100
"""Pictures that a history and the new ones share."""

HISTORIES = (10_000, 100_000, 1_000_000)
NEW = 10_000
GOAL, WAIT_S = 3.0, 5.0


@dataclass(frozen=True)
class Found:
    """How long it took, how many pairs there were, and the most memory that a process of it had, in bytes."""

    seconds: float
    pairs: int
    peak: int


def all_pairs(folder: Path, count: int = HASHES) -> Iterator[Line]:
    """Every pair within 6 and within 8 bits of 64, by us and by the fastest exact multi-hash index."""
    python = FAISS.python()
    for bound, configurations in CONFIGURATIONS.items():
        hashes = crowd(count, bound)
        file = folder / f"hashes-{bound}.npy"
        np.save(file, hashes)
        ask = partial(_multihash, python, file, bound)
        best = min(configurations, key=lambda one: _per_row(ask, one, count))
        theirs = ask(best, 0)
        ours = _ours(file, bound)
        say(
            f"within {bound} of 64 bits, {count:,} hashes: ours {ours.seconds:.1f} s, {ours.pairs:,} pairs, "
            f"{mb(ours.peak)} a process; FAISS {best} {theirs.seconds:.1f} s, {theirs.pairs:,} pairs, {mb(theirs.peak)}"
        )
        work = f"all pairs within {bound} of 64 bits among {count:,}, against FAISS multi-hash"
        yield Line(work, count / ours.seconds, count / theirs.seconds, "rows/s", theirs.seconds / ours.seconds, GOAL)
        share = ours.pairs / max(theirs.pairs, 1)
        yield Line(f"pairs within {bound} bits, of those of FAISS", ours.pairs, theirs.pairs, "pairs", share, 1.0)


def histories(folder: Path, sizes: Sequence[int] = HISTORIES, new: int = NEW) -> Iterator[Line]:
    """New pictures against pictures of a warehouse: both hashes and PDQ, from its band table to the pairs."""
    costs = []
    for size in sizes:
        with _apart() as apart:
            nodes = apart.submit(_warehouse, folder / str(size), size, new).result()
        with _apart() as apart:
            done = apart.submit(_against, folder / str(size), nodes).result()
        costs.append(done.seconds / new * 1e6)
        say(
            f"{new:,} new against {size:,}: {done.seconds:.2f} s, {costs[-1]:.0f} µs a row, "
            f"{done.pairs:,} pairs, peak {mb(done.peak)}"
        )
        if size == max(sizes):
            work = f"{new:,} new against {size:,} of a warehouse, one process"
            yield Line(work, done.seconds, WAIT_S, "s", WAIT_S / done.seconds, 1.0)
            yield Line(
                "pictures of them that the history has, found", done.pairs, COMMON, "pairs", done.pairs / COMMON, 1.0
            )
    slope = (costs[-1] - costs[0]) / (sizes[-1] - sizes[0])
    say(
        f"model: {costs[0] - slope * sizes[0]:.0f} µs a row for its {_probes():,} probes and the new with one another, "
        f"{slope * 1e6:.0f} µs a row for each million of history: to read it, to sort it, and those met by chance"
    )


def _probes() -> int:
    """How many values of bands a picture is looked for under, over all shelves."""
    flips = FIND_BITS // len(WIDTHS)
    each = [1 + width + width * (width - 1) // 2 if flips == 2 else 0 for width in WIDTHS]
    return sum(each) * len(SHELVES) // len(WIDTHS)


def crowd(count: int, bound: int, seed: int = 0) -> Words:
    """Hashes (count,): each a real photo's with FLIPPED random bits flipped; one in PLANTED is near another."""
    rng = np.random.default_rng(seed)
    base = photo_hashes()
    hashes = _flipped(base[rng.integers(0, len(base), count)], np.full(count, FLIPPED), rng)
    planted = rng.choice(count, count // PLANTED, replace=False)
    sources = rng.integers(0, count, len(planted))
    hashes[planted] = _flipped(hashes[sources], rng.integers(0, bound + 1, len(planted)), rng)
    return hashes


def _flipped(hashes: Words, bits: np.ndarray[tuple[int], np.dtype[np.int64]], rng: np.random.Generator) -> Words:
    """Each hash with so many of its 64 bits flipped, at random places."""
    places = np.argsort(rng.random((len(hashes), 64)), axis=1).astype(np.uint64)
    chosen = np.arange(64)[None] < bits[:, None]
    masks = np.bitwise_xor.reduce(np.where(chosen, np.uint64(1) << places, np.uint64(0)), axis=1)
    flipped: Words = hashes ^ masks
    return flipped


def photo_hashes() -> Words:
    """The pHashes of the real photos; without photos random ones, which are less crowded."""
    told = []
    for photo in photos():
        seen = decode(photo.read_bytes(), 100_000_000, 224)
        if isinstance(seen, Picture):
            told.append(hashes_of(cv2.cvtColor(seen.pixels, cv2.COLOR_RGB2GRAY)).phash)  # type: ignore[arg-type]
    random: Words = np.random.default_rng(7).integers(0, 1 << 63, 800, np.int64).view(np.uint64)
    return np.array(told, np.int64).view(np.uint64) if told else random


def _per_row(ask: partial[Found], configuration: tuple[int, int, int], count: int) -> float:
    sample = ask(configuration, min(SAMPLE, count))
    say(f"FAISS {configuration}: {sample.seconds / min(SAMPLE, count) * 1e6:,.1f} µs a row on a sample")
    return sample.seconds


def _multihash(python: str, file: Path, bound: int, configuration: tuple[int, int, int], rows: int) -> Found:
    """FAISS on all cores; of a sample only the search counts."""
    words = [python, str(Path(__file__).with_name("multihash.py")), str(file), str(bound)]
    said = subprocess.run([*words, *map(str, configuration), str(rows)], stdout=subprocess.PIPE, check=True).stdout
    told = json.loads(said)
    return Found(told["search"] if rows else told["build"] + told["search"], told["pairs"], told["peak"])


def _ours(file: Path, bound: int) -> Found:
    """The bands over all cores, as actors would have them."""
    with _apart(os.cpu_count() or 1) as pool:
        list(pool.map(_band_pairs, [(file, 0, 0)] * (os.cpu_count() or 1)))  # libraries are loaded
        began = time.perf_counter()
        parts = list(pool.map(_band_pairs, [(file, band, bound) for band in range(len(WIDTHS))]))
        pairs = np.unique(np.concatenate([pairs for pairs, _ in parts]), axis=0)
        return Found(time.perf_counter() - began, len(pairs), max(peak for _, peak in parts))


def _band_pairs(asked: tuple[Path, int, int]) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], int]:
    """The pairs that one band finds, (n, 2), the smaller place first, and this process's peak of memory."""
    file, band, bound = asked
    hashes = np.load(file)
    hashes = hashes if bound else hashes[:1000]
    shelf = shelve(np.arange(len(hashes)), hashes, np.zeros((len(hashes), 0), np.uint64), band)
    met = [(shelf.ids[one.ours], shelf.ids[one.theirs]) for one in near_pairs(shelf, shelf, band, 0, bound)]
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(np.stack(both, axis=1) for both in met)])
    return np.sort(pairs, axis=1), own_peak()


def _warehouse(folder: Path, size: int, new: int) -> str:
    """A warehouse that holds the hashes of `size` pictures; the part of `new` ones, of which COMMON are among them."""
    folder.mkdir()
    prepare(str(folder / "lake"))
    held = write_shelves(_nodes(folder / "old.parquet", size, 1, 0), str(folder / "old-shelves.parquet"))
    with connect(str(folder / "lake")) as con:
        con.execute(
            f"INSERT INTO lake.bands BY NAME SELECT * FROM read_parquet({quoted(held)}) ORDER BY shelf, value, image_id"
        )
    return _nodes(folder / "new.parquet", new, size + 1, 1)


def _against(folder: Path, nodes: str) -> Found:
    """From the part of new pictures' hashes to the pairs."""
    began = time.perf_counter()
    shelves = write_shelves(nodes, str(folder / "new-shelves.parquet"))
    jobs = match_jobs(shelves, files_of(str(folder / "lake"), "bands", folder), Copies(), folder)
    pairs = {row for job in jobs for row in zip(*_columns(match(job)), strict=True)}
    return Found(time.perf_counter() - began, len(pairs), own_peak())


def _columns(part: str) -> tuple[list[int], list[int]]:
    table = pq.read_table(part)
    return table["image_id"].to_pylist(), table["other"].to_pylist()


def _nodes(file: Path, count: int, first: int, seed: int) -> str:
    """A part of pictures as the warehouse hands them over; the first COMMON of every part are the same pictures."""
    rng, common = np.random.default_rng(seed), np.random.default_rng(99)
    base = photo_hashes()
    both = [_flipped(base[rng.integers(0, len(base), count)], np.full(count, FLIPPED), rng) for _ in range(2)]
    pdqs = rng.integers(0, 1 << 63, (count, 4), np.int64).view(np.uint64)
    for hashes in both:
        hashes[:COMMON] = base[common.integers(0, len(base), COMMON)][:count]
    pdqs[:COMMON] = common.integers(0, 1 << 63, (COMMON, 4), np.int64).view(np.uint64)[:count]
    table = {
        "image_id": np.arange(first, first + count),
        "phash": both[0].view(np.int64),
        "dhash": both[1].view(np.int64),
        "pdq": pa.array([row.tobytes().hex() for row in pdqs.astype(">u8")]),
    }
    pq.write_table(pa.table(table), file)
    return str(file)


def _apart(workers: int = 1) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
