"""What it costs to change a policy over stored pairs: `python -m bench.policies [--pairs 100000] [--json]`.

The pool is made: vectors like CLIP's, texts of made words in two languages, a real warehouse. Each policy is followed
twice, first with its measure to be made and then with it there, as on every switch between policies that were tried.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.heads import Cells, write_head
from actors.models.vectors import vector_table
from app.show import say
from bench.copies.vectors import realistic
from bench.report import Line, machine, tell
from filters.recipe import Select
from tasks.policies import Stock, select_pairs
from warehouse.lake import connect, prepare
from warehouse.scores import Scorer

PAIRS, WIDTH = 100_000, 512
CELLS, TARGET = 1_000, 10_000

SWITCH_S = 5.0
"""What it may take to see another policy over a pool that is stored."""

MODEL = "0" * 32
SCORERS = (Scorer("clip", MODEL, None),)
WORDS = (
    "red",
    "car",
    "dog",
    "old",
    "city",
    "lake",
    "tree",
    "road",
    "cup",
    "sky",
    "红色",
    "汽车",
    "小狗",
    "城市",
    "湖边",
    "天空",
)


@dataclass(frozen=True)
class Shelf:
    """A warehouse with vectors and texts, the pairs over them, and files that policies name."""

    stock: Stock
    folder: Path

    def select(self, name: str, asked: dict[str, Any]) -> float:
        """Follow a `select`: the seconds that it took. It says how many pairs stay, and what load it ran under."""
        out = Path(tempfile.mkdtemp(prefix="select-", dir=self.folder))
        start, used = time.monotonic(), time.process_time()
        part, _, _ = select_pairs(self.stock, Select.model_validate(asked), [], out)
        seconds, used = time.monotonic() - start, time.process_time() - used
        kept = pq.read_table(part, columns=["reason"])["reason"].null_count
        load = os.getloadavg()[0]
        say(f"{name}: {kept:,} stay; {seconds:.1f} s, {used:.1f} s of all cores together, load {load:.1f}")
        return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured."""
    asked = argparse.ArgumentParser(prog="python -m bench.policies", description=__doc__)
    asked.add_argument("--pairs", type=int, default=PAIRS)
    asked.add_argument("--json", action="store_true", help="one object a line on standard output, nothing else")
    options = asked.parse_args(arguments)
    say(f"{machine()}; {options.pairs:,} made pairs of {WIDTH} numbers a side")
    with tempfile.TemporaryDirectory(prefix="zeromill-bench-") as folder:
        return tell(_measured(make_shelf(Path(folder), options.pairs)), as_json=options.json)


def policies(folder: Path) -> dict[str, dict[str, Any]]:
    """Every policy by its name, as the section `select` of a recipe."""
    target = {"protected": "target"}
    asked: dict[str, dict[str, Any]] = {
        "clip_score": {"top_fraction": 0.3},
        "window": {"min_score": 0.231, "max_score": 0.438},
    }
    for one in (
        {"policy": "mutual_top1"},
        {"policy": "normsim", "target": target, "fraction": 0.3},
        {"policy": "normsim", "target": target, "fraction": 0.3, "norm": 2},
        {"policy": "clusters", "cells": str(folder / "cells.safetensors"), "target": target},
        {"policy": "balance", "entries": str(folder / "entries.txt"), "most": 500},
        {"policy": "words", "words": str(folder / "entries.txt")},
        {"policy": "text", "languages": ["en"], "parts": 3, "characters": 6},
        {"policy": "best_source"},
        {"policy": "negcliploss", "fraction": 0.3},
    ):
        name = f"{one['policy']}{one.get('norm', '')}"
        asked[name] = {"policies": [one]}
    asked["negcliploss and normsim"] = {
        "policies": [*asked["negcliploss"]["policies"], *asked["normsim"]["policies"]],
    }
    return asked


