"""Captions of pictures: which pictures want some, what checks say of them, and which of them join the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from warehouse import schemas
from warehouse.cosines import vectors_of
from warehouse.cuts import CAPTION
from warehouse.ids import fingerprint
from warehouse.lake import connect, quoted, sized, view, write
from warehouse.pairs import SURVIVOR, write_survivors

CAPTIONS_A_PART = 20_000

# one caption among all: the model's identity covers its weights, prompts and how samples are drawn
_KEY = "image_id, captioner, model, prompt_language, sample"
_SAME = """c.image_id = d.image_id AND c.model = d.model AND c.sample = d.sample
           AND c.prompt_language IS NOT DISTINCT FROM d.prompt_language"""


@dataclass(frozen=True)
class Wanted:
    """A part of fetched pictures, and a Parquet file of `url` and `image_id` of those in it that are asked about."""

    fetched: str
    pictures: str


@dataclass(frozen=True)
class Agreeing:
    """How a caption and its picture must agree by the vectors of `model`: the least cosine, and how much less than
    the best text of people on the picture; null asks nothing."""

    model: str
    min_score: float | None
    below_native: float | None


def pictures_wanted(
    warehouse: str, pairs: str, looked: Sequence[str], fetched: Sequence[str], model: str, out: Path
) -> list[Wanted]:
    """The pictures of `pairs` that `model` has yet to caption, by the parts that hold their bytes.

    Survivors of earlier runs, which no part of this run holds, are written out of the warehouse.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        con.execute(
            """CREATE TEMP TABLE asked AS SELECT DISTINCT image_id FROM pairs_in
               WHERE image_id NOT IN (SELECT image_id FROM lake.captions WHERE model = $1)""",
            [model],
        )
        return _by_part(con, looked, fetched, out)


def captions_to_poll(
    warehouse: str,
    words: Sequence[str],
    checks: Sequence[str],
    looked: Sequence[str],
    fetched: Sequence[str],
    out: Path,
) -> list[Wanted]:
    """The captions that no check has turned away and that name objects, by the parts that hold their pictures' bytes.

    The files have the columns of CAPTION_CHECKS' key, `language` and `objects` besides.
    """
    with connect(warehouse) as con:
        _views(con, words, checks)
        con.execute(f"""CREATE TEMP TABLE asked AS SELECT {_KEY}, text_id, language, objects FROM staying
                        WHERE len(objects) > 0""")
        return _by_part(con, looked, fetched, out)


def _by_part(con: duckdb.DuckDBPyConnection, looked: Sequence[str], fetched: Sequence[str], out: Path) -> list[Wanted]:
    """The rows of the table `asked`, which has an `image_id`, by the parts that hold the bytes of its pictures."""
    view(con, "looked", looked, schemas.LOOKED)
    con.execute(_WHERE)
    con.execute("CREATE TEMP TABLE wanted AS SELECT DISTINCT image_id FROM asked ANTI JOIN urls USING (image_id)")
    earlier = write_survivors(con, out)
    con.execute(f"INSERT INTO urls SELECT image_id, {quoted(SURVIVOR)} || image_id FROM wanted")
    parts = [*fetched, *([earlier] if earlier is not None else [])]
    if not parts:
        return []
    con.execute(_placed(parts))
    held = con.execute("SELECT DISTINCT part FROM placed ORDER BY part").fetchall()
    return [Wanted(parts[part], _rows_of(con, parts[part], part, out)) for (part,) in held]


_WHERE = f"""
    CREATE TEMP TABLE urls AS
    SELECT image_id, min(url) AS url FROM looked
    WHERE reason IS NULL AND image_id IS NOT NULL AND NOT starts_with(url, {quoted(SURVIVOR)}) GROUP BY image_id"""


def _placed(parts: Sequence[str]) -> str:
    """SQL for a table of what is asked with its `url` and the place of its part, part by part."""
    listed = ", ".join(map(quoted, parts))
    return f"""
        CREATE TEMP TABLE placed AS
        SELECT list_position([{listed}], filename) - 1 AS part, asked.*, url
        FROM read_parquet([{listed}], filename = true) JOIN urls USING (url) JOIN asked USING (image_id) ORDER BY ALL"""


def _rows_of(con: duckdb.DuckDBPyConnection, name: str, part: int, out: Path) -> str:
    """Write what is asked of one part; the file is named by the part and the rows."""
    rows = f"SELECT * EXCLUDE (part) FROM placed WHERE part = {part} ORDER BY ALL"
    file = out / f"{Path(name).stem}-{fingerprint(*(str(row) for row in con.execute(rows).fetchall()))}.parquet"
    return str(file) if file.exists() else write(con, rows, str(file))


