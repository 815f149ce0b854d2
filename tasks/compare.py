"""Two recipes over the pairs of one run, or two releases: what each keeps that the other drops, and the page of it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.models.files import ModelMissing, called, find_model
from actors.models.heads import heads_of
from actors.models.places import file_sha256
from filters.load import load_recipe
from filters.recipe import Model, Recipe
from tasks.policies import Stock, check_policies, select_pairs
from warehouse.compare import (
    Comparison,
    Example,
    Judged,
    Milled,
    ScoredBy,
    Side,
    compare,
    compare_releases,
    find_milled,
    models_scored,
)
from warehouse.lake import locate
from warehouse.releases import list_releases
from warehouse.scores import Said, Scorer

EXAMPLES = 60
"""Pictures of each side on the page: with thumbnails of some 5 KB it has less than 1 MB."""

NOT_JUDGED_AGAIN = ("click_through", "texts", "fetch", "pictures", "copies", "captions", "tags")
"""Sections that made the pool: another recipe's are not followed where a finished run is compared on."""

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}
table{border-collapse:collapse} td,th{padding:.2rem .8rem;text-align:left;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums} h2{margin-top:2.5rem}
.examples{display:flex;flex-wrap:wrap;gap:1rem} figure{margin:0;width:168px} img{max-width:160px;max-height:160px}
figcaption{font-size:12px;color:#555;overflow-wrap:anywhere} .text{color:#222;font-size:13px} .why{color:#a60}
"""


class NotComparable(Exception):
    """Two recipes that cannot be judged over the pairs of a run; the message says what is missing and what to run."""


@dataclass(frozen=True)
class Told:
    """A comparison, what it was made on, and what of the recipes it does not show."""

    on: str
    comparison: Comparison
    notes: tuple[str, ...]


def compare_named(warehouse: str, first: str, second: str, on: str | None, seed: int) -> Told:
    """Compare two releases where both names are such, else two recipes over the pairs of a run (see find_milled).

    No model is run. Raises NotComparable, RecipeError, HeadError or WarehouseError.
    """
    releases = {one.release for one in list_releases(warehouse)}
    if on is None and {first, second} <= releases:
        return Told("their own pairs", compare_releases(warehouse, first, second, EXAMPLES, seed), ())
    milled = find_milled(warehouse, on)
    recipes = [load_recipe(name) for name in (first, second)]
    with TemporaryDirectory(prefix="compare-", dir=locate(warehouse).work) as folder:
        judged = [
            _judged(warehouse, milled, recipe, name, Path(folder) / str(place))
            for place, (name, recipe) in enumerate(zip((first, second), recipes, strict=True))
        ]
        told = compare(warehouse, judged[0], judged[1], EXAMPLES, seed)
    notes = [note for recipe in recipes for note in _notes(recipe, milled)]
    return Told(milled.release or milled.run_id, told, tuple(dict.fromkeys(notes)))


def _judged(warehouse: str, milled: Milled, recipe: Recipe, name: str, out: Path) -> Judged:
    out.mkdir()
    scorers = tuple(
        Scorer(model.name, _identity(warehouse, milled, model, name), model.languages) for model in recipe.models
    )
    check_policies(recipe, warehouse, [scorer.model for scorer in scorers])
    stock = Stock(warehouse, locate(warehouse).work, milled.pairs, scorers)
    part, _, cuts = select_pairs(stock, recipe.select, _said(recipe, scorers), out)
    return Judged(name, part, cuts)


def _identity(warehouse: str, milled: Milled, model: Model, name: str) -> str:
    """The recipe's model, of those that have scored the pool."""
    scored = models_scored(warehouse, milled.pairs)
    found = _meant(model, scored)
    if found is None:
        named = any(one.source == called(model) for one in scored)
        lacks = "of which only other weights have scored" if named else "which has not scored"
        raise NotComparable(
            f"The recipe {name} asks for the model {called(model)}, {lacks} the pairs of "
            f"{milled.release or milled.run_id}.\nScore them first: zeromill curate {milled.source} --recipe {name}"
        )
    return found.model


def _meant(model: Model, scored: Sequence[ScoredBy]) -> ScoredBy | None:
    """The model that a recipe means: by its files where they are here, else by the pinned weights, else by its name.

    A tag of open_clip's stands for its weights, so that no file is looked for, for which it would have to be loaded.
    """
    if model.open_clip is None:
        try:
            identity = find_model(model).identity
            return next((one for one in scored if one.model == identity), None)
        except ModelMissing:  # or it is another than the pinned one
            pass
    alike = [one for one in scored if model.sha256 in (None, one.weights_sha256)]
    named = [one for one in alike if one.source == called(model)]
    return next(iter(named or (alike if model.sha256 else ())), None)


def _said(recipe: Recipe, scorers: Sequence[Scorer]) -> tuple[Said, ...]:
    """The heads that the recipe's `select` asks; what they say of the pictures is stored."""
    if not recipe.select.min_heads:
        return ()
    heads = heads_of(recipe, {scorer.model: scorer.name for scorer in scorers})
    files = {head.name: named.file for head, named in zip(heads, recipe.heads, strict=True)}
    missing = recipe.select.min_heads.keys() - files.keys()
    if missing:
        raise NotComparable(f"select.min_heads names the head {min(missing)}, which no file of `heads` is.")
    return tuple(
        Said(name, file_sha256(Path(files[name]))[:16], "not_selected", bound)
        for name, bound in recipe.select.min_heads.items()
    )


def _notes(recipe: Recipe, milled: Milled) -> Iterator[str]:
    """Which sections of the recipe are other than those that made the pool."""
    made, asked = json.loads(milled.recipe), recipe.model_dump(mode="json")
    other = [section for section in NOT_JUDGED_AGAIN if made.get(section) != asked[section]]
    if other:
        yield (
            f"{recipe.name} differs from the recipe of that run in {', '.join(other)}, which is not shown here; "
            f"to see it: zeromill curate {milled.source} --recipe {recipe.name}"
        )


def as_json(told: Told) -> dict[str, Any]:
    """The comparison for scripts: without thumbnails, which a page has."""
    one = told.comparison
    return {
        "on": told.on,
        "pairs": one.pairs,
        "both": one.both,
        "neither": one.neither,
        "sides": [_side_json(side) for side in (one.first, one.second)],
        "notes": list(told.notes),
    }


def _side_json(side: Side) -> dict[str, Any]:
    values = {name: getattr(side, name) for name in ("name", "kept", "pictures", "only", "cuts", "reasons")}
    shown = [{name: value for name, value in vars(example).items() if name != "thumbnail"} for example in side.examples]
    return values | {"examples": shown}


def write_page(told: Told, out: Path) -> None:
    """Write the page of a comparison, whole or not at all."""
    aside = out.with_name(f".{out.name}.writing")
    aside.write_text("\n".join(_page(told)), encoding="utf-8")
    aside.replace(out)


def _page(told: Told) -> Iterator[str]:
    one = told.comparison
    first, second = escape(one.first.name), escape(one.second.name)
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>{first} and {second}</title><style>{STYLE}</style>"
    yield f"<h1>What {first} and {second} keep</h1>"
    yield f"<p>Of {one.pairs:,} pairs, on {escape(told.on)}. A pair is a picture, a text and its role.</p>"
    yield from (f"<p class=why>{escape(note)}</p>" for note in told.notes)
    yield "<table>"
    for name, value in counts(one):
        yield f"<tr><td>{escape(name)}<td class=n>{value:,}"
    yield "</table>"
    for side in (one.first, one.second):
        yield f"<h2>{escape(side.name)}</h2>{_reasons(side)}"
    for side, other in ((one.first, one.second), (one.second, one.first)):
        yield f"<h2>Only {escape(side.name)} keeps: {side.only:,} pairs</h2>"
        yield f"<p>{len(side.examples)} of them, drawn evenly over the reasons of {escape(other.name)}.</p>"
        yield f'<div class="examples">{"".join(map(_figure, side.examples))}</div>'


def counts(one: Comparison) -> list[tuple[str, int]]:
    """The counts of a comparison with their names, for people."""
    return [
        ("pairs", one.pairs),
        (f"{one.first.name} keeps", one.first.kept),
        (f"{one.second.name} keeps", one.second.kept),
        ("both keep", one.both),
        (f"only {one.first.name}", one.first.only),
        (f"only {one.second.name}", one.second.only),
        ("neither", one.neither),
    ]


def _reasons(side: Side) -> str:
    cuts = [f"<tr><td>cut {escape(name)}<td class=n>{value:.4f}" for name, value in side.cuts.items()]
    reasons = [f"<tr><td>{escape(reason)}<td class=n>{count:,}" for reason, count in side.reasons.items()]
    return f"<table>{''.join(cuts + reasons)}</table>"


def _figure(one: Example) -> str:
    picture = (
        f'<img alt="image {one.image_id}" src="data:image/jpeg;base64,{b64encode(one.thumbnail).decode()}">'
        if one.thumbnail
        else ""
    )
    score = "" if one.score is None else f"score {one.score:.4f}<br>"
    return (
        f"<figure>{picture}<figcaption><span class=text>{escape(one.text)}</span><br>{escape(one.role)}, {score}"
        f"<span class=why>{escape(one.reason)}: {escape(one.detail)}</span><br>image {one.image_id}"
        "</figcaption></figure>"
    )
