"""The encoder, and the actor that embeds texts with it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.models.encoder import Encoder
from actors.models.files import find_model
from actors.models.open_clip_model import load_tokenizer
from actors.models.texts import TextEmbedder
from actors.models.vectors import SCHEMA
from filters.recipe import Model

SCORER = Path(__file__).parents[2] / "demo" / "scorer"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(find_model(Model(path="demo/scorer")))


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _encoded(encoder: Encoder, *pictures: np.ndarray) -> np.ndarray:
    return encoder.encode_pictures([encoder.fit(pixels, *pixels.shape[:2]) for pixels in pictures])


def test_vectors_have_length_one_and_keep_the_order(encoder: Encoder) -> None:
    pictures = [_noise(80, 120, 3), np.full((64, 64, 3), 200, np.uint8), _noise(300, 90, 3)]
    vectors = _encoded(encoder, *pictures)
    assert vectors.shape == (3, encoder.width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[2], _encoded(encoder, pictures[2])[0], atol=1e-2)
    texts = encoder.encode_texts(["a red star", "一个红色星星"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_texts_keep_their_order_whatever_their_lengths(encoder: Encoder) -> None:
    texts = [f"{word} " * length for length in (9, 1, 5) for word in ("a red star", "一个红色星星", "blue")]
    together = encoder.encode_texts(texts * 20)  # more than one batch
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    assert (together * np.tile(alone, (20, 1))).sum(1).min() > 0.999


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_pictures([]).shape == (0, encoder.width)
    assert encoder.encode_texts([]).shape == (0, encoder.width)


def test_a_picture_has_the_same_vector_whatever_is_beside_it(encoder: Encoder) -> None:
    """A model left in train mode would norm a picture by the others of its batch."""
    picture, black = _noise(64, 64, 3), np.zeros((64, 64, 3), np.uint8)
    among = _encoded(encoder, picture, *[black] * 7)[0]
    np.testing.assert_allclose(_encoded(encoder, picture)[0], among, atol=1e-2)


def test_the_tokenizer_is_the_folders_own() -> None:
    tokens = load_tokenizer(SCORER)(["白色背景上的一个大红色星星和两个小蓝色圆形"])
    assert int(tokens.max()) == 843
    assert int((tokens > 0).sum()) <= 20


def test_a_part_of_texts_becomes_a_part_of_vectors(tmp_path: Path, encoder: Encoder) -> None:
    @dataclass(frozen=True)
    class Job:
        texts: str
        out: str

    job = Job(str(tmp_path / "texts.parquet"), str(tmp_path / "out.parquet"))
    told = ["a red star", "two big blue rings", "三个小绿色月亮"]
    pq.write_table(pa.table({"text_id": pa.array([3, 1, 2], pa.int64()), "norm": told}), job.texts)
    assert TextEmbedder(find_model(Model(path="demo/scorer")))(job) == job.out
    out = pq.read_table(job.out)
    assert out.schema.equals(SCHEMA)
    assert out["subject_id"].to_pylist() == [3, 1, 2]
    assert set(out["model"].to_pylist()) == {encoder.identity}
    np.testing.assert_allclose(np.array(out["vector"].to_pylist()), encoder.encode_texts(told), atol=1e-2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.parquet", "texts.parquet"]
