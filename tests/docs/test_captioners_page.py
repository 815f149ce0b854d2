"""What the page on captioners shows is what there is."""

import re
from pathlib import Path

import pytest

from actors.models.captioners.client import KEY, LONGEST_WAIT_S, PASSING, WAITS_S
from actors.models.captioners.endpoint import SIDE
from actors.models.captioners.finding import find_captioner
from actors.models.captioners.protocol import FAILED
from actors.models.files import ModelMissing
from bench.captions.__main__ import main
from filters.load import load_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "captioners.md").read_text("utf-8")


def test_the_recipe_of_the_page_loads_and_each_captioner_is_looked_for(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "shown.yaml").write_text(shown, "utf-8")
    captions = load_recipe(str(tmp_path / "shown.yaml")).captions
    assert captions is not None
    for captioner in captions.captioners:
        if captioner.endpoint is None:
            with pytest.raises(ModelMissing, match="captioner"):  # not here, and known by its place
                find_captioner(captioner)


def test_numbers_of_the_page_are_those_of_the_code() -> None:
    assert f"at most {SIDE} pixels" in PAGE
    assert f"after {WAITS_S[0]} to {WAITS_S[-1]:.0f} seconds" in PAGE
    assert f"at most {LONGEST_WAIT_S:.0f}." in PAGE
    assert len(WAITS_S) == 4
    assert all(str(status) in PAGE for status in PASSING if status < 500)
    assert f"`{FAILED}`" in PAGE
    assert f"export {KEY}=" in PAGE


def test_the_bench_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert "python -m bench.captions\n" in PAGE
    assert main(["--tiny"]) == 0
    assert "ms/picture" in capsys.readouterr().out
