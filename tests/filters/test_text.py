import json
from typing import Any

import pyarrow as pa
import pytest

from filters import Filter
from filters.chosen import chosen, first_reasons
from filters.load import load_recipe
from filters.text import Boilerplate, Filename, OtherLanguage, Repetitive, TooLong, TooShort, measure


def verdicts(one: Filter, *texts: str | None) -> list[bool]:
    """Whether each text may stay."""
    said = one.rejects(measure(pa.array(texts, pa.string())))
    assert said.type == pa.string()
    assert len(said) == len(texts)
    return [detail is None for detail in said.to_pylist()]


def test_four_han_characters_or_two_words_are_long_enough() -> None:
    long = ["两只黑狗", "two dogs", "tasco望远镜", "红色 iPhone", "iPhone 12", "หมาสองตัว", "ふたりのこ"]
    short = ["图", "x", " . ", "两只狗。", "dogs", "123 456 789", "T-shirt", "", "狗 a"]
    assert verdicts(TooShort(), *long) == [True] * len(long)
    assert verdicts(TooShort(), *short) == [False] * len(short)
    assert verdicts(TooShort(han=2, words=1), "狗叫", "dogs", "狗") == [True, True, False]


def test_of_han_and_words_a_bound_of_0_is_not_asked() -> None:
    assert verdicts(TooShort(han=0, words=2), "one", "two dogs", "两只黑狗") == [False, True, False]
    assert verdicts(TooShort(han=3, words=0), "两只", "两只狗", "two dogs") == [False, True, False]
    assert verdicts(TooShort(han=0, words=0), "x", "") == [True, True]
    told = [TooShort(han=han, words=2).rejects(measure(pa.array(["one"]))).to_pylist() for han in (0, 4)]
    assert told == [
        ["1 words; at least 2 words"],
        ["0 Han characters and 1 words; at least 4 Han characters or 2 words"],
    ]


def test_three_hundred_characters_are_not_too_long() -> None:
    assert verdicts(TooLong(), "狗" * 300, "狗" * 301, "a" * 300, "a" * 301) == [True, False, True, False]


@pytest.mark.parametrize(
    "text",
    [
        "IMG_1234.jpg",
        "DSC_0001",
        "P_4711.png",
        "000.jpg",
        "P1030851",
        "微信图片_20190301.jpg",
        "screenshot 2019-03-01 at 12.13.14",
        "d41d8cd98f00b204e9800998ecf8427e",
        "https://a.example/b.jpg",
        "16712040371_15f8d5c5ea_o",
        "my-red-dress.webp",
        "IMG-20200101-WA0001",
        "Screenshot_20200101-101010_WeChat",
        "WeChat Image_20200101",
        "未命名_1",
        "图片（3）",
        "u=1543,2342&fm=26&gp=0.jpg",
    ],
)
def test_a_name_of_a_file_is_no_description(text: str) -> None:
    assert verdicts(Filename(), text) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "a dog.jpg on a screen",
        "pam 984",
        "photo of a dog",
        "图片上有两只狗",
        "Image of Paris 1900",
        "P 连衣裙",
        "deadbeef",
        "beach.jpg beach sunset",
        "wechat image of a dog",
        "新建图片上有两只狗",
    ],
)
def test_a_description_is_no_name_of_a_file(text: str) -> None:
    assert verdicts(Filename(), text) == [True]


def test_more_than_ten_urls_make_boilerplate() -> None:
    batch = pa.RecordBatch.from_pydict({"distinct_urls": pa.array([1, 10, 11, None], pa.int64())})
    assert Boilerplate().rejects(batch).to_pylist() == [None, None, "11 URLs > 10", None]


def test_chinese_english_and_undetermined_texts_stay() -> None:
    texts = [
        "两只狗在草地上",
        "two dogs run on the beach",
        "Nuuksio",
        "Zwei Hunde laufen am Strand entlang und spielen",
        "日本の城",
    ]
    assert verdicts(OtherLanguage(), *texts) == [True, True, True, False, False]
    assert verdicts(OtherLanguage(languages=("de",)), *texts) == [False, False, False, True, False]


def test_saying_it_again_and_again_is_repetitive() -> None:
    bad = ["buy buy buy buy buy", "黄色片黄色片黄色片", "哈哈哈哈哈哈", "cheap shoes " * 6]
    good = [
        "New York New York",
        "a man in a red shirt and a man in a blue shirt",
        "两只狗在草地上追两只狗",
        "dog dog",
        "",
    ]
    assert verdicts(Repetitive(), *bad) == [False] * len(bad)
    assert verdicts(Repetitive(), *good) == [True] * len(good)


def test_a_text_that_is_not_there_is_not_judged() -> None:
    filters = [one for one in chosen(load_recipe("zero").texts.filters, "text") if one.reason != "text_boilerplate"]
    reasons, details = first_reasons(measure(pa.array([None, None], pa.string())), filters)
    assert reasons.to_pylist() == details.to_pylist() == [None, None]


def test_a_batch_without_rows_stays_one() -> None:
    filters = [one for one in chosen(load_recipe("zero").texts.filters, "text") if one.reason != "text_boilerplate"]
    reasons, details = first_reasons(measure(pa.array([], pa.string())), filters)
    assert len(reasons) == len(details) == 0
    assert reasons.type == details.type == pa.string()


def test_the_first_reason_in_the_order_of_the_ledger_is_told() -> None:
    entries: list[dict[str, Any]] = [
        {"filter": "text_pii"},
        {"filter": "text_too_long", "characters": 20},
        {"filter": "text_filename"},
    ]
    filters = chosen(entries, "text")
    batch = measure(
        pa.array(["IMG_13912345678_13912345678.jpg", "call 13912345678 " * 3, "call 13912345678", "two dogs"])
    )
    reasons, details = first_reasons(batch, filters)
    assert reasons.to_pylist() == ["text_filename", "text_too_long", "text_pii", None]
    assert [detail is None for detail in details.to_pylist()] == [False, False, False, True]


def test_measures_say_what_a_text_holds() -> None:
    batch = measure(pa.array([" 红色 iPhone&nbsp;手机 ", None]))
    assert batch.column("raw").to_pylist() == [" 红色 iPhone&nbsp;手机 ", None]
    assert batch.column("norm").to_pylist() == ["红色 iPhone 手机", None]
    assert batch.column("language").to_pylist() == ["zh", None]
    assert json.loads(batch.column("measures")[0].as_py()) == {"characters": 12, "han": 4, "words": 1}
    assert batch.column("measures")[1].as_py() is None


def test_chunked_columns_and_large_strings_are_measured_too() -> None:
    texts = pa.chunked_array([["two dogs"], ["两只狗"]], pa.large_string())
    assert measure(texts).column("norm").to_pylist() == ["two dogs", "两只狗"]
