"""Policies of a recipe over the pool of a run: each measure is made of what is stored, once, and kept as a part."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.files import find_model, read_json
from actors.models.heads import Cells, HeadError, load_head
from actors.models.places import file_sha256
from filters.pairwise.balance import STAYS, Matches, balanced, chances, counted
from filters.pairwise.entries import Entries
from filters.pairwise.mixing import Ids
from filters.pairwise.mutual import mutual_top1
from filters.pairwise.nearness import normsim
from filters.pairwise.negative import negative_loss
from filters.pairwise.pool import Floats, Pool
from filters.policies import (
    Balance,
    BestSource,
    Clusters,
    MutualTop1,
    NegCLIPLoss,
    NormSim,
    Policy,
    Target,
    Text,
    Words,
    files_of,
)
from filters.recipe import Model, Recipe, RecipeError, Select
from warehouse import cuts, scores
from warehouse.ids import fingerprint
from warehouse.pool import PoolFile, matrix, metric_rows, read_pool, stored, texts_of, write_pool
from warehouse.scores import Said, Scorer
from warehouse.targets import check_target, check_width, target_key, target_vectors, vector_width

METRICS_VERSION = "1"
"""Raised when a measure would have other values of the same pairs: what is stored of it is then made anew."""

OF_TEXTS = (Balance, Text, Words)
"""Policies that read texts only: they have a value for pairs without a score too, and need no model."""


@dataclass(frozen=True)
class Stock:
    """The pairs of a run, who scores them, and where what is stored of them is: in parts, else in the warehouse.

    `work` keeps measures, `pictures` and `texts` are parts of vectors, and `words` are parts of texts.
    """

    warehouse: str
    work: Path
    pairs: str
    scorers: tuple[Scorer, ...]
    looked: Sequence[str] = ()
    pictures: Sequence[str] = ()
    texts: Sequence[str] = ()
    words: Sequence[str] = ()


def select_pairs(stock: Stock, asked: Select, said: Sequence[Said], out: Path) -> tuple[str, str, dict[str, float]]:
    """Score the pairs where they are not, and hold them against a recipe's `select`: what scores.judge returns."""
    cosines = scores.score(stock.warehouse, stock.pairs, stock.pictures, stock.texts, stock.scorers, out)
    policies = cuts.Policies()
    if asked.policies:
        policies = measured(
            asked.policies, stock, write_pool(stock.warehouse, stock.pairs, cosines, stock.scorers, out)
        )
    rules = scores.Rules(**asked.model_dump(exclude={"min_heads", "policies"}))
    return scores.judge(stock.warehouse, stock.pairs, stock.looked, cosines, stock.scorers, said, rules, policies, out)


def measured(policies: Sequence[Policy], stock: Stock, pool: PoolFile) -> cuts.Policies:
    """The policies as the warehouse asks them, and the parts of their measures; what is there is not made again."""
    asked: list[cuts.Cut | cuts.BestSource] = []
    metrics: list[str] = []
    with _Bench(stock, pool) as bench:
        for place, policy in enumerate(policies):
            if isinstance(policy, BestSource):
                asked.append(cuts.BestSource(policy.margin))
                continue
            earlier = sum(one.policy == policy.policy for one in policies[:place])
            name = metric_of(policy, stock.warehouse, pool, bench.models)
            asked.append(_cut(policy, policy.policy + (str(earlier + 1) if earlier else ""), name))
            metrics.append(_part(policy, name, bench))
    return cuts.Policies(tuple(asked), tuple(dict.fromkeys(metrics)))


