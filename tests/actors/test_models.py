"""The encoder and the files of a model."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.models.encoder import Encoder, load_tokenizer
from actors.models.files import ModelMissing, file_sha256, find_model, model_identity
from actors.models.texts import TextEmbedder
from filters.recipe import Model

SCORER = Path(__file__).parents[2] / "demo" / "scorer"


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(SCORER)


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_a_folder_is_found_within_an_installed_package() -> None:
    assert find_model(Model(path="demo/scorer")).folder == str(SCORER)


def test_an_absolute_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    shutil.copytree(SCORER, tmp_path / "m")
    assert find_model(Model(path=str(tmp_path / "m"))).folder == str(tmp_path / "m")


@pytest.mark.parametrize(
    "model",
    [Model(path="no/such/folder"), Model(hub="nobody/has-this-model"), Model(path="demo/student")],
    ids=["no folder", "not in the cache", "no weights"],
)
def test_a_missing_model_names_both_ways_out_in_three_lines(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelMissing) as missing:
        find_model(model)
    message = str(missing.value)
    assert len(message.splitlines()) <= 3
    assert "hf download" in message
    assert "model.path" in message
    assert "--recipe unscored" in message


def test_other_weights_than_the_recipe_names_are_refused() -> None:
    right = file_sha256(SCORER / "open_clip_model.safetensors")
    assert find_model(Model(path="demo/scorer", sha256=right)).weights_sha256 == right
    with pytest.raises(ModelMissing, match=right):
        find_model(Model(path="demo/scorer", sha256="0" * 64))


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "bpe_simple_vocab.txt.gz"])
def test_identity_changes_with_weights_and_with_the_tokenizer(tmp_path: Path, name: str) -> None:
    shutil.copytree(SCORER, tmp_path / "m")
    before = model_identity(tmp_path / "m")
    (tmp_path / "m" / name).write_bytes((tmp_path / "m" / name).read_bytes() + b" ")
    assert before == model_identity(SCORER)
    assert model_identity(tmp_path / "m") != before


def test_identity_changes_with_preprocessing_and_not_with_the_card(tmp_path: Path) -> None:
    shutil.copytree(SCORER, tmp_path / "m")
    (tmp_path / "m" / "README.md").write_text("another card")
    assert model_identity(tmp_path / "m") == model_identity(SCORER)
    config = json.loads((tmp_path / "m" / "open_clip_config.json").read_text())
    config["preprocess_cfg"]["interpolation"] = "bilinear"
    (tmp_path / "m" / "open_clip_config.json").write_text(json.dumps(config))
    assert model_identity(tmp_path / "m") != model_identity(SCORER)


def test_vectors_have_length_one_and_keep_the_order(encoder: Encoder) -> None:
    pictures = [_noise(80, 120, 3), np.full((64, 64, 3), 200, np.uint8), _noise(300, 90, 3)]
    vectors = encoder.encode_images(pictures)
    assert vectors.shape == (3, encoder.width)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[2], encoder.encode_images(pictures[2:])[0], atol=1e-2)
    texts = encoder.encode_texts(["a red star", "一个红色星星"])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    assert encoder.encode_images([]).shape == (0, encoder.width)
    assert encoder.encode_texts([]).shape == (0, encoder.width)


def test_a_picture_has_the_same_vector_whatever_is_beside_it(encoder: Encoder) -> None:
    """A model left in train mode would norm a picture by the others of its batch."""
    picture, black = _noise(64, 64, 3), np.zeros((64, 64, 3), np.uint8)
    among = encoder.encode_images([picture, *[black] * 7])[0]
    np.testing.assert_allclose(encoder.encode_images([picture])[0], among, atol=1e-2)


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
    assert TextEmbedder(str(SCORER))(job) == job.out
    out = pq.read_table(job.out).to_pydict()
    assert out["text_id"] == [3, 1, 2]
    np.testing.assert_allclose(np.array(out["embedding"]), encoder.encode_texts(told), atol=1e-2)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out.parquet", "texts.parquet"]
