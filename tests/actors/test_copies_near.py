"""Near pairs: of those within the bounds none is missed and no other is told, however the pictures lie."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.copies.matching import MatchJob, match, match_jobs
from actors.copies.near import FIND_BITS, WIDTHS, Shelf, near_pairs, shelve
from actors.copies.shelves import SHELVES, read_shelves, write_shelves
from filters.recipe import Copies
from warehouse.components import components
from warehouse.hashes import TURNS, Words, apart_bits, turned_bits, turned_pdq

NO_PDQ = 0
BITS = 64


def flipped(value: int, bits: int, chance: random.Random) -> int:
    for bit in chance.sample(range(64), bits):
        value ^= 1 << bit
    return value


def crowded(chance: random.Random, rows: int) -> Words:
    """Hashes of which many are within 0 to 10 bits of another, or equal."""
    values = [chance.getrandbits(64) for _ in range(-(-rows // 4))]
    while len(values) < rows:
        values.append(flipped(chance.choice(values), chance.randrange(11), chance))
    return np.array(values, np.uint64)


def found(hashes: Words, others: Words | None = None, bits: int = FIND_BITS) -> set[tuple[int, int]]:
    """The pairs of all bands, by hashes alone."""
    pairs: list[tuple[int, int]] = []
    for band in range(len(WIDTHS)):
        ours = _shelf(hashes, band)
        theirs = ours if others is None else _shelf(others, band)
        for met in near_pairs(ours, theirs, band, NO_PDQ, bits):
            pairs += zip(ours.ids[met.ours].tolist(), theirs.ids[met.theirs].tolist(), strict=True)
    return {(min(pair), max(pair)) for pair in pairs} if others is None else set(pairs)


def _shelf(hashes: Words, band: int) -> Shelf:
    return shelve(np.arange(len(hashes)), hashes, np.zeros((len(hashes), 0), np.uint64), band)


def _all(hashes: Words, others: Words, bits: int) -> NDArray[np.bool_]:
    return np.bitwise_count(hashes[:, None] ^ others[None]) <= bits


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), bits=st.integers(0, FIND_BITS), rows=st.integers(1, 120))
def test_every_pair_within_the_bound_is_found_once_and_no_other(seed: int, bits: int, rows: int) -> None:
    chance = random.Random(seed)
    hashes = crowded(chance, rows)
    expected = set(zip(*(side.tolist() for side in np.nonzero(np.triu(_all(hashes, hashes, bits), 1))), strict=True))
    assert found(hashes, bits=bits) == expected
    others = np.concatenate([hashes[::3] ^ np.uint64(1), crowded(chance, 40)])
    there = set(zip(*(side.tolist() for side in np.nonzero(_all(hashes, others, bits))), strict=True))
    assert found(hashes, others, bits) == there


def test_the_hardest_pairs_are_found() -> None:
    """Of three bands each differs, by 3, 3 and 2 bits: only the last one is met."""
    base = np.random.default_rng(1).integers(0, 1 << 63, 200, np.int64).view(np.uint64)
    apart = np.uint64(0b10101 | 0b11100 << 25 | 0b11 << 61)
    both = np.concatenate([base, base ^ apart])
    assert found(both) >= {(n, n + 200) for n in range(200)}


def nodes(folder: Path, name: str, phash: Words, dhash: Words, pdqs: Words, first: int = 1) -> str:
    """A part of pictures, as the warehouse writes those that are to be compared."""
    blobs = [row.astype(">u8").tobytes().hex() for row in pdqs]
    ids = pa.array(range(first, first + len(phash)), pa.int64())
    table = {"image_id": ids, "phash": phash.view(np.int64), "dhash": dhash.view(np.int64), "pdq": pa.array(blobs)}
    pq.write_table(pa.table(table), folder / name)
    return str(folder / name)


def pictures(chance: random.Random, rows: int) -> tuple[Words, Words, Words]:
    """Hashes of pictures of which many are copies: each has all three a few bits away from another's."""
    sources = [(chance.getrandbits(64), chance.getrandbits(64), chance.getrandbits(256)) for _ in range(rows // 3)]
    seen = list(sources)
    while len(seen) < rows:
        one, two, three = chance.choice(seen)
        for bit in chance.sample(range(256), chance.randrange(50)):
            three ^= 1 << bit
        seen.append((flipped(one, chance.randrange(12), chance), flipped(two, chance.randrange(12), chance), three))
    words = [[three >> 192 - 64 * n & (1 << 64) - 1 for n in range(4)] for _, _, three in seen]
    first, second = (np.array([row[n] for row in seen], np.uint64) for n in range(2))
    return first, second, np.array(words, np.uint64)


def _near(seen: tuple[Words, Words, Words], *, turned: bool = False) -> set[tuple[int, int]]:
    """The pairs by brute force: near in one of the two hashes, and in PDQ."""
    phash, dhash, pdqs = seen
    near = np.zeros((len(phash), len(phash)), bool)
    for turn in TURNS if turned else TURNS[:1]:
        apart = apart_bits(turned_pdq(pdqs, turn)[:, None], pdqs[None])
        for name, hashes in (("phash", phash), ("dhash", dhash)):
            told = turned_bits(name, hashes, turn)
            if told is not None:
                near |= _all(told, hashes, FIND_BITS) & (apart <= BITS)
    near |= near.T
    return {(a + 1, b + 1) for a, b in zip(*(side.tolist() for side in np.nonzero(np.triu(near, 1))), strict=True)}


def matched(asked: Copies, folder: Path, ours: str, theirs: list[str]) -> set[tuple[int, int]]:
    parts = [match(job) for job in match_jobs(ours, theirs, asked, folder)]
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    return {(min(row["image_id"], row["other"]), max(row["image_id"], row["other"])) for row in rows}


@pytest.mark.parametrize("turned", [False, True])
def test_all_near_pairs_are_told_where_each_is_looked_at_again(tmp_path: Path, turned: bool) -> None:
    seen = pictures(random.Random(2), 150)
    ours = write_shelves(nodes(tmp_path, "nodes.parquet", *seen), str(tmp_path / "ours.parquet"))
    told = matched(Copies(turned=turned, min_similarity=0.5), tmp_path, ours, [])
    assert told == _near(seen, turned=turned)
    assert len(told) > 60


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 999), cut=st.integers(1, 89))
def test_what_hangs_together_is_the_same_in_one_run_or_in_two(
    tmp_path_factory: pytest.TempPathFactory, seed: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    seen = pictures(random.Random(seed), 90)
    whole = components(_near(seen))
    for name, part, first in (("old", slice(None, cut), 1), ("new", slice(cut, None), cut + 1)):
        some = nodes(folder, f"{name}-nodes.parquet", *(side[part] for side in seen), first=first)
        write_shelves(some, str(folder / f"{name}.parquet"))
    old, new = str(folder / "old.parquet"), str(folder / "new.parquet")
    told = matched(Copies(), folder, old, []) | matched(Copies(), folder, new, [old])
    assert components(told) == whole
    assert len(told) <= len(_near(seen))


def test_shelves_are_read_in_pieces_that_hold_every_picture_once(tmp_path: Path) -> None:
    seen = pictures(random.Random(5), 60)
    files = [
        write_shelves(nodes(tmp_path, f"{n}-nodes.parquet", *seen, first=1 + 60 * n), str(tmp_path / f"{n}.parquet"))
        for n in range(3)
    ]
    for number in range(len(SHELVES)):
        shelves = list(read_shelves(files, number, rows=100))
        assert [len(shelf.ids) for shelf in shelves] == [120, 60]
        assert sorted(one for shelf in shelves for one in shelf.ids.tolist()) == list(range(1, 181))
        assert all((np.diff(shelf.values) >= 0).all() for shelf in shelves)


def test_no_pictures_are_no_pairs(tmp_path: Path) -> None:
    empty = np.zeros(0, np.uint64)
    some = nodes(tmp_path, "nodes.parquet", empty, empty, np.zeros((0, 4), np.uint64))
    ours = write_shelves(some, str(tmp_path / "ours.parquet"))
    assert match_jobs(ours, [], Copies(), tmp_path) == []
    assert match_jobs(ours, [], Copies(near_bits=None), tmp_path) == []
    part = match(MatchJob(0, ours, (), BITS, False, False, str(tmp_path / "near.parquet")))
    assert pq.read_table(part).num_rows == 0
