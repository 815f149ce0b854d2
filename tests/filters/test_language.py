import gzip
import os
from pathlib import Path

import pytest

from filters.language import language_of

TEXTS = Path(os.environ.get("ZEROMILL_TEST_DATA", "")) / "data" / "text"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("两只狗在草地上", "zh"),
        ("图", "zh"),
        ("Apple iPhone 手机壳透明", "zh"),
        ("A man rides a red bicycle past an old house", "en"),
        ("IKEA", "und"),
        ("Nuuksio 2014", "und"),
        ("12345", "und"),
        ("", "und"),
        ("小さな女の子が公園で赤いボールを投げて遊んでいます。", "ja"),
        ("日本の城", "ja"),
        ("名探侦コナン", "ja"),
        ("향수 정지용", "ko"),
        ("На пляже две собаки играют с мячом, а за ними наблюдает хозяин.", "ru"),
        ("Дві собаки грають з м'ячем на піщаному березі моря", "uk"),
        ("η γάτα κοιμάται", "el"),
        ("หมาสองตัว", "th"),
        ("כלב רץ על החוף", "he"),
        ("Ein kleiner Junge springt über einen umgestürzten Baumstamm im Wald und lacht dabei laut.", "de"),
        ("Deux chiens courent sur la plage pendant que leur maître regarde la mer au loin.", "fr"),
        ("Zwei Hunde", "und"),  # eight letters are not enough to be sure
        ("resistor 10 kΩ", "und"),
        ("CD cover with a Д in it, a picture of a red album", "en"),
        ("A red poster with the word МИР on it hangs on the wall", "en"),
    ],
)
def test_a_language_is_named_only_when_sure(text: str, label: str) -> None:
    assert language_of(text).label == label


def test_probabilities_are_probabilities() -> None:
    for text in ("", "图", "a dog", "日本の城", "собака", "Zwei Hunde laufen", "~~~"):
        assert 0 <= language_of(text).probability <= 1


@pytest.mark.skipif(not TEXTS.is_dir(), reason="ZEROMILL_TEST_DATA names no folder with real texts")
def test_captions_by_people_keep_their_language() -> None:
    def captions(name: str, column: str, count: int) -> list[str]:
        with gzip.open(TEXTS / name, "rt", encoding="utf-8") as file:
            head, *lines = (line.rstrip("\n").split("\t") for line in file)
        return [line[head.index(column)] for line in lines[: count * 7 : 7]]

    english = [language_of(text).label for text in captions("coco_val2017_captions.tsv.gz", "caption", 1000)]
    chinese = [language_of(text).label for text in captions("flickr8k_zh_human.tsv.gz", "text", 1000)]
    german = [language_of(text).label for text in captions("multi30k_en_de_fr_cs.tsv.gz", "de", 1000)]
    assert set(english) <= {"en", "und"}
    assert set(chinese) == {"zh"}
    assert set(german) <= {"de", "und"}
    assert german.count("de") > 950


@pytest.mark.parametrize("text", ["\U0002fa1e", "・", "・・", "\U0002fa1e a", "ーー", "\u0a44ӱ📱\u0485ӕ", "̈̈", "ัั", "़़"])
def test_characters_of_a_script_that_are_no_letters_are_measured_too(text: str) -> None:
    assert 0 <= language_of(text).probability <= 1
