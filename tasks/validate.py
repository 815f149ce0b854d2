"""Great Expectations holds contracts over aggregates that DuckDB computed, and over a bounded sample of pairs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from filters.recipe import Validate
from tasks.plan import Plan
from warehouse.errors import SourceError
from warehouse.metrics import measure_input, measure_release, sample_release

MOST_MALFORMED = 0.2
"""Of a source's rows: with more, it is the source that is broken."""


@dataclass(frozen=True)
class Verdict:
    """Whether a release may be published, its metrics, what it failed, and the file of the report."""

    passed: bool
    metrics: dict[str, Any]
    failed: tuple[str, ...]
    report: str


@task(name="contract", cache_policy=NO_CACHE)
def check_input(plan: Plan, candidates: str, rows: Sequence[str]) -> dict[str, Any]:
    """Hold the source to its contract before anything is fetched; its aggregates. SourceError where it breaks it."""
    metrics = measure_input(plan.warehouse, candidates, rows)
    held = _hold("input", [metrics], _input_contract())
    _write_report(plan.folder / "input.html", [held])
    failed = _failures(held)
    if failed:
        raise SourceError(
            f"{plan.source} breaks the contract of a log: {'; '.join(failed)} ({metrics['example']}).\n"
            f"Repair the source and run again. Report: {plan.folder / 'input.html'}"
        )
    return metrics


@task(name="validate", cache_policy=NO_CACHE)
def validate(plan: Plan, texts: Sequence[str], looked: Sequence[str], judged: str, ledger: str) -> Verdict:
    """Hold the release to be to its contract; the report is written either way."""
    metrics = measure_release(plan.warehouse, texts, looked, judged, ledger)
    bounds = plan.recipe.validation
    sample = sample_release(plan.warehouse, texts, looked, judged, ledger, bounds.sample)
    held = [_hold("release", [metrics], _release_contract(bounds))]
    if sample:
        held.append(_hold("sample", sample, _sample_contract()))
    report = plan.folder / "validation.html"
    _write_report(report, held)
    failed = tuple(failure for one in held for failure in _failures(one))
    return Verdict(not failed, metrics, failed, str(report))


def _input_contract() -> list[Any]:
    import great_expectations.expectations as gxe

    return [
        gxe.ExpectColumnValuesToBeBetween(column="rows", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="urls", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="malformed_share", max_value=MOST_MALFORMED),
    ]


def _release_contract(bounds: Validate) -> list[Any]:
    import great_expectations.expectations as gxe

    nothing = ("without_outcome", "repeated_pairs", "pairs_without_picture", "pairs_without_text")
    return [
        gxe.ExpectColumnValuesToBeBetween(column="pairs", min_value=bounds.min_pairs),
        gxe.ExpectColumnValuesToBeBetween(column="kept_share", min_value=bounds.min_kept_share),
        *(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, max_value=0) for name in nothing),
    ]


def _sample_contract() -> list[Any]:
    import great_expectations.expectations as gxe

    return [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in ("image_id", "text_id", "role", "url", "text")),
        gxe.ExpectColumnValuesToBeBetween(column="width", min_value=1),
        gxe.ExpectColumnValuesToBeBetween(column="height", min_value=1),
        gxe.ExpectColumnValueLengthsToBeBetween(column="text", min_value=1),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["image_id", "text_id", "role"]),
    ]


def _hold(name: str, rows: Sequence[dict[str, Any]], expectations: Sequence[Any]) -> Any:
    """Great Expectations' result of one suite over a small frame."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # they are for notebooks
    asset = context.data_sources.add_pandas("duckdb").add_dataframe_asset(name)
    suite = context.suites.add(gx.ExpectationSuite(name=name))
    for expectation in expectations:
        suite.add_expectation(expectation)
    definition = gx.ValidationDefinition(data=asset.add_batch_definition_whole_dataframe("all"), suite=suite, name=name)
    return definition.run(batch_parameters={"dataframe": pd.DataFrame(list(rows))})


def _failures(held: Any) -> list[str]:
    """Each broken expectation as `column: value, allowed MIN to MAX`."""
    return [_told(one) for one in held.results if not one.success]


def _told(one: Any) -> str:
    asked = one.expectation_config.kwargs
    seen = one.result.get("partial_unexpected_list") or ["?"]
    bounds = [
        f"{word} {asked[key]:g}" for key, word in (("min_value", "at least"), ("max_value", "at most")) if key in asked
    ]
    columns = asked.get("column") or ", ".join(asked.get("column_list", []))
    return f"{columns} is {seen[0]}, wanted {' and '.join(bounds) or one.expectation_config.type}"


def _write_report(report: Path, held: Sequence[Any]) -> None:
    """Great Expectations' own pages, one after the other in one file."""
    from great_expectations.render.renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    pages = [DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(one)) for one in held]
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("\n".join(pages), encoding="utf-8")