def captions_known(warehouse: str, pairs: str, models: Sequence[str], out: Path) -> list[str]:
    """Write what earlier runs keep of the captions of these pictures by these models, as parts of CAPTIONS."""
    out.mkdir(parents=True, exist_ok=True)
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        rows = con.execute(
            """SELECT image_id, captioner, model, prompt_language AS language, sample, prompt, seed, raw, tokens,
                      ended, NULL::VARCHAR AS reason, NULL::VARCHAR AS detail
               FROM lake.captions WHERE image_id IN (SELECT image_id FROM pairs_in) AND list_contains($1, model)
               ORDER BY image_id, model, language, sample""",
            [list(models)],
        ).to_arrow_reader(CAPTIONS_A_PART)
        parts = []
        for place, table in enumerate(sized(rows, CAPTIONS_A_PART)):
            parts.append(str(out / f"captions-known-{place}.parquet"))
            pq.write_table(table, parts[-1])
    return parts


def caption_texts(warehouse: str, words: Sequence[str], checks: Sequence[str], out: Path) -> str:
    """Write the texts of captions that no check has turned away, as a part of SIFTED_TEXTS without candidates."""
    with connect(warehouse) as con:
        _views(con, words, checks)
        rows = f"""SELECT DISTINCT ON (text_id) NULL::BIGINT AS candidate_id, {quoted(CAPTION)} || captioner AS role,
                          0::INTEGER AS place, raw, norm, language, NULL::VARCHAR AS measures, NULL::VARCHAR AS reason,
                          NULL::VARCHAR AS detail, text_id, text_id AS text_group
                   FROM staying ORDER BY text_id, captioner, raw"""
        return write(con, rows, str(out / "caption-texts.parquet"))


def join_captions(warehouse: str, pairs: str, words: Sequence[str], checks: Sequence[str], out: str) -> str:
    """Write the pairs of people's texts and, beside them, those of captions that no check has turned away.

    No candidate brought a caption: its `candidate_id` is null, and it changes no row's fate in the ledger.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        _views(con, words, checks)
        rows = f"""SELECT * FROM pairs_in UNION ALL BY NAME
                   SELECT DISTINCT image_id, text_id, {quoted(CAPTION)} || captioner AS role, language,
                          NULL::BIGINT AS candidate_id, image_id AS own_image, text_id AS text_group,
                          NULL::BIGINT AS better_text FROM staying
                   ORDER BY image_id, text_id, role, candidate_id"""
        return write(con, rows, out)


def check_agreement(
    warehouse: str,
    pairs: str,
    words: Sequence[str],
    checks: Sequence[str],
    pictures: Sequence[str],
    texts: Sequence[str],
    asked: Agreeing,
    out: Path,
) -> str:
    """Write what the cosines of pictures and of captions that no check has turned away say, as CAPTION_CHECKS.

    `pairs` are those of people's texts. A caption without a cosine does not agree.
    """
    with connect(warehouse) as con:
        view(con, "pairs_in", [pairs], schemas.PAIRS)
        _views(con, words, checks)
        _cosines(con, pictures, texts, asked.model)
        return write(con, _agreement(asked), str(out / "caption-agreement.parquet"))


def _cosines(con: duckdb.DuckDBPyConnection, pictures: Sequence[str], texts: Sequence[str], model: str) -> None:
    """A table `cosines` of every pair and caption by one model, null where a vector is missing."""
    view(con, "pictures_in", pictures, schemas.VECTORS)
    view(con, "texts_in", texts, schemas.VECTORS)
    con.execute(f"""
        CREATE OR REPLACE TEMP TABLE cosines AS
        WITH met AS (SELECT image_id, text_id, better_text IS NULL AS native FROM pairs_in
                     UNION ALL SELECT image_id, text_id, false FROM staying),
        p AS (SELECT * FROM ({vectors_of("picture", "pictures_in")})
              WHERE model = {quoted(model)} AND subject_id IN (SELECT image_id FROM met)),
        w AS (SELECT * FROM ({vectors_of("text", "texts_in")})
              WHERE model = {quoted(model)} AND subject_id IN (SELECT text_id FROM met))
        SELECT image_id, text_id, bool_or(native) AS native,
               any_value(list_dot_product(p.vector, w.vector))::DOUBLE AS cosine
        FROM met LEFT JOIN p ON p.subject_id = image_id LEFT JOIN w ON w.subject_id = text_id
        GROUP BY image_id, text_id""")


def _agreement(asked: Agreeing) -> str:
    """SQL that holds each caption's cosine against both bounds."""
    tests = ["cosine IS NULL OR isnan(cosine)"]
    told = ["'no cosine'"]
    if asked.min_score is not None:
        tests.append(f"cosine < {asked.min_score!r}")
        told.append(f"printf('cosine %.4f < %g', cosine, {asked.min_score!r})")
    if asked.below_native is not None:
        tests.append(f"cosine < best - {asked.below_native!r}")
        told.append(
            f"printf('cosine %.4f < %.4f of the best text of people - %g', cosine, best, {asked.below_native!r})"
        )
    detail = " ".join(f"WHEN {test} THEN {words}" for test, words in zip(tests, told, strict=True))
    return f"""
        WITH natives AS (SELECT image_id, max(cosine) AS best FROM cosines WHERE native GROUP BY image_id),
        held AS (SELECT w.*, cosine, CASE {detail} END AS why
                 FROM staying w JOIN cosines USING (image_id, text_id) LEFT JOIN natives USING (image_id))
        SELECT {_KEY}, text_id, 'agreement' AS metric, cosine AS value,
               CASE WHEN why IS NOT NULL THEN 'caption_disagrees' END AS reason, why AS detail FROM held"""


