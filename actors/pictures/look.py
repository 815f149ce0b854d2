"""What one actor does with one fetched part: look at each picture once, and write what was seen and the vectors."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import cv2
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.models.files import FoundModel
from actors.models.sides import side_of
from actors.models.vectors import Vectors, recalled, write, write_vectors
from actors.pictures.decode import Fault, decode
from actors.pictures.measures import measure
from actors.pictures.readout import Readout, TagList
from actors.pictures.seen import (
    CARRIED,
    OF_HEADS,
    SCHEMA,
    as_table,
    image_id,
    remembered,
)
from filters import Filter
from filters.chosen import around_embedding, chosen, first_reasons
from filters.recipe import Pictures

if TYPE_CHECKING:
    from actors.models.encoder import Begun, Encoder, Fitted

# Pixels of the shorter side that the measures and most models need. 640x480 then decodes at half its size: 788/s
# of decode and measures on a core against 458/s at 256; 799 of 803 photos keep ImageHash's hash, 4 differ by 2 bits.
_SCALE_TO = 224
_CHUNK = {"cpu": 64, "cuda": 512}  # pictures; bounds the memory that bytes and pixels take, three being under way
_CORES_A_DECODER = 4  # a ViT-B/32 in bfloat16 takes a CPU ten times as long as decoding for it
_BEFORE_DECODING = "image_hash_listed"  # the one filter that stands before the decoder's own reasons

NO_HEADS: Mapping[str, pa.Array] = {}

Row = dict[str, Any]


@dataclass(frozen=True)
class Looking:
    """What is asked of every picture: filters, models to embed it, and what is read off the vectors."""

    pictures: Pictures
    models: tuple[FoundModel, ...] = ()
    heads: tuple[str, ...] = ()
    tags: TagList | None = None

    @property
    def scale_to(self) -> int:
        """Pixels of the shorter side to which a picture may be reduced while it is decoded."""
        return max([_SCALE_TO, *map(side_of, self.models)])


@dataclass(frozen=True)
class LookJob:
    """`part` is a Parquet file that a fetch wrote; `out` and `vectors` are to be written, in folders that exist.

    `earlier` are parts of the same pictures that other recipes' looks left, decoded at the same scale; `known` are
    parts of vectors. What stands in them is not done again.
    """

    part: str
    out: str
    vectors: str
    earlier: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass
class Looked:
    """What a look came to: its part, how many rows, pictures decoded and forward passes, and where the time went.

    `seconds`: of `read`, `decode` (waiting for it), `forward` and `write`.
    """

    out: str
    rows: int = 0
    decoded: int = 0
    forwards: int = 0
    device: str = "cpu"
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Count what happens in here as time of `step`."""
        began = time.monotonic()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.monotonic() - began


@dataclass(frozen=True)
class _Sight:
    """One picture decoded: its row, and what of its pixels each model needs; none where it did not decode."""

    row: Row
    fitted: tuple[Fitted, ...]


@dataclass(frozen=True)
class _Chunk:
    """Pictures under way: those that are new, and what was sent through each model."""

    rows: pa.Table
    sent: list[tuple[list[int], Begun]]


