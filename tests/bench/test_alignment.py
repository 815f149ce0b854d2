"""Agreement with people: tau by its definition, judgements read as for the published figures, the whole command."""

import io
import itertools
import json
import os
from contextlib import redirect_stdout
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bench.alignment import __main__ as bench
from bench.alignment.judgements import Judged, Pair, load_crowd, load_experts, load_photos
from bench.alignment.scores import word_overlap
from bench.alignment.tau import agreement, chance, tau

GRADES = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4)), min_size=2, max_size=40)


def _by_pairs(scores: list[int], ratings: list[int]) -> tuple[float, float]:
    """tau-b and tau-c by their definitions (Kendall 1945; Stuart 1953), over all pairs one by one."""
    order = tied_scores = tied_ratings = 0
    for (a, b), (c, d) in itertools.combinations(zip(scores, ratings, strict=True), 2):
        order += int(np.sign(a - c) * np.sign(b - d))
        tied_scores += a == c
        tied_ratings += b == d
    every = len(scores) * (len(scores) - 1) / 2
    under = ((every - tied_scores) * (every - tied_ratings)) ** 0.5
    kinds = min(len(set(scores)), len(set(ratings)))
    under_c = len(scores) ** 2 * (kinds - 1) / (2 * kinds)
    return (100 * order / under if under else 0.0), (100 * order / under_c if under_c else 0.0)


@given(GRADES)
def test_tau_is_what_its_definition_says(grades: list[tuple[int, int]]) -> None:
    scores, ratings = [one for one, _ in grades], [one for _, one in grades]
    found = [tau(np.array(scores, float), np.array(ratings, float), variant) for variant in ("b", "c")]
    assert found == pytest.approx(_by_pairs(scores, ratings), abs=1e-9)


def test_tau_of_a_case_worked_by_hand() -> None:
    # six pairs, one tied in its ratings; turned, four agree and one does not: b = 3 / sqrt(6 x 5), c = 3 x 2 x 3 / 32
    scores, ratings = np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 2, 3])
    assert tau(scores, ratings, "b") == pytest.approx(100 * 5 / 30**0.5)
    turned = np.array([2.0, 1, 3, 4])
    assert tau(turned, ratings, "b") == pytest.approx(100 * 3 / 30**0.5)
    assert tau(turned, ratings, "c") == pytest.approx(100 * 3 * 2 * 3 / (16 * 2))


def _judged(seed: int, pictures: int = 60) -> tuple[Judged, list[float]]:
    """Pairs of pictures with a true fit each, which three people tell with noise, and that fit."""
    rng = np.random.default_rng(seed)
    fits = rng.random((pictures, 4))
    pairs = tuple(
        Pair(f"{place}.jpg", f"caption {n}", tuple(np.clip(np.round(1 + 3 * fit + rng.normal(0, 0.5, 3)), 1, 4)))
        for place, row in enumerate(fits)
        for n, fit in enumerate(row)
    )
    return Judged("made", "c", 0, pairs, len(pairs), 0), [float(fit) for fit in fits.ravel()]


