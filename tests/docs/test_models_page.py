"""What the page on models shows is what there is."""

import json
import re
from pathlib import Path

import pytest
import yaml

from actors.models.files import ModelMissing, find_model
from actors.models.layouts import CONFIG, TYPES
from filters.load import load_recipe
from filters.recipe import Model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "models.md").read_text("utf-8")
SCORER = ROOT / "demo" / "scorer"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", _blocks("yaml"), ids=lambda text: yaml.safe_load(text)["name"])
def test_every_recipe_of_the_page_loads(text: str, tmp_path: Path) -> None:
    (tmp_path / "shown.yaml").write_text(text, "utf-8")
    assert load_recipe(str(tmp_path / "shown.yaml")).models


def test_the_config_of_the_page_is_enough_for_a_checkpoint(tmp_path: Path) -> None:
    (text,) = _blocks("json")
    (tmp_path / CONFIG).write_text(text)
    weights = SCORER / "open_clip_model.safetensors"
    assert find_model(Model(checkpoint=str(weights), config=str(tmp_path / CONFIG))).kind == "open_clip"
    assert set(json.loads(text)) == {"model_cfg", "preprocess_cfg"}


def test_every_name_of_open_clips_list_on_the_page_is_one() -> None:
    names = re.findall(r"`open_clip: ([\w/-]+)`", PAGE)
    assert len(names) >= 3
    for name in names:
        if name != "ARCHITECTURE/TAG":
            with pytest.raises(ModelMissing, match="hf download"):  # not here, and known to open_clip
                find_model(Model(open_clip=name))


def test_the_types_of_transformers_are_told() -> None:
    assert " and ".join([", ".join(f"`{name}`" for name in TYPES[:-1]), f"`{TYPES[-1]}`"]) in PAGE