def check_policies(recipe: Recipe, warehouse: str, models: Sequence[str]) -> None:
    """Raise RecipeError, HeadError or WarehouseError where a policy cannot be followed; `models` are identities."""
    named = dict(zip(models, recipe.models, strict=False))
    for place, policy in enumerate(recipe.select.policies):
        key = f"select.policies[{place}]"
        for name, file in files_of(policy).items():
            problem, advice = _fault(name, file)
            if problem:
                raise RecipeError(f"{key}.{name}", problem, advice, recipe.name)
        if not models and not isinstance(policy, OF_TEXTS):
            advice = "name a `model`, or keep to: balance, text, words"
            raise RecipeError(
                key, f"{policy.policy} needs the scores of a model, and the recipe has none", advice, recipe.name
            )
        if isinstance(policy, Clusters) and cells_of(policy.cells).model not in models:
            problem = f"the cells {policy.cells} are of a model that the recipe does not name"
            raise RecipeError(key, problem, HOW_TO_GET["cells"], recipe.name)
        if isinstance(policy, NormSim | Clusters):
            for model in models if isinstance(policy, NormSim) else [cells_of(policy.cells).model]:
                width = _width(warehouse, model, named) if policy.target.vectors is not None else None
                check_target(warehouse, *_place(policy.target), model, width)


def _fault(name: str, file: str) -> tuple[str | None, str]:
    """What is wrong with a file that a policy calls `name`, None for nothing, and what to do about it."""
    if not Path(file).is_file():
        return f"there is no file {file}", HOW_TO_GET[name]
    if name not in ("entries", "words"):
        return None, ""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return f"{file} is no UTF-8", "write it as such; if it is in GB18030: iconv -f GB18030 -t UTF-8 OLD > NEW"
    if not text.strip():
        return f"{file} is empty", HOW_TO_GET[name]
    return (f"{file} is JSON, no list of lines", OF_JSON) if _is_json(text) else (None, "")


def _is_json(text: str) -> bool:
    """Whether it is a list or an object of JSON, as MetaCLIP's entries are."""
    try:
        return isinstance(json.loads(text), list | dict)
    except ValueError:
        return False


def _width(warehouse: str, model: str, named: Mapping[str, Model]) -> int | None:
    """How many numbers a model's vectors have: by those that are stored, else by its config; None: neither tells."""
    stored_width = vector_width(warehouse, model)
    if stored_width is not None or model not in named:
        return stored_width
    found = find_model(named[model])
    if found.kind == "open_clip":
        told = read_json(Path(found.config))["model_cfg"].get("embed_dim")
    else:
        told = read_json(Path(found.folder) / "config.json").get("projection_dim")
    return int(told) if told is not None else None


HOW_TO_GET = {
    "entries": "a text file with an entry a line; docs/policies.md says where MetaCLIP's is and how to make one",
    "words": "a text file with a word a line; docs/policies.md says how to make ImageNet's out of WordNet",
    "cells": "write it with `zeromill cells`, out of a release and by the recipe's model; see docs/heads.md",
    "target.vectors": "a Parquet file with a column `vector`; docs/policies.md says how to write one",
}
"""What to do about a file of a policy that is not there."""


OF_JSON = """make it one: python -c "import json; print(*json.load(open('OLD')), sep='\\n')" > NEW"""
"""What to do about a list that is JSON."""


def metric_of(policy: Policy, warehouse: str, pool: PoolFile, models: Sequence[str]) -> str:
    """The name of a measure: it carries all that its values are made of beside the ids of a pair."""
    return f"{policy.policy}:{METRICS_VERSION}:{_made_of(policy, warehouse, pool, models)}"


def _made_of(policy: Policy, warehouse: str, pool: PoolFile, models: Sequence[str]) -> str:
    of_pool = f"pool-{pool.key}"
    match policy:
        case MutualTop1():
            return f"{policy.group}:s{policy.seed}:{of_pool}"
        case NegCLIPLoss():
            return f"t{policy.temperature!r}:b{policy.batch}:k{policy.rounds}:s{policy.seed}:{of_pool}"
        case NormSim():
            keys = [target_key(warehouse, *_place(policy.target), model) for model in models]
            return f"{policy.norm}:{'+'.join(dict.fromkeys(keys))}"
        case Clusters():
            model = cells_of(policy.cells).model
            cells = file_sha256(Path(policy.cells))[:16]
            return f"{cells}:{target_key(warehouse, *_place(policy.target), model)}"
        case Balance():
            bounds = f"t{policy.most}:u{policy.most_unspaced or 'tail'}"
            return f"{file_sha256(Path(policy.entries))[:16]}:{bounds}:s{policy.seed}:{of_pool}"
        case Words():
            return file_sha256(Path(policy.words))[:16]
        case Text():
            return f"{'+'.join(policy.languages or ['any'])}:p{policy.parts}:c{policy.characters}"
        case BestSource():
            raise TypeError("best_source has no measure: it compares scores")


