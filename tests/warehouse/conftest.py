"""Parts written from Python rows, by the columns of warehouse.schemas, into a warehouse of the test's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.copies.matching import match, match_jobs
from actors.copies.shelves import write_shelves
from filters.recipe import Copies
from warehouse import copies, ledger, pairs, schemas, scores
from warehouse.cuts import Policies
from warehouse.files import files_of
from warehouse.groups import Reach
from warehouse.ids import content_id
from warehouse.lake import prepare
from warehouse.publish import ModelFacts, Release, Run, publish
from warehouse.query import query
from warehouse.scores import Said, Scorer

Row = dict[str, Any]

KINDS = {
    "BIGINT": pa.int64(),
    "VARCHAR": pa.string(),
    "INTEGER": pa.int32(),
    "FLOAT": pa.float32(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "BIGINT[]": pa.list_(pa.int64()),
    "FLOAT[]": pa.list_(pa.float32()),
    "VARCHAR[]": pa.list_(pa.string()),
    "TIMESTAMPTZ": pa.timestamp("us", tz="UTC"),
}
ROLES = ("query", "title", "surrounding", "alt")
COPIES = Copies()
EVERYTHING = scores.Rules(None, None, None, None)
NO_POLICIES = Policies()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def schema_of(columns: str) -> pa.Schema:
    """The Arrow schema of a part, of its columns as DuckDB writes them."""
    return pa.schema([(name, KINDS[kind]) for name, kind in (one.split(" ", 1) for one in columns.split(", "))])


@dataclass
class Parts:
    """Writes parts into `folder`, each with a name of its own."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def write(self, columns: str, rows: Sequence[Row]) -> str:
        """One part of the rows; what a row does not name is null."""
        name = self.folder / f"part-{next(self.numbers)}.parquet"
        name.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema_of(columns)), name)
        return str(name)


@dataclass(frozen=True)
class Shot:
    """A picture that a URL shows: its bytes stand for it, and what a look would read off it."""

    data: bytes
    phash: int | None = 0
    quality: int = 100
    std: float = 50.0
    width: int = 300
    height: int = 300
    vector: tuple[float, ...] | None = None
    reason: str | None = None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def image_id(self) -> int:
        return content_id(self.data)

    @property
    def pdq(self) -> str | None:
        """Four times the pHash, so that PDQs are four times as far apart."""
        return None if self.phash is None else 4 * self.phash.to_bytes(8, "big", signed=True).hex()


def _fetched(url: str, shot: Shot | None) -> Row:
    """A row of a fetch part; without a shot the URL failed."""
    if shot is None:
        return {"url": url, "reason": "fetch_http_status", "detail": "404 > 299", "attempts": 1}
    return {
        "url": url,
        "bytes": shot.data,
        "sha256": shot.sha256,
        "nbytes": len(shot.data),
        "final_url": url,
        "content_type": "image/jpeg",
        "fetched_at": NOW,
        "attempts": 1,
    }


def _looked(url: str, shot: Shot | None) -> Row:
    """A row of a look part."""
    if shot is None:
        return {"url": url, "reason": "fetch_http_status", "detail": "404 > 299"}
    return {
        "url": url,
        "image_id": shot.image_id,
        "sha256": shot.sha256,
        "reason": shot.reason,
        "detail": "10 < 200" if shot.reason else None,
        "format": "jpeg",
        "width": shot.width,
        "height": shot.height,
        "nbytes": len(shot.data),
        "phash": shot.phash,
        "dhash": shot.phash,
        "pdq": shot.pdq,
        "pdq_quality": shot.quality,
        "std": shot.std,
        "mean": 100.0,
        "entropy": 5.0,
        "sharpness": 100.0,
        "colours": ["#808080"],
        "colour_shares": [1.0],
        "thumbnail": b"small " + shot.data,
    }


def scorer(model: str | None) -> tuple[Scorer, ...]:
    """The one model of a recipe, which reads every language, or none."""
    return () if model is None else (Scorer("clip", model, None),)


@dataclass(frozen=True)
class Milled:
    """What a log became: the ledger by candidate, the judged pairs, and what publication was given."""

    ledger: dict[int, Row]
    judged: list[Row]
    joined: dict[int, Row]
    counts: dict[str, int]
    run: Run


