"""Which objects texts name, in English and Chinese, and CHAIR over them."""

import json
import os
import time
from itertools import product
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.concepts import load_concepts
from filters.objects import HELD, Chair, Objects, chair, judge_objects, load_objects, shipped_objects

HEAD = "# id: mine\n# version: 1\n"
CAPTIONS = Path(os.environ.get("ZEROMILL_TEST_DATA", "nowhere")) / "data" / "photos" / "captions.jsonl"
COCO = load_objects("coco")
# But "an orange": only what follows tells the fruit from the colour, so the list knows no more than its plural
NAMES = [(one.id, one.en.replace("an orange", "oranges"), one.zh) for one in COCO.concepts]


def named(text: str) -> list[str]:
    return list(COCO.mentions([text])[0])


def test_the_shipped_vocabulary_is_cocos_classes_as_the_tags_have_them() -> None:
    assert shipped_objects() == ("coco",)
    tags = {one.id: one for one in load_concepts("everyday")[:80]}
    assert [one.id for one in COCO.concepts] == list(tags)
    assert (COCO.id, COCO.version) == ("coco", "1")
    assert all(one.en and one.zh for one in COCO.concepts)


@pytest.mark.parametrize("place", [1, 2], ids=["en", "zh"])
def test_every_object_is_named_by_its_own_words(place: int) -> None:
    assert {one[0]: named(one[place]) for one in NAMES} == {one[0]: [one[0]] for one in NAMES}


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("a hot dog on a plate", ["hot-dog"]),
        ("a dog eats two hot-dogs", ["dog", "hot-dog"]),
        ("a toilet seat", ["toilet"]),
        ("a baby bear beside a teddy bear", ["bear", "teddy-bear"]),
        ("a couple of polar bears", ["bear"]),
        ("football players and a football", ["person", "sports-ball"]),
        ("a zebra crossing", []),
        ("an orange shirt, two oranges", ["orange"]),
        ("The women's knives; a MAN'S bus", ["person", "knife", "person", "bus"]),
        ("category doghouses scarf", []),
        ("热狗和狗", ["hot-dog", "dog"]),
        ("斑马线上的斑马", ["zebra"]),
        ("马路边的白马", ["horse"]),
        ("一匹马，路边的树", ["horse"]),
        ("穿牛仔裤的男人", ["person"]),
        ("水里的海豹和熊猫", []),
        ("猫头鹰在长椅上", ["bird", "bench"]),
        ("停车场里的自行车", ["bicycle"]),
        ("棒球运动员拿着棒球棒", ["person", "baseball-bat"]),
        ("一個人騎著馬，旁邊有貓", ["person", "horse", "cat"]),
        ("刀叉", ["fork", "knife"]),
        ("一只dog和cats", ["dog", "cat"]),
        ("", []),
    ],
)
def test_the_longest_phrase_counts(text: str, objects: list[str]) -> None:
    assert sorted(named(text)) == sorted(objects)


@settings(deadline=None)
@given(st.lists(st.sampled_from(NAMES), max_size=5), st.sampled_from(["en", "zh"]))
def test_a_text_made_of_objects_names_exactly_these(objects: list[tuple[str, str, str]], language: str) -> None:
    if language == "en":
        text = "on the grass, " + " beside ".join(english for _, english, _ in objects) + ", at noon."
    else:
        text = "草地上，" + "，".join(f"一些{chinese}" for _, _, chinese in objects) + "。"
    assert named(text) == [one for one, _, _ in objects]


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_text_can_be_read(texts: list[str]) -> None:
    assert len(COCO.mentions(texts)) == len(texts)


def test_thousands_of_texts_a_second() -> None:
    texts = [f"a {one} beside {other}" for one, other in product([n for _, n, _ in NAMES], repeat=2)][:4000]
    texts += [f"{one}和{other}在一起" for one, other in product([n for _, _, n in NAMES], repeat=2)][:4000]
    before = time.process_time()
    COCO.mentions(texts)
    assert time.process_time() - before < 1


def test_chair_is_the_worked_case() -> None:
    assert chair([["dog", "cat", "car"]], [{"dog", "cat"}]) == Chair(1 / 3, 1.0)
    assert chair([["dog", "dog"], ["car"], []], [{"dog"}, {"dog"}, set()]) == Chair(1 / 3, 1 / 3)
    assert chair([["car", "bus"], ["dog"]], [set(), {"dog"}]) == Chair(2 / 3, 1 / 2)
    assert chair([], []) == Chair(0, 0)
    with pytest.raises(ValueError, match="zip"):
        chair([["dog"]], [])


def test_a_caption_stays_where_all_it_names_is_seen() -> None:
    columns = [[["dog", "cat"], ["cat"], []], ["cat", "cat", None], [0.25, 0.75, None]]
    held = pa.RecordBatch.from_pydict(dict(zip(HELD.names, columns, strict=True)), schema=HELD)
    reasons, details = judge_objects(held, 0.75)
    assert reasons.to_pylist() == ["caption_absent_object", None, None]
    assert details.to_pylist() == ["cat, presence 0.25 < 0.75", None, None]


def write(folder: Path, text: str) -> Objects:
    file = folder / "mine.tsv"
    file.write_text(text, "utf-8")
    return load_objects(str(file))


def test_a_vocabulary_of_ones_own_may_leave_a_language_out(tmp_path: Path) -> None:
    mine = write(tmp_path, f"\ufeff{HEAD}\nbus\ta bus\t\tbus, lorry\nant\t\t蚂蚁\t\t蚂蚁\n")
    assert mine.mentions(["two buses and lorries", "蚂蚁"]) == [("bus", "bus"), ("ant",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD, "is empty"),
        ("# id: mine\na\ta bee\t蜜蜂\tbee\n", "# version: WHEN"),
        (f"{HEAD}A b\tx\ty\tz\n", "line 3 of"),
        (f"{HEAD}a\t\t\tbee\n", "line 3 of"),
        (f"{HEAD}a\ta bee\t蜜蜂\n", "line 3 of .* no word names a"),
        (f"{HEAD}a\ta bee\t\tbee\na\ta bee\t\tbee\n", "line 4 of .* a stands here twice"),
        (f"{HEAD}a\ta bee\t\tbee\t\t\t\tmore\n", "line 3 of"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write(tmp_path, text)


@pytest.mark.skipif(not CAPTIONS.is_file(), reason="ZEROMILL_TEST_DATA names no folder with photos and captions")
def test_a_caption_and_its_translation_name_the_same() -> None:
    rows = [json.loads(line) for line in CAPTIONS.read_text("utf-8").splitlines()]
    pairs = [
        pair for row in rows for pair in zip(row["captions_en"], row["captions_zh_human_translation"], strict=False)
    ]
    both = [
        (set(english), set(chinese))
        for english, chinese in zip(*map(COCO.mentions, zip(*pairs, strict=True)), strict=True)
    ]
    shared = sum(len(english & chinese) for english, chinese in both)
    assert len(both) > 1000
    assert shared / sum(len(english) for english, _ in both) > 0.93
    assert shared / sum(len(chinese) for _, chinese in both) > 0.93
