"""The calibration: bounds from half of the photos, bad ones made of the others, and charts that can be looked at."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench import calibrate
from bench.calibrate_chart import Axis, Series, chart

Told = tuple[list[dict[str, object]], Path]  # objects on standard output, and the folder of the charts

GRADES = st.lists(st.integers(0, 9), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures full of detail, one too small to be blurred, and a file that is no picture."""
    place = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(7)
    for number in range(calibrate.FEWEST + 1):
        detail = rng.integers(0, 256, (195, 260, 3), np.uint8)
        soft = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((260, 195), Image.Resampling.BICUBIC)
        photo = Image.blend(Image.fromarray(detail), soft, 0.6)
        side = (260, 195) if number == 3 else (520, 390)
        photo.resize(side, Image.Resampling.NEAREST).save(place / f"{number:02}.jpg", quality=92)
    (place / "captions.txt").write_text("a dog")
    return place


@pytest.fixture(scope="module")
def lines(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    charts = tmp_path_factory.mktemp("charts")
    with redirect_stdout(io.StringIO()) as told:
        assert calibrate.main([str(folder), str(folder), "--json", "--to", str(charts)]) == 0
    return [json.loads(line) for line in told.getvalue().splitlines()], charts


def test_one_half_of_the_photos_chooses_and_the_other_checks(lines: Told) -> None:
    kinds = {line["kind"]: line for line in lines[0] if "kind" in line}
    assert [line["bound"] for line in lines[0] if "bound" in line] == list(calibrate.LOST)
    assert (kinds["photos that choose"]["pictures"], kinds["photos that check"]["pictures"]) == (11, 10)


def test_bad_pictures_are_made_of_the_photos_that_check_where_they_are_large_enough(lines: Told) -> None:
    made = [line for line in lines[0] if line.get("auc") is not None]
    assert len(made) == 14
    assert {line["pictures"] for line in made} == {9}


def test_strong_blurs_and_empty_pictures_are_told_from_photos(lines: Told) -> None:
    kinds = {line["kind"]: line for line in lines[0] if "kind" in line}
    assert kinds["photos that check"]["image_blank"] == kinds["photos that check"]["image_blurry"] == 0
    assert kinds["Gaussian blur, sigma 4 px"]["image_blurry"] == kinds["Gaussian blur, sigma 4 px"]["auc"] == 1
    for kind in ("one colour", "nearly black frame", "nearly white frame", "logo of one colour"):
        assert kinds[kind]["image_blank"] == 1


def test_the_charts_are_pictures_with_the_bounds_in_them(lines: Told) -> None:
    charts = {path.name: path.read_text("utf-8") for path in lines[1].iterdir()}
    assert set(charts) == {"measures-blank.svg", "measures-roc.svg", "measures-sharpness.svg"}
    for text in charts.values():
        assert ElementTree.fromstring(text).tag.endswith("svg")
    assert "the default, 500" in charts["measures-sharpness.svg"]


def test_a_folder_with_too_few_photos_says_how_many_are_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate.main([str(tmp_path)]) == 2
    assert f"at least {calibrate.FEWEST} are needed" in capsys.readouterr().err


@settings(deadline=None)
@given(GRADES, GRADES)
def test_the_area_is_the_share_of_pairs_in_their_order(good: list[int], bad: list[int]) -> None:
    pairs = [(a > b) + (a == b) / 2 for a in good for b in bad]
    assert calibrate.area(np.array(good, float), np.array(bad, float)) == pytest.approx(sum(pairs) / len(pairs))


def test_what_lies_beyond_an_axis_is_drawn_on_its_edge() -> None:
    axis = Axis("x", 1, 100, (1, 10, 100), log=True)
    assert [axis.place(value) for value in (0, 1, 10, 100, 1e9)] == pytest.approx([0, 0, 0.5, 1, 1])
    drawn = chart("a < b", axis, axis, [Series("dots", [(10, 10)], dots=True)], [])
    assert "a &lt; b" in drawn
    assert "M340.0,190.0h0" in drawn
