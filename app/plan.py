"""The command that says what milling a source would come to, before it is paid for."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from app.funnel import funnel, page
from app.run import server
from app.show import say, table

HERE = "here"
"""What `--price` calls the machine that the plan runs on."""

PAGE = "plan.html"
BAR = 40

Table = tuple[str, Sequence[str], Sequence[Sequence[Any]]]


class PriceUnclear(Exception):
    """A price that names no device, or is no price; the message says what would do."""


class PageUnwritable(Exception):
    """A folder that cannot hold the page; the message says what would do."""


def plan(asked: argparse.Namespace) -> int:
    """Preflight without a server; then the flow over a sample, and what it says of the whole source."""
    from flows.plan import refuse_folder
    from tasks.forecast import devices
    from tasks.plan import make_plan

    prices = read_prices(asked.price, {HERE, *(one.name for one in devices())})
    refuse_folder(
        make_plan(
            asked.source,
            asked.recipe,
            asked.warehouse,
            allow=tuple(asked.allow_host),
            workers=asked.workers,
            gpu_share=asked.gpu_share,
        )
    )
    if asked.to is not None:
        check_page(asked.to)
    result = _plan_flow(asked)
    result["money"] = money(result, prices)
    if asked.json:
        print(json.dumps(result, ensure_ascii=False), flush=True)
    else:
        _tell(result)
    if asked.to is not None:
        (asked.to / PAGE).write_text(_page(result), encoding="utf-8")
        say(f"The funnel as a picture: {asked.to / PAGE}")
    return 0


def check_page(folder: Path) -> None:
    """Make the folder, and raise PageUnwritable where no page can be written into it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PAGE).open("a", encoding="utf-8").close()
        if not (folder / PAGE).stat().st_size:
            (folder / PAGE).unlink()
    except OSError as error:
        raise PageUnwritable(
            f"--to {folder} cannot hold {PAGE}: {error.strerror}.\nName a folder that may be written; nothing was run."
        ) from error


def _plan_flow(asked: argparse.Namespace) -> dict[str, Any]:
    server()
    from flows.plan import plan as flow

    with redirect_stdout(sys.stderr):
        result: dict[str, Any] = flow(
            asked.source,
            recipe=asked.recipe,
            sample=asked.sample,
            seed=asked.seed,
            warehouse=asked.warehouse,
            workers=asked.workers,
            gpu_share=asked.gpu_share,
            allow_hosts=asked.allow_host,
        )
    return result


def read_prices(given: Sequence[str], known: set[str]) -> dict[str, float]:
    """USD an hour by device, of texts like `a100=1.5`; PriceUnclear where one is not that."""
    prices = {}
    for text in given:
        name, _, price = text.partition("=")
        try:
            prices[name] = float(price)
        except ValueError:
            prices[name] = -1.0
        if name not in known or not 0 <= prices[name] < float("inf"):
            raise PriceUnclear(
                f"--price {text!r:.80} is not DEVICE=USD_PER_HOUR.\nDevices: {', '.join(sorted(known))}."
            )
    return prices


def money(result: Mapping[str, Any], prices: Mapping[str, float]) -> list[dict[str, Any]]:
    """What the hours cost on the devices of which a price was given: all of the run here, the embedding elsewhere."""
    told = []
    for name, price in prices.items():
        rows = [{"model": "all stages", "hours": result["hours_in_all"]}] if name == HERE else result["devices"]
        for one in rows:
            if name in (HERE, one.get("name")):
                usd = {bound: hours * price for bound, hours in one["hours"].items()}
                told.append({"device": name, "work": one["model"], "usd_per_hour": price, "usd": usd})
    return told


