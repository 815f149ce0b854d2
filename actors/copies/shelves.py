"""Pictures by the bands of their hashes, as rows of Parquet: what a later run probes, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.copies.near import WIDTHS, Ints, Shelf, band_of, shelve
from warehouse.hashes import Words, pdq_words

SHELVES: tuple[tuple[str, int], ...] = tuple((name, band) for name in ("phash", "dhash") for band in range(len(WIDTHS)))
"""The hash and the band of each shelf, by its number."""

SCHEMA = pa.schema(
    {
        "shelf": pa.int32(),
        "value": pa.int32(),
        "hash": pa.int64(),
        "pdq0": pa.int64(),
        "pdq1": pa.int64(),
        "pdq2": pa.int64(),
        "pdq3": pa.int64(),
        "image_id": pa.int64(),
    }
)
PDQ = ("pdq0", "pdq1", "pdq2", "pdq3")

ROWS = 1 << 22
"""Of a shelf that are in memory at a time: 0.3 GB."""


def write_shelves(nodes: str, out: str) -> str:
    """Write the rows of all shelves of the pictures in `nodes` (image_id, phash, dhash, pdq), shelf by shelf."""
    table = pq.read_table(nodes, columns=["image_id", "phash", "dhash", "pdq"])
    ids = table["image_id"].to_numpy()
    words = pdq_words(table["pdq"].to_pylist())
    target = Path(out)
    aside = target.with_name(f".{target.name}.writing")
    with pq.ParquetWriter(aside, SCHEMA, compression="zstd") as writer:
        for number, (name, band) in enumerate(SHELVES):
            hashes = table[name].to_numpy().view(np.uint64)
            writer.write_table(_rows(shelve(ids, hashes, words, band), number))
    aside.replace(target)
    return out


def _rows(shelf: Shelf, number: int) -> pa.Table:
    columns = [np.full(len(shelf.ids), number, np.int32), shelf.values, shelf.hashes.view(np.int64)]
    columns += [np.ascontiguousarray(shelf.pdqs[:, word]).view(np.int64) for word in range(len(PDQ))]
    return pa.table([*columns, shelf.ids], schema=SCHEMA)


def read_shelves(files: Sequence[str], number: int, rows: int = ROWS) -> Iterator[Shelf]:
    """One shelf out of files of SCHEMA, as shelves of some `rows`; no rows are no shelf."""
    held: list[pa.Table] = []
    for file in files:
        table = pq.read_table(file, columns=SCHEMA.names, filters=pc.field("shelf") == number)
        held.append(table.cast(SCHEMA))
        if sum(one.num_rows for one in held) >= rows:
            yield _shelf(pa.concat_tables(held), number)
            held = []
    table = pa.concat_tables(held) if held else SCHEMA.empty_table()
    if table.num_rows:
        yield _shelf(table, number)


def _shelf(table: pa.Table, number: int) -> Shelf:
    ids: Ints = table["image_id"].to_numpy()
    words = np.stack([table[name].to_numpy() for name in PDQ], axis=1).view(np.uint64)
    return shelve(ids, table["hash"].to_numpy().view(np.uint64), words, SHELVES[number][1])


def turned(shelf: Shelf, hashes: Words, pdqs: Words, band: int) -> Shelf:
    """The shelf's pictures with other hashes, in the order in which they stand: for probing, not to be probed."""
    return Shelf(band_of(hashes, band), hashes, pdqs, shelf.ids)
