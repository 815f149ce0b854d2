"""The actor that turns a list of concepts into vectors of one model, for looks to compare pictures with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from actors.models.concepts import concept_vectors, prompts
from actors.models.encoder import Encoder
from actors.models.files import FoundModel
from actors.models.vectors import write
from filters.concepts import Concept, load_concepts

FACTS = b"zeromill"
"""Metadata of the part: `model`, and `scale`, `bias` and `sigmoid`, which make a probability of a cosine."""

SCHEMA = pa.schema({"concept": pa.string(), "vector": pa.list_(pa.float32())})


@dataclass(frozen=True)
class TagJob:
    """`concepts`: a shipped list or a file. `out`: the Parquet to write."""

    concepts: str
    out: str


class Tagger:
    """Loads its model, and writes the vectors of lists of concepts."""

    def __init__(self, found: FoundModel) -> None:
        self._encoder, self._languages = Encoder(found), found.languages

    def __call__(self, job: TagJob) -> str:
        """Write a row per concept, in the order of the list; gives `job.out`."""
        return self.write(load_concepts(job.concepts), job.out)

    def write(self, concepts: Sequence[Concept], out: str) -> str:
        """Write the vectors of these concepts; gives `out`."""
        groups = prompts(concepts, self._languages)
        encoded = self._encoder.encode_texts([text for group in groups for text in group])
        facts = {name: getattr(self._encoder, name) for name in ("scale", "bias", "sigmoid")}
        schema = SCHEMA.with_metadata({FACTS: json.dumps({"model": self._encoder.identity, **facts})})
        vectors = concept_vectors(encoded, groups)
        table = pa.table([[one.id for one in concepts], pa.array(list(vectors), pa.list_(pa.float32()))], schema=schema)
        write(table, out)
        return out
