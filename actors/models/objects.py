"""Whether objects that a caption names are seen on its picture, without a detector: CHAIR's question by zero-shot tags.

A vocabulary of objects is a list of concepts, and its vectors are a part as those of tags are. An object's presence is
how much nearer the picture is to it than to the average object of the vocabulary, as a probability:
1 / (1 + exp(-scale * (cosine - mean cosine))). At 0.5 it is as near as any; the bound lies above.

Of what a cosine can be held against this tells named from absent objects best (docs/caption-checks.md has the figures).
The cosine itself does not compare between pictures: some are far from every word. A softmax over the vocabulary, or the
distance from the best of it, are about one thing a picture, and punish whatever stands beside a clearer one; a rank is
nothing where it is not known how many things a picture shows. The sigmoid of SigLIP is the cosine itself, moved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.models.files import FoundModel
from actors.models.tagging import FACTS, Tagger
from filters.objects import HELD, load_objects

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class ObjectsJob:
    """`vocabulary`: a shipped one or a file. `out`: the Parquet to write."""

    vocabulary: str
    out: str


class ObjectTagger:
    """Loads its model, and writes the vectors of vocabularies of objects, as parts in the form of tags."""

    def __init__(self, found: FoundModel) -> None:
        self._tagger = Tagger(found)

    def __call__(self, job: ObjectsJob) -> str:
        """Write a row per object, in the order of the vocabulary; gives `job.out`."""
        return self._tagger.write(load_objects(job.vocabulary).concepts, job.out)


def presence(pictures: Floats, objects: Floats, scale: float) -> Floats:
    """How surely each object is seen on each picture (n, k), by their unit vectors (n, width) and (k, width)."""
    cosines = pictures @ objects.T
    margins = np.float32(scale) * (cosines - cosines.mean(1, keepdims=True))
    surely: Floats = np.float32(0.5) * (1 + np.tanh(margins / 2))
    return surely


class Seen:
    """A part of objects, loaded once; `model` is the identity of the model whose vectors of pictures it reads."""

    def __init__(self, part: str) -> None:
        table = pq.read_table(part)
        facts = json.loads(table.schema.metadata[FACTS])
        self.model, self._scale = str(facts["model"]), float(facts["scale"])
        self._places = {name: place for place, name in enumerate(table["concept"].to_pylist())}
        self._vectors = np.array(table["vector"].to_pylist(), np.float32)

    def held(self, mentions: Sequence[Sequence[str]], pictures: Floats) -> pa.RecordBatch:
        """Columns as HELD of captions that name `mentions`, each beside the unit vector of its picture (n, width)."""
        surely = presence(pictures, self._vectors, self._scale)
        objects = [list(dict.fromkeys(named)) for named in mentions]
        places = [[self._places[one] for one in named] for named in objects]
        least = [
            min(row, key=lambda place: chances[place], default=None)
            for row, chances in zip(places, surely, strict=True)
        ]
        names = list(self._places)
        columns = [
            objects,
            [None if place is None else names[place] for place in least],
            [None if place is None else float(surely[row, place]) for row, place in enumerate(least)],
        ]
        return pa.RecordBatch.from_pydict(dict(zip(HELD.names, columns, strict=True)), schema=HELD)
