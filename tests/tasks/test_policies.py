"""Policies over stored pairs: what each keeps, that nothing is measured twice, and that no order changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from actors.models.heads import Cells, HeadError, write_head
from filters.load import load_recipe, recipe_fingerprint
from filters.recipe import RecipeError, Select
from tasks import policies
from tasks.policies import Stock, check_policies, select_pairs
from warehouse.errors import WarehouseError
from warehouse.lake import connect, prepare
from warehouse.query import query
from warehouse.scores import Scorer

MODEL = "0123456789abcdef0123456789abcdef"
SCORERS = (Scorer("clip", MODEL, None),)
Row = dict[str, Any]
NO_RULES: Row = {}
Floats = NDArray[np.float32]


class Bench:
    """A warehouse with vectors, and pairs over them that are judged by policies."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.runs = folder, 0
        self.warehouse = str(folder / "lake")
        prepare(self.warehouse)

    def hold(self, pictures: Floats, texts: Floats) -> None:
        """Keep vectors: pictures have the ids from 1, texts those from 1001."""
        with connect(self.warehouse) as con:
            for subject, first, vectors in (("picture", 1, pictures), ("text", 1001, texts)):
                ids = pa.array(range(first, first + len(vectors)), pa.int64())
                lists = pa.array([list(map(float, one)) for one in vectors], pa.list_(pa.float32()))
                con.register("made", pa.table({"subject_id": ids, "vector": lists}))
                con.execute(
                    """INSERT INTO lake.embeddings BY NAME
                       SELECT $1 AS subject, *, $2 AS model FROM made ORDER BY subject_id % 3, subject_id DESC""",
                    [subject, MODEL],
                )

    def say(self, norms: dict[int, str]) -> None:
        with connect(self.warehouse) as con:
            for text_id, norm in norms.items():
                con.execute("INSERT INTO lake.texts BY NAME SELECT $1 AS text_id, $2 AS norm", [text_id, norm])

    def judge(
        self, pairs: Sequence[tuple[int, int] | tuple[int, int, str]], asked: Sequence[Row], rules: Row = NO_RULES
    ) -> tuple[list[tuple[str | None, str | None]], dict[str, float]]:
        """Reason and detail of each pair (image, text, and role), in their order, and the frozen cuts."""
        self.runs += 1
        out = self.folder / f"run-{self.runs}"
        out.mkdir()
        rows = [
            {
                "image_id": one[0],
                "text_id": one[1],
                "role": one[2] if len(one) == 3 else "query",
                "language": "en",
                "candidate_id": n,
                "own_image": one[0],
                "text_group": one[1],
                "better_text": None,
            }
            for n, one in enumerate(pairs)
        ]
        columns = pa.schema([(name, pa.string() if name in ("role", "language") else pa.int64()) for name in rows[0]])
        pq.write_table(pa.Table.from_pylist(rows, columns), out / "pairs.parquet")
        made = str(out / "pairs.parquet")
        asked_of: Select = Select.model_validate({**rules, "policies": asked})
        stock = Stock(self.warehouse, self.folder / "work", made, SCORERS)
        name, self.scores, frozen = select_pairs(stock, asked_of, [], out)
        judged = {row["candidate_id"]: row for row in pq.read_table(name).to_pylist()}
        return [(judged[n]["reason"], judged[n]["detail"]) for n in range(len(pairs))], frozen


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _unit(rows: Sequence[Sequence[float]]) -> Floats:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _random(count: int, seed: int) -> Floats:
    return _unit(np.random.default_rng(seed).standard_normal((count, 8)).tolist())


def _kept(told: Sequence[tuple[str | None, str | None]]) -> list[int]:
    return [n for n, (reason, _) in enumerate(told) if reason is None]


def test_a_pair_that_is_nobodys_best_in_its_group_is_not_mutual(bench: Bench) -> None:
    # pictures and texts in a plane: the third picture is nearer to the first text, and the third text to no picture
    bench.hold(_unit([[1, 0], [0, 1], [1, 0.2]]), _unit([[1, 0], [0, 1], [-1, 0.4]]))
    told, cuts = bench.judge([(1, 1001), (2, 1002), (3, 1003)], [{"policy": "mutual_top1"}])
    assert told == [(None, None), (None, None), ("not_mutual", "mutual_top1 0.0000 < 1.0000")]
    assert cuts == {"mutual_top1": 1.0}


