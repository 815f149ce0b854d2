"""Lists of concepts: the shipped one, and files that people write."""

from pathlib import Path

import pytest

from filters.concepts import Concept, load_concepts, shipped_concepts

HEAD = "# id: mine\n# version: 1\n"


def test_the_shipped_list_names_each_thing_once_in_both_languages() -> None:
    assert shipped_concepts() == ("everyday",)
    concepts = load_concepts("everyday")
    assert len(concepts) >= 150
    for values in ([one.id for one in concepts], [one.en for one in concepts], [one.zh for one in concepts]):
        assert len(set(values)) == len(values)
    assert all(one.en.isascii() and not one.zh.isascii() for one in concepts)
    assert {"person", "toothbrush", "screenshot", "logo", "map", "product", "landscape"} <= {one.id for one in concepts}


def test_a_file_of_ones_own_is_read_in_its_order_and_a_language_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(f"\ufeff{HEAD}\nb\ta bee\t蜜蜂\na\t\t蚂蚁\n", "utf-8")
    assert load_concepts(str(tmp_path / "mine.tsv")) == (Concept("b", "a bee", "蜜蜂"), Concept("a", "", "蚂蚁"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\tb\tc\n", "# version: WHEN"),
        (HEAD, "is empty"),
        (f"{HEAD}ok\tyes\t好\nbad\tonly two\n", "line 4 of"),
        (f"{HEAD}Big One\tx\ty\n", "line 3 of"),
        (f"{HEAD}a\t\t\n", "line 3 of"),
        (f"{HEAD}a\tx\ty\na\tz\tw\n", "line 4 of .* a stands here twice"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.tsv").write_text(text, "utf-8")
    with pytest.raises(ValueError, match=said):
        load_concepts(str(tmp_path / "mine.tsv"))


def test_a_list_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for name in ("every_day", str(tmp_path / "none.tsv"), str(tmp_path)):
        with pytest.raises(ValueError, match="cannot be read"):
            load_concepts(name)
