"""The tables of a warehouse, as DuckLake holds them."""

from __future__ import annotations

import duckdb

TABLES: dict[str, str] = {
    "candidates": """candidate_id BIGINT, run_id VARCHAR, source VARCHAR, source_row BIGINT, url VARCHAR,
        page_url VARCHAR, query VARCHAR, title VARCHAR, surrounding VARCHAR, alt VARCHAR, impressions BIGINT,
        clicks BIGINT, ts VARCHAR""",
    "candidate_texts": """candidate_id BIGINT, source VARCHAR, role VARCHAR, raw VARCHAR, norm VARCHAR,
        language VARCHAR, measures VARCHAR, reason VARCHAR, detail VARCHAR, text_id BIGINT, text_group BIGINT""",
    "images": """image_id BIGINT, sha256 VARCHAR, md5 VARCHAR, url VARCHAR, host VARCHAR, format VARCHAR,
        width INTEGER, height INTEGER, nbytes BIGINT, phash BIGINT, fetched_at TIMESTAMPTZ, consent VARCHAR,
        content_type VARCHAR, std FLOAT, mean FLOAT, entropy FLOAT, sharpness FLOAT, clicks BIGINT, passed BOOLEAN,
        duplicate_of BIGINT, duplicate_rule VARCHAR, duplicate_distance INTEGER, colours VARCHAR[],
        colour_shares FLOAT[], dhash BIGINT, pdq VARCHAR, pdq_quality INTEGER, duplicate_similarity FLOAT,
        component BIGINT""",
    "sightings": "source VARCHAR, image_id BIGINT, clicks BIGINT",
    "bands": """shelf INTEGER, value INTEGER, hash BIGINT, pdq0 BIGINT, pdq1 BIGINT, pdq2 BIGINT, pdq3 BIGINT,
        image_id BIGINT""",
    "pixels": "image_id BIGINT, bytes BLOB",
    "texts": "text_id BIGINT, norm VARCHAR, raw VARCHAR, language VARCHAR",
    "pairs": "image_id BIGINT, text_id BIGINT, role VARCHAR, candidate_id BIGINT",
    "embeddings": "subject VARCHAR, subject_id BIGINT, model VARCHAR, vector FLOAT[]",
    "models": """model VARCHAR, name VARCHAR, source VARCHAR, kind VARCHAR, weights_sha256 VARCHAR,
        preprocessing VARCHAR, tokenizer VARCHAR""",
    "captions": """image_id BIGINT, captioner VARCHAR, model VARCHAR, prompt_language VARCHAR, sample INTEGER,
        prompt VARCHAR, seed BIGINT, raw VARCHAR, tokens INTEGER, ended BOOLEAN""",
    "caption_checks": """run_id VARCHAR, image_id BIGINT, captioner VARCHAR, model VARCHAR, prompt_language VARCHAR,
        sample INTEGER, text_id BIGINT, norm VARCHAR, metric VARCHAR, value DOUBLE, reason VARCHAR,
        detail VARCHAR""",
    "scores": "image_id BIGINT, text_id BIGINT, metric VARCHAR, model VARCHAR, value FLOAT",
    "picture_scores": "image_id BIGINT, metric VARCHAR, model VARCHAR, head VARCHAR, value FLOAT",
    "tags": "image_id BIGINT, model VARCHAR, list VARCHAR, place INTEGER, concept VARCHAR, probability FLOAT",
    "thumbnails": "image_id BIGINT, bytes BLOB",
    "ledger": """run_id VARCHAR, candidate_id BIGINT, source VARCHAR, source_row BIGINT, url VARCHAR,
        outcome VARCHAR, stage VARCHAR, reason VARCHAR, detail VARCHAR, image_id BIGINT, release VARCHAR""",
    "ledger_history": """run_id VARCHAR, candidate_id BIGINT, source VARCHAR, source_row BIGINT, url VARCHAR,
        outcome VARCHAR, stage VARCHAR, reason VARCHAR, detail VARCHAR, image_id BIGINT, release VARCHAR""",
    "releases": """release VARCHAR, recipe VARCHAR, recipe_name VARCHAR, fingerprint VARCHAR, run_id VARCHAR,
        source VARCHAR, cuts VARCHAR, counts VARCHAR, metrics VARCHAR, created_at TIMESTAMPTZ""",
    "release_pairs": "release VARCHAR, image_id BIGINT, text_id BIGINT, role VARCHAR, weight FLOAT",
    "runs": """run_id VARCHAR, flow_run_id VARCHAR, source VARCHAR, fingerprint VARCHAR, recipe_name VARCHAR,
        recipe VARCHAR, outcome VARCHAR, release VARCHAR, report VARCHAR, started_at TIMESTAMPTZ,
        finished_at TIMESTAMPTZ, allow VARCHAR, limit_rows BIGINT, round INTEGER, earlier VARCHAR,
        protected VARCHAR""",
    "trainings": """training_id VARCHAR, release VARCHAR, flow_run_id VARCHAR, checkpoint VARCHAR, recipe VARCHAR,
        metrics VARCHAR, started_at TIMESTAMPTZ, finished_at TIMESTAMPTZ""",
    "similarities": "image_id BIGINT, model VARCHAR, nearest BIGINT, max_similarity FLOAT",
    "cells": "model VARCHAR, cell INTEGER, centre FLOAT[], fitted_on BIGINT",
    "cell_members": "model VARCHAR, cell INTEGER, image_id BIGINT, area BIGINT, vector BLOB",
    "tombstones": "kind VARCHAR, value VARCHAR, reason VARCHAR, created_at TIMESTAMPTZ",
    "protected": """name VARCHAR, sha256 VARCHAR, phash BIGINT, added_at TIMESTAMPTZ, image_id BIGINT, dhash BIGINT,
        pdq VARCHAR, pdq_quality INTEGER""",
    "protected_vectors": "name VARCHAR, image_id BIGINT, model VARCHAR, vector FLOAT[]",
}

