"""What a run leaves in Prefect's UI: the funnel as a table, the validation and the release as pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact


def funnel_artifact(candidates: int, turned_away: Sequence[tuple[str, str, int]], kept: int) -> None:
    """Rows in, rows turned away by stage and reason, rows kept."""
    left = candidates
    table: list[list[Any]] = [["stage", "reason", "rows", "left"], ["", "candidates", candidates, candidates]]
    for stage, reason, rows in turned_away:
        left -= rows
        table.append([stage, reason, rows, left])
    table.append(["", "kept", kept, kept])
    create_table_artifact(
        table=[dict(zip(table[0], row, strict=True)) for row in table[1:]],
        key="funnel",
        description="What became of every row of the log",
    )


def validation_artifact(
    passed: bool, metrics: Mapping[str, Any], failed: Sequence[str], report: str, copies: str | None
) -> None:
    """Whether the release was fit to publish, what it failed, and what was measured of it."""
    verdict = "**passed**" if passed else "**failed**: " + "; ".join(failed)
    create_markdown_artifact(
        f"# Validation\n\n{verdict}\n\n{_rows(metrics)}\n\nReport: `{report}`"
        + (f"\n\nWhich pictures were taken for one: `{copies}`" if copies else ""),
        key="validation",
        description="Validation",
    )


def release_artifact(
    name: str, counts: Mapping[str, int], metrics: Mapping[str, Any], cuts: Mapping[str, float]
) -> None:
    """A published release: its name, counts, frozen cuts, and how to go on with it."""
    create_markdown_artifact(
        f"# Release `{name}`\n\n{_rows({**counts, **cuts, **metrics})}\n\n"
        f"```\nzeromill train {name}\nzeromill export {name} --to DIR\n"
        f"zeromill sql \"SELECT * FROM release_pairs WHERE release = '{name}' LIMIT 5\"\n```",
        key="release",
        description=f"Release {name}",
    )


def _rows(values: Mapping[str, Any]) -> str:
    lines = [
        f"| {name} | {value:.4g} |" if isinstance(value, float) else f"| {name} | {value} |"
        for name, value in values.items()
    ]
    return "\n".join(["| what | value |", "| --- | --- |", *lines])


def training_artifact(release: str, metrics: Mapping[str, Any], checkpoint: str) -> None:
    """What a training measured, and where its checkpoint is."""
    create_markdown_artifact(
        f"# Training on `{release}`\n\n{_rows(metrics)}\n\nCheckpoint: `{checkpoint}`",
        key="training",
        description=f"Training on {release}",
    )
