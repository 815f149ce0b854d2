"""`zeromill head` and `zeromill cells`: the files that they write, and what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch

from actors.models.files import find_model
from actors.models.heads import Cells, Network, load_head
from app.main import main
from filters.load import load_recipe
from filters.recipe import Model
from warehouse.lake import connect, prepare

SCORER = find_model(Model(path="demo/scorer")).identity
WIDTH = 128


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A linear head of the demo's model, `line.pth`, beside an MLP, `mlp.pth`, in the working directory."""
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(WIDTH, 1).state_dict(), "line.pth")
    layers = [torch.nn.Linear(WIDTH, 8), torch.nn.GELU(), torch.nn.Linear(8, 1)]
    torch.save(torch.nn.Sequential(*layers).state_dict(), "mlp.pth")
    return "line.pth"


def _head(*words: str) -> int:
    return main(["head", *words, "--name", "nice", "--to", "nice.safetensors"])


def _refused(capfd: pytest.CaptureFixture[str], status: int) -> str:
    said = capfd.readouterr().err
    assert status == 1
    assert 1 < said.count("\n") <= 3
    assert "Traceback" not in said
    return said


def test_weights_become_a_head_of_the_model(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert _head(weights, "--model", "demo/scorer", "--output", "sigmoid") == 0
    assert f"nice.safetensors: the head nice (linear) over 128 numbers of the model {SCORER}" in capfd.readouterr().out
    head = load_head("nice.safetensors")
    assert isinstance(head, Network)
    assert (head.name, head.model, head.output, head.activation) == ("nice", SCORER, "sigmoid", "none")


def test_the_model_is_a_recipes_first_or_the_one_that_is_named(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    models = "models: [{name: small, path: demo/scorer}, {name: lost, path: no/such}]"
    Path("two.yaml").write_text(f"name: two\n{models}\n")
    for model in ("demo", "two.yaml", "two.yaml:small"):
        assert _head(weights, "--model", model) == 0
        assert load_head("nice.safetensors").model == SCORER
    capfd.readouterr()
    assert "no/such" in _refused(capfd, _head(weights, "--model", "two.yaml:lost"))
    assert "no model large; there are: small, lost" in _refused(capfd, _head(weights, "--model", "two.yaml:large"))
    assert "no model; there are: none" in _refused(capfd, _head(weights, "--model", "unscored"))


def test_an_mlp_needs_to_be_told_what_stands_between_its_layers(
    weights: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "--activation" in _refused(capfd, _head("mlp.pth", "--model", "demo/scorer"))
    assert not Path("nice.safetensors").exists()
    assert _head("mlp.pth", "--model", "demo/scorer", "--activation", "gelu") == 0
    assert load_head("nice.safetensors").kind == "mlp"


def test_weights_that_are_no_head_are_refused_by_their_name(weights: str, capfd: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.Linear(WIDTH, 2).state_dict(), "two.pth")
    assert "two.pth cannot be a head: its last layer gives 2" in _refused(
        capfd, _head("two.pth", "--model", "demo/scorer")
    )
    assert "none.pth cannot be read" in _refused(capfd, _head("none.pth", "--model", "demo/scorer"))


@pytest.fixture
def release(weights: str) -> str:
    """The warehouse `lake` with a release of 60 pictures around three directions, curated by the recipe `demo`."""
    prepare("lake")
    rng = np.random.default_rng(0)
    vectors = np.eye(3, WIDTH)[np.arange(60) % 3] + 0.01 * rng.normal(size=(60, WIDTH))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tolist()
    recipe = load_recipe("demo").model_dump_json()
    with connect("lake") as con:
        con.execute(
            """INSERT INTO lake.releases BY NAME
               SELECT 'first' AS release, $1 AS recipe, 'demo' AS recipe_name, 's' AS source, 'f' AS fingerprint,
                      '{}' AS counts, '{}' AS cuts, '{}' AS metrics, now() AS created_at""",
            [recipe],
        )
        con.execute(
            "INSERT INTO lake.release_pairs BY NAME SELECT 'first' AS release, range AS image_id FROM range(60)"
        )
        con.execute(
            """INSERT INTO lake.embeddings BY NAME SELECT 'picture' AS subject, n::BIGINT AS subject_id, $1 AS model,
               vector FROM (SELECT unnest($2::FLOAT[][]) AS vector, unnest(range(60)) AS n)""",
            [SCORER, unit],
        )
    return "first"


def test_cells_tell_the_directions_of_a_release_apart(release: str, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["cells", release, "--count", "3", "--to", "cells.safetensors", "--warehouse", "lake"]
    assert main(words) == 0
    assert f"3 cells of 60 pictures by the model {SCORER}" in capfd.readouterr().out
    head = load_head("cells.safetensors")
    assert isinstance(head, Cells)
    assert (head.name, head.model) == ("cell", SCORER)
    assert sorted(head.values(np.eye(3, WIDTH, dtype=np.float32))) == [0, 1, 2]
    once = Path("cells.safetensors").read_bytes()
    assert main([*words, "--model", "clip"]) == 0
    assert Path("cells.safetensors").read_bytes() == once
    capfd.readouterr()
    assert "61 cells need" in _refused(capfd, main([*words[:2], "--count", "61", *words[4:]]))
    assert "no model large" in _refused(capfd, main([*words, "--model", "large"]))
    assert "no release second" in _refused(capfd, main(["cells", "second", *words[2:]]))
    with connect("lake") as con:
        con.execute("DELETE FROM lake.embeddings")
    assert "No picture of first has a vector" in _refused(capfd, main(words))
