"""What was published: find it, list it, tell its rows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from warehouse.errors import NameTaken, UnknownRelease
from warehouse.lake import connect, exists, shown
from warehouse.tables import columns_of, tables_of


@dataclass(frozen=True)
class Listed:
    """A published release as `zeromill releases` shows it."""

    release: str
    recipe_name: str
    source: str
    fingerprint: str
    created_at: str
    counts: dict[str, int]
    cuts: dict[str, float]
    metrics: dict[str, Any]
    recipe: dict[str, Any]
    trainings: int


def list_releases(warehouse: str) -> list[Listed]:
    """Every release, the newest first; none where there is no warehouse yet."""
    if not exists(warehouse):
        return []
    with connect(warehouse, read_only=True) as con:
        if "releases" not in tables_of(con):  # a process that was killed while it made the warehouse
            return []
        rows = con.execute(
            """SELECT release, recipe_name, source, fingerprint, strftime(created_at, '%Y-%m-%d %H:%M:%S'),
                      counts, cuts, metrics, recipe,
                      (SELECT count(*) FROM lake.trainings t WHERE t.release = r.release)
               FROM lake.releases r ORDER BY created_at DESC, release"""
        ).fetchall()
    return [_listed(*row) for row in rows]


def _listed(
    release: str,
    recipe_name: str,
    source: str,
    run_id: str,
    created_at: str,
    counts: str,
    cuts: str,
    metrics: str,
    recipe: str,
    trainings: int,
) -> Listed:
    told = [json.loads(text) for text in (counts, cuts, metrics, recipe)]
    return Listed(release, recipe_name, source, run_id, created_at, told[0], told[1], told[2], told[3], trainings)


def find_release(warehouse: str, name: str) -> Listed:
    """The release of that name; raises UnknownRelease with the names that there are."""
    releases = list_releases(warehouse)
    for listed in releases:
        if listed.release == name:
            return listed
    names = ", ".join(listed.release for listed in releases[:5]) or "none yet"
    raise UnknownRelease(
        f"There is no release {name} in {shown(warehouse)}; there are: {names}.\nSee `zeromill releases`."
    )


def released_as(warehouse: str, fingerprint: str) -> list[str]:
    """The names under which the run of this fingerprint was published, the oldest first.

    Where it was held back, those of the first run after it that asked its failures again and was published.
    """
    releases = list_releases(warehouse)[::-1]
    for run_id in [fingerprint, *(_came_of(warehouse, fingerprint) if releases else ())]:
        names = [listed.release for listed in releases if listed.fingerprint == run_id]
        if names:
            return names
    return []


def _came_of(warehouse: str, run_id: str) -> list[str]:
    """The runs that asked again what failed in this one, and so on."""
    with connect(warehouse, read_only=True) as con:
        if "earlier" not in columns_of(con).get("runs", ()):  # a warehouse of an earlier version
            return []
        rows = con.execute(
            """WITH RECURSIVE line AS (
                   SELECT $1 AS run_id, 0 AS place
                   UNION ALL SELECT r.run_id, place + 1 FROM lake.runs r JOIN line ON r.earlier = line.run_id)
               SELECT run_id FROM line WHERE place > 0 ORDER BY place, run_id""",
            [run_id],
        ).fetchall()
    return [row[0] for row in rows]


def check_free(warehouse: str, name: str, fingerprint: str) -> None:
    """Raise NameTaken where a release of that name holds something else than the run of this fingerprint."""
    for listed in list_releases(warehouse):
        if listed.release == name and listed.fingerprint != fingerprint:
            raise NameTaken(
                f"A release {name} exists already and holds something else.\n"
                "Releases never change: give this one another name with --release."
            )