def _tell(result: Mapping[str, Any]) -> None:
    """The funnel as text, then every table, then what is not known."""
    rows, drawn = result["rows"], result["sample"]
    of_all = "all of them" if drawn == rows else f"{drawn:,} of them drawn with seed {result['seed']}"
    print(f"{result['source']} by {result['recipe']}: {rows:,} rows, {of_all}. Intervals are of 95 %.\n")
    for one in result["survivors"]:
        share = one["share"]
        full = round(BAR * share["low"])
        bar = "█" * full + "░" * (round(BAR * share["high"]) - full)
        print(f"{one['stage']:>8} {bar:<{BAR}} {_share(share):<26} {_count(one['rows'])} rows left")
    for title, names, lines in _tables(result):
        print(f"\n{title}")
        table(names, lines)
    print("Not known from a sample:")
    for line in result["not_known"]:
        print(f"  - {line}")


def _tables(result: Mapping[str, Any]) -> list[Table]:
    expected = result["expected"]
    sizes = [
        (name.replace("_", " "), (_size if name.startswith("bytes") else _count)(one)) for name, one in expected.items()
    ]
    tables: list[Table] = [
        (
            "What would become of the rows",
            ["stage", "reason", "of the sample", "share", "rows"],
            [
                (one["stage"], one["reason"], one["drawn"], _share(one["share"]), _count(one["rows"]))
                for one in result["reasons"]
            ],
        ),
        ("What would be fetched and kept", ["what", "of the whole source"], sizes),
        ("Hours on this machine", ["step", "sample, s", "start, s", "ms each", "hours"], _hours(result)),
    ]
    if result["devices"]:
        lines = [
            (one["name"], one["model"], one["pictures_a_second"], _spread(one["hours"]), one["source"])
            for one in result["devices"]
        ]
        tables.append(("Embedding alone, on one of", ["device", "model", "pictures/s", "hours", "measured by"], lines))
    if result["money"]:
        paid = [
            (one["device"], one["work"], one["usd_per_hour"], _spread(one["usd"], ".2f")) for one in result["money"]
        ]
        tables.append(("Money, by the prices given", ["device", "work", "USD/hour", "USD"], paid))
    return [*tables, *map(_order, result["filters"])]


def _hours(result: Mapping[str, Any]) -> list[Sequence[Any]]:
    lines: list[Sequence[Any]] = [
        (
            one["step"],
            f"{one['sample_s']:.1f}",
            f"{one['start_s']:.1f}",
            f"{1000 * one['each']['value']:.2f}" if one["units"] else "not seen",
            _spread(one["hours"]),
        )
        for one in result["hours"]
    ]
    return [*lines, ("in all", "", "", "", _spread(result["hours_in_all"]))]


def _order(told: Mapping[str, Any]) -> Table:
    """The filters as they are asked, each with its place in the order that would cost least."""
    title = (
        f"Filters of {told['room']}: {told['micros_asked']:.2f} microseconds a row as asked, "
        f"{told['micros_best']:.2f} in the best order"
        + (f", beside {told['micros_shared']:.2f} of measuring it" if told["micros_shared"] else "")
    )
    lines = [
        (
            place,
            one["name"],
            f"{one['micros']:.2f}",
            f"{one['share']:.1%}",
            told["best"].index(one["name"]) + 1 if one["share"] else "last",
        )
        for place, one in enumerate(told["asked"], 1)
    ]
    return title, ["asked", "filter", "microseconds", "turns away", "best"], lines


def _page(result: Mapping[str, Any]) -> str:
    title = f"{Path(result['source']).name} by {result['recipe']}: what a sample of {result['sample']:,} rows says"
    unknown: Table = ("Not known from a sample", ["what"], [(line,) for line in result["not_known"]])
    return page(title, funnel(result["rows"], result["survivors"]), [*_tables(result), unknown])


def _share(one: Mapping[str, float]) -> str:
    return f"{one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%})"


def _count(one: Mapping[str, float]) -> str:
    return f"{one['value']:,.0f} ({one['low']:,.0f} to {one['high']:,.0f})"


def _size(one: Mapping[str, float]) -> str:
    return f"{one['value'] / 1e6:,.1f} MB ({one['low'] / 1e6:,.1f} to {one['high'] / 1e6:,.1f})"


def _spread(one: Mapping[str, float], form: str = ".3g") -> str:
    return f"{one['value']:{form}} ({one['low']:{form}} to {one['high']:{form}})"