def cells_of(file: str) -> Cells:
    """The cells in a file; HeadError where it holds another head."""
    head = load_head(file)
    if not isinstance(head, Cells):
        raise HeadError(f"The head {file} has no cells, but one value a picture.\nWrite it with `zeromill cells`.")
    return head


def _cut(policy: Policy, key: str, metric: str) -> cuts.Cut:
    match policy:
        case NegCLIPLoss():
            return cuts.Cut(key, metric, "clip_score_low", policy.min, policy.fraction, policy.of)
        case NormSim():
            return cuts.Cut(key, metric, "not_selected", policy.min, policy.fraction, policy.of)
        case MutualTop1():
            return cuts.Cut(key, metric, "not_mutual", 1.0)
        case Balance():
            return cuts.Cut(key, metric, "not_selected", STAYS)
        case _:
            return cuts.Cut(key, metric, "not_selected", 1.0)


def _part(policy: Policy, metric: str, bench: _Bench) -> str:
    """The part of SCORES with the measure of every pair; it is made where no run before has made it."""
    stock, pool = bench.stock, bench.held
    file = stock.work / "metrics" / f"{fingerprint(metric, pool.key)}.parquet"
    if file.exists() or stored(stock.warehouse, pool, metric, str(file), every=isinstance(policy, OF_TEXTS)):
        return str(file)
    tables = [metric_rows(metric, model, ids, values) for model, ids, values in _values(policy, bench)]
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")  # compare may make the same one meanwhile
    pq.write_table(pa.concat_tables([metric_rows(metric, "", _NONE, []), *tables]), aside, compression="zstd")
    aside.replace(file)
    return str(file)


_NONE = (np.empty(0, np.int64), np.empty(0, np.int64))


def _values(policy: Policy, bench: _Bench) -> Iterator[tuple[str, tuple[Ids, Ids], Floats]]:
    """By model the ids of the pairs that have a value, and the values."""
    if isinstance(policy, OF_TEXTS):
        yield from _of_texts(policy, bench)
        return
    for model in bench.models:
        yield model, bench.ids[model], _of_vectors(policy, bench, model)


def _of_vectors(policy: Policy, bench: _Bench, model: str) -> Floats:
    match policy:
        case MutualTop1():
            return mutual_top1(bench.pool(model), policy.group, policy.seed)
        case NegCLIPLoss():
            return negative_loss(bench.pool(model), policy.temperature, policy.batch, policy.rounds, policy.seed)
        case NormSim():
            target = bench.target(policy.target, model)
            rows, pictures = bench.pictures(model, model)
            check_width(_place(policy.target)[1], target, pictures.shape[1])
            return normsim(pictures, target, policy.norm)[rows]
        case Clusters():
            cells = cells_of(policy.cells)
            hit = np.unique(cells.values(bench.target(policy.target, cells.model)))
            rows, pictures = bench.pictures(model, cells.model)
            hits = np.isin(cells.values(pictures), hit) & pictures.any(1)
            values: Floats = hits.astype(np.float32)[rows]
            return values
        case _:
            raise TypeError(f"{policy.policy} is measured by no vectors")


def _of_texts(policy: Balance | Text | Words, bench: _Bench) -> Iterator[tuple[str, tuple[Ids, Ids], Floats]]:
    """The values of all pairs, which are one pool whatever their models, by model."""
    models = sorted(bench.ids)
    images, texts = (np.concatenate([bench.ids[model][side] for model in models] or [_NONE[0]]) for side in (0, 1))
    values = _balance(policy, images, texts, bench) if isinstance(policy, Balance) else _holds(policy, texts, bench)
    start = 0
    for model in models:
        end = start + len(bench.ids[model][0])
        yield model, bench.ids[model], values[start:end]
        start = end


