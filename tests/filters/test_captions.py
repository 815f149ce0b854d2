"""What captions are found to be by their words alone: openings, loops, length, refusals."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.captioning import CaptionChecks
from filters.captions import (
    MEASURED,
    REASONS,
    judge_captions,
    load_openings,
    measure_captions,
    repetition,
    shipped_openings,
)

HEAD = "# id: mine\n# version: 1\n"
CAPTIONS = Path(os.environ.get("ZEROMILL_TEST_DATA", "nowhere")) / "data" / "photos" / "captions.jsonl"


def measured(*raw: str | None, ended: bool = True) -> pa.RecordBatch:
    return measure_captions(pa.array(raw, pa.string()), pa.array([ended] * len(raw)), "common")


def judged(*raw: str | None, ended: bool = True, checks: CaptionChecks | None = None) -> list[tuple[str, str]]:
    reasons, details = judge_captions(measured(*raw, ended=ended), checks or CaptionChecks())
    return list(zip(reasons.to_pylist(), details.to_pylist(), strict=True))


@pytest.mark.parametrize(
    ("raw", "norm"),
    [
        ("This image showcases a dog on a beach.", "a dog on a beach."),
        ("THE IMAGE Shows that a dog runs", "a dog runs"),
        ("The picture shows: two men", "two men"),
        ("In this picture, we can see a red car", "a red car"),
        ("In the photo there is a boat", "a boat"),
        ("Sure, here is a caption for this image: a cat asleep", "a cat asleep"),
        ("这张图片展示了一只狗在草地上。", "一只狗在草地上。"),
        ("图中是一只猫", "一只猫"),
        ("在這張圖片中，我們可以看到一隻狗", "一只狗"),
        ("该图像中有两个人在骑马", "两个人在骑马"),
        ("图片描述：海边的灯塔", "海边的灯塔"),
    ],
)
def test_an_opening_is_taken_off_and_the_rest_stays(raw: str, norm: str) -> None:
    batch = measured(raw)
    assert batch["norm"].to_pylist() == [norm]
    assert batch["opening"].to_pylist()[0]
    assert judged(raw) == [(None, None)]


@pytest.mark.parametrize(
    "raw",
    [
        "The picture frame hangs on a wall",
        "Captions are painted on it",
        "a picture of a dog",
        "画面感强的海报",
        "an imagery",
    ],
)
def test_what_only_looks_like_an_opening_stays(raw: str) -> None:
    batch = measured(raw)
    assert batch["norm"].to_pylist() == [raw]
    assert batch["opening"].to_pylist() == [None]


def test_an_opening_is_a_whole_word_and_the_longest_counts() -> None:
    openings = load_openings("common")
    assert openings.of("the image shows us a dog") == (len("the image shows us"), False)
    assert openings.of("the image showsa dog") is None


@pytest.mark.parametrize(
    "raw", ["I'm sorry, I can't describe it", "As an AI, I see", "抱歉，我无法查看", "I’m unable to see it"]
)
def test_a_refusal_is_no_caption(raw: str) -> None:
    ((reason, detail),) = judged(raw)
    assert reason == "caption_opening"
    assert detail.startswith("begins with ")


@pytest.mark.parametrize("raw", ["", "  ", "The image shows", "这张图片展示了。", "This is a photo of ..."])
def test_where_nothing_is_said_nothing_stays(raw: str) -> None:
    ((reason, detail),) = judged(raw)
    assert reason == "caption_empty"
    assert detail.startswith("0 characters")


def test_a_loop_is_told_from_a_list() -> None:
    loops = ("a dog and a dog and a dog and a dog and", "dog dog dog dog", "一只狗和一只狗和一只狗和一只狗")
    assert [reason for reason, _ in judged(*loops)] == ["caption_repetitive"] * 3
    assert (
        judged("a man in a red shirt and a man in a blue shirt", "两个小红色圆形和两个小红色星星") == [(None, None)] * 2
    )
    assert judged(loops[1]) == [("caption_repetitive", "0.67 of its word pairs repeat > 0.3")]


def test_repetition_is_the_share_of_pairs_that_are_not_new() -> None:
    assert repetition("a b a b a") == 2 / 4
    assert repetition("一只狗一只狗") == 2 / 5
    assert repetition("dog") == 0
    assert repetition(None) is None


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=3, max_size=8, unique=True), st.integers(4, 9))
def test_every_loop_fails_and_its_first_round_does_not(words: list[str], times: int) -> None:
    assert judged(" ".join(words)) == [(None, None)]
    assert judged(" ".join(words * times))[0][0] == "caption_repetitive"


def test_length_counts_words_and_han_characters_and_is_bounded() -> None:
    batch = measured("a dog 和一只猫", "two words")
    assert batch["length"].to_pylist() == [6, 2]
    (told,) = judged("two words", checks=CaptionChecks(length=1))
    assert told == ("caption_too_long", "2 words or Han characters > 1")
    assert judged("two words", checks=CaptionChecks(length=2)) == [(None, None)]


def test_a_caption_that_was_cut_may_stay_only_where_the_recipe_says_so() -> None:
    ((reason, detail),) = judged("a dog runs over a", ended=False)
    assert (reason, detail) == ("caption_too_long", "5 words or Han characters, cut at the most tokens")
    assert judged("a dog runs over a", ended=False, checks=CaptionChecks(cut=True)) == [(None, None)]


def test_what_is_not_asked_is_not_held_against_a_caption() -> None:
    nothing = CaptionChecks(repetition=None, openings=None, length=None, cut=True)
    assert judged("dog dog dog dog", "I'm sorry, no", "word " * 200, ended=False, checks=nothing) == [(None, None)] * 3
    kept = measure_captions(pa.array(["The image shows a dog"]), pa.array([True]), None)
    assert kept["norm"].to_pylist() == ["The image shows a dog"]


def test_the_first_reason_counts_and_a_null_has_none() -> None:
    assert [reason for reason, _ in judged("dog dog dog dog", None, ended=False)] == ["caption_repetitive", None]
    assert measured(None).to_pylist() == [dict.fromkeys(MEASURED.names)]


@settings(deadline=None)
@given(st.lists(st.none() | st.text(max_size=60), max_size=5), st.booleans())
def test_any_text_is_measured_and_judged(raw: list[str | None], ended: bool) -> None:
    batch = measured(*raw, ended=ended)
    assert batch.schema == MEASURED
    assert {reason for reason, _ in judged(*raw, ended=ended)} <= {None, *REASONS}


def test_both_lists_of_versions_are_told() -> None:
    assert shipped_openings() == ("common",)
    assert load_openings("common").id == "common"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the image\tstrip\n", "# version: WHEN"),
        (HEAD, "is empty"),
        (f"{HEAD}the image\tkeep\n", "line 3 of"),
        (f"{HEAD}the image\n", "line 3 of"),
        (f"{HEAD}the [image]\tstrip\n", "line 3 of"),
        (f"{HEAD}(the|a image\tstrip\n", "line 3 of"),
        (f"{HEAD}(|)\tstrip\n", "line 3 of"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text(text if text.startswith("# id") else f"# id: mine\n{text}", "utf-8")
    with pytest.raises(ValueError, match=said):
        load_openings(str(file))


@pytest.mark.skipif(not CAPTIONS.is_file(), reason="ZEROMILL_TEST_DATA names no folder with photos and captions")
def test_what_people_wrote_stays() -> None:
    rows = [json.loads(line) for line in CAPTIONS.read_text("utf-8").splitlines()]
    captions = [one for row in rows for key in ("captions_en", "captions_zh") for one in row[key]]
    reasons = [reason for reason, _ in judged(*captions)]
    assert len(captions) > 7000
    assert sum(reason is not None for reason in reasons) / len(captions) < 0.001
