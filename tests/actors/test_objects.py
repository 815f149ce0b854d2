"""Objects that captions name, held against pictures: what presence is, and the part that it is read from."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from actors.models.encoder import Encoder
from actors.models.files import find_model
from actors.models.objects import ObjectsJob, ObjectTagger, Seen, presence
from filters.objects import HELD, load_objects
from filters.recipe import Model

SCORER = Model(path="demo/scorer")
SHAPES = "demo/objects.tsv"


def unit(rows: int, width: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(rows, width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's eight shapes by the demo's model."""
    out = tmp_path_factory.mktemp("objects") / "objects.parquet"
    return ObjectTagger(find_model(SCORER))(ObjectsJob(SHAPES, str(out)))


def test_presence_is_a_half_for_what_is_as_near_as_the_average_object() -> None:
    objects = np.eye(4, dtype=np.float32)
    surely = presence(np.array([[1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5]], np.float32), objects, scale=8)
    assert surely[0] == pytest.approx([1 / (1 + np.exp(-6)), *[1 / (1 + np.exp(2))] * 3])
    assert surely[1] == pytest.approx([0.5] * 4)


@settings(deadline=None)
@given(st.integers(0, 100), st.floats(1, 200))
def test_presence_follows_the_cosine_within_a_picture_and_not_its_distance_from_all(seed: int, scale: float) -> None:
    pictures, objects = unit(5, 16, seed), unit(6, 16, seed + 1)
    surely = presence(pictures, objects, scale)
    assert ((surely >= 0) & (surely <= 1)).all()
    order = np.argsort(pictures @ objects.T, axis=1, kind="stable")
    assert (np.diff(np.take_along_axis(surely, order, 1), axis=1) >= 0).all()
    aside = objects.mean(0) - objects  # what moves a picture alike towards all objects changes nothing
    away = np.linalg.svd(aside)[2][-1]
    assert presence(pictures + 0.3 * away, objects, scale) == pytest.approx(surely, abs=1e-3)


def test_the_part_has_a_row_per_object_and_tells_its_model(part: str) -> None:
    assert pq.read_table(part)["concept"].to_pylist() == [one.id for one in load_objects(SHAPES).concepts]
    assert Seen(part).model == find_model(SCORER).identity


def test_a_caption_is_held_by_the_object_that_is_seen_least(part: str) -> None:
    seen, table = Seen(part), pq.read_table(part)
    names, vectors = table["concept"].to_pylist(), np.array(table["vector"].to_pylist(), np.float32)
    pictures = vectors[[names.index("star")] * 4]
    held = seen.held([["star"], ["moon", "star", "moon"], [], ["star", "star"]], pictures)
    assert held.schema == HELD
    assert held["objects"].to_pylist() == [["star"], ["moon", "star"], [], ["star"]]
    assert held["absent"].to_pylist() == ["star", "moon", None, "star"]
    surely = presence(pictures, vectors, Encoder(find_model(SCORER)).scale)
    wanted = [surely[0, names.index("star")], surely[1, names.index("moon")], None, surely[3, names.index("star")]]
    assert held["presence"].to_pylist() == [None if one is None else pytest.approx(float(one)) for one in wanted]


def test_no_caption_is_no_row(part: str) -> None:
    assert Seen(part).held([], np.empty((0, 128), np.float32)).num_rows == 0


def test_an_object_of_another_vocabulary_is_an_error(part: str, tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Seen(part).held([["teapot"]], unit(1, 128, 0))
