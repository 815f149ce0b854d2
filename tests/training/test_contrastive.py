"""Training on pairs, end to end at the smallest size."""

import io
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from actors.models.encoder import Encoder
from actors.models.files import find_model
from demo.world import random_scene
from filters.recipe import Model, Training
from training.contrastive import TrainJob, contrastive_loss, train
from training.data import Pool, is_held_out

STUDENT = "demo/student/model.json"


def _part(file: Path, rows: int, broken: int = 0) -> str:
    rng, pairs = random.Random(4), []
    for place in range(rows):
        scene = random_scene(rng)
        texts = [scene.describe(rng, "en"), scene.query(rng, "zh")]
        body = b"no picture" if place < broken else scene.render()
        pairs.append({"image_id": place, "bytes": body, "texts": texts, "weights": [1.0, 0.5]})
    pq.write_table(pa.Table.from_pylist(pairs), file)
    return str(file)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[tuple[int, int, float]]]:
    folder, told = tmp_path_factory.mktemp("training"), []
    job = TrainJob(
        (_part(folder / "p.parquet", 70, broken=3),),
        str(folder / "out"),
        Training(model=STUDENT, samples=2600, batch=32, holdout=0.2),
    )
    metrics = train(job, lambda step, steps, loss: told.append((step, steps, loss)))
    return folder / "out", metrics, told


def test_the_loss_falls_and_every_step_is_told(trained: Any) -> None:
    _, metrics, told = trained
    assert [step for step, _, _ in told] == list(range(1, 83))
    assert {steps for _, steps, _ in told} == {82}
    assert metrics["loss"] < 0.85 * told[0][2]


def test_what_it_writes_is_a_model_that_loads_and_the_figures(trained: Any) -> None:
    out, metrics, _ = trained
    assert Encoder(find_model(Model(path=str(out)))).encode_texts(["a red star"]).shape == (1, 128)
    assert {f.name for f in out.iterdir()} == {
        "open_clip_config.json", "open_clip_model.safetensors", "bpe_simple_vocab.txt.gz", "metrics.json", "loss.csv"
    }  # fmt: skip
    assert len((out / "loss.csv").read_text().splitlines()) == 1 + metrics["steps"]
    assert metrics["skipped"] == 3
    assert 0 <= metrics["r_mean"] <= 1


def test_held_out_pictures_are_the_same_whatever_else_is_there(trained: Any) -> None:
    _, metrics, _ = trained
    held = [place for place in range(3, 70) if is_held_out(place, 0, 0.2)]
    assert metrics["held_out_images"] == len(held)
    assert metrics["images"] == 67 - len(held)
    share = np.mean([is_held_out(place, 1, 0.2) for place in range(20_000)])
    assert share == pytest.approx(0.2, abs=0.01)


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    part = _part(tmp_path / "p.parquet", 20)
    for name in ("a", "b"):
        train(TrainJob((part,), str(tmp_path / name), Training(model=STUDENT, samples=24, batch=8, holdout=0.3)))
    weights = "open_clip_model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (tmp_path / "b" / weights).read_bytes()


def test_retrieval_is_measured_on_the_given_file_with_all_texts_of_a_picture(tmp_path: Path) -> None:
    part, rng = _part(tmp_path / "p.parquet", 10), random.Random(9)
    body = random_scene(rng).render()
    pairs = {"bytes": [body, body, random_scene(rng).render()], "text": ["one", "two", "three"]}
    pq.write_table(pa.table(pairs), tmp_path / "e.parquet")
    job = TrainJob(
        (part,), str(tmp_path / "out"), Training(model=STUDENT, samples=8, batch=8), str(tmp_path / "e.parquet")
    )
    metrics = train(job)
    assert metrics["held_out_images"] == 2
    assert metrics["images"] == 10


@pytest.mark.parametrize(
    ("rows", "training", "says"),
    [
        (1, Training(model=STUDENT, batch=8, holdout=1e-9), "a larger release"),
        (12, Training(model=STUDENT, batch=8, holdout=1e-9), "raise training.holdout"),
        (2, Training(model="no-such-model"), "training.model"),
        (2, Training(model="no/such.json"), "no model config"),
    ],
)
def test_what_cannot_be_trained_says_what_to_change(tmp_path: Path, rows: int, training: Training, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        train(TrainJob((_part(tmp_path / "p.parquet", rows),), str(tmp_path / "out"), training))
    assert not list((tmp_path / "out").glob(".pixels*"))


def test_pairs_of_one_picture_are_positives_of_each_other() -> None:
    images, texts, scale = torch.eye(2), torch.eye(2).flip(0), torch.tensor(100.0)  # each has the other's text
    assert contrastive_loss(images, texts, scale, torch.tensor([7, 8])).item() == pytest.approx(100)
    assert contrastive_loss(images, texts, scale, torch.tensor([7, 7])).item() == pytest.approx(50)


def test_with_one_id_a_pair_the_loss_is_the_usual_one() -> None:
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 4), dim=1) for _ in range(2))
    logits, target = 5 * images @ texts.T, torch.arange(6)
    usual = (
        torch.nn.functional.cross_entropy(logits, target) + torch.nn.functional.cross_entropy(logits.T, target)
    ) / 2
    ours = contrastive_loss(images, texts, torch.tensor(5.0), torch.arange(6) + 100)
    assert ours.item() == pytest.approx(usual.item(), abs=1e-5)


def test_texts_are_drawn_by_weight() -> None:
    pool = Pool(np.empty((1, 1, 1, 3), np.uint8), [1], [["often", "never", "seldom"]], [[3.0, 0.0, 1.0]])
    rng = random.Random(0)
    drawn = [pool.draw_text(0, rng) for _ in range(4000)]
    assert "never" not in drawn
    assert drawn.count("often") / 4000 == pytest.approx(0.75, abs=0.03)


def test_rows_of_one_picture_become_one(tmp_path: Path) -> None:
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    from training.data import load_pairs

    file = io.BytesIO()
    Image.new("RGB", (30, 20), (250, 0, 0)).save(file, "PNG")
    rows = [{"image_id": 5, "bytes": file.getvalue(), "texts": [text], "weights": [1.0]} for text in ("a", "b")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    transform = Compose([Resize((8, 8)), ToTensor(), Normalize((0.5,) * 3, (0.5,) * 3)])
    pool = load_pairs([str(tmp_path / "p.parquet")], transform, (8, 8), tmp_path / "x.npy")
    assert len(pool) == 1
    assert pool.texts == [["a", "b"]]
    assert pool.pixels[0, 4, 4].tolist() == [250, 0, 0]
