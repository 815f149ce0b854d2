"""What was seen of pictures, as rows of measures, and what earlier looks at the same bytes left."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.pictures.decode import FaultReason

CARRIED = ("url", "sha256", "md5", "nbytes")
_FAULTS = pa.array(get_args(FaultReason))
"""The reasons that a decoder has; all others are those of a recipe's filters."""

SCHEMA = pa.schema(
    {
        "url": pa.string(),
        "image_id": pa.int64(),
        "sha256": pa.string(),
        "md5": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "format": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "nbytes": pa.int64(),
        "phash": pa.int64(),
        "dhash": pa.int64(),
        "pdq": pa.string(),
        "pdq_quality": pa.int32(),
        "std": pa.float32(),
        "entropy": pa.float32(),
        "sharpness": pa.float32(),
        "mean": pa.float32(),
        "colours": pa.list_(pa.string()),
        "colour_shares": pa.list_(pa.float32()),
        "thumbnail": pa.binary(),
        "heads": pa.list_(pa.string()),
        "head_values": pa.list_(pa.float32()),
        "tags": pa.list_(pa.string()),
        "tag_probabilities": pa.list_(pa.float32()),
    }
)
OF_HEADS = ("heads", "head_values", "tags", "tag_probabilities")
"""Columns that are made of vectors, anew in every look."""


def image_id(sha256: str) -> int:
    """The 63-bit id of a picture, of the hex sha256 of its original bytes."""
    return int(sha256[:16], 16) >> 1


def remembered(parts: Iterable[str], wanted: Collection[str]) -> pa.Table:
    """A row of SCHEMA for each picture of `wanted` (hex sha256) that earlier looks saw, without what filters said."""
    left, tables = set(wanted), []
    for part in parts:
        if not left:
            break
        table = pq.read_table(part, columns=[name for name in SCHEMA.names if name not in OF_HEADS])
        table = table.filter(pc.or_kleene(pc.is_valid(table["mean"]), pc.is_in(table["reason"], _FAULTS)))
        found = _first_of_each(table["sha256"].to_pylist(), left)
        tables.append(table.take(pa.array(found, pa.int64())))
    table = pa.concat_tables([SCHEMA.empty_table().drop_columns(list(OF_HEADS)), *tables])
    fault = pc.is_in(table["reason"], _FAULTS)
    for name in ("reason", "detail"):
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, pc.if_else(fault, table[name], pa.scalar(None, pa.string())))
    return pa.concat_tables([table, SCHEMA.empty_table()], promote_options="default").select(SCHEMA.names)


def _first_of_each(digests: Sequence[str | None], left: set[str]) -> list[int]:
    """Where each digest of `left` stands first; what was found is taken out of `left`."""
    found = []
    for place, digest in enumerate(digests):
        if digest in left:
            left.remove(digest)
            found.append(place)
    return found


def as_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows of measures as SCHEMA."""
    return pa.Table.from_pylist(list(rows), SCHEMA)