class Looker:
    """Looks at parts: decodes each distinct picture once, measures, filters and, with models, embeds it."""

    def __init__(self, looking: Looking, cores: int = 1) -> None:
        """`cores` are this process's own. Models are loaded when the first picture has to be decoded for them."""
        self._looking, self._cores = looking, cores
        self._before, self._after = around_embedding(chosen(looking.pictures.filters, "picture"))
        self._readout = Readout(looking.heads, looking.tags)
        self._pool: ThreadPoolExecutor | None = None
        self._started = False
        self._encoders: tuple[Encoder, ...] = ()
        cv2.setNumThreads(0)  # the pool is the parallelism

    def __call__(self, job: LookJob) -> Looked:
        """Write both parts of the job, a row for every row of `job.part` in its order."""
        done = Looked(job.out)
        with done.clock("read"):
            fetched = pq.read_table(job.part, columns=[*CARRIED, "reason", "detail"])
            digests = _distinct(fetched)
            known = _judged(remembered(job.earlier, digests), self._before)
            vectors = recalled(job.known, {image_id(one) for one in digests}, self._identities)
        tables = [known]
        for chunk in self._chunks(job.part, self._to_do(digests, known, vectors), vectors, done):
            tables.append(chunk.rows)
            with done.clock("forward"):
                self._collect(chunk, vectors)
        with done.clock("write"):
            seen = self._read_out(pa.concat_tables(tables), vectors)
            write_vectors(vectors, job.vectors)
            write(_of_rows(fetched, seen), job.out)
        done.rows, done.device = fetched.num_rows, self._device
        return done

    @property
    def _identities(self) -> list[str]:
        return [model.identity for model in self._looking.models]

    def _to_do(self, digests: Sequence[str], known: pa.Table, vectors: Vectors) -> dict[str, bool]:
        """The pictures whose bytes are needed, by hex sha256, and whether they were never seen before."""
        seen = dict(zip(known["sha256"].to_pylist(), known["reason"].to_pylist(), strict=True))
        to_do = {}
        for digest in digests:
            if digest not in seen:
                to_do[digest] = True
            elif seen[digest] is None and any(image_id(digest) not in held for held in vectors.values()):
                to_do[digest] = False
        return to_do

    def _chunks(self, part: str, to_do: dict[str, bool], vectors: Vectors, done: Looked) -> Iterator[_Chunk]:
        """Pictures, decoded and sent through the models; the next ones decode meanwhile, and one chunk waits sent."""
        if not to_do:
            return
        self._start()
        before = sum(encoder.forwards for encoder in self._encoders)
        waiting = None
        for sights in self._decoded(_bodies(part, to_do, _CHUNK[self._device]), done):
            done.decoded += len(sights)
            with done.clock("forward"):
                chunk = self._send(sights, to_do, vectors)
            if waiting is not None:
                yield waiting
            waiting = chunk
        if waiting is not None:
            yield waiting
        done.forwards = sum(encoder.forwards for encoder in self._encoders) - before

    @property
    def _device(self) -> str:
        return self._encoders[0].device if self._encoders else "cpu"

    def _start(self) -> None:
        """Load the models, once, and start the threads that decode beside them.

        Where the models compute on the same cores few are enough, and more would make the models' own threads, of
        which all wait for the last one, wait longer. On one core there are none: taking turns would gain nothing.
        """
        if self._started:
            return
        if self._looking.models:
            from actors.models.encoder import Encoder  # torch takes seconds to import, and not all have a model

            self._encoders = tuple(Encoder(model, threads=self._cores) for model in self._looking.models)
        shared = bool(self._encoders) and self._device == "cpu"
        threads = max(1, self._cores // _CORES_A_DECODER) if shared else self._cores
        if self._cores > 1 or self._device != "cpu":
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._started = True

    def _decoded(self, chunks: Iterator[list[Row]], done: Looked) -> Iterator[list[_Sight]]:
        """Each chunk decoded; with a pool the next one is read and handed to it before this one is given."""
        if self._pool is not None:
            yield from self._ahead(self._pool, chunks, done)
            return
        for chunk in chunks:
            with done.clock("decode"):
                sights = [self._see(row) for row in chunk]
            yield sights

    def _ahead(self, pool: ThreadPoolExecutor, chunks: Iterator[list[Row]], done: Looked) -> Iterator[list[_Sight]]:
        waiting: list[Future[_Sight]] | None = None
        for chunk in chain(chunks, [None]):
            started = None if chunk is None else [pool.submit(self._see, row) for row in chunk]
            if waiting is not None:
                with done.clock("decode"):
                    sights = [future.result() for future in waiting]
                yield sights
            waiting = started

    def _see(self, fetched: Row) -> _Sight:
        picture = decode(fetched["bytes"], self._looking.pictures.max_pixels, self._looking.scale_to)
        row = {name: fetched[name] for name in CARRIED} | {"image_id": image_id(fetched["sha256"])}
        row |= {"format": picture.format, "width": picture.width, "height": picture.height}
        if isinstance(picture, Fault):
            return _Sight(row | {"reason": picture.reason, "detail": picture.detail}, ())
        try:
            fitted = tuple(one.fit(picture.pixels, picture.height, picture.width) for one in self._encoders)
            return _Sight(row | vars(measure(picture.pixels)), fitted)
        except Exception as error:  # libraries raise anything on pixels of odd shapes, and one picture may stop no part
            return _Sight(row | {"reason": "image_failed", "detail": f"{type(error).__name__}: {error}"[:300]}, ())

    def _send(self, sights: Sequence[_Sight], to_do: dict[str, bool], vectors: Vectors) -> _Chunk:
        """Judge what is new, and send through each model what passed and it has not embedded yet."""
        rows = _judged(as_table([sight.row for sight in sights if to_do[sight.row["sha256"]]]), self._before)
        turned_away = set(rows.filter(pc.is_valid(rows["reason"]))["sha256"].to_pylist())
        passed = [sight for sight in sights if sight.fitted and sight.row["sha256"] not in turned_away]
        sent = []
        for place, encoder in enumerate(self._encoders):
            new = [sight for sight in passed if sight.row["image_id"] not in vectors[encoder.identity]]
            ids = [sight.row["image_id"] for sight in new]
            sent.append((ids, encoder.begin([sight.fitted[place] for sight in new])))
        return _Chunk(rows, sent)

    def _collect(self, chunk: _Chunk, vectors: Vectors) -> None:
        for encoder, (ids, begun) in zip(self._encoders, chunk.sent, strict=True):
            vectors[encoder.identity].update(zip(ids, encoder.finish(begun), strict=True))

    def _read_out(self, seen: pa.Table, vectors: Vectors) -> pa.Table:
        """With what heads and concepts say of those that passed, and the word of the filters that listen to heads."""
        embedded = pa.array(set.intersection(*map(set, vectors.values())) if vectors else (), pa.int64())
        heard = pc.and_(pc.is_null(seen["reason"]), pc.is_in(seen["image_id"], embedded))
        told = self._readout.columns(pc.if_else(heard, seen["image_id"], None).to_pylist(), vectors)
        for name in OF_HEADS:
            if name in told:
                seen = seen.set_column(seen.schema.get_field_index(name), SCHEMA.field(name), told[name])
        return _judged(seen, self._after, {name: told[name] for name in told if name not in OF_HEADS})


def _distinct(fetched: pa.Table) -> list[str]:
    """The hex sha256 of every picture that was fetched, each once, in the order of the rows."""
    digests: list[str] = fetched.filter(pc.is_null(fetched["reason"]))["sha256"].to_pylist()
    return list(dict.fromkeys(digests))


def _bodies(part: str, to_do: Collection[str], size: int) -> Iterator[list[Row]]:
    """The rows of these pictures with their bytes, each picture once, about `size` at a time."""
    left, chunk = set(to_do), list[Row]()
    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            if left.isdisjoint(file.read_row_group(group, columns=["sha256"])["sha256"].to_pylist()):
                continue
            for batch in file.iter_batches(size, row_groups=[group], columns=[*CARRIED, "bytes", "reason"]):
                for row in batch.to_pylist():
                    if row["reason"] is None and row["sha256"] in left:
                        left.remove(row["sha256"])
                        chunk.append(row)
                if len(chunk) >= size:
                    yield chunk
                    chunk = []
    if chunk:
        yield chunk


def _judged(seen: pa.Table, filters: Sequence[Filter], heads: Mapping[str, pa.Array] = NO_HEADS) -> pa.Table:
    """With the first reason that applies to each picture; what a decoder said stands, but for a listed hash."""
    columns = {name: seen[name].combine_chunks() for name in seen.schema.names}
    reasons, details = first_reasons(pa.RecordBatch.from_pydict({**columns, **heads}), filters)
    speaks = pc.and_kleene(
        pc.is_valid(reasons), pc.or_kleene(pc.is_null(seen["reason"]), pc.equal(reasons, _BEFORE_DECODING))
    )
    for name, told in (("reason", reasons), ("detail", details)):
        said = pc.if_else(speaks, told, seen[name])
        seen = seen.set_column(seen.schema.get_field_index(name), seen.schema.field(name), said)
    return seen


def _of_rows(fetched: pa.Table, seen: pa.Table) -> pa.Table:
    """A row for every fetched one: what was seen on its bytes, whichever address they came from, or its own reason."""
    places = {digest: place for place, digest in enumerate(seen["sha256"].to_pylist())}
    failed = pc.is_valid(fetched["reason"])
    rows = zip(fetched["sha256"].to_pylist(), failed.to_pylist(), strict=True)
    table = seen.take(pa.array([None if bad else places[digest] for digest, bad in rows], pa.int64()))
    for name in (*CARRIED, "reason", "detail"):
        own = pc.if_else(failed, fetched[name], table[name]) if name != "url" else fetched[name]
        table = table.set_column(
            table.schema.get_field_index(name), table.schema.field(name), own.cast(SCHEMA.field(name).type)
        )
    return table.cast(SCHEMA)