@dataclass
class World:
    """A warehouse, parts for it, and every stage that is SQL run over rows and pictures made up by a test."""

    warehouse: str
    parts: Parts
    numbers: Iterator[int] = field(default_factory=count)

    def shot(self, data: str, **facts: Any) -> Shot:
        return Shot(data.encode(), **facts)

    def part(self, columns: str, rows: Sequence[Row]) -> str:
        return self.parts.write(columns, rows)

    def rows_in(self, part: str) -> list[Row]:
        rows: list[Row] = pq.read_table(part).to_pylist()
        return rows

    def sifted(self, rows: Sequence[Row]) -> str:
        return self.part(schemas.SIFTED, [{"source_row": row["candidate_id"], **row} for row in rows])

    def told(self, texts: dict[int, Sequence[str | tuple[str, str]]], near: Sequence[Sequence[str]] = ()) -> str:
        """The texts of candidates in the order of their roles; one that is rejected comes with its reason.

        `near` are groups of texts that are near copies.
        """
        groups = {one: min(map(text_id_of, group)) for group in near for one in group}
        rows = [
            _text(candidate, place, *((one, None) if isinstance(one, str) else one))
            for candidate, said in texts.items()
            for place, one in enumerate(said)
        ]
        grouped = [row | {"text_group": groups.get(row["norm"], row["text_id"])} for row in rows]
        return self.part(schemas.SIFTED_TEXTS, grouped)

    def looked(self, shown: dict[str, Shot | None]) -> str:
        return self.part(schemas.LOOKED, [_looked(url, shot) for url, shot in shown.items()])

    def vectors(self, model: str | None, held: dict[int, Sequence[float]]) -> str:
        """A part of one model's vectors, by subject."""
        rows = [{"subject_id": one, "model": model, "vector": list(vector)} for one, vector in held.items()]
        return self.part(schemas.VECTORS, rows)

    def fetched(self, shown: dict[str, Shot | None]) -> str:
        return self.part(schemas.FETCHED, [_fetched(url, shot) for url, shot in shown.items()])

    def folder(self) -> Path:
        out = self.parts.folder / f"run-{next(self.numbers)}"
        out.mkdir(parents=True)
        return out

    def join(
        self, shown: dict[str, Shot | None], asked: Copies = COPIES, clicks: int = 0, source: str = "/logs/one.csv"
    ) -> dict[int, Row]:
        """The joined pictures by id, of one row a URL."""
        sifted = self.sifted([{"candidate_id": n, "url": url, "clicks": clicks} for n, url in enumerate(shown)])
        joined, _ = self.joined(sifted, self.looked(shown), asked, source, self.folder())
        return {row["image_id"]: row for row in self.rows_in(joined)}

    def joined(
        self,
        sifted: str,
        looked: str,
        asked: Copies,
        source: str,
        out: Path,
        vectors: Sequence[str] = (),
        model: str | None = None,
    ) -> tuple[str, str]:
        """The parts of who stands for whom and of the new shelves, as the stage makes them in one process."""
        seen = copies.write_seen(self.warehouse, source, sifted, [looked], out)
        shelves = write_shelves(
            copies.write_nodes(self.warehouse, seen, out, every=asked.min_similarity is not None),
            str(out / "shelves.parquet"),
        )
        near = [match(job) for job in match_jobs(shelves, files_of(self.warehouse, "bands", out), asked, out)]
        join = asked.semantic.join if asked.semantic is not None else None
        reach = Reach(asked.near_bits, join, asked.turned, asked.min_similarity)
        found = copies.Found(self.warehouse, source, seen, near, [], vectors)
        return copies.join_copies(found, copies.Rule(reach, asked.survivor, model), out), shelves

    def mill(
        self,
        log: Sequence[Row],
        shown: dict[str, Shot | None],
        *,
        source: str = "/logs/one.csv",
        run_id: str = "run-one",
        rules: scores.Rules = EVERYTHING,
        asked: Copies = COPIES,
        model: str | None = None,
        vectors: dict[str, tuple[float, ...]] | None = None,
        near: Sequence[Sequence[str]] = (),
        published: bool = True,
    ) -> Milled:
        """Everything between the sift and publication. A row of `log` has candidate_id, url and texts."""
        out = self.folder()
        candidates = self.part(schemas.CANDIDATES, [_candidate(row) for row in log])
        sifted = self.sifted([{key: value for key, value in row.items() if key != "texts"} for row in log])
        texts = self.told({row["candidate_id"]: row["texts"] for row in log}, near)
        seen = {url: shown[url] for url in sorted({row["url"] for row in log if not row.get("reason")})}
        fetched, looked = self.fetched(seen), self.looked(seen)
        joined, shelves = self.joined(sifted, looked, asked, source, out)
        made = pairs.make_pairs(self.warehouse, sifted, texts, [looked], joined, out)
        words = {text_id_of(text): vector for text, vector in (vectors or {}).items()}
        embedded = (self.vectors(model, words),) if words else ()
        embeds = {shot.image_id: shot.vector for shot in seen.values() if shot and shot.vector and not shot.reason}
        pictured = (self.vectors(model, embeds),)
        judged, scored, _ = self.judge(made, [looked], pictured, embedded, scorer(model), [], rules, out)
        told = ledger.make_ledger(self.warehouse, sifted, [looked], joined, judged, out, published=published)
        return Milled(
            ledger={row["candidate_id"]: row for row in self.rows_in(told)},
            judged=self.rows_in(judged),
            joined={row["image_id"]: row for row in self.rows_in(joined)},
            counts=ledger.check_ledger(self.warehouse, candidates, told),
            run=Run(
                run_id=run_id,
                flow_run_id="",
                source=source,
                recipe_name="test",
                recipe="{}",
                models=(ModelFacts(model, "clip", "a folder", "open_clip", "w", "p", "t"),) if model else (),
                heads=(),
                tags=None,
                allow=(),
                limit=None,
                round=0,
                earlier=None,
                protected="",
                started_at=NOW,
                candidates=candidates,
                sifted=sifted,
                texts=texts,
                fetched=(fetched,),
                looked=(looked,),
                vectors=pictured,
                joined=joined,
                shelves=shelves,
                similar=None,
                judged=judged,
                scores=scored,
                embedded=embedded,
                ledger=told,
                report="",
            ),
        )

    def judge(
        self,
        pairs: str,
        looked: Sequence[str],
        pictures: Sequence[str],
        texts: Sequence[str],
        scorers: Sequence[Scorer],
        said: Sequence[Said],
        rules: scores.Rules,
        out: Path,
        policies: Policies = NO_POLICIES,
    ) -> tuple[str, str, dict[str, float]]:
        """Pairs scored by parts of vectors and judged: the names of both parts, and the frozen cuts."""
        cosines = scores.score(self.warehouse, pairs, pictures, texts, scorers, out)
        return scores.judge(self.warehouse, pairs, looked, cosines, scorers, said, rules, policies, out)

    def publish(self, milled: Milled, name: str | None = "first") -> None:
        publish(self.warehouse, milled.run, Release(name, {}, milled.counts, {}) if name else None)

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        return query(self.warehouse, statement)[1]


