"""Heads: the values of networks are torch's, and a file that does not fit is refused with what to do."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load_file, save_file

from actors.models.heads import ROWS, Activation, Cells, Head, HeadError, Network, heads_of, load_head, write_head
from actors.models.layers import Floats, Layer, read_layers
from filters.recipe import Recipe

MODEL, OTHER = "a" * 32, "b" * 32
BETWEEN: dict[Activation, Callable[[], torch.nn.Module]] = {
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "none": torch.nn.Identity,
}


def unit(count: int, width: int = 16, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    normed: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normed


def network(*widths: int, between: Activation = "relu") -> torch.nn.Sequential:
    torch.manual_seed(7)
    pieces: list[torch.nn.Module] = []
    for into, out in pairwise(widths):
        pieces += [torch.nn.Linear(into, out), BETWEEN[between](), torch.nn.Dropout(0.2)]
    return torch.nn.Sequential(*pieces[:-2]).eval()


def made(folder: Path, net: torch.nn.Module, activation: Activation = "relu", name: str = "nice") -> Network:
    torch.save(net.state_dict(), folder / "net.pth")
    return Network(name, MODEL, read_layers(str(folder / "net.pth")), activation, "none")


def stored(folder: Path, head: Head) -> str:
    write_head(head, str(folder / f"{head.name}.safetensors"))
    return str(folder / f"{head.name}.safetensors")


@pytest.mark.parametrize("between", list(BETWEEN))
@pytest.mark.parametrize("widths", [(16, 1), (16, 32, 8, 1)], ids=["linear", "mlp"])
def test_a_head_says_what_torch_says(tmp_path: Path, widths: tuple[int, ...], between: Activation) -> None:
    net = network(*widths, between=between)
    head = load_head(stored(tmp_path, made(tmp_path, net, between)))
    assert (head.name, head.model, head.width) == ("nice", MODEL, 16)
    assert head.kind == ("linear" if len(widths) == 2 else "mlp")
    vectors = unit(50) * 9  # far into the activations' bends
    said = net(torch.from_numpy(vectors)).detach().numpy()[:, 0]
    np.testing.assert_allclose(head.values(vectors), said, atol=3e-6)
    assert head.values(vectors).dtype == np.float32


def test_a_sigmoid_stays_between_nought_and_one_however_large_the_numbers() -> None:
    layer = Layer(np.array([[1000]], np.float32), np.zeros(1, np.float32))
    head = Network("sure", MODEL, (layer,), "none", "sigmoid")
    with np.errstate(all="raise"):
        values = head.values(np.array([[-1], [0], [1], [0.001]], np.float32))
    np.testing.assert_allclose(values, [0, 0.5, 1, 0.7310586], atol=1e-6)


def test_many_vectors_are_worked_off_in_pieces_in_their_order(tmp_path: Path) -> None:
    head = made(tmp_path, network(16, 8, 1))
    vectors = unit(ROWS + 5)
    values = head.values(vectors)
    assert values.shape == (ROWS + 5,)
    np.testing.assert_allclose(values[-3:], head.values(vectors[-3:]), atol=1e-6)
    assert head.values(vectors[:0]).shape == (0,)


def test_cells_number_the_nearest_centre_and_of_equal_ones_the_smallest(tmp_path: Path) -> None:
    centres = np.array([[0, 1], [1, 0], [1, 0]], np.float32)
    head = load_head(stored(tmp_path, Cells("cell", MODEL, centres)))
    assert head.kind == "cells"
    np.testing.assert_array_equal(head.values(np.array([[1, 0], [0.6, 0.8]], np.float32)), [1, 0])


def test_layers_come_in_the_order_of_their_numbers_and_without_a_bias_where_there_is_none(tmp_path: Path) -> None:
    tensors = {f"layers.{n}.weight": torch.full((1, 1), float(n)) for n in (10, 9, 2)}
    torch.save({"state_dict": tensors | {"layers.9.bias": torch.ones(1).half()}}, tmp_path / "net.pth")
    layers = read_layers(str(tmp_path / "net.pth"))
    assert [(float(one.weight[0, 0]), float(one.bias[0])) for one in layers] == [(2, 0), (9, 1), (10, 0)]
    save_file({"weight": np.ones((1, 3), np.float16), "bias": np.ones(1, np.float16)}, tmp_path / "net.safetensors")
    (layer,) = read_layers(str(tmp_path / "net.safetensors"))
    assert layer.widths == (3, 1)
    assert layer.weight.dtype == layer.bias.dtype == np.float32


class Program:
    """What a malicious pickle holds."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def test_weights_that_are_no_plain_layers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"norm.mean": torch.zeros(4), "1.weight": torch.ones(1, 4)}, "norm.pth")
    torch.save({"a": 1}, "other.pth")
    torch.save({"bias": torch.ones(2)}, "none.pth")
    torch.save(Program(), "bad.pth")
    Path("text.safetensors").write_text("hello")
    for name, said in (
        ("norm.pth", "norm.mean besides linear layers"),
        ("other.pth", "no state_dict"),
        ("none.pth", "no linear layer"),
        ("bad.pth", "cannot be read"),
        ("text.safetensors", "cannot be read"),
        ("absent.pth", "cannot be read"),
    ):
        with pytest.raises(HeadError, match=said) as caught:
            read_layers(name)
        assert 2 <= len(str(caught.value).splitlines()) <= 3
    assert not Path("ran").exists()


LINEAR = {"0.weight": np.ones((1, 4), np.float32), "0.bias": np.ones(1, np.float32)}
ABOUT = {
    "format": "zeromill.head",
    "version": "1",
    "name": "nice",
    "kind": "linear",
    "model": MODEL,
    "activation": "none",
    "output": "none",
}


