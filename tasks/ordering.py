"""In which order the cheap filters would cost least: what each costs a row, and what it turns away, measured apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import pyarrow as pa
import pyarrow.parquet as pq

from actors.texts import COUNTED_ELSEWHERE
from filters import Filter
from filters.chosen import around_embedding, chosen
from filters.recipe import Recipe
from filters.text import measure

ROUNDS = 3
"""Of which the fastest counts: a filter's own cost is what is left when nothing else disturbs it."""


@dataclass(frozen=True)
class Cost:
    """A filter: microseconds a row, and the share of all rows that it turns away by itself.

    `rank` is cost by share: filters in the order of it cost least together (Hellerstein & Stonebraker 1993, of
    predicates that know nothing of each other). It is infinite where nothing is turned away.
    """

    name: str
    micros: float
    share: float

    @property
    def rank(self) -> float:
        return self.micros / self.share if self.share else inf


@dataclass(frozen=True)
class Order:
    """The filters of a room in the order in which they are asked, and what they cost a row then and at best.

    `shared` are microseconds a row of what comes before all of them, and is theirs together.
    """

    room: str
    rows: int
    asked: tuple[Cost, ...]
    shared: float = 0.0

    @property
    def best(self) -> tuple[Cost, ...]:
        """By rank; equal ones stay as they are asked."""
        return tuple(sorted(self.asked, key=lambda one: one.rank))

    @property
    def micros_asked(self) -> float:
        return expected(self.asked)

    @property
    def micros_best(self) -> float:
        return expected(self.best)


def expected(order: Sequence[Cost]) -> float:
    """Microseconds a row in this order: a filter is asked only of what those before it let pass."""
    spent, left = 0.0, 1.0
    for one in order:
        spent += left * one.micros
        left *= 1 - one.share
    return spent


def order_texts(recipe: Recipe, sample: str) -> Order:
    """The text filters, over the texts of all roles of a log; what counts URLs over the whole input is left out.

    Their shared cost is normalising and measuring a text, its language among that.
    """
    table = pq.read_table(sample, columns=list(recipe.texts.roles))
    texts = pa.concat_arrays(
        [table[role].drop_null().combine_chunks().cast(pa.string()) for role in recipe.texts.roles]
    )
    if not len(texts):
        return Order("texts", 0, ())
    measure(texts.slice(0, 1))  # tables of languages and scripts are loaded at the first text
    began = time.perf_counter()
    batch = measure(texts)
    shared = 1e6 * (time.perf_counter() - began) / len(texts)
    asked = [one for one in chosen(recipe.texts.filters, "text") if one.reason != COUNTED_ELSEWHERE]
    return Order("texts", len(texts), tuple(_cost(one, batch) for one in asked), shared)


def order_pictures(recipe: Recipe, looked: Sequence[str]) -> Order:
    """The filters that read the measures of a decoded picture; those that listen to heads come after the embedding."""
    columns = ["sha256", "width", "height", "std", "mean", "entropy", "sharpness"]
    tables = [pq.read_table(part, columns=columns) for part in looked]
    held = pa.concat_tables(tables).filter(pa.compute.field("std").is_valid()) if tables else None
    if held is None or not held.num_rows:
        return Order("pictures", 0, ())
    batch = held.combine_chunks().to_batches()[0]
    before, _ = around_embedding(chosen(recipe.pictures.filters, "picture"))
    return Order("pictures", batch.num_rows, tuple(_cost(one, batch) for one in before))


def _cost(one: Filter, batch: pa.RecordBatch) -> Cost:
    fastest, gone = inf, 0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        said = one.rejects(batch)
        fastest = min(fastest, time.perf_counter() - began)
        gone = len(said) - said.null_count
    return Cost(one.reason, 1e6 * fastest / batch.num_rows, gone / batch.num_rows)