def text_id_of(norm: str) -> int:
    return content_id(norm.encode())


def _text(candidate: int, place: int, norm: str, reason: str | None) -> Row:
    return {
        "candidate_id": candidate,
        "role": ROLES[place],
        "place": place,
        "raw": norm,
        "norm": norm,
        "language": "en",
        "reason": reason,
        "detail": "told by the test" if reason else None,
        "text_id": text_id_of(norm),
    }


def _candidate(row: Row) -> Row:
    said = [one if isinstance(one, str) else one[0] for one in row["texts"]]
    known = {key: row[key] for key in ("candidate_id", "url")} | {"source_row": row["candidate_id"]}
    return known | dict(zip(ROLES, said, strict=False)) | {"impressions": 100, "clicks": row.get("clicks")}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], World]:
    """Makes an empty warehouse."""

    def make() -> World:
        folder = tmp_path_factory.mktemp("world")
        prepare(str(folder / "lake"))
        return World(str(folder / "lake"), Parts(folder / "parts"))

    return make


@pytest.fixture
def world(made: Callable[[], World]) -> World:
    """An empty warehouse."""
    return made()


@pytest.fixture(scope="session")
def bare(made: Callable[[], World]) -> World:
    """An empty warehouse for the tests that leave nothing in it."""
    return made()
