"""What one actor does with pictures that survived: reads their bytes, has them captioned, and writes a caption part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.captions.shown import bodies, see
from actors.models.captioners.loading import load_captioner
from actors.models.captioners.protocol import FAILED, FoundCaptioner, LoadedCaptioner, Said, Shown, Unsaid
from actors.models.files import ModelMissing
from actors.models.vectors import write
from filters.recipe import Pictures

SCHEMA = pa.schema(
    {
        "image_id": pa.int64(),
        "captioner": pa.string(),
        "model": pa.string(),
        "language": pa.string(),
        "sample": pa.int32(),
        "prompt": pa.string(),
        "seed": pa.int64(),
        "raw": pa.string(),
        "tokens": pa.int32(),
        "ended": pa.bool_(),
        "reason": pa.string(),
        "detail": pa.string(),
    }
)

Row = dict[str, Any]
Told = tuple[Said, ...] | Unsaid


@dataclass(frozen=True)
class CaptionJob:
    """`fetched`: a part that a fetch wrote. `pictures`: Parquet of url and image_id, those of it to caption.

    `out` is to be written, in a folder that exists. `earlier` are parts that the same captioner or others wrote; what
    of this captioner stands in them is not asked again, but where it had failed.
    """

    fetched: str
    pictures: str
    out: str
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """What a job came to: its part, the pictures in it, those the model was asked about, and those that failed."""

    out: str
    pictures: int
    forwards: int
    failed: int


class CaptionMaker:
    """Holds one captioner, which it loads when the first picture has to be shown to it."""

    def __init__(
        self, found: FoundCaptioner, threads: int | None = None, max_pixels: int = Pictures().max_pixels
    ) -> None:
        """`threads` are this process's own cores, or requests in flight to an endpoint; null: as many as it likes."""
        self._found, self._threads, self._max_pixels = found, threads, max_pixels
        self._captioner: LoadedCaptioner | None = None

    def __call__(self, job: CaptionJob) -> Captioned:
        """Write the caption part of the job: rows by picture, then by prompt and sample.

        ModelMissing where the captioner is not here; else its own error where it fails on all of several pictures.
        """
        asked = pq.read_table(job.pictures, columns=["url", "image_id"])
        ids = dict(zip(asked["url"].to_pylist(), asked["image_id"].to_pylist(), strict=True))
        known = self._known(job.earlier, set(ids.values()))
        done = set(known["image_id"].to_pylist())
        rows, forwards = self._make(job.fetched, {url: one for url, one in ids.items() if one not in done})
        table = pa.concat_tables([known, pa.Table.from_pylist(rows, SCHEMA)])
        by = ("image_id", "language", "prompt", "sample")
        write(table.sort_by([(name, "ascending") for name in by]), job.out)
        return Captioned(job.out, len(set(ids.values())), forwards, sum("reason" in row for row in rows))

    def _known(self, parts: Iterable[str], ids: set[int]) -> pa.Table:
        """The captions that this captioner wrote of these pictures, each once."""
        found, left = [SCHEMA.empty_table()], set(ids)
        for part in parts:
            theirs = pq.read_table(part, schema=SCHEMA)
            ours = pc.and_(pc.equal(theirs["model"], self._found.identity), pc.is_null(theirs["reason"]))
            new = theirs.filter(pc.and_(ours, pc.is_in(theirs["image_id"], pa.array(sorted(left), pa.int64()))))
            left -= set(new["image_id"].to_pylist())
            found.append(new)
        return pa.concat_tables(found).set_column(1, SCHEMA.field("captioner"), self._names(found))

    def _names(self, found: Sequence[pa.Table]) -> pa.Array:
        """A recipe may call the same captioner otherwise than the one that wrote an earlier part."""
        return pa.array([self._found.name] * sum(table.num_rows for table in found), pa.string())

    def _make(self, fetched: str, ids: dict[str, int]) -> tuple[list[Row], int]:
        """Rows of these pictures, by URL, and how many the captioner was asked about."""
        if not ids:
            return [], 0
        captioner = self._loaded()
        before, rows, left = captioner.forwards, list[Row](), set(ids.values())
        with ThreadPoolExecutor(max(1, min(self._threads or 1, 8)), thread_name_prefix="decode") as pool:
            found = bodies(fetched, ids)
            while batch := list(islice(found, captioner.batch)):
                left -= {image_id for image_id, _ in batch}
                seen = list(pool.map(lambda body: self._see(*body), batch))
                shown = [one for one in seen if isinstance(one, Shown)]
                told = dict(zip([one.image_id for one in shown], self._ask(shown), strict=True))
                for one, (image_id, _) in zip(seen, batch, strict=True):
                    rows += self._rows(image_id, told[image_id] if isinstance(one, Shown) else one)
        for image_id in sorted(left):
            rows += self._rows(image_id, Unsaid(FAILED, "its bytes are not in the fetched part"))
        return rows, captioner.forwards - before

    def _loaded(self) -> LoadedCaptioner:
        if self._captioner is None:
            self._captioner = load_captioner(self._found, threads=self._threads)
        return self._captioner

    def _see(self, image_id: int, data: bytes) -> Shown | Unsaid:
        return see(image_id, data, self._max_pixels, self._loaded().side)

    def _ask(self, shown: list[Shown]) -> list[Told]:
        """What is said of each; where a batch fails, one by one, so that an odd picture costs the others nothing."""
        try:
            return self._loaded().caption(shown)
        except ModelMissing:
            raise
        except Exception as error:  # libraries raise anything on pictures of odd shapes
            if len(shown) == 1:
                return [_unsaid(error)]
            told = [self._ask_one(one) for one in shown]
            if all(isinstance(one, Unsaid) for one in told):
                raise
            return told

    def _ask_one(self, one: Shown) -> Told:
        return self._ask([one])[0]

    def _rows(self, image_id: int, told: Told) -> list[Row]:
        base: Row = {"image_id": image_id, "captioner": self._found.name, "model": self._found.identity}
        base |= {"seed": self._found.asking.seed}
        if isinstance(told, Unsaid):
            return [base | {"sample": 0, "prompt": "", "reason": told.reason, "detail": told.detail[:300]}]
        return [base | vars(said) for said in told]


def _unsaid(error: Exception) -> Unsaid:
    return Unsaid(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())}")