def caption_pictures(
    warehouse: str, words: Sequence[str], checks: Sequence[str], pictures: Sequence[str], model: str, out: Path
) -> str:
    """Write the captions that no check has turned away, the objects that they name and their pictures' vectors by
    `model`: the columns of CAPTION_CHECKS' key, `objects` and `vector`, null where there is none."""
    with connect(warehouse) as con:
        _views(con, words, checks)
        view(con, "pictures_in", pictures, schemas.VECTORS)
        rows = f"""SELECT {_KEY}, text_id, objects, vector FROM staying
                   LEFT JOIN (SELECT subject_id, vector FROM ({vectors_of("picture", "pictures_in")})
                              WHERE model = {quoted(model)} AND subject_id IN (SELECT image_id FROM staying))
                   ON subject_id = image_id"""
        return write(con, rows, str(out / "caption-pictures.parquet"))


def keep_best(
    warehouse: str,
    words: Sequence[str],
    checks: Sequence[str],
    pictures: Sequence[str],
    texts: Sequence[str],
    model: str,
    keep: int,
    out: Path,
) -> str:
    """Write the rank of each caption that passed among those of its picture and prompt, best cosine by `model`
    first, as a part of CAPTION_CHECKS; those behind the first `keep` are turned away, equal texts count once."""
    with connect(warehouse) as con:
        _views(con, words, checks)
        view(con, "pairs_in", [], schemas.PAIRS)
        _cosines(con, pictures, texts, model)
        rows = f"""
            WITH placed AS (SELECT s.*, dense_rank() OVER (PARTITION BY image_id, model, prompt_language
                                                           ORDER BY cosine DESC NULLS LAST, text_id) AS place
                            FROM staying s JOIN cosines USING (image_id, text_id))
            SELECT {_KEY}, text_id, 'rank' AS metric, place::DOUBLE AS value,
                   CASE WHEN place > {keep} THEN 'caption_not_best' END AS reason,
                   CASE WHEN place > {keep} THEN place || ' > {keep} of its prompt' END AS detail FROM placed"""
        return write(con, rows, str(out / "caption-ranks.parquet"))


def _views(con: duckdb.DuckDBPyConnection, words: Sequence[str], checks: Sequence[str]) -> None:
    """`words_in`, `checks_in`, and `staying`: the captions that no check has turned away."""
    view(con, "words_in", words, schemas.CAPTION_WORDS)
    view(con, "checks_in", checks, schemas.CAPTION_CHECKS)
    con.execute(f"""CREATE OR REPLACE TEMP VIEW staying AS SELECT * FROM words_in c
        WHERE NOT EXISTS (FROM checks_in d WHERE d.reason IS NOT NULL AND {_SAME})""")


def told_of(warehouse: str, words: Sequence[str], checks: Sequence[str]) -> str:
    """How many captions there are, how many stay, and what turned the others away, on one line."""
    with connect(warehouse) as con:
        _views(con, words, checks)
        made, stay = con.execute("SELECT (SELECT count(*) FROM words_in), (SELECT count(*) FROM staying)").fetchall()[0]
        reasons = con.execute(
            f"""SELECT reason, count(DISTINCT ({_KEY})) FROM checks_in WHERE reason IS NOT NULL
                GROUP BY reason ORDER BY 2 DESC, 1"""
        ).fetchall()
    return ", ".join([f"{made} captions, {stay} stay", *(f"{count} {reason}" for reason, count in reasons)])


def commit_captions(con: duckdb.DuckDBPyConnection, run_id: str, words: Sequence[str], checks: Sequence[str]) -> None:
    """Within publication's transaction: the captions as they were written, which later runs read by their own checks,
    and what this run's checks say, each beside the words that it read."""
    _views(con, words, checks)
    con.execute(
        """INSERT INTO lake.captions BY NAME
           SELECT DISTINCT * EXCLUDE (objects, norm, language, text_id) FROM words_in c
           WHERE NOT EXISTS (FROM lake.captions d
                             WHERE d.image_id = c.image_id AND d.model = c.model)
           ORDER BY image_id, model, prompt_language, sample"""
    )
    con.execute("DELETE FROM lake.caption_checks WHERE run_id = $1", [run_id])
    con.execute(
        f"""INSERT INTO lake.caption_checks BY NAME
            SELECT DISTINCT $1 AS run_id, d.*, c.norm FROM checks_in d LEFT JOIN words_in c ON {_SAME}""",
        [run_id],
    )
