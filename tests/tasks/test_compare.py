"""What one recipe or release keeps that another drops: counts, reasons and examples, over what is stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.models.files import find_model
from app.main import main
from filters.load import load_recipe
from filters.recipe import Model
from tasks.compare import NotComparable, Told, compare_named
from warehouse.lake import connect, prepare

MODEL = "0123456789abcdef0123456789abcdef"
COLUMNS = pa.schema(
    [(name, pa.int64()) for name in ("image_id", "text_id", "candidate_id", "own_image", "text_group", "better_text")]
    + [("role", pa.string()), ("language", pa.string())]
)
BASE = "name: {name}\nclick_through: null\nmodel: {{path: {path}, sha256: {sha256}}}\n"


class Mill:
    """A finished run of twenty pairs, of which pair n scores n / 20; and recipes beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.warehouse = folder, str(folder / "lake")
        prepare(self.warehouse)
        run = folder / "lake" / "work" / "runs" / "run-one"
        run.mkdir(parents=True)
        pairs = [
            {"image_id": n, "text_id": 100 + n, "role": "query", "language": "en", "candidate_id": n, "own_image": n}
            | {"text_group": 100 + n}
            for n in range(20)
        ]
        pq.write_table(pa.Table.from_pylist(pairs, COLUMNS), run / "pairs.parquet")
        pq.write_table(pa.table({"image_id": [1]}), run / "judged.parquet")
        recipe = json.dumps(load_recipe(self.recipe("made", "")).model_dump(mode="json"))
        with connect(self.warehouse) as con:
            con.execute("INSERT INTO lake.models BY NAME SELECT $1 AS model, 'models/one' AS source", [MODEL])
            con.execute(
                """INSERT INTO lake.runs BY NAME SELECT 'run-one' AS run_id, 'log.csv' AS source, 'first' AS release,
                   $1 AS recipe, now() AS finished_at""",
                [recipe],
            )
            for n in range(20):
                con.execute("INSERT INTO lake.scores VALUES ($1, $2, 'cosine', $3, $4)", [n, 100 + n, MODEL, n / 20])
                con.execute("INSERT INTO lake.texts BY NAME SELECT $1 AS text_id, $2 AS norm", [100 + n, f"<text {n}>"])
                con.execute("INSERT INTO lake.thumbnails VALUES ($1, $2)", [n, f"thumbnail {n}".encode()])
                for subject, first in (("picture", 0), ("text", 100)):
                    vector = [float(value) for value in np.eye(20, dtype=np.float32)[n]]
                    con.execute(
                        "INSERT INTO lake.embeddings VALUES ($1, $2, $3, $4)", [subject, first + n, MODEL, vector]
                    )

    def recipe(self, name: str, select: str, path: str = "models/one", sha256: str = "null") -> str:
        file = self.folder / f"{name}.yaml"
        file.write_text(BASE.format(name=name, path=path, sha256=sha256) + select)
        return str(file)

    def compare(self, first: str, second: str, seed: int = 0) -> Told:
        return compare_named(self.warehouse, first, second, None, seed)


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Mill:
    return Mill(tmp_path_factory.mktemp("mill"))


@pytest.fixture(scope="module")
def both(mill: Mill) -> tuple[str, str]:
    """One keeps scores of 0.5 to 0.8, the other those from 0.6 on, two texts of which have many pictures."""
    return (
        mill.recipe("window", "select: {min_score: 0.5, max_score: 0.8}\n"),
        mill.recipe("best", "select: {min_score: 0.6}\n"),
    )


