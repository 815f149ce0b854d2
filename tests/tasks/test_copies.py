"""Near pairs found by actors are those that one process finds."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.copies.matching import match_jobs
from actors.copies.shelves import write_shelves
from filters.recipe import Copies
from tasks import copies
from tasks.pool import cluster


def _shelves(folder: Path, name: str, first: int) -> str:
    """A hundred pictures, of which each second is a few bits from the one before it."""
    chance = random.Random(1)
    rows = []
    for place in range(50):
        hashes = [chance.getrandbits(63), chance.getrandbits(63), chance.getrandbits(256)]
        rows += [(first + 2 * place, *hashes), (first + 2 * place + 1, *(one ^ 0b101 << place for one in hashes))]
    columns = zip(*((one, phash, dhash, f"{pdq:064x}") for one, phash, dhash, pdq in rows), strict=True)
    names = ("image_id", "phash", "dhash", "pdq")
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), folder / f"{name}-nodes.parquet")
    return write_shelves(str(folder / f"{name}-nodes.parquet"), str(folder / f"{name}.parquet"))


def test_actors_find_what_one_process_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = _shelves(tmp_path, "new", 1), _shelves(tmp_path, "old", 1001)
    found = []
    for inline in (copies.INLINE, -1):
        monkeypatch.setattr(copies, "INLINE", inline)
        folder = tmp_path / str(inline)
        folder.mkdir()
        jobs = match_jobs(ours, [theirs], Copies(min_similarity=0.5), folder)
        with cluster(2):
            parts = copies._matched(cast(Any, SimpleNamespace(workers=2)), jobs, 100)
        found.append(
            [pq.read_table(part).sort_by([("image_id", "ascending"), ("other", "ascending")]) for part in parts]
        )
    assert found[0] == found[1]
    pairs = {(row["image_id"], row["other"]) for part in found[0] for row in part.to_pylist()}
    assert {(1, 1001), (1, 1002), (99, 1100)} <= pairs
    assert len({tuple(sorted(pair)) for pair in pairs}) == 50 + 4 * 50
