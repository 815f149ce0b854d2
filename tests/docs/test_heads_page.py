"""What the page on heads shows is what happens: its commands run on made-up weights of the shapes that it names."""

import re
import shlex
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from actors.models.heads import load_head
from app.main import main
from filters.concepts import load_concepts
from filters.load import load_recipe
from warehouse.lake import prepare

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "heads.md").read_text("utf-8")
ROWS = re.compile(
    r"^\| .*`(\S+\.pth)` \| .* \| ([\d, ]+?)(?:, (after .*))? \| (?:`(\w+)`)? ?\| `(\w+)` \|$", re.MULTILINE
)
FOLDED = "nsfw-l14.pth"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def commands(name: str) -> list[list[str]]:
    words = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    return [line[1:] for line in words if line[1] == name]


class Net:
    """A network of the shape that a row of the page tells, its state_dict keyed as the sources key theirs."""

    def __init__(self, file: str, widths: Sequence[int], activation: str, output: str) -> None:
        ends = list(pairwise(widths))
        if len(ends) == 1:
            names = [""]
        elif "nsfw" in file:
            names = [f"linear_{place}." for place in range(1, len(widths))]
        else:
            names = [f"layers.{place}." for place in (0, 2, 4, 6, 7)]
        self.layers = {name: torch.nn.Linear(*end) for name, end in zip(names, ends, strict=True)}
        self.state = {
            f"{name}{key}": value for name, layer in self.layers.items() for key, value in layer.state_dict().items()
        }
        self.mean, self.variance = torch.zeros(widths[0]), torch.ones(widths[0])
        if "nsfw" in file:
            self.mean, self.variance = torch.randn(widths[0]) * 0.02, torch.rand(widths[0]) * 0.01 + 1e-3
            self.state |= {"norm.mean": self.mean, "norm.variance": self.variance}
        self.activation, self.output = activation, output

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        *hidden, last = self.layers.values()
        x = (x - self.mean) / self.variance.sqrt()
        for layer in hidden:
            x = layer(x).relu() if self.activation == "relu" else layer(x)
        value: torch.Tensor = last(x)[:, 0]
        return value.sigmoid() if self.output == "sigmoid" else value


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Net]:
    """The networks of the page by their files, in an empty folder with the page's recipe over a model that is here."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    nets: dict[str, Net] = {}
    for file, widths, _, activation, output in ROWS.findall(PAGE):
        nets[file] = Net(file, [int(width) for width in widths.split(", ")], activation, output)
        torch.save(nets[file].state, file)
    shutil.copytree(ROOT / "demo" / "scorer", "model")
    (recipe,) = blocks("yaml")
    Path("judged.yaml").write_text(re.sub(r"(hub|open_clip): \S+", "path: model", recipe), "utf-8")
    return nets


def test_the_page_names_five_heads_and_says_which_are_normalised_before() -> None:
    rows = {file: after for file, _, after, _, _ in ROWS.findall(PAGE)}
    assert len(rows) == 5
    assert {file for file, after in rows.items() if after} == {file for file in rows if "nsfw" in file}


def test_the_commands_of_the_page_make_heads_that_say_what_the_networks_say(here: dict[str, Net]) -> None:
    (fold,) = blocks("python")
    exec(fold, {})
    here[FOLDED] = here["clip_ViT-L-14_openai_binary_nsfw_head.pth"]
    for words in commands("head"):
        assert main(words) == 0
        net, head = here[words[1]], load_head(words[-1])
        vectors = torch.nn.functional.normalize(torch.randn(40, head.width))
        np.testing.assert_allclose(head.values(vectors.numpy()), net(vectors).detach().numpy(), atol=2e-5)
    assert {load_head(f"{name}.safetensors").name for name in ("aesthetic", "unsafe")} == {"aesthetic", "unsafe"}


def test_a_head_with_a_normalisation_is_refused_until_it_is_folded(
    here: dict[str, Net], capfd: pytest.CaptureFixture[str]
) -> None:
    (words,) = [words for words in commands("head") if FOLDED in words]
    (raw,) = [file for file in here if "L-14" in file]
    assert main([raw if word == FOLDED else word for word in words]) == 1
    assert "norm.mean, norm.variance besides linear layers" in capfd.readouterr().err


@pytest.mark.usefixtures("here")
def test_the_recipe_and_the_list_of_the_page_load(tmp_path: Path) -> None:
    recipe = load_recipe("judged.yaml")
    assert [Path(head.file).name for head in recipe.heads] == ["aesthetic.safetensors", "unsafe.safetensors"]
    (shown,) = blocks("text")
    (tmp_path / "shop.tsv").write_text(shown, "utf-8")
    assert [concept.id for concept in load_concepts("./shop.tsv")] == ["sneaker", "teapot", "hanfu"]


def test_every_question_of_the_page_can_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    prepare("lake")
    for words in [*commands("sql"), ["sql", "SELECT name, model FROM models"]]:
        assert main([*words, "--warehouse", "lake"]) == 0