@pytest.mark.parametrize(
    ("about", "tensors", "said"),
    [
        ({"format": "pt"}, {}, "none of this version"),
        ({"version": "2"}, {}, "none of this version"),
        ({"name": "A B"}, {}, "its name 'A B'"),
        ({"model": "ViT-L-14"}, {}, "its model 'ViT-L-14'"),
        ({"kind": "tree"}, {}, "said to be tree, and is linear"),
        ({"kind": "cells"}, {}, "it lacks 'centres'"),
        ({"activation": "swish"}, {}, "swish"),
        ({"output": "softmax"}, {}, "softmax"),
        ({}, {"0.weight": np.ones((2, 4), np.float32), "0.bias": np.ones(2, np.float32)}, "gives 2 values"),
        ({}, {"1.weight": np.ones((1, 3), np.float32), "1.bias": np.ones(1, np.float32)}, "4 to 1, then 3 to 1"),
        ({}, {"0.bias": np.ones(3, np.float32)}, "a bias of shape"),
        ({}, {"0.weight": np.full((1, 4), np.nan, np.float32)}, "not finite"),
        ({}, {"0.bias": np.full(1, np.inf, np.float32)}, "not finite"),
        ({}, {"0.weight": np.ones((1, 4), np.float64)}, "float32"),
        ({"kind": "cells"}, {"centres": np.ones((2, 4), np.float32)}, "length 1"),
        ({"kind": "cells"}, {"centres": np.ones((0, 4), np.float32)}, "shape"),
    ],
)
def test_a_file_that_is_no_head_is_refused(
    tmp_path: Path, about: dict[str, str], tensors: dict[str, Any], said: str
) -> None:
    file = str(tmp_path / "head.safetensors")
    save_file({**LINEAR, **tensors}, file, {**ABOUT, **about})
    with pytest.raises(HeadError, match=re.escape(said)) as caught:
        load_head(file)
    assert file in str(caught.value)
    assert "zeromill head" in str(caught.value)


def test_a_file_that_is_not_there_or_lacks_a_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="none\\.safetensors cannot be used"):
        load_head(str(tmp_path / "none.safetensors"))
    file = str(tmp_path / "head.safetensors")
    save_file(dict(LINEAR), file, {key: value for key, value in ABOUT.items() if key != "output"})
    with pytest.raises(HeadError, match="it lacks 'output'"):
        load_head(file)


def test_a_head_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    head = made(tmp_path, network(16, 1))
    file = stored(tmp_path, head)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "nice.safetensors"]
    assert set(load_file(file)) == {"0.weight", "0.bias"}
    with pytest.raises(HeadError, match="cannot be written"):
        write_head(head, str(tmp_path / "nowhere" / "nice.safetensors"))


def test_vectors_of_another_width_are_refused(tmp_path: Path) -> None:
    for head in (made(tmp_path, network(16, 1)), Cells("cell", MODEL, unit(3))):
        with pytest.raises(HeadError, match=r"vectors of 16 numbers, and was given \(2, 17\)"):
            head.values(unit(2, 17))


def recipe(*files: str, judging: str | None = None) -> Recipe:
    filters = [{"filter": "image_too_small"}, *([{"filter": "image_unsafe", "head": judging}] if judging else [])]
    return Recipe.model_validate(
        {
            "name": "r",
            "model": {"path": "demo/scorer"},
            "heads": [{"file": file} for file in files],
            "pictures": {"filters": filters},
        }
    )


def test_the_heads_of_a_recipe_are_those_of_its_models(tmp_path: Path) -> None:
    nice, cell = stored(tmp_path, made(tmp_path, network(16, 1))), stored(tmp_path, Cells("cell", OTHER, unit(3)))
    models = {MODEL: "clip", OTHER: "large"}
    assert [head.name for head in heads_of(recipe(nice, cell, judging="nice"), models)] == ["nice", "cell"]
    with pytest.raises(HeadError) as caught:
        heads_of(recipe(nice, cell), {MODEL: "clip"})
    assert OTHER in str(caught.value)
    assert f"{MODEL} (clip)" in str(caught.value)
    assert "zeromill head --model" in str(caught.value)


def test_two_heads_of_one_name_and_a_filter_without_its_head_are_refused(tmp_path: Path) -> None:
    nice = stored(tmp_path, made(tmp_path, network(16, 1)))
    (tmp_path / "again.safetensors").write_bytes(Path(nice).read_bytes())
    with pytest.raises(HeadError, match="Two heads of the recipe are named nice"):
        heads_of(recipe(nice, str(tmp_path / "again.safetensors")), {MODEL: "clip"})
    with pytest.raises(HeadError, match=r"image_unsafe reads the head unsafe, which no file .*: nice"):
        heads_of(recipe(nice, judging="unsafe"), {MODEL: "clip"})
    with pytest.raises(HeadError, match="there are: none"):
        heads_of(recipe(judging="unsafe"), {MODEL: "clip"})


FINITE = st.floats(-8, 8, width=32)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, (5, 3), elements=FINITE), arrays(np.float32, (1, 3), elements=FINITE))
def test_a_picture_has_its_value_whatever_is_beside_it(vectors: Floats, weight: Floats) -> None:
    head = Network("nice", MODEL, (Layer(weight, np.zeros(1, np.float32)),), "none", "none")
    alone = np.concatenate([head.values(vectors[row : row + 1]) for row in range(len(vectors))])
    np.testing.assert_allclose(head.values(vectors), alone, atol=1e-4)