def test_negcliploss_is_cut_at_a_value_of_the_pool_which_is_frozen(bench: Bench) -> None:
    # the two pairs of the paper's formula worked by hand: cosines 0.30, 0.28; 0.10, 0.25
    pictures = np.eye(4, dtype=np.float32)[:2]
    texts = np.array([[0.30, 0.10], [0.28, 0.25]])
    rest = np.sqrt(1 - (texts**2).sum(1))
    bench.hold(pictures, np.column_stack([texts, rest * [1, 0], rest * [0, 1]]).astype(np.float32))
    pairs = [(1, 1001), (2, 1002)]
    told, cuts = bench.judge(pairs, [{"policy": "negcliploss", "fraction": 0.01}])
    assert told == [(None, None), ("clip_score_low", "negcliploss -0.0152 < -0.0006")]
    assert cuts == {"negcliploss": pytest.approx(-0.000635, abs=2e-6)}
    told, cuts = bench.judge(pairs, [{"policy": "negcliploss", "min": -0.02}])
    assert (_kept(told), cuts) == ([0, 1], {"negcliploss": -0.02})


def test_a_fraction_is_of_all_pairs_or_of_those_that_are_left(bench: Bench) -> None:
    bench.hold(_unit([[np.cos(a), np.sin(a)] for a in np.linspace(0, 1.5, 10)]), _unit([[0, 1]]))
    target = bench.folder / "target.parquet"
    pq.write_table(pa.table({"vector": pa.array([[2.0, 0.0]], pa.list_(pa.float32()))}), target)
    near = {"policy": "normsim", "target": {"vectors": str(target)}, "fraction": 0.4}
    pairs, low = [(n, 1001) for n in range(1, 11)], {"min_score": 0.7}  # nearest to the target: the first
    assert _kept(bench.judge(pairs, [near])[0]) == [0, 1, 2, 3, 4]  # DataComp's place: int(10 * 0.4), at or above
    assert _kept(bench.judge(pairs, [near], low)[0]) == [5, 6, 7]  # of the 5 that are left
    assert _kept(bench.judge(pairs, [{**near, "of": "all"}], low)[0]) == []


def test_clusters_stay_that_a_picture_of_the_target_is_in(bench: Bench) -> None:
    bench.hold(_unit([[1, 0.1], [1, -0.1], [0.1, 1], [-1, 0]]), _unit([[1, 1]]))
    with connect(bench.warehouse) as con:
        con.execute("INSERT INTO lake.protected_vectors VALUES ('imagenet', 7, $1, [0.9, 0.4])", [MODEL])
    cells = str(bench.folder / "cells.safetensors")
    write_head(Cells("cells", MODEL, _unit([[1, 0], [0, 1], [-1, 0]])), cells)
    asked = {"policy": "clusters", "cells": cells, "target": {"protected": "imagenet"}}
    told, _ = bench.judge([(n, 1001) for n in range(1, 5)], [asked])
    assert told == [(None, None)] * 2 + [("not_selected", "clusters 0.0000 < 1.0000")] * 2


def test_words_of_a_list_keep_a_pair_in_any_case(bench: Bench) -> None:
    bench.hold(_unit([[1, 0]]), _unit([[1, 0]] * 3))
    bench.say({1001: "A Dog asleep", 1002: "a hotdog", 1003: "dogs, asleep"})
    (bench.folder / "words.txt").write_text("dog\ncat\n")
    asked = {"policy": "words", "words": str(bench.folder / "words.txt")}
    assert _kept(bench.judge([(1, n) for n in (1001, 1002, 1003)], [asked])[0]) == [0]


def test_rules_for_texts_are_those_of_datacomp_over_a_pool_that_has_them_all(bench: Bench) -> None:
    bench.hold(_unit([[1, 0]]), _unit([[1, 0]] * 5))
    bench.say({1001: "a b c", 1002: "aa b c", 1003: "红色汽车 停在 路边", 1004: "aaaaa bbbbb", 1005: "one two three"})
    with connect(bench.warehouse) as con:
        con.execute(
            "UPDATE lake.texts SET language = CASE text_id WHEN 1003 THEN 'zh' WHEN 1005 THEN 'und' ELSE 'en' END"
        )
    pairs = [(1, n) for n in range(1001, 1006)]
    assert _kept(bench.judge(pairs, [{"policy": "text", "languages": ["en"], "parts": 3, "characters": 6}])[0]) == [1]
    assert _kept(bench.judge(pairs, [{"policy": "text", "parts": 3, "characters": 6}])[0]) == [1, 2, 4]


