"""What heads and a list of concepts say of vectors that are there: no picture and no model is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.models.concepts import nearest
from actors.models.heads import Head, load_head
from actors.models.tagging import FACTS
from actors.models.vectors import Vector, Vectors
from filters.pictures import head_column


@dataclass(frozen=True)
class TagList:
    """`file` is the part of a list's concepts by their vectors (see actors.models.tagging); `top` of them are told."""

    file: str
    top: int


class Readout:
    """Heads and concepts, loaded once."""

    def __init__(self, heads: Sequence[str], tags: TagList | None) -> None:
        self._heads = [load_head(file) for file in heads]
        self._concepts = _Concepts(tags) if tags is not None else None

    def columns(self, ids: Sequence[int | None], vectors: Vectors) -> dict[str, pa.Array]:
        """What is said of each picture, null for those without an id: lists of heads and tags, and a column a head."""
        there = [place for place, one in enumerate(ids) if one is not None]
        names = [head.name for head in self._heads]
        values = [self._values(head, ids, there, vectors) for head in self._heads]
        rows = [list(row) for row in zip(*values, strict=True)] if values else [None] * len(there)
        told = {
            "heads": _spread([names or None] * len(there), there, len(ids), pa.list_(pa.string())),
            "head_values": _spread(rows, there, len(ids), pa.list_(pa.float32())),
        }
        for name, of_head in zip(names, values, strict=True):
            told[head_column(name)] = _spread(of_head, there, len(ids), pa.float32())
        if self._concepts is not None and there:
            tags, chances = self._concepts.of(_matrix(ids, there, vectors[self._concepts.model]))
            told["tags"] = _spread(tags, there, len(ids), pa.list_(pa.string()))
            told["tag_probabilities"] = _spread(chances, there, len(ids), pa.list_(pa.float32()))
        return told

    def _values(self, head: Head, ids: Sequence[int | None], there: Sequence[int], vectors: Vectors) -> list[float]:
        values: list[float] = head.values(_matrix(ids, there, vectors[head.model])).tolist() if there else []
        return values


class _Concepts:
    """The concepts of a list by their vectors."""

    def __init__(self, tags: TagList) -> None:
        table = pq.read_table(tags.file)
        facts = json.loads(table.schema.metadata[FACTS])
        self.model, self._top = facts["model"], tags.top
        self._scale, self._bias, self._sigmoid = facts["scale"], facts["bias"], facts["sigmoid"]
        self._names = table["concept"].to_pylist()
        self._vectors = np.array(table["vector"].to_pylist(), np.float32)

    def of(self, vectors: NDArray[np.float32]) -> tuple[list[list[str]], list[list[float]]]:
        """The nearest concepts of each picture and their probabilities, the most probable first."""
        found, sure = nearest(vectors, self._vectors, self._scale, self._bias, self._sigmoid, self._top)
        return [[self._names[one] for one in row] for row in found.tolist()], sure.tolist()


def _matrix(ids: Sequence[int | None], there: Sequence[int], held: Mapping[int, Vector]) -> NDArray[np.float32]:
    return np.stack([held[one] for place in there if (one := ids[place]) is not None])


def _spread(values: Sequence[Any], there: Sequence[int], size: int, kind: pa.DataType) -> pa.Array:
    """`values` at the places of `there`, null elsewhere."""
    spread: list[Any] = [None] * size
    for place, value in zip(there, values, strict=True):
        spread[place] = value
    return pa.array(spread, kind)
