"""Every work of bench.look runs to its end on this machine, and counts what it says it counts."""

import json
import math
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from bench.environments import DATA_JUICER, Environment, EnvironmentMissing
from bench.look import __main__ as look
from bench.look.apart import race
from bench.look.chart import Bar, chart
from bench.look.juicer import juice
from bench.look.models import TINY, architecture, write_model
from bench.look.pictures import DATA, build, photos
from bench.look.roofline import Ceiling, Tower, canvas

PICTURES = 8


@cache
def _told() -> list[dict[str, Any]]:
    few = ("--tiny", "--pictures", str(PICTURES), "--rounds", "1")
    words = [sys.executable, "-m", "bench.look", "--json", *few, "--work", "embed", "scores", "second", "card"]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_every_work_says_a_line_for_each_of_its_goals() -> None:
    assert [told["goal"] for told in _told()] == [5.0, 0.9, 1.0, 1.0, 5.0, 20.0, 0.5, 0.8]


def test_ratios_are_finite_and_above_nothing() -> None:
    assert all(0 < told["ratio"] < math.inf for told in _told())


def test_vectors_of_the_look_are_those_of_the_plain_loop() -> None:
    assert all(told["ratio"] >= told["goal"] for told in _told() if told["work"].startswith("1 - cosine"))


def test_without_a_card_the_command_says_what_to_do(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    if torch.cuda.is_available():
        pytest.skip("this process has a card")
    assert look.main(["--device", "cuda"]) == 1
    said = capsys.readouterr().err
    assert "--device cpu --work card" in said
    assert len(said.splitlines()) <= 3


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336", "ViT-H-14", TINY])
def test_operations_are_those_that_torch_counts(name: str) -> None:
    import open_clip

    config = architecture(name)
    with torch.device("meta"):
        model = open_clip.model.CLIP(**config).eval()
    side = config["vision_cfg"]["image_size"]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.encode_image(torch.empty((2, 3, side, side), device="meta"))
    assert 2 * Tower.of(config).operations() == counter.get_total_flops()


def test_weights_are_the_matrices_of_the_model() -> None:
    import open_clip

    with torch.device("meta"):
        visual = open_clip.model.CLIP(**architecture("ViT-B-32")).visual
    matrices = sum(p.numel() for name, p in visual.named_parameters() if p.dim() > 1 and "embedding" not in name)
    assert Tower.of(architecture("ViT-B-32")).weights() == matrices


def test_a_larger_batch_reads_fewer_weights_a_picture() -> None:
    tower = Tower.of(architecture("ViT-B-32"))
    assert tower.bytes_moved(1) - tower.bytes_moved(64) == pytest.approx(2 * tower.weights() * 63 / 64)


def test_a_card_is_sent_half_of_a_large_picture_upright_and_across_on_one_canvas(tmp_path: Path) -> None:
    shapes = {"wide": (640, 480), "tall": (480, 640)}
    for name, shape in shapes.items():
        Image.new("RGB", shape, "red").save(tmp_path / f"{name}.jpg")
    assert canvas([tmp_path / "wide.jpg"], 224) == 3 * 320 * 240
    assert canvas([tmp_path / "wide.jpg", tmp_path / "tall.jpg"], 224) == 3 * 320 * 320


def test_a_ceiling_is_its_rate_by_what_a_picture_needs() -> None:
    assert Ceiling("matrix", 900.0, "operations", 9.0).pictures == 100


def test_few_photos_make_many_pictures_that_all_differ_and_are_the_same_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATA, raising=False)
    names = [file.name for file in build(tmp_path / "data" / "photos", 2)]
    told = "".join(json.dumps({"file": name, "captions_en": ["a shape"]}) + "\n" for name in names)
    (tmp_path / "data" / "photos" / "captions.jsonl").write_text(told)
    monkeypatch.setenv(DATA, str(tmp_path))
    one, other = ([file.read_bytes() for file in build(tmp_path / name, 10)] for name in ("one", "other"))
    assert one == other
    assert len(set(one)) == 10


def test_without_photos_pictures_are_rendered_and_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATA, raising=False)
    assert photos() == []
    assert len(build(tmp_path / "rendered", 2)) == 2
    assert DATA in look._pictures()


def test_a_model_of_random_weights_is_the_same_each_time(tmp_path: Path) -> None:
    one, other = (write_model(tmp_path / name, TINY) for name in ("one", "other"))
    weights = "open_clip_model.safetensors"
    assert (one / weights).read_bytes() == (other / weights).read_bytes()


def test_contestants_race_in_processes_of_their_own() -> None:
    raced = race([partial(partial, sum, [1, 2]), partial(partial, sum, [3, 4])])
    assert raced.gave == [3, 7]
    assert raced.seconds > 0


def test_a_contestant_that_does_not_get_ready_ends_the_race() -> None:
    with pytest.raises(ValueError, match="no number"):
        race([partial(partial, sum, [1, 2]), partial(int, "no number")])


def test_a_chart_draws_every_stage_of_every_bar_in_its_share() -> None:
    drawn = ElementTree.fromstring(chart("a & b", [Bar("one", {"x": 3.0, "y": 1.0}), Bar("two", {"x": 2.0})], "ms"))
    boxes = [box for box in drawn.iter("{http://www.w3.org/2000/svg}rect") if len(box)]
    wide = [float(box.attrib["width"]) for box in boxes]
    assert np.allclose(np.array(wide) / wide[1], [3, 1, 2], rtol=1e-3)


def test_an_environment_that_is_not_built_says_how_it_is() -> None:
    with pytest.raises(EnvironmentMissing, match="make bench-env"):
        Environment("never", ("none==0",)).python()


@pytest.mark.skipif(not DATA_JUICER.built, reason="Data-Juicer has no environment here (make bench-env)")
def test_data_juicer_keeps_pictures_that_differ_and_drops_a_copy(tmp_path: Path) -> None:
    files = build(tmp_path / "pictures", 4)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(files[0].read_bytes())
    juiced = juice([*files, copy], 1, False, tmp_path)
    assert juiced.left == 4
    assert set(juiced.seconds) == {
        "image_shape_filter", "image_aspect_ratio_filter", "image_size_filter", "image_deduplicator",
    }  # fmt: skip