def test_pairs_of_frequent_entries_stay_by_chance_and_those_of_none_never(bench: Bench) -> None:
    bench.hold(_unit([[1, 0]] * 300), _unit([[1, 0]] * 3))
    bench.say({1001: "a red car", 1002: "红色汽车", 1003: "nothing of it"})
    (bench.folder / "entries.txt").write_text("red car\n汽车\n")
    asked = {"policy": "balance", "entries": str(bench.folder / "entries.txt"), "most": 20, "most_unspaced": 1000}
    pairs = [(n, 1001 + n % 3) for n in range(1, 301)]
    told, _ = bench.judge(pairs, [asked])
    by_text = [
        [reason for (_, text), (reason, _) in zip(pairs, told, strict=True) if text == one] for one in range(1001, 1004)
    ]
    assert 8 <= by_text[0].count(None) <= 34  # 20 of 100 are expected
    assert by_text[1] == [None] * 100
    assert by_text[2] == ["not_selected"] * 100
    assert ("not_selected", "balance 0.0000 < 1.0000") in told


def test_the_better_of_peoples_and_models_texts_stays_by_a_margin(bench: Bench) -> None:
    bench.hold(_unit([[1, 0]] * 3), _unit([[s, np.sqrt(1 - s * s)] for s in (0.5, 0.3, 0.4, 0.2)]))
    pairs: list[tuple[int, int, str]] = [
        (1, 1001, "query"), (1, 1002, "title"), (1, 1003, "caption:coca"),
        (2, 1002, "query"), (2, 1003, "caption:coca"), (2, 1004, "caption:qwen"),
        (3, 1003, "caption:coca"),
    ]  # fmt: skip
    told, _ = bench.judge(pairs, [{"policy": "best_source"}])
    assert told == [
        (None, None),
        ("caption_better", "0.3000 < 0.4000 of a caption - 0"),
        ("not_selected", "0.4000 - 0 < 0.5000 of a text of people"),
        ("caption_better", "0.3000 < 0.4000 of a caption - 0"),
        (None, None),
        ("not_selected", "0.2000 - 0 < 0.3000 of a text of people"),
        (None, None),
    ]
    told, _ = bench.judge(pairs, [{"policy": "best_source", "margin": 0.15}])
    assert _kept(told) == [0, 1, 3, 6]


EVERY: list[Row] = [
    {"policy": "mutual_top1", "group": 7, "seed": 3},
    {"policy": "negcliploss", "fraction": 0.6, "batch": 20, "rounds": 2},
    {"policy": "normsim", "target": {"protected": "p"}, "norm": 2, "fraction": 0.5},
]


def _many(bench: Bench) -> list[tuple[int, int]]:
    bench.hold(_random(40, 1), _random(50, 2))
    with connect(bench.warehouse) as con:
        con.execute("INSERT INTO lake.protected_vectors VALUES ('p', 7, $1, [1, 0, 0, 0, 0, 0, 0, 0])", [MODEL])
    rng = np.random.default_rng(4)
    return sorted({(int(rng.integers(1, 41)), int(rng.integers(1001, 1051))) for _ in range(80)})


