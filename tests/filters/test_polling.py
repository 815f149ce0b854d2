"""Polls about objects that captions name: the questions, and what an answer says."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.concepts import Concept
from filters.objects import load_objects
from filters.polling import Poll, absent, polls, question, says_yes

COCO = load_objects("coco")


def test_questions_are_popes_and_a_chinese_one() -> None:
    dog, skis = Concept("dog", "a dog", "狗"), Concept("skis", "skis", "")
    assert question(dog, "en") == "Is there a dog in the image?"
    assert question(dog, "zh") == "图片中有狗吗？"
    assert question(skis, "zh") == "Is there any skis in the image?"
    assert question(dog, "und") == question(dog, "en")


def test_a_poll_is_only_about_what_its_caption_names() -> None:
    texts = ["a dog and a dog beside a bus", "a sunset", "一只猫"]
    asked = polls(COCO.mentions(texts), ["en", "en", "zh"], COCO.concepts)
    assert asked == [
        Poll(0, "dog", "Is there a dog in the image?"),
        Poll(0, "bus", "Is there a bus in the image?"),
        Poll(2, "cat", "图片中有猫吗？"),
    ]


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("There is no dog. Yes.", False),
        ("Yes, there is no doubt that it is a dog.", True),
        ("1. No", False),
        ("是的，图片中有一只不锈钢碗。", True),
        ("有，右边不远处有一只狗。", True),
        ("是的，没有问题", True),
        ("有桌子，没有狗", False),
        ("Nothing there", True),  # POPE matches whole words
        ("Yes, there is a dog in the image.", True),
        ("No", False),
        ("no.", False),
        ("There is not a dog", False),
        ("There isn't a dog.", False),
        ("There isn’t one", False),
        ("Yes. There is no cat, though.", True),
        ("I know, a dog", True),
        ("Is there a dog in the image? No.", False),
        ("图片中有狗吗？没有。", False),
        ("有。", True),
        ("是的，图片中有一只狗", True),
        ("没有，图片中没有狗", False),
        ("不，这里只有一只猫", False),
        ("不是", False),
        ("否", False),
        ("沒有", False),
        ("有，不过很小", True),
        ("没错，有一只狗。没有猫。", True),
        ("是的，不仅有狗，还有猫", True),
        ("图中无狗", False),
        ("\nNo, there is none", False),
    ],
)
def test_an_answer_is_read_by_its_first_sentence(answer: str, yes: bool) -> None:
    assert says_yes(answer) is yes


@pytest.mark.parametrize("answer", ["", "...", "？！", "Is there a dog?"])
def test_no_answer_is_neither(answer: str) -> None:
    assert says_yes(answer) is None


# no spaces at their ends and no word that denies: what an answer says beside its yes or no
BESIDE = ["dog", "table", "on", "know", "notable", "nothing", "piano", "knot"]
REST = st.lists(st.sampled_from(BESIDE), max_size=6).map(" ".join)
HAN = st.lists(st.sampled_from(["狗", "桌子", "有", "在", "图片", "里", "非常", "大"]), max_size=6).map("".join)


@settings(deadline=None)
@given(REST, REST, st.sampled_from(["no", "No", "not", "NO"]), st.sampled_from([".", "!", "\n", "。"]))
def test_an_english_no_is_found_wherever_it_stands_and_only_in_the_first_sentence(
    before: str, after: str, no: str, end: str
) -> None:
    assert says_yes(f"{before} {no} {after}{end} Yes") is False
    assert says_yes(f"Yes {before} {after}{end} {no}") is True


@settings(deadline=None)
@given(HAN, HAN, st.sampled_from(["没有", "不", "否", "无"]), st.sampled_from(["。", "！", "\n"]))
def test_a_chinese_no_is_found_likewise(before: str, after: str, no: str, end: str) -> None:
    assert says_yes(f"{before}{no}{after}{end}是") is False
    assert says_yes(f"是{before}{after}{end}{no}") is True


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_answer_can_be_read(answer: str) -> None:
    assert says_yes(answer) in (True, False, None)


def test_the_first_absent_object_is_named() -> None:
    assert absent([("dog", True), ("cat", None), ("bus", False), ("car", False)]) == "bus"
    assert absent([("dog", True)]) is None