VIEWS: dict[str, str] = {
    "copies": """SELECT min(image_id) AS group_id, coalesce(duplicate_of, image_id) AS survivor,
        list(image_id ORDER BY duplicate_of IS NOT NULL, image_id) AS members,
        list(coalesce(duplicate_distance, if(duplicate_of IS NULL, 0, NULL))
             ORDER BY duplicate_of IS NOT NULL, image_id) AS distances,
        list(duplicate_similarity ORDER BY duplicate_of IS NOT NULL, image_id) AS similarities,
        string_agg(DISTINCT duplicate_rule, ', ' ORDER BY duplicate_rule) AS rule
        FROM images WHERE passed GROUP BY 2 HAVING count(*) > 1""",
}
"""What is asked so often that it has a name: `copies`, a row a group of pictures that are one, the survivor first."""

PIXEL_ROW_GROUP = 256
"""Rows of `pixels` in a row group: about 25 MB of pictures, so that reading one never needs gigabytes."""


THUMBNAIL_ROW_GROUP = 4096
"""The same of `thumbnails`, which are a twentieth of that."""

MEMBER_ROW_GROUP = 4096
"""The same of `cell_members`: about 4 MB of vectors, so that whoever wants a few cells skips the others."""

_ROW_GROUPS = {"pixels": PIXEL_ROW_GROUP, "thumbnails": THUMBNAIL_ROW_GROUP, "cell_members": MEMBER_ROW_GROUP}


def tables_of(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The tables that the warehouse has."""
    rows = con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'").fetchall()
    return {name for (name,) in rows}


def views_of(con: duckdb.DuckDBPyConnection) -> set[str]:
    """The views that the warehouse has."""
    rows = con.execute("SELECT view_name FROM duckdb_views() WHERE database_name = 'lake'").fetchall()
    return {name for (name,) in rows}


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Create what is missing, tables, columns of older ones and views, in one transaction."""
    have = columns_of(con)
    missing = {name: columns for name, columns in TABLES.items() if name not in have}
    added = [(name, one) for name in TABLES.keys() & have.keys() for one in _added(TABLES[name], have[name])]
    views = VIEWS.keys() - views_of(con)
    if not missing and not added and not views:
        return
    con.execute("BEGIN")
    for name, columns in missing.items():
        con.execute(f"CREATE TABLE IF NOT EXISTS lake.{name} ({columns})")
    for name, column in added:
        con.execute(f"ALTER TABLE lake.{name} ADD COLUMN IF NOT EXISTS {column}")
    for name in sorted(views):
        con.execute(f"CREATE VIEW IF NOT EXISTS lake.{name} AS {VIEWS[name]}")
    con.execute("COMMIT")
    for name, rows in _ROW_GROUPS.items():
        if name in missing:
            con.execute(f"CALL lake.set_option('parquet_row_group_size', {rows}, table_name => '{name}')")


def columns_of(con: duckdb.DuckDBPyConnection) -> dict[str, set[str]]:
    """The columns of every table that the warehouse has."""
    rows = con.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'lake'").fetchall()
    have: dict[str, set[str]] = {}
    for table, column in rows:
        have.setdefault(table, set()).add(column)
    return have


def _added(columns: str, have: set[str]) -> list[str]:
    """The columns of a table's definition, each with its type, that a warehouse of an earlier version lacks."""
    defined = [" ".join(column.split()) for column in columns.split(",")]
    return [column for column in defined if column.split()[0] not in have]