def _measured(shelf: Shelf) -> Iterator[Line]:
    """Each policy with its measure to be made, then all of them once more."""
    every = policies(shelf.folder)
    pairs = pq.read_metadata(shelf.stock.pairs).num_rows
    shelf.select("cosines of all pairs", {})
    _publish(shelf)
    for name, asked in every.items():
        seconds = shelf.select(f"{name}, the first time", asked)
        yield Line(f"{name}, the first time", seconds, SWITCH_S, "s", SWITCH_S / seconds, 0)
    for name, asked in every.items():
        seconds = shelf.select(f"switching to {name}", asked)
        yield Line(f"switching to {name} over {pairs:,} pairs", seconds, SWITCH_S, "s", SWITCH_S / seconds, 1)
    say("a model was run" if "torch" in sys.modules else "no model was run: torch was not even imported")


def _publish(shelf: Shelf) -> None:
    """Keep the cosines as publication does."""
    (part,) = shelf.folder.glob("select-*/scores.parquet")
    with connect(shelf.stock.warehouse) as con:
        con.execute(f"INSERT INTO lake.scores BY NAME FROM read_parquet('{part}')")


def make_shelf(folder: Path, pairs: int) -> Shelf:
    """A warehouse of so many pairs, of which some share a picture and some a text; one text in ten is a caption."""
    rng = np.random.default_rng(0)
    warehouse = str(folder / "lake")
    prepare(warehouse)
    pictures, texts = max(2, pairs * 7 // 10), max(2, pairs * 9 // 10)
    rows = np.unique(np.column_stack([rng.integers(0, pictures, pairs), rng.integers(0, texts, pairs)]), axis=0)
    seen = realistic(pictures + TARGET, WIDTH)
    own = _texts_of(seen, rows, texts, rng)
    image_ids, text_ids = (rng.permutation(1 << 24)[:count] for count in (pictures, texts))
    with connect(warehouse) as con:
        for subject, ids, vectors in (("picture", image_ids, seen[:pictures]), ("text", text_ids, own)):
            con.register("made", vector_table(MODEL, ids, vectors))
            con.execute("INSERT INTO lake.embeddings BY NAME SELECT $1 AS subject, * FROM made", [subject])
        con.register("made", vector_table(MODEL, np.arange(TARGET), seen[pictures:]))
        con.execute(
            """INSERT INTO lake.protected_vectors BY NAME
               SELECT 'target' AS name, subject_id AS image_id, model, vector FROM made"""
        )
        norms = [" ".join(rng.choice(WORDS, 5)) for _ in range(texts)]
        con.register("said", pa.table({"text_id": text_ids, "norm": norms, "language": pa.repeat("en", texts)}))
        con.execute("INSERT INTO lake.texts BY NAME SELECT * FROM said")
    cells = seen[rng.choice(len(seen), CELLS)]
    write_head(Cells("cells", MODEL, cells), str(folder / "cells.safetensors"))
    (folder / "entries.txt").write_text("\n".join([*WORDS[::2], *(f"no such entry {n}" for n in range(50_000))]))
    part = _write_pairs(folder, image_ids[rows[:, 0]], text_ids[rows[:, 1]])
    return Shelf(Stock(warehouse, folder / "lake" / "work", part, SCORERS), folder)


def _texts_of(seen: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], texts: int, rng: np.random.Generator) -> Any:
    """Unit vectors of texts, each at a cosine of about 0.3 with a picture that it stands with."""
    picture = np.zeros(texts, np.int64)
    picture[rows[:, 1]] = rows[:, 0]
    aside = rng.standard_normal((texts, seen.shape[1]), dtype=np.float32)
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    near = rng.uniform(0.1, 0.5, (texts, 1)).astype(np.float32)
    mixed = near * seen[picture] + np.sqrt(1 - near**2) * aside
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def _write_pairs(folder: Path, images: np.ndarray[Any, Any], texts: np.ndarray[Any, Any]) -> str:
    count = len(images)
    roles = np.where(np.arange(count) % 10 == 0, "caption:made", "query")
    table = pa.table(
        {
            "image_id": images,
            "text_id": texts,
            "role": roles,
            "language": pa.repeat("en", count),
            "candidate_id": np.arange(count),
            "own_image": images,
            "text_group": texts,
            "better_text": pa.nulls(count, pa.int64()),
        }
    )
    name = str(folder / "pairs.parquet")
    pq.write_table(table, name)
    return name


if __name__ == "__main__":
    sys.exit(main())