def test_the_order_of_pairs_changes_nothing(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    pairs = _many(bench)
    told, cuts = bench.judge(pairs, EVERY)
    assert 0 < len(_kept(told)) < len(pairs) / 2
    other = Bench(tmp_path_factory.mktemp("other"))
    _many(other)
    order = np.random.default_rng(5).permutation(len(pairs))
    shuffled, same = other.judge([pairs[n] for n in order], EVERY)
    assert [told[n] for n in order] == shuffled
    assert cuts == same


def test_what_was_measured_is_not_measured_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = _many(bench)
    told, _ = bench.judge(pairs, EVERY)

    def refuse(*_: object) -> None:
        raise AssertionError("measured again")

    for name in ("mutual_top1", "negative_loss", "normsim"):
        monkeypatch.setattr(policies, name, refuse)
    assert bench.judge(pairs, EVERY)[0] == told  # by the parts in work
    with connect(bench.warehouse) as con:  # as publication does
        con.execute(f"INSERT INTO lake.scores BY NAME FROM '{bench.scores}'")
    names = {row[0].split(":")[0] for row in query(bench.warehouse, "SELECT DISTINCT metric FROM scores")[1]}
    assert names == {"cosine", "mutual_top1", "negcliploss", "normsim"}
    for part in (bench.folder / "work" / "metrics").iterdir():
        part.unlink()
    assert bench.judge(pairs, EVERY)[0] == told  # by the warehouse
    with pytest.raises(AssertionError, match="measured again"):
        bench.judge(pairs[1:], EVERY)  # another pool


def test_two_policies_of_a_kind_have_cuts_of_their_own(bench: Bench) -> None:
    pairs = _many(bench)
    both = [{"policy": "negcliploss", "min": -1, "batch": b, "rounds": 1} for b in (10, 20)]
    assert set(bench.judge(pairs, both)[1]) == {"negcliploss", "negcliploss2"}


def test_a_repaired_measure_replaces_what_an_earlier_version_has_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, target = [(n, 1001) for n in range(1, 11)], bench.folder / "target.parquet"
    bench.hold(_unit([[np.cos(a), np.sin(a)] for a in np.linspace(0, 1.5, 10)]), _unit([[0, 1]]))
    pq.write_table(pa.table({"vector": pa.array([[1.0, 0.0]], pa.list_(pa.float32()))}), target)
    bench.say({1001: "a dog"})
    (bench.folder / "list.txt").write_text("dog\n")
    asked = [*EVERY[:2], {"policy": "normsim", "target": {"vectors": str(target)}, "min": 0}]
    asked += [{"policy": "balance", "entries": str(bench.folder / "list.txt")}, {"policy": "text"}]
    asked += [{"policy": "words", "words": str(bench.folder / "list.txt")}]
    bench.judge(pairs, asked)
    before = {part.name for part in (bench.folder / "work" / "metrics").iterdir()}
    monkeypatch.setattr(policies, "METRICS_VERSION", "repaired")
    bench.judge(pairs, asked)
    after = {part.name for part in (bench.folder / "work" / "metrics").iterdir()}
    assert (len(before), len(after - before)) == (6, 6)


def test_vectors_that_a_release_gains_are_part_of_its_measure(bench: Bench) -> None:
    bench.hold(_unit([[1, 0.1], [0.1, 1]]), _unit([[1, 1]]))
    with connect(bench.warehouse) as con:
        con.execute(
            """INSERT INTO lake.releases BY NAME SELECT 'first' AS release, 'one' AS fingerprint, 'one' AS run_id,
               '{}' AS counts, '{}' AS cuts, '{}' AS metrics, '{}' AS recipe, now() AS created_at"""
        )
        con.execute(
            "INSERT INTO lake.release_pairs VALUES ('first', 91, 1001, 'query', 1), ('first', 92, 1001, 'query', 1)"
        )
        con.execute(
            "INSERT INTO lake.embeddings VALUES ('picture', 91, $1, [1, 0]), ('picture', 92, 'x', [5])", [MODEL]
        )
    asked: Row = {"policy": "normsim", "target": {"release": "first"}, "min": 0.9}
    pairs = [(1, 1001), (2, 1001)]
    assert _kept(bench.judge(pairs, [asked])[0]) == [0]
    with connect(bench.warehouse) as con:  # as a later run does that embeds what this one had not
        con.execute("INSERT INTO lake.embeddings VALUES ('picture', 92, $1, [0, 1])", [MODEL])
    assert _kept(bench.judge(pairs, [asked])[0]) == [0, 1]
    assert _kept(bench.judge(pairs, [{**asked, "norm": 2, "min": 0}])[0]) == [0, 1]


def _recipe(folder: Path, text: str) -> Path:
    file = folder / "r.yaml"
    file.write_text(f"name: r\nselect:\n  policies:\n    - {text}\n")
    return file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("policy: mutual", "select.policies[0].policy: there is no policy 'mutual'\ndid you mean mutual_top1?"),
        ("{policy: normsim, fraction: 1, target: {release: a, protected: b}}", "a target is one of"),
        ("{policy: normsim, fraction: 1, target: {relese: a}}", "target.relese: unknown key"),
        ("{policy: negcliploss}", "the cut is one of `fraction` and `min`"),
        ("{policy: negcliploss, fracton: 0.3}", "unknown key\ndid you mean fraction?"),
    ],
)
def test_a_policy_that_is_none_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(str(_recipe(tmp_path, text)))
    assert said in str(error.value)