def _balance(policy: Balance, images: Ids, texts: Ids, bench: _Bench) -> Floats:
    entries = Entries.read(Path(policy.entries).read_text(encoding="utf-8"))
    known, rows = np.unique(texts, return_inverse=True)
    found: list[Ids] = [np.empty(0, np.int64)] * len(known)
    for text_id, norm, _ in bench.norms():
        found[np.searchsorted(known, text_id)] = np.array(entries.found(norm), np.int64)
    named = [found[row] for row in rows]
    matches = Matches(
        np.repeat(np.arange(len(rows)), [len(one) for one in named]),
        np.concatenate([np.empty(0, np.int64), *named]),
    )
    counts = counted(matches, len(entries.names))
    chance = chances(counts, np.array(entries.unspaced, bool), policy.most, policy.most_unspaced)
    return balanced((images, texts), matches, entries.names, chance, policy.seed)


def _holds(policy: Text | Words, texts: Ids, bench: _Bench) -> Floats:
    """1 for the pairs whose text is what is asked for, else 0."""
    listed = _listed(policy.words) if isinstance(policy, Words) else frozenset()
    known = np.unique(texts)
    holds = np.zeros(len(known), np.float32)
    for text_id, norm, language in bench.norms():
        if isinstance(policy, Words):
            held = not listed.isdisjoint(norm.casefold().split())
        else:
            spoken = policy.languages is None or language in policy.languages
            held = spoken and len(norm.split()) >= policy.parts and len(norm) >= policy.characters
        holds[np.searchsorted(known, text_id)] = held
    values: Floats = holds[np.searchsorted(known, texts)]
    return values


def _listed(file: str) -> frozenset[str]:
    return frozenset(Path(file).read_text(encoding="utf-8").casefold().split())


def _place(target: Target) -> tuple[str, str]:
    """What kind of target it is, and its name."""
    ((kind, name),) = target.model_dump(exclude_none=True).items()
    return kind, name


@dataclass
class _Bench:
    """What the measures of one pool share: its ids by model, and vectors in files that are gone when it is left."""

    stock: Stock
    held: PoolFile
    numbers: Iterator[int] = field(default_factory=count)
    matrices: dict[tuple[str, str, str], tuple[Ids, Floats]] = field(default_factory=dict)

    def __enter__(self) -> _Bench:
        self.stock.work.mkdir(parents=True, exist_ok=True)
        self.folder = TemporaryDirectory(prefix="policies-", dir=self.stock.work)
        self.ids = read_pool(self.held)
        self.models = [model for model in self.ids if model]
        return self

    def __exit__(self, *_: object) -> None:
        self.matrices.clear()
        self.folder.cleanup()

    def pool(self, model: str) -> Pool:
        """The pairs of the model with the vectors of both sides."""
        images, texts = self.ids[model]
        picture_rows, pictures = self.pictures(model, model)
        text_rows, words = self._rows("text", model, model, texts)
        return Pool(images, texts, pictures, picture_rows, words, text_rows)

    def pictures(self, of: str, model: str) -> tuple[Ids, Floats]:
        """Where the pictures of the pairs of the model `of` are in the vectors that `model` made of them."""
        return self._rows("picture", of, model, self.ids[of][0])

    def target(self, target: Target, model: str) -> Floats:
        """The vectors of a target."""
        return target_vectors(self.stock.warehouse, *_place(target), model, self._file())

    def norms(self) -> Iterator[tuple[int, str, str]]:
        """Every text of the pool: its id, norm and language."""
        for batch in texts_of(self.stock.warehouse, self.stock.words, self.held):
            yield from zip(*(batch.column(name).to_pylist() for name in ("text_id", "norm", "language")), strict=True)

    def _rows(self, subject: str, of: str, model: str, ids: Ids) -> tuple[Ids, Floats]:
        if (subject, of, model) not in self.matrices:
            known, rows = np.unique(ids, return_inverse=True)
            parts = self.stock.pictures if subject == "picture" else self.stock.texts
            made = matrix(self.stock.warehouse, subject, parts, known, model, self._file())
            self.matrices[subject, of, model] = rows, made
        return self.matrices[subject, of, model]

    def _file(self) -> Path:
        """The name of the next file of vectors."""
        return Path(self.folder.name) / f"{next(self.numbers)}.f32"
