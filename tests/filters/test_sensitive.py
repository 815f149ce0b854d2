from pathlib import Path

import pyarrow as pa
import pytest
from pydantic import ValidationError

from filters.sensitive import Sensitive
from filters.text import measure

LIST = """# id: example
# version: 2026-11-01
敏感	politics
毒品	drugs
贩毒	drugs
消毒品	allowed
BadWord	abuse
ass	abuse
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    file = tmp_path / "words.tsv"
    file.write_text(LIST, encoding="utf-8")
    return file


def said(file: Path, *texts: str | None) -> list[str | None]:
    details: list[str | None] = Sensitive(list=str(file)).rejects(measure(pa.array(texts, pa.string()))).to_pylist()
    return details


def test_the_list_its_version_and_the_category_are_told(words: Path) -> None:
    assert said(words, "这是敏感内容") == ["list example, version 2026-11-01: politics"]


@pytest.mark.parametrize(
    "text", ["敏*感内容", "敏 感", "這是敏感內容", "a badword here", "B.a.d.w.o.r.d!", "毒品", "消毒品和毒品"]
)
def test_case_script_and_separators_hide_nothing(words: Path, text: str) -> None:
    assert said(words, text) != [None]


@pytest.mark.parametrize(
    "text", ["家用消毒品两瓶", "first class seat", "a glass of water", "badwords are plural", "", None]
)
def test_protected_words_and_parts_of_words_stay(words: Path, text: str | None) -> None:
    assert said(words, text) == [None]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("敏感\tpolitics\n", "needs lines"),
        ("# id: a\n# version: 1\n毒\tdrugs\n", "line 3"),
        ("# id: a\n# version: 1\n毒品\n", "line 3"),
    ],
)
def test_a_list_that_cannot_be_trusted_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "bad.tsv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValidationError, match=problem):
        Sensitive(list=str(file))
    with pytest.raises(ValidationError, match="cannot be read"):
        Sensitive(list=str(tmp_path / "none.tsv"))