def test_two_recipes_are_judged_over_one_pool(mill: Mill, both: tuple[str, str]) -> None:
    told = mill.compare(*both)
    one = told.comparison
    assert (told.on, told.notes) == ("first", ())
    assert (one.pairs, one.both, one.neither) == (20, 5, 10)
    assert (one.first.kept, one.first.only, one.second.kept, one.second.only) == (7, 2, 8, 3)
    assert one.first.reasons == {"clip_score_low": 10, "clip_score_high": 3}
    assert one.first.cuts == {"min_score": 0.5, "max_score": 0.8}
    assert sorted(example.image_id for example in one.first.examples) == [10, 11]
    (example, *_) = [one for one in one.second.examples if one.image_id == 17]
    assert (example.text, example.role, example.thumbnail) == ("<text 17>", "query", b"thumbnail 17")
    assert (example.score, example.reason, example.detail) == (
        pytest.approx(0.85),
        "clip_score_high",
        "0.8500 > 0.8000",
    )


def test_the_pairs_with_captions_are_those_that_the_run_judged(mill: Mill, both: tuple[str, str]) -> None:
    run = mill.folder / "lake" / "work" / "runs" / "run-one"
    pq.write_table(pq.read_table(run / "pairs.parquet").slice(0, 15), run / "pairs-captions.parquet")
    try:
        assert mill.compare(*both).comparison.pairs == 15
    finally:
        (run / "pairs-captions.parquet").unlink()


@pytest.fixture
def other_weights(mill: Mill) -> Iterator[str]:
    """The identity of the shipped scorer, by which ten pairs are scored too, and which a run named by another path."""
    found = find_model(Model(path="demo/scorer"))
    with connect(mill.warehouse) as con:
        con.execute(
            """INSERT INTO lake.models BY NAME
               SELECT $1 AS model, 'models/elsewhere' AS source, $2 AS weights_sha256""",
            [found.identity, found.weights_sha256],
        )
        con.execute(
            f"INSERT INTO lake.scores SELECT n, 100 + n, 'cosine', '{found.identity}', 0.55 FROM range(10) t(n)"
        )
    yield found.weights_sha256
    with connect(mill.warehouse) as con:
        for table in ("models", "scores"):
            con.execute(f"DELETE FROM lake.{table} WHERE model = $1", [found.identity])


def test_a_recipe_that_pins_weights_is_judged_by_their_scores(
    mill: Mill, both: tuple[str, str], other_weights: str
) -> None:
    pinned = mill.recipe("pinned", "select: {min_score: 0.5}\n", sha256=other_weights)
    assert mill.compare(pinned, both[0]).comparison.first.kept == 10
    unknown = mill.recipe("unknown", "select: {min_score: 0.5}\n", sha256="f" * 64)
    with pytest.raises(NotComparable, match="models/one, of which only other weights have scored the pairs of first"):
        mill.compare(unknown, both[0])


def test_a_model_is_known_by_its_files_where_they_are_here(
    mill: Mill, both: tuple[str, str], other_weights: str
) -> None:
    here = mill.recipe("here", "select: {min_score: 0.5}\n", path="demo/scorer")
    assert mill.compare(here, both[0]).comparison.first.kept == 10
    with connect(mill.warehouse) as con:  # other weights that were at that path when they scored
        con.execute("UPDATE lake.models SET source = 'demo/scorer' WHERE source = 'models/one'")
    try:
        assert mill.compare(here, here).comparison.first.kept == 10
    finally:
        with connect(mill.warehouse) as con:
            con.execute("UPDATE lake.models SET source = 'models/one' WHERE source = 'demo/scorer'")


