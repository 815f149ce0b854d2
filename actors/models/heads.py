"""Heads: what the embedding of a picture says besides; numpy over stored vectors, without the model that made them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from actors.models.cells import nearest_cells
from actors.models.layers import Floats, HeadError, Layer
from filters.chosen import around_embedding, chosen
from filters.pictures import HEAD_NAME
from filters.recipe import Recipe

__all__ = ["Cells", "Head", "HeadError", "Network", "heads_of", "load_head", "write_head"]

Activation = Literal["relu", "gelu", "none"]
Output = Literal["none", "sigmoid"]

FORMAT = {"format": "zeromill.head", "version": "1"}
ROWS = 8192  # that go through a network at a time; bounds memory
_IDENTITY = r"[0-9a-f]{32}"


@dataclass(frozen=True, eq=False)
class Network:
    """Linear layers with `activation` between them and `output` behind the last one, which gives one value.

    `model` is the identity of the model whose vectors it reads. HeadError for what cannot be one.
    """

    name: str
    model: str
    layers: tuple[Layer, ...]
    activation: Activation
    output: Output

    def __post_init__(self) -> None:
        _check_label(self.name, self.model)
        ends = [layer.widths for layer in self.layers]
        if not ends or any(one[1] != other[0] for one, other in pairwise(ends)):
            raise HeadError(f"its layers do not follow one another: {_chain(ends)}")
        if ends[-1][1] != 1:
            raise HeadError(f"its last layer gives {ends[-1][1]} values, and a head gives one")
        for layer in self.layers:
            if layer.bias.shape != layer.weight.shape[:1]:
                raise HeadError(f"a bias of shape {layer.bias.shape} does not fit its weight {layer.weight.shape}")
            _check_numbers(layer.weight, layer.bias)
        if self.activation not in get_args(Activation) or self.output not in get_args(Output):
            raise HeadError(f"activation {self.activation} and output {self.output} are not both known here")

    @property
    def kind(self) -> Literal["linear", "mlp"]:
        """What its file calls it."""
        return "linear" if len(self.layers) == 1 else "mlp"

    @property
    def width(self) -> int:
        """How long the vectors are that it reads."""
        return self.layers[0].widths[0]

    def values(self, vectors: Floats) -> Floats:
        """One value (n,) per unit vector of its model (n, width)."""
        _check_width(self.name, self.width, vectors)
        values = [self._forward(vectors[start : start + ROWS]) for start in range(0, len(vectors), ROWS)]
        return np.concatenate([np.empty(0, np.float32), *values])

    def _forward(self, vectors: Floats) -> Floats:
        *hidden, last = self.layers
        for layer in hidden:
            vectors = _activated(vectors @ layer.weight.T + layer.bias, self.activation)
        value: Floats = (vectors @ last.weight.T + last.bias)[:, 0]
        return np.float32(0.5) * (1 + np.tanh(value / 2)) if self.output == "sigmoid" else value


@dataclass(frozen=True, eq=False)
class Cells:
    """Unit vectors `centres` (k, width): the value of a picture is the number of the one that it is nearest to."""

    name: str
    model: str
    centres: Floats

    def __post_init__(self) -> None:
        _check_label(self.name, self.model)
        if self.centres.ndim != 2 or not len(self.centres):
            raise HeadError(f"its centres have the shape {self.centres.shape}, not (cells, width)")
        _check_numbers(self.centres)
        if np.abs(np.linalg.norm(self.centres, axis=1) - 1).max() > 1e-3:
            raise HeadError("its centres are not of length 1")

    @property
    def kind(self) -> Literal["cells"]:
        """What its file calls it."""
        return "cells"

    @property
    def width(self) -> int:
        """How long the vectors are that it reads."""
        return int(self.centres.shape[1])

    def values(self, vectors: Floats) -> Floats:
        """The number of the nearest centre (n,) per unit vector (n, width), the smallest of equally near ones."""
        _check_width(self.name, self.width, vectors)
        return nearest_cells(vectors, self.centres).astype(np.float32)


Head = Network | Cells


def heads_of(recipe: Recipe, models: Mapping[str, str]) -> tuple[Head, ...]:
    """The heads of a recipe, of which each reads one of `models` (names by identity) and no two have one name.

    HeadError also where a filter of pictures reads a head that no file of `heads` is.
    """
    heads: dict[str, Head] = {}
    for named in recipe.heads:
        head = load_head(named.file)
        if head.model not in models:
            here = ", ".join(f"{identity} ({name})" for identity, name in models.items())
            raise HeadError(
                f"The head {named.file} reads the vectors of the model {head.model}; the recipe has {here}.\n"
                "Name that model in the recipe, or write the head again for this one: zeromill head --model"
            )
        if head.name in heads:
            raise HeadError(f"Two heads of the recipe are named {head.name}.\nWrite one of them with another --name.")
        heads[head.name] = head
    for one in around_embedding(chosen(recipe.pictures.filters, "picture"))[1]:
        if one.reads_head not in heads:
            raise HeadError(
                f"The filter {one.reason} reads the head {one.reads_head}, which no file of `heads` is; "
                f"there are: {', '.join(heads) or 'none'}.\nAdd its file to `heads`, or drop the filter."
            )
    return tuple(heads.values())


def load_head(file: str) -> Head:
    """The head in a file that `write_head` wrote; HeadError says what is wrong with it."""
    try:
        with safe_open(file, framework="numpy") as opened:
            told: dict[str, str] = opened.metadata() or {}
            if not FORMAT.items() <= told.items():
                raise HeadError("it is none of this version")
            return _made(told, {name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118  no mapping
    except (OSError, SafetensorError, HeadError, KeyError, TypeError) as error:
        what = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise HeadError(
            f"The head {file} cannot be used: {what}.\nWrite it with `zeromill head` or `zeromill cells`."
        ) from (error)


def write_head(head: Head, file: str) -> None:
    """Write a head as one safetensors file, whole or not at all."""
    about = FORMAT | {"name": head.name, "kind": head.kind, "model": head.model}
    if isinstance(head, Cells):
        tensors = {"centres": head.centres}
    else:
        about |= {"activation": head.activation, "output": head.output}
        tensors = {f"{n}.weight": layer.weight for n, layer in enumerate(head.layers)}
        tensors |= {f"{n}.bias": layer.bias for n, layer in enumerate(head.layers)}
    aside = Path(file).with_name(f".{Path(file).name}.{os.getpid()}")
    try:
        aside.write_bytes(_ordered(save({name: np.ascontiguousarray(one) for name, one in tensors.items()}, about)))
        os.replace(aside, file)
    except OSError as error:
        raise HeadError(f"The head {file} cannot be written: {error}\nName another place with --to.") from error


def _ordered(stored: bytes) -> bytes:
    """A safetensors file with the keys of its header in order: the library's order differs from call to call.

    A recipe knows a head by the hash of its file, so that the same head must be the same file.
    """
    size = int.from_bytes(stored[:8], "little")
    header = json.dumps(json.loads(stored[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of eight
    return len(header).to_bytes(8, "little") + header + stored[8 + size :]


def _made(told: Mapping[str, str], tensors: Mapping[str, Floats]) -> Head:
    if told["kind"] == "cells":
        return Cells(told["name"], told["model"], tensors["centres"])
    layers = tuple(Layer(tensors[f"{n}.weight"], tensors[f"{n}.bias"]) for n in range((len(tensors) + 1) // 2))
    if any(layer.weight.ndim != 2 for layer in layers):
        raise HeadError("its weights are not all of the shape (out, in)")
    network = Network(
        told["name"],
        told["model"],
        layers,
        cast(Activation, told["activation"]),  # checked as it is made
        cast(Output, told["output"]),
    )
    if told["kind"] != network.kind:
        raise HeadError(f"it is said to be {told['kind']}, and is {network.kind}")
    return network


def _check_label(name: str, model: str) -> None:
    if not re.fullmatch(HEAD_NAME, name):
        raise HeadError(f"its name {name!r} is not of lower-case letters, digits, `-` and `_`")
    if not re.fullmatch(_IDENTITY, model):
        raise HeadError(f"its model {model!r} is no identity of 32 hexadecimal digits")


def _check_numbers(*tensors: Floats) -> None:
    if any(tensor.dtype != np.float32 for tensor in tensors):
        raise HeadError("its numbers are not all float32")
    if not all(np.isfinite(tensor).all() for tensor in tensors):
        raise HeadError("it holds numbers that are not finite")


def _check_width(name: str, width: int, vectors: Floats) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != width:
        raise HeadError(
            f"The head {name} reads vectors of {width} numbers, and was given {vectors.shape}.\n"
            "It belongs to another model: write it again from the weights that are for this one."
        )


def _chain(ends: list[tuple[int, int]]) -> str:
    return ", then ".join(f"{into} to {out}" for into, out in ends) or "there are none"


def _activated(values: Floats, activation: Activation) -> Floats:
    if activation == "relu":
        return np.maximum(values, np.float32(0))
    if activation == "gelu":
        return values * np.float32(0.5) * (1 + _erf(values * np.float32(0.5**0.5)))
    return values


def _erf(x: Floats) -> Floats:
    """The error function to within a millionth, by 7.1.26 of Abramowitz and Stegun; numpy has none."""
    t = 1 / (1 + np.float32(0.3275911) * np.abs(x))
    series: NDArray[Any] = np.zeros_like(x)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(factor)) * t
    erf: Floats = np.sign(x) * (1 - series * np.exp(-x * x))
    return erf
