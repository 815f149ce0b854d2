"""Which long texts of a run are one but for a number, a word or a shop's name: groups of near copies.

A group is a text and those whose 5-grams it shares: each has at least the asked Jaccard similarity to the one that
stands for the group, so that no chain of small changes joins texts that differ. Texts stand for groups in the order of
their ids, as hashes a fair order: the smallest that is in no group yet takes all near ones that are in none. The groups
depend on the set of texts alone.

Only texts with a common band hash are compared, and of those in one bucket only the one that stands for a group with
the rest: a thousand near copies in a bucket cost a thousand comparisons, not half a million.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

GRAM = 5
"""Characters that are compared together; those of the bands."""

WORN = 8
"""Groups that a bucket may help to find: a bucket of more holds what all texts of a shop have in common.

Near copies have other bands in common too: of 1,186 texts with a near copy among 6,600 of which two thirds are the same
words, it lost 2, and left a twentieth of the comparisons.
"""

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Near:
    """Long texts of at least this Jaccard similarity of their 5-grams are one."""

    similarity: float


def group_texts(con: duckdb.DuckDBPyConnection, near: Near | None) -> None:
    """Make the table `text_groups` (text_id, text_group) of the texts of `texts_in` that have a near copy there.

    A group is named by the smallest of its ids. What is held in memory is the texts that share a band with another.
    """
    con.execute("CREATE OR REPLACE TEMP TABLE text_groups (text_id BIGINT, text_group BIGINT)")
    if near is None:
        return
    con.execute(_BANDED)
    told = con.execute(_NORMS).to_arrow_reader(65_536).read_all()
    if not told.num_rows:
        return
    ids = told["text_id"].to_numpy()
    rows = con.execute("SELECT text_id, band FROM banded ORDER BY band, text_id").to_arrow_reader(65_536).read_all()
    owner = np.searchsorted(ids, rows["text_id"].to_numpy())
    bucket = _ordinals(rows["band"].to_numpy())
    first = group(told["norm"].combine_chunks(), owner, bucket, near.similarity)
    several = np.bincount(first, minlength=len(ids))[first] > 1
    con.register("grouped", pa.table({"text_id": ids[several], "text_group": ids[first[several]]}))
    con.execute("INSERT INTO text_groups SELECT text_id, text_group FROM grouped")
    con.unregister("grouped")


_BANDED = """
    CREATE OR REPLACE TEMP TABLE banded AS
    WITH told AS (SELECT text_id, any_value(bands) AS bands FROM texts_in WHERE bands IS NOT NULL GROUP BY text_id),
    cut AS (SELECT text_id, unnest(bands) AS band FROM told)
    SELECT text_id, band FROM cut SEMI JOIN (SELECT band FROM cut GROUP BY band HAVING count(*) > 1) USING (band)"""

_NORMS = """
    SELECT text_id, any_value(norm) AS norm FROM texts_in SEMI JOIN banded USING (text_id)
    GROUP BY text_id ORDER BY text_id"""


def group(texts: pa.StringArray, owner: Places, bucket: Places, similarity: float) -> Places:
    """Of each text the place of the one that stands for its group, itself where that is nobody else.

    `owner` and `bucket` say which text is in which bucket, in the order of buckets and within them of texts.
    """
    first = np.arange(len(texts))
    worn = np.zeros(int(bucket[-1]) + 1 if len(bucket) else 0, np.int64)
    while len(owner):
        smallest, head = _smallest(owner, bucket)
        # it is the smallest of all its buckets: nobody can take it, so it stands for a group
        stands = np.bincount(head, minlength=len(texts)) == np.bincount(owner, minlength=len(texts))
        asked = stands[smallest] & (owner != smallest)
        pairs = np.unique(np.stack([smallest[asked], owner[asked]], axis=1), axis=0)
        taken = pairs[_near(texts, pairs, similarity)][::-1]  # of several that are near, the smallest is written last
        first[taken[:, 1]] = taken[:, 0]
        worn[bucket[stands[owner] & (owner == smallest)]] += 1
        done = stands | (first != np.arange(len(texts)))
        left = ~done[owner] & (worn[bucket] < WORN)
        owner, bucket = _shared(owner[left], bucket[left])
    return first


def _smallest(owner: Places, bucket: Places) -> tuple[Places, Places]:
    """Per row the smallest text of its bucket, and that text once a bucket."""
    begins = np.flatnonzero(np.diff(bucket, prepend=-1))
    sizes = np.diff(begins, append=len(bucket))
    return np.repeat(owner[begins], sizes), owner[begins]


def _shared(owner: Places, bucket: Places) -> tuple[Places, Places]:
    """The rows of buckets that still hold two texts."""
    held = np.bincount(bucket)[bucket] > 1 if len(bucket) else np.zeros(0, bool)
    return owner[held], bucket[held]


def _near(texts: pa.StringArray, pairs: Places, similarity: float) -> NDArray[np.bool_]:
    """Which of the pairs, in the order of their first texts, have that similarity, counted and not estimated."""
    near = np.zeros(len(pairs), bool)
    held, grams = -1, frozenset[str]()
    for row, (one, other) in enumerate(pairs.tolist()):
        if one != held:
            held, grams = one, _grams(texts[one].as_py())
        others = _grams(texts[other].as_py())
        common = len(grams & others)
        near[row] = common >= similarity * (len(grams) + len(others) - common)
    return near


def _grams(text: str) -> frozenset[str]:
    return frozenset(text[place : place + GRAM] for place in range(len(text) - GRAM + 1))


def _ordinals(ordered: Places) -> Places:
    """Equal neighbours as one number, from 0 without gaps."""
    return np.cumsum(np.diff(ordered, prepend=ordered[:1]) != 0)
