"""Make a run count: its parts, tables, ledger and release enter the catalogue in one transaction, or not at all."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from datetime import datetime

import duckdb

from warehouse import schemas
from warehouse.captions import commit_captions
from warehouse.cuts import CAPTION
from warehouse.errors import NameTaken, WarehouseError
from warehouse.ids import fingerprint as content_name
from warehouse.lake import connect, locate, quoted, view, write
from warehouse.protected import protected_hash
from warehouse.similar import Similar, commit_similar
from warehouse.tables import PIXEL_ROW_GROUP

PARTS_A_FILE = 16
"""Fetch parts whose kept pictures share one file of `pixels`."""


@dataclass(frozen=True)
class ModelFacts:
    """A row of `models`: identity, name and place in the recipe, layout, and hashes of three of its parts."""

    model: str
    name: str
    source: str
    kind: str
    weights_sha256: str
    preprocessing: str
    tokenizer: str


@dataclass(frozen=True)
class HeadFacts:
    """A head of the run: its name, its model's identity, and the hash of its file."""

    name: str
    model: str
    head: str


@dataclass(frozen=True)
class TagFacts:
    """The list of concepts of the run, by name and content, and the identity of the model that compared."""

    list: str
    model: str


@dataclass(frozen=True)
class Captioned:
    """What a run's captioners wrote: parts of CAPTION_WORDS, of CAPTION_CHECKS, and of the texts that they make
    (SIFTED_TEXTS); `weight` is that of a caption's pair in the release."""

    words: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class Run:
    """One execution of `curate` and the parts that it made; what publication needs to know.

    `allow` and `limit` are those of the plan; `round` counts how often what failed for a while was asked again, and
    `earlier` is the run whose failures they were. `protected` is protected.protected_hash as it was when it began.
    """

    run_id: str
    flow_run_id: str
    source: str
    recipe_name: str
    recipe: str
    models: tuple[ModelFacts, ...]
    heads: tuple[HeadFacts, ...]
    tags: TagFacts | None
    allow: tuple[str, ...]
    limit: int | None
    round: int
    earlier: str | None
    protected: str
    started_at: datetime
    candidates: str
    sifted: str
    texts: str
    fetched: tuple[str, ...]
    looked: tuple[str, ...]
    vectors: tuple[str, ...]
    joined: str
    shelves: str | None
    similar: Similar | None
    judged: str
    scores: str
    embedded: tuple[str, ...]
    ledger: str
    report: str
    captions: Captioned = Captioned()


@dataclass(frozen=True)
class Release:
    """A release to be: its name, its frozen cut values, and what was counted and measured of it."""

    name: str
    cuts: dict[str, float]
    counts: dict[str, int]
    metrics: dict[str, float | int | None]


def publish(warehouse: str, run: Run, release: Release | None) -> None:
    """Commit the run; with a release it is published, without one only what was decided is recorded.

    A release that this run has published already stays as it is: releases never change. Raises WarehouseError where
    another run, or a set that was protected, changed meanwhile what this run rests on.
    """
    with connect(warehouse) as con:
        if release is not None and not check_name(con, release.name, run.run_id):
            return
        _views(con, run)
        _check_undisturbed(con)
        if protected_hash(warehouse) != run.protected:
            raise WarehouseError("Other sets are protected than when this run began.\nRun again: what is done stays.")
        files = _pixel_files(con, warehouse, run)
        con.execute("BEGIN")
        _log_rows(con, run)
        _pictures(con, run)
        for file in files:
            con.execute(f"CALL ducklake_add_data_files('lake', 'pixels', {quoted(file)})")
        _words(con, run)
        commit_captions(con, run.run_id, run.captions.words, run.captions.checks)
        _ledger(con, run, release)
        if release is not None:
            _release(con, run, release)
        con.execute("COMMIT")