def test_examples_are_drawn_by_seed_and_evenly_over_reasons(mill: Mill, both: tuple[str, str]) -> None:
    everything = mill.recipe("everything", "select: {min_score: 0}\n")
    drawn = [
        [one.image_id for one in mill.compare(everything, both[0], seed).comparison.first.examples]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    reasons = [one.reason for one in mill.compare(everything, both[0]).comparison.first.examples]
    assert reasons[:6] == ["clip_score_high", "clip_score_low"] * 3


def test_policies_are_compared_by_stored_vectors(mill: Mill, both: tuple[str, str]) -> None:
    mutual = mill.recipe(
        "mutual", "select: {policies: [{policy: mutual_top1}, {policy: negcliploss, fraction: 0.2}]}\n"
    )
    one = mill.compare(mutual, both[1]).comparison
    assert one.first.kept == 20  # all are alike: of equal values none is under the cut
    assert set(one.first.cuts) == {"mutual_top1", "negcliploss"}


def test_the_command_tells_and_writes_a_page(
    mill: Mill, both: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    page = mill.folder / "page.html"
    assert main(["compare", "--warehouse", mill.warehouse, *both, "--to", str(page), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [side["kept"] for side in told["sides"]] == [7, 8]
    shown = page.read_text("utf-8")
    assert shown.count("<figure>") == 5
    assert "&lt;text 17&gt;" in shown
    assert "<text" not in shown
    assert "data:image/jpeg;base64," in shown
    assert main(["compare", "--warehouse", mill.warehouse, *both]) == 0
    assert "only" in capsys.readouterr().out


def test_a_model_that_has_not_scored_the_pool_is_told_with_what_to_run(
    mill: Mill, both: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--warehouse", mill.warehouse, "datacomp_clip_score", both[0]]) == 1
    said = capsys.readouterr().err
    assert "ViT-L-14-quickgelu/openai, which has not scored the pairs of first" in said
    assert "zeromill curate log.csv --recipe datacomp_clip_score" in said


def test_other_sections_of_a_recipe_are_said_not_to_be_shown(mill: Mill, both: tuple[str, str]) -> None:
    other = mill.recipe("other", "texts: {filters: [{filter: text_pii}]}\nselect: {min_score: 0.5}\n")
    (note,) = mill.compare(other, both[0]).notes
    assert note.startswith("other differs from the recipe of that run in texts, which is not shown here")


def test_a_section_that_an_older_run_did_not_know_is_said_not_to_be_shown(mill: Mill, both: tuple[str, str]) -> None:
    captions = "captions: {captioners: [{name: coca, path: models/coca}]}\n"
    asking = mill.recipe("asking", f"{captions}select: {{min_score: 0.5}}\n")
    with connect(mill.warehouse) as con:
        ((known,),) = con.execute("SELECT recipe FROM lake.runs").fetchall()
        older = {name: value for name, value in json.loads(known).items() if name != "captions"}
        con.execute("UPDATE lake.runs SET recipe = $1", [json.dumps(older)])
    try:
        (note,) = mill.compare(asking, both[0]).notes
    finally:
        with connect(mill.warehouse) as con:
            con.execute("UPDATE lake.runs SET recipe = $1", [known])
    assert note.startswith("asking differs from the recipe of that run in captions, which is not shown here")


def test_two_releases_are_compared_by_their_pairs(mill: Mill) -> None:
    with connect(mill.warehouse) as con:
        for name, pairs in (("a", (1, 2, 3)), ("b", (2, 3, 4, 5))):
            con.execute(
                """INSERT INTO lake.releases BY NAME SELECT $1 AS release, 'gone' AS fingerprint, 'gone' AS run_id,
                   '{}' AS counts, '{"min_score": 0.1}' AS cuts, '{}' AS metrics, '{}' AS recipe,
                   now() AS created_at""",
                [name],
            )
            for n in pairs:
                con.execute("INSERT INTO lake.release_pairs VALUES ($1, $2, $3, 'query', 1)", [name, n, 100 + n])
    told = mill.compare("a", "b")
    one = told.comparison
    assert (one.pairs, one.both, one.neither, one.first.only, one.second.only) == (5, 2, 0, 1, 2)
    assert one.second.examples[0].reason == "not in its run"
    assert one.first.cuts == {"min_score": 0.1}


def test_what_is_not_there_to_be_compared_on_is_told(
    mill: Mill, both: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "--warehouse", mill.warehouse, *both, "--on", "nothing"]) == 1
    assert "There is no release or run nothing" in capsys.readouterr().err
    nowhere = mill.folder / "nowhere"
    assert main(["compare", "--warehouse", str(nowhere), *both]) == 1
    assert "There is no warehouse at" in capsys.readouterr().err
    assert not nowhere.exists()
