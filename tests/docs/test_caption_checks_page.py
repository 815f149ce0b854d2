"""What the page on checks of captions shows is what there is."""

import re
from pathlib import Path

import pyarrow as pa

from bench.words import AGREEMENT, PRESENCE
from filters.captions import measure_captions
from filters.load import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "caption-checks.md").read_text("utf-8")


def _block(language: str) -> str:
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_recipe_of_the_page_loads(tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(_block("yaml"), "utf-8")
    captions = load_recipe(str(tmp_path / "shown.yaml")).captions
    assert captions is not None
    assert captions.checks.objects is not None
    assert captions.checks.agreement is not None


def test_the_bounds_of_the_page_are_those_that_were_measured() -> None:
    assert f"a presence of at least {PRESENCE:g} and a cosine of at least {AGREEMENT:g}" in PAGE


def test_the_openings_of_the_page_are_a_list(tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    file.write_text(f"# id: mine\n# version: 1\n{_block('tsv')}", "utf-8")
    said = pa.array(["This picture depicts us a dog", "I’m sorry", "The image is good"])
    read = measure_captions(said, pa.array([True] * 3), str(file))
    assert read["norm"].to_pylist() == ["a dog", "I’m sorry", "The image is good"]
    assert read["refused"].to_pylist() == [False, True, False]