def _check_undisturbed(con: duckdb.DuckDBPyConnection) -> None:
    """Raise where another run has joined pictures to this run's, since this one looked who hangs together."""
    if con.execute(_DISTURBED).fetchall()[0][0]:
        raise WarehouseError(
            "Another run kept copies of this run's pictures while it was under way.\n"
            "Run again: what is done stays, and copies are compared anew."
        )


# new pictures that another run has kept otherwise, and pictures that came to a component which `joined` knows without
_DISTURBED = """
    WITH now AS (SELECT image_id, coalesce(duplicate_of, image_id) AS root,
                        coalesce(component, duplicate_of, image_id) AS component FROM lake.images WHERE passed)
    SELECT count(*) FROM (
        SELECT j.image_id FROM joined j JOIN now n USING (image_id)
        WHERE NOT j.known AND (n.component <> j.component OR n.root <> j.root)
        UNION ALL
        SELECT image_id FROM now ANTI JOIN joined USING (image_id)
        WHERE component IN (SELECT n.component FROM now n JOIN joined USING (image_id)))"""


def check_name(con: duckdb.DuckDBPyConnection, name: str, run_id: str) -> bool:
    """Whether the name is free, false where this run has it; NameTaken where it holds something else."""
    held = con.execute("SELECT fingerprint FROM lake.releases WHERE release = $1", [name]).fetchall()
    if held and held[0][0] != run_id:
        raise NameTaken(
            f"A release {name} exists already and holds something else.\n"
            "Releases never change: give this one another name with --release."
        )
    return not held


def add_name(warehouse: str, fingerprint: str, name: str) -> None:
    """Give a published release a further name; its rows are copied, nothing is run."""
    with connect(warehouse) as con:
        if not check_name(con, name, fingerprint):
            return
        old = con.execute(
            "SELECT release FROM lake.releases WHERE fingerprint = $1 ORDER BY created_at, release LIMIT 1",
            [fingerprint],
        ).fetchall()[0][0]
        con.execute("BEGIN")
        con.execute(
            "INSERT INTO lake.release_pairs SELECT * REPLACE ($1 AS release) "
            "FROM lake.release_pairs WHERE release = $2",
            [name, old],
        )
        con.execute(
            "INSERT INTO lake.releases SELECT * REPLACE ($1 AS release, now() AS created_at) "
            "FROM lake.releases WHERE release = $2",
            [name, old],
        )
        con.execute("COMMIT")


