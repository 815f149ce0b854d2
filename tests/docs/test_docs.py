"""What the pages say is what the code does: commands, keys, defaults, reasons, tables, links and examples."""

import importlib
import inspect
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from app.main import parser
from filters.captioning import CaptionChecks, Captioner
from filters.chosen import BUILT_IN, chosen, first_reasons
from filters.load import RecipeError, load_recipe, shipped
from filters.recipe import Recipe
from filters.text import measure
from warehouse.reasons import STAGES
from warehouse.tables import TABLES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
RECIPES = (ROOT / "docs" / "recipes.md").read_text("utf-8")
SECTIONS = [name for name in Recipe.model_fields if name not in ("name", "about")]
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| .+ \|$", re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page that are in that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words after `zeromill` of every line of a page's bash blocks that calls it."""
    lines = [line for block in blocks(page.read_text("utf-8"), "bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and Path(line[0]).name == "zeromill"]


CALLS = [pytest.param(words, id=f"{page.name}: {' '.join(words)[:50]}") for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", CALLS)
def test_every_command_of_the_pages_is_one_that_there_is(words: list[str]) -> None:
    assert parser().parse_args(words).command == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    dead = [link for link in links if "://" not in link and not _leads_somewhere(page, link)]
    assert dead == []


def _leads_somewhere(page: Path, link: str) -> bool:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    if not heading or not target.is_file():
        return target.exists()
    titles = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
    return heading in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_reason_is_told_in_the_order_of_the_ledger() -> None:
    page = (ROOT / "docs" / "reasons.md").read_text("utf-8")
    told = re.findall(r"^\| (\w+) \| `(\w+)` \| [^|]+ \|", page, re.MULTILINE)
    assert told == [(stage, code) for stage, codes in STAGES for code in codes]


def test_every_table_and_every_shipped_recipe_is_told() -> None:
    tables = (ROOT / "docs" / "warehouse.md").read_text("utf-8")
    rows = "\n".join(line for line in tables.splitlines() if line.startswith("| `"))
    assert [name for name in TABLES if f"`{name}`" not in rows] == []
    rows = "\n".join(line for line in RECIPES.splitlines() if line.startswith("| `"))
    assert [name for name in shipped() if f"| `{name}` |" not in rows] == []


def _told(heading: str) -> dict[str, str]:
    """Key and default of every row of the table under a heading of the page on recipes."""
    _, _, rest = RECIPES.partition(f"# {heading}\n")
    return dict(ROW.findall(rest.partition("\n#")[0]))


def _default(model: type[BaseModel], key: str) -> Any:
    default = model.model_fields[key].default
    if isinstance(default, tuple):
        return list(default)
    if isinstance(default, BaseModel):
        return "as below"
    return "must be given" if default is PydanticUndefined else default


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_of_a_section_is_told_with_its_default(section: str) -> None:
    model = next(one for one in _models(Recipe.model_fields[section].annotation))
    told = {key: yaml.safe_load(default.strip("`")) for key, default in _told(f"`{section}`").items()}
    assert told == {key: _default(model, key) for key in model.model_fields}


@pytest.mark.parametrize(("section", "model"), [("captioners", Captioner), ("checks", CaptionChecks)])
def test_every_key_of_captions_is_told_with_its_default(section: str, model: type[BaseModel]) -> None:
    told = {key: yaml.safe_load(default.strip("`")) for key, default in _told(f"`captions.{section}`").items()}
    assert told == {key: _default(model, key) for key in model.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for one in (annotation, *getattr(annotation, "__args__", ())):
        if inspect.isclass(one) and issubclass(one, BaseModel):
            yield one


def test_every_key_of_the_recipe_itself_is_told() -> None:
    assert list(_told("The recipe itself")) == list(Recipe.model_fields)


def test_every_filter_is_told_in_its_order_with_its_settings_and_defaults() -> None:
    told: list[tuple[str, str, str]] = []
    for line in re.findall(r"^\| (?:`(\w+)`)? ?\| (?:`(\w+)`)? ?\| ([^|]*?) ?\| .+ \|$", RECIPES, re.MULTILINE):
        told.append((line[0] or told[-1][0], line[1], line[2].strip("`")))
    told = [one for one in told if one[0].startswith(("text_", "image_"))]
    assert told == [row for kind in BUILT_IN.values() for name, model in kind.items() for row in _settings(name, model)]


def _settings(name: str, model: type[BaseModel]) -> list[tuple[str, str, str]]:
    return [(name, key, _shown(_default(model, key))) for key in model.model_fields] or [(name, "", "")]


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return "all seven" if len(default) == 7 else f"[{', '.join(default)}]"
    return str(default)


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's package of a filter, installed as an installer leaves one behind."""
    info = tmp_path / "acme_filters-1.0.dist-info"
    info.mkdir()
    (project,) = blocks(RECIPES, "toml")
    offered = tomllib.loads(project)["project"]["entry-points"]["zeromill.filters"]
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-filters\nVersion: 1.0\n")
    lines = [f"{name} = {where}" for name, where in offered.items()]
    (info / "entry_points.txt").write_text("\n".join(["[zeromill.filters]", *lines, ""]))
    (module,) = blocks(RECIPES, "python")
    (tmp_path / "acme_filters.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    sys.modules.pop("acme_filters", None)


@pytest.mark.usefixtures("acme")
def test_every_recipe_of_the_page_loads(tmp_path: Path) -> None:
    shown = blocks(RECIPES, "yaml")
    assert len(shown) >= 4
    for text in shown:
        (tmp_path / "shown.yaml").write_text(text, "utf-8")
        assert load_recipe(str(tmp_path / "shown.yaml")).name == yaml.safe_load(text)["name"]


@pytest.mark.usefixtures("acme")
def test_the_filter_of_the_page_judges_as_the_page_says(tmp_path: Path) -> None:
    (text,) = [one for one in blocks(RECIPES, "yaml") if "acme_shouting" in one]
    (tmp_path / "calm.yaml").write_text(text, "utf-8")
    filters = chosen(load_recipe(str(tmp_path / "calm.yaml")).texts.filters, "text")
    reasons, details = first_reasons(measure(pa.array(["BUY SHOES", "two dogs", "X"])), filters)
    assert reasons.to_pylist() == ["acme_shouting", None, "text_too_short"]
    assert details[0].as_py() == "0.89 > 0.4"


def test_a_misspelt_key_is_told_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (message,) = blocks(RECIPES, "text")
    text = blocks(RECIPES, "yaml")[0].replace("min_impressions", "min_impresions")
    Path("products.yaml").write_text(text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe("products.yaml")
    assert f"zeromill: {caught.value}\n" == message
