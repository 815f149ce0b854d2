"""What was run: the newest execution of a source and a recipe, with all that it takes to run it once more."""

from __future__ import annotations

import json
from dataclasses import dataclass

from warehouse.errors import UnknownRelease, WarehouseError
from warehouse.lake import connect, exists, prepare, shown
from warehouse.releases import find_release


@dataclass(frozen=True)
class PastRun:
    """A finished run, published as `release` or held back; `recipe` is JSON, `protected` what Plan calls so."""

    run_id: str
    source: str
    recipe: str
    allow: tuple[str, ...]
    limit: int | None
    round: int
    release: str | None
    protected: str


def newest_round(warehouse: str, release: str | None) -> PastRun:
    """The run that became `release`, or the latest of all; where its failures were asked again, the last such run.

    Raises UnknownRelease, or WarehouseError where nothing was ever run.
    """
    if not exists(warehouse):
        raise WarehouseError(
            f"There is no warehouse at {shown(warehouse)}.\n"
            "Run `zeromill curate` first, or name another with --warehouse or ZEROMILL_WAREHOUSE."
        )
    prepare(warehouse)  # one of an earlier version lacks columns
    wanted = find_release(warehouse, release).fingerprint if release is not None else None
    runs, came_of = _runs(warehouse)
    if wanted is None and not runs:
        raise WarehouseError(f"Nothing was run in the warehouse {shown(warehouse)} yet.\nRun `zeromill curate` first.")
    run = runs.get(wanted) if wanted is not None else list(runs.values())[-1]
    if run is None:
        raise UnknownRelease(f"No run is recorded for the release {release}.\nMill its source with `zeromill curate`.")
    while run.run_id in came_of:
        run = runs[came_of[run.run_id]]
    return run


def _runs(warehouse: str) -> tuple[dict[str, PastRun], dict[str, str]]:
    """Every run by its id, the latest last; and of each that was asked again, the run that did."""
    with connect(warehouse, read_only=True) as con:
        rows = con.execute(
            """SELECT run_id, source, recipe, coalesce(allow, '[]'), limit_rows, coalesce(round, 0), release,
                      coalesce(protected, ''), earlier
               FROM lake.runs ORDER BY finished_at, run_id"""
        ).fetchall()
    runs = {row[0]: PastRun(row[0], row[1], row[2], tuple(json.loads(row[3])), *row[4:8]) for row in rows}
    return runs, {row[8]: row[0] for row in rows if row[8] is not None}