def _views(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    view(con, "candidates_in", [run.candidates], schemas.CANDIDATES)
    view(con, "sifted", [run.sifted], schemas.SIFTED)
    view(con, "told", [run.texts], schemas.SIFTED_TEXTS)
    view(con, "written", run.captions.texts, schemas.SIFTED_TEXTS)
    view(con, "fetched", run.fetched, schemas.FETCHED)
    view(con, "looked", run.looked, schemas.LOOKED)
    view(con, "joined", [run.joined], schemas.JOINED)
    view(con, "vectors_in", run.vectors, schemas.VECTORS)
    view(con, "judged", [run.judged], schemas.JUDGED)
    view(con, "scores_in", [run.scores], schemas.SCORES)
    view(con, "embedded", run.embedded, schemas.VECTORS)
    view(con, "ledger_in", [run.ledger], schemas.LEDGER)
    # one URL speaks for a picture that several have: the smallest, so that the choice is the same everywhere
    con.execute("""CREATE TEMP TABLE shown AS
        SELECT image_id, min(url) AS url FROM looked WHERE image_id IS NOT NULL AND sha256 IS NOT NULL
        GROUP BY image_id""")


def _pixel_files(con: duckdb.DuckDBPyConnection, warehouse: str, run: Run) -> list[str]:
    """Write the original bytes of new pictures to files under the data path, before the transaction begins.

    Also of copies: one that a later picture is near to, and who stands for it now is not, may come to stand for it.

    A file is named by its pictures: what an earlier run or attempt has handed to DuckLake is never written again.
    """
    con.execute("""CREATE TEMP TABLE chosen AS SELECT url, image_id FROM shown JOIN joined USING (image_id)
        WHERE image_id NOT IN (SELECT image_id FROM lake.pixels)""")
    folder = f"{locate(warehouse).data.rstrip('/')}/pixels"
    files: list[str] = []
    for start in range(0, len(run.fetched), PARTS_A_FILE):
        view(con, "some_fetched", run.fetched[start : start + PARTS_A_FILE], schemas.FETCHED)
        rows = "SELECT image_id, bytes FROM some_fetched JOIN chosen USING (url)"
        ids = [str(row[0]) for row in con.execute(f"SELECT image_id FROM ({rows}) ORDER BY image_id").fetchall()]
        if ids:
            files.append(_pixel_file(con, rows, f"{folder}/{run.run_id}-{content_name(*ids)}.parquet"))
    return files


def _pixel_file(con: duckdb.DuckDBPyConnection, rows: str, file: str) -> str:
    if "://" not in file:
        return write(con, rows, file, row_group=PIXEL_ROW_GROUP)
    con.execute(f"COPY ({rows}) TO {quoted(file)} (FORMAT parquet, ROW_GROUP_SIZE {PIXEL_ROW_GROUP})")
    return file


def _log_rows(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    for table in ("candidates", "candidate_texts"):
        con.execute(f"DELETE FROM lake.{table} WHERE source = $1", [run.source])
    con.execute(
        """INSERT INTO lake.candidates BY NAME
           SELECT candidate_id, $1 AS run_id, $2 AS source, source_row, url, page_url, query, title, surrounding, alt,
                  impressions, clicks, ts FROM candidates_in""",
        [run.run_id, run.source],
    )
    con.execute(
        "INSERT INTO lake.candidate_texts BY NAME SELECT * EXCLUDE (place), $1 AS source FROM told",
        [run.source],
    )


def _pictures(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Rows of pictures that are new or that no run had let pass before, and what the run changed about others."""
    con.execute("""CREATE TEMP TABLE pictures_in AS
        SELECT s.image_id, l.sha256, l.md5, s.url, h.host, l.format, l.width, l.height, l.nbytes, l.phash,
               f.fetched_at, f.consent, f.content_type, l.std, l.mean, l.entropy, l.sharpness,
               coalesce(j.clicks, h.clicks) AS clicks,
               j.image_id IS NOT NULL AS passed,
               CASE WHEN j.root <> s.image_id THEN j.root END AS duplicate_of, j.rule AS duplicate_rule,
               CASE WHEN j.root <> s.image_id THEN j.distance END AS duplicate_distance,
               CASE WHEN j.root <> s.image_id THEN j.similarity END AS duplicate_similarity, j.component,
               l.colours, l.colour_shares, l.dhash, l.pdq, l.pdq_quality
        FROM shown s JOIN looked l USING (image_id, url) JOIN fetched f USING (url)
        LEFT JOIN (SELECT url, any_value(host) AS host, sum(coalesce(clicks, 0))::BIGINT AS clicks
                   FROM sifted GROUP BY url) h USING (url)
        LEFT JOIN joined j USING (image_id)
        LEFT JOIN lake.images known USING (image_id)
        WHERE known.image_id IS NULL
           OR (j.image_id IS NOT NULL AND (NOT known.passed OR (known.pdq IS NULL AND l.pdq IS NOT NULL)))""")
    con.execute("DELETE FROM lake.images WHERE image_id IN (SELECT image_id FROM pictures_in)")
    con.execute("INSERT INTO lake.images BY NAME SELECT * FROM pictures_in")
    _copies(con, run)
    con.execute("""INSERT INTO lake.thumbnails BY NAME
        SELECT image_id, any_value(thumbnail) AS bytes FROM looked
        WHERE reason IS NULL AND thumbnail IS NOT NULL AND image_id NOT IN (SELECT image_id FROM lake.thumbnails)
        GROUP BY image_id""")
    _models(con, run)
    _embeddings(con)
    _said(con, run)


def _copies(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """Who stands for pictures of earlier runs now, where each picture was seen, and where the next run finds it."""
    con.execute("""UPDATE lake.images SET component = j.component, duplicate_rule = j.rule,
            duplicate_of = CASE WHEN j.root <> j.image_id THEN j.root END,
            duplicate_distance = CASE WHEN j.root <> j.image_id THEN j.distance END,
            duplicate_similarity = CASE WHEN j.root <> j.image_id THEN j.similarity END,
            clicks = coalesce(j.clicks, images.clicks)
        FROM joined j WHERE j.known AND j.image_id = images.image_id
          AND (j.component, j.root, coalesce(j.clicks, images.clicks), j.rule, j.distance, j.similarity)
              IS DISTINCT FROM
              (images.component, coalesce(images.duplicate_of, images.image_id), images.clicks, duplicate_rule,
               duplicate_distance, duplicate_similarity)""")
    con.execute("DELETE FROM lake.sightings WHERE source = $1", [run.source])
    con.execute(
        """INSERT INTO lake.sightings BY NAME
           SELECT $1 AS source, image_id, clicks_here AS clicks FROM joined WHERE shown""",
        [run.source],
    )
    if run.similar is not None:
        commit_similar(con, run.similar)
    if run.shelves is not None:
        con.execute(
            f"""INSERT INTO lake.bands BY NAME SELECT * FROM read_parquet({quoted(run.shelves)})
                WHERE image_id IN (SELECT image_id FROM pictures_in) ORDER BY shelf, value, image_id"""
        )


def _models(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    for facts in run.models:
        con.execute(
            """INSERT INTO lake.models BY NAME
               SELECT $1 AS model, $2 AS name, $3 AS source, $4 AS kind, $5 AS weights_sha256, $6 AS preprocessing,
                      $7 AS tokenizer WHERE $1 NOT IN (SELECT model FROM lake.models)""",
            list(astuple(facts)),
        )


def _embeddings(con: duckdb.DuckDBPyConnection) -> None:
    """Vectors that are new; of pictures that the look turned away none, though a part may hold them."""
    passed = "subject_id IN (SELECT image_id FROM looked WHERE reason IS NULL)"
    for subject, rows in (("picture", f"SELECT * FROM vectors_in WHERE {passed}"), ("text", "SELECT * FROM embedded")):
        con.execute(
            f"""INSERT INTO lake.embeddings BY NAME
                SELECT $1 AS subject, subject_id, model, min(vector) AS vector FROM ({rows}) new
                WHERE NOT EXISTS (FROM lake.embeddings e WHERE e.subject = $1 AND e.subject_id = new.subject_id
                                                           AND e.model = new.model)
                GROUP BY subject_id, model""",
            [subject],
        )


def _said(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    """What heads and concepts say of the pictures that passed, by the very head and the very list."""
    con.execute("""CREATE TEMP TABLE said AS SELECT DISTINCT ON (image_id) image_id, heads, head_values, tags,
        tag_probabilities FROM looked WHERE image_id IS NOT NULL AND reason IS NULL ORDER BY image_id, url""")
    for head in run.heads:
        con.execute(
            """INSERT INTO lake.picture_scores BY NAME
               SELECT image_id, $1 AS metric, $2 AS model, $3 AS head,
                      head_values[list_position(heads, $1)] AS value FROM said
               WHERE list_contains(heads, $1) AND image_id NOT IN
                     (SELECT image_id FROM lake.picture_scores WHERE metric = $1 AND model = $2 AND head = $3)""",
            list(astuple(head)),
        )
    if run.tags is not None:
        con.execute(
            """INSERT INTO lake.tags BY NAME
               WITH new AS (SELECT image_id, unnest(range(1, len(tags) + 1))::INTEGER AS place, unnest(tags) AS concept,
                                   unnest(tag_probabilities) AS probability FROM said WHERE tags IS NOT NULL)
               SELECT new.*, $1 AS list, $2 AS model FROM new
               WHERE NOT EXISTS (FROM lake.tags t WHERE t.image_id = new.image_id AND t.place = new.place
                                                    AND t.list = $1 AND t.model = $2)""",
            list(astuple(run.tags)),
        )


def _words(con: duckdb.DuckDBPyConnection, run: Run) -> None:
    con.execute("""INSERT INTO lake.texts BY NAME
        SELECT text_id, any_value(norm) AS norm, min(raw) AS raw, any_value(language) AS language
        FROM (FROM told UNION ALL BY NAME FROM written)
        WHERE text_id IS NOT NULL AND text_id NOT IN (SELECT text_id FROM lake.texts) GROUP BY text_id""")
    con.execute("""INSERT INTO lake.pairs BY NAME
        SELECT image_id, text_id, role, min(candidate_id) AS candidate_id FROM judged
        ANTI JOIN lake.pairs USING (image_id, text_id, role) WHERE better_text IS NULL
        GROUP BY image_id, text_id, role""")
    con.execute("""INSERT INTO lake.scores BY NAME
        SELECT * FROM scores_in ANTI JOIN lake.scores USING (image_id, text_id, metric, model)""")


def _ledger(con: duckdb.DuckDBPyConnection, run: Run, release: Release | None) -> None:
    name = release.name if release else None
    con.execute("DELETE FROM lake.ledger WHERE source = $1", [run.source])
    con.execute("DELETE FROM lake.ledger_history WHERE run_id = $1", [run.run_id])
    for table in ("ledger", "ledger_history"):
        con.execute(
            f"""INSERT INTO lake.{table} BY NAME
                SELECT *, $1 AS run_id, $2 AS source, CASE WHEN outcome = 'kept' THEN $3 END AS release
                FROM ledger_in""",
            [run.run_id, run.source, name],
        )
    con.execute("DELETE FROM lake.runs WHERE run_id = $1", [run.run_id])
    con.execute(
        """INSERT INTO lake.runs BY NAME SELECT $1 AS run_id, $2 AS flow_run_id, $3 AS source, $1 AS fingerprint,
           $4 AS recipe_name, $5 AS recipe, $6 AS outcome, $7 AS release, $8 AS report, $9::TIMESTAMPTZ AS started_at,
           now() AS finished_at, $10 AS allow, $11::BIGINT AS limit_rows, $12::INTEGER AS round, $13 AS earlier,
           $14 AS protected""",
        [
            run.run_id,
            run.flow_run_id,
            run.source,
            run.recipe_name,
            run.recipe,
            "published" if release else "not_published",
            name,
            run.report,
            run.started_at,
            json.dumps(run.allow),
            run.limit,
            run.round,
            run.earlier,
            run.protected,
        ],
    )


def _release(con: duckdb.DuckDBPyConnection, run: Run, release: Release) -> None:
    con.execute(
        """INSERT INTO lake.release_pairs BY NAME
           SELECT DISTINCT $1 AS release, image_id, text_id, role,
                  (CASE WHEN starts_with(role, $2) THEN $3 ELSE 1.0 END)::FLOAT AS weight
           FROM judged WHERE reason IS NULL ORDER BY image_id, text_id, role""",
        [release.name, CAPTION, run.captions.weight],
    )
    con.execute(
        """INSERT INTO lake.releases BY NAME SELECT $1 AS release, $2 AS recipe, $3 AS recipe_name, $4 AS fingerprint,
           $4 AS run_id, $5 AS source, $6 AS cuts, $7 AS counts, $8 AS metrics, now() AS created_at""",
        [
            release.name,
            run.recipe,
            run.recipe_name,
            run.run_id,
            run.source,
            json.dumps(release.cuts),
            json.dumps(release.counts),
            json.dumps(release.metrics),
        ],
    )
