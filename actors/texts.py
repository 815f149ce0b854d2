"""Read rows of a log: the faults of a row and its URL, and each of its texts normalised, measured and judged."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.blocked import BlockedUrls
from filters.chosen import chosen, first_reasons
from filters.normalise import normalise
from filters.recipe import Recipe, Role
from filters.shingles import band_hashes, banding
from filters.text import measure
from filters.urls import BlockedHost, host_of, url_fault
from warehouse.ids import content_id

ROLES: tuple[str, ...] = get_args(Role)
SILENT = "no text at all"
COUNTED_ELSEWHERE = "text_boilerplate"
"""The one text filter that needs the whole input: the warehouse counts URLs and decides."""


@dataclass(frozen=True)
class ReadJob:
    """One row group of the candidates' part, and the two parts that are made of it."""

    candidates: str
    row_group: int
    rows: str
    texts: str


class Reader:
    """Holds the text filters of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        self.roles = recipe.texts.roles
        self.near = recipe.texts.near
        self.blocked = BlockedHost(hosts=recipe.fetch.blocked_hosts)
        self.shut = BlockedUrls(recipe.fetch.blocked_urls)
        ranked = list(enumerate(chosen(recipe.texts.filters, "text")))
        self.filters = [one for _, one in ranked if one.reason != COUNTED_ELSEWHERE]
        self.rank = {one.reason: place for place, one in ranked}

    def __call__(self, job: ReadJob) -> int:
        """Write both parts of the job; the number of candidates read."""
        table = pq.ParquetFile(job.candidates).read_row_group(job.row_group)
        texts = self.texts_of(table)
        _write(texts, job.texts)
        spoken = set(texts["candidate_id"].to_pylist())
        _write(self.rows_of(table, spoken), job.rows)  # last: the part that says that the job is done
        return int(table.num_rows)

    def rows_of(self, table: pa.Table, spoken: set[int]) -> pa.Table:
        """candidate_id, reason, detail, host: what is wrong with the row itself; `spoken` are those with a text."""
        columns = zip(
            table["url"].to_pylist(),
            table["impressions"].to_pylist(),
            table["clicks"].to_pylist(),
            table["fault"].to_pylist(),
            self.silences_of(table, spoken),
            strict=True,
        )
        faults = [
            self.fault_of(*row) or (("blocked_host", why) if why else None)
            for row, why in zip(columns, self.blocks_of(table["url"].combine_chunks()), strict=True)
        ]
        return pa.table(
            {
                "candidate_id": table["candidate_id"],
                "reason": pa.array([fault[0] if fault else None for fault in faults], pa.string()),
                "detail": pa.array([fault[1] if fault else None for fault in faults], pa.string()),
                "host": pa.array([host_of(url) if url else None for url in table["url"].to_pylist()], pa.string()),
            }
        )

    def blocks_of(self, urls: pa.StringArray) -> list[str | None]:
        """Why the recipe keeps each URL from being asked; null where it does not."""
        hosts = self.blocked.rejects(pa.RecordBatch.from_pydict({"url": urls})).to_pylist()
        return [
            host or ("URL on the list of blocked URLs" if self.shut.shut(url) else None)
            for host, url in zip(hosts, urls.to_pylist(), strict=True)
        ]

    def fault_of(
        self, url: str | None, impressions: int | None, clicks: int | None, fault: str | None, silence: str | None
    ) -> tuple[str, str] | None:
        """The first reason for which a row cannot be used, and what it is."""
        bad_url = url_fault(url)
        if bad_url is not None and bad_url[0] == "malformed_row":
            return bad_url
        if fault is not None:
            return "malformed_row", fault
        if (impressions or 0) < 0 or (clicks or 0) < 0:
            return "malformed_row", f"{impressions} impressions, {clicks} clicks"
        if impressions is not None and clicks is not None and clicks > impressions:
            return "malformed_row", f"{clicks} clicks of {impressions} impressions"
        if silence == SILENT:
            return "malformed_row", silence
        if bad_url is None and silence is not None:
            return "text_too_short", silence
        return bad_url

    def silences_of(self, table: pa.Table, spoken: set[int]) -> list[str | None]:
        """Per row what it lacks: any text, or one in the roles that the recipe reads; null where it lacks none."""
        texts = zip(*(table[role].to_pylist() for role in ROLES), strict=True)
        lacks = f"no text as {', '.join(self.roles)}"
        return [
            None if candidate in spoken else lacks if any(normalise(text or "") for text in row) else SILENT
            for candidate, row in zip(table["candidate_id"].to_pylist(), texts, strict=True)
        ]

    def texts_of(self, table: pa.Table) -> pa.Table:
        """One row per candidate and role with a text, of which something is left when it is normalised: READ_TEXTS."""
        parts = [self.role_of(table, place, role) for place, role in enumerate(self.roles)]
        return pa.concat_tables(parts).sort_by([("candidate_id", "ascending"), ("place", "ascending")])

    def role_of(self, table: pa.Table, place: int, role: str) -> pa.Table:
        held = table.filter(pc.is_valid(table[role]))
        batch = measure(held[role].combine_chunks().cast(pa.string()))
        said = pc.not_equal(batch.column("norm"), "")
        held, batch = held.filter(said), batch.filter(said)
        reason, detail = first_reasons(batch, self.filters)
        size = batch.num_rows
        ids = [content_id(norm.encode()) for norm in batch.column("norm").to_pylist()]
        ranks = [self.rank.get(code) for code in reason.to_pylist()]
        return pa.table(
            {
                "candidate_id": held["candidate_id"],
                "role": pa.array([role] * size, pa.string()),
                "place": pa.array([place] * size, pa.int32()),
                **{name: batch.column(name) for name in ("raw", "norm", "language", "measures")},
                "reason": reason,
                "detail": detail,
                "rank": pa.array(ranks, pa.int32()),
                "text_id": pa.array(ids, pa.int64()),
                "bands": self.bands_of(batch.column("norm")),
            }
        )

    def bands_of(self, norm: pa.StringArray) -> pa.ListArray:
        """What long texts share with those that are near them; null for short ones, and where nobody asks."""
        if self.near is None:
            return pa.nulls(len(norm), pa.list_(pa.int64()))
        return band_hashes(norm, self.near.characters, banding(self.near.similarity))


def _write(table: pa.Table, out: str) -> None:
    """The whole part or nothing."""
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.writing")
    pq.write_table(table, aside, compression="zstd")
    aside.replace(target)