def test_what_people_see_agrees_and_what_knows_nothing_does_not() -> None:
    judged, fits = _judged(1)
    found, nothing = agreement(fits, judged), chance(judged)
    assert found.low < found.value < found.high
    assert found.low > nothing.high + 30
    assert abs(nothing.value) < 1
    assert agreement([-fit for fit in fits], judged).value == pytest.approx(-found.value)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_the_interval_does_not_depend_on_what_a_score_is_measured_in(seed: int) -> None:
    judged, fits = _judged(seed, pictures=12)
    assert agreement([2.5 * fit**3 for fit in fits], judged) == agreement(fits, judged)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Judgements of two photos that are here and one that is not."""
    (tmp_path / "alignment").mkdir()
    (tmp_path / "photos" / "images").mkdir(parents=True)
    told = []
    for name, own in (("a", "A dog runs ."), ("b", "Two men sit .")):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (80, 80, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / "images" / f"{name}.jpg")
        told.append({"file": f"images/{name}.jpg", "name": f"{name}.jpg", "captions_en": [own, f"{own} fast"]})
    (tmp_path / "photos" / "captions.jsonl").write_text("\n".join(json.dumps(one) for one in told))
    head = "image\timage_file_in_real_pairs\tcaption_id\tcaption_en\t"
    rows = ["a.jpg\timages/a.jpg\tb.jpg#0\tTwo  men sit .\t", "a.jpg\timages/a.jpg\ta.jpg#0\tA dog runs .\t"]
    rows += ['b.jpg\timages/b.jpg\tc.jpg#0\t"Red" boat .\t', "c.jpg\timages/c.jpg\tb.jpg#0\tTwo men sit .\t"]
    experts, votes = ("1\t1\t2", "4\t4\t4", "1\t2\t1", "3\t3\t3"), ("0\t0\t3", "1\t3\t0", "0.25\t1\t3", "0\t0\t3")
    for file, columns, values in (
        ("expert", "expert1\texpert2\texpert3", experts),
        ("crowdflower", "yes_fraction\tn_yes\tn_no", votes),
    ):
        lines = [head + columns, *(row + value for row, value in zip(rows, values, strict=True))]
        (tmp_path / "alignment" / f"flickr8k_{file}.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_experts_count_three_times_and_not_for_the_photos_own_captions(folder: Path) -> None:
    judged = load_experts(folder, load_photos(folder))
    assert [(pair.caption, pair.ratings) for pair in judged.pairs] == [
        ("Two men sit .", (1, 1, 2)),
        ('"Red" boat .', (1, 2, 1)),
    ]
    assert (judged.variant, judged.listed, judged.own, judged.pictures) == ("c", 4, 1, 2)


def test_the_crowd_counts_by_its_share_and_nothing_is_left_out(folder: Path) -> None:
    judged = load_crowd(folder, load_photos(folder))
    assert [pair.ratings for pair in judged.pairs] == [(0,), (1,), (0.25,)]
    assert (judged.variant, judged.listed, judged.own) == ("b", 4, 0)


def test_a_caption_is_not_compared_with_itself(folder: Path) -> None:
    photos = load_photos(folder)
    pairs = [Pair("images/a.jpg", "A dog runs .", (1,)), Pair("images/a.jpg", "a cat", (1,))]
    assert word_overlap(pairs, photos) == pytest.approx([2 * 3 / 7, 2 * 1 / 5])


def test_without_judgements_the_bench_says_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ZEROMILL_TEST_DATA", raising=False)
    assert bench.main([]) == 1
    assert "ZEROMILL_TEST_DATA" in capsys.readouterr().err


def test_a_model_is_held_against_people_beside_chance_words_and_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not os.environ.get("ZEROMILL_TEST_DATA"):
        pytest.skip("ZEROMILL_TEST_DATA names no folder with judgements")
    with redirect_stdout(io.StringIO()) as told:
        words = ["--model", "demo/scorer", "--device", "cpu", "--json", "--chart", str(tmp_path / "a.svg")]
        assert bench.main(words) == 0
    lines = {(one["judgements"], one["score"]): one for one in map(json.loads, told.getvalue().splitlines())}
    expert = {score: one for (name, score), one in lines.items() if name == "Flickr8k-Expert"}
    assert set(expert) == {
        "chance",
        "shared words",
        "one expert, by the others",
        "demo/scorer: cosine",
        "demo/scorer: CLIPScore",
    }
    assert expert["shared words"]["low"] > expert["chance"]["high"]
    # it knows rendered shapes only: no better than the words, which know the photo
    assert expert["demo/scorer: cosine"]["high"] < expert["shared words"]["tau"]
    assert "of the 1674 pairs in the file have their photo here" in capsys.readouterr().err
    assert len(ElementTree.fromstring((tmp_path / "a.svg").read_text())) > 10