def test_a_policy_counts_by_the_content_of_its_files(tmp_path: Path) -> None:
    file = _recipe(tmp_path, "{policy: words, words: list.txt}")
    with pytest.raises(RecipeError, match=r"select.policies\[0\].words: cannot be read"):
        recipe_fingerprint(load_recipe(str(file)))
    prints = []
    for words in ("dog", "cat", "dog"):
        (tmp_path / "list.txt").write_text(words)
        prints.append(recipe_fingerprint(load_recipe(str(file))))
    assert prints[0] == prints[2] != prints[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{policy: words, words: no.txt}", r"there is no file .*no.txt\n.*WordNet"),
        ("{policy: normsim, fraction: 1, target: {protected: imagenet}}", "is no protected set .*\n.*zeromill protect"),
        ("{policy: normsim, fraction: 1, target: {release: first}}", "There is no release first"),
        ("{policy: normsim, fraction: 1, target: {vectors: r.yaml}}", "has no vectors"),
        ("{policy: clusters, cells: r.yaml, target: {protected: p}}", "cannot be used"),
        ("{policy: normsim, fraction: 1, target: {vectors: wide.parquet}}", "has vectors of 3 numbers, .* 2\\.\n"),
        ("{policy: normsim, fraction: 1, target: {vectors: ragged.parquet}}", "has no vectors: they are of 1 to 3 num"),
        ("{policy: balance, entries: latin.txt}", r"entries: .*latin.txt is no UTF-8\n.*iconv"),
        ("{policy: words, words: latin.txt}", r"words: .*latin.txt is no UTF-8\n.*iconv"),
        ("{policy: balance, entries: empty.txt}", r"entries: .*empty.txt is empty\n.*entry a line"),
        ("{policy: words, words: empty.txt}", r"words: .*empty.txt is empty\n.*word a line"),
        ("{policy: balance, entries: metadata.json}", r"entries: .* is JSON, no list of lines\n.*json.load"),
        ("{policy: words, words: metadata.json}", r"words: .* is JSON, no list of lines\n.*json.load"),
    ],
)
def test_what_a_policy_lacks_is_told_before_any_row_is_touched(bench: Bench, text: str, said: str) -> None:
    recipe = load_recipe(str(_recipe(bench.folder, text)))
    bench.hold(_unit([[1, 0]]), _unit([[1, 0]]))
    for name, vectors in (("wide", [[1.0, 2.0, 3.0]]), ("ragged", [[1.0], [1.0, 2.0, 3.0]])):
        made = pa.table({"vector": pa.array(vectors, pa.list_(pa.float32()))})
        pq.write_table(made, bench.folder / f"{name}.parquet")
    (bench.folder / "latin.txt").write_bytes("café\n".encode("latin-1"))
    (bench.folder / "empty.txt").write_text(" \n\n")
    (bench.folder / "metadata.json").write_text('["dog", "red car"]')
    with pytest.raises((RecipeError, WarehouseError, HeadError), match=said):
        check_policies(recipe, bench.warehouse, [MODEL])


def test_vectors_are_as_wide_as_those_of_a_model_that_has_embedded_nothing_yet(bench: Bench) -> None:
    text = "{policy: normsim, fraction: 1, target: {vectors: wide.parquet}}"
    file = _recipe(bench.folder, text)
    file.write_text(f"{file.read_text()}model: {{path: demo/scorer}}\n")
    made = pa.table({"vector": pa.array([[1.0, 2.0, 3.0]], pa.list_(pa.float32()))})
    pq.write_table(made, bench.folder / "wide.parquet")
    with pytest.raises(WarehouseError, match=r"has vectors of 3 numbers, the model's have \d+\."):
        check_policies(load_recipe(str(file)), bench.warehouse, [MODEL])


def test_a_policy_of_scores_needs_a_model(bench: Bench) -> None:
    with pytest.raises(RecipeError, match="needs the scores of a model"):
        check_policies(load_recipe(str(_recipe(bench.folder, "policy: mutual_top1"))), bench.warehouse, [])
