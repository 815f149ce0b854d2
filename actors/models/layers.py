"""The layers of a network out of a state_dict that somebody trained: torch's pickle, or safetensors."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]


class HeadError(Exception):
    """A head that cannot be made or used; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Layer:
    """An affine map of `weight` (out, in) and `bias` (out,), float32."""

    weight: Floats
    bias: Floats

    @property
    def widths(self) -> tuple[int, int]:
        """How long the vectors are that go in, and those that come out."""
        return self.weight.shape[1], self.weight.shape[0]


def read_layers(file: str) -> tuple[Layer, ...]:
    """The linear layers of a state_dict, in the order of their names, numbers counting as numbers; float32.

    A layer is `NAME.weight` of two dimensions and `NAME.bias` (or no bias). HeadError for a file that cannot be read,
    and for one that holds anything else: a normalisation that was left out would change every value.
    """
    tensors = _tensors(file)
    names = sorted((name for name in tensors if _is_weight(name) and tensors[name].ndim == 2), key=_in_order)
    biases = {name: name.removesuffix("weight") + "bias" for name in names}
    left = tensors.keys() - biases.keys() - set(biases.values())
    if left or not names:
        what = f"holds {', '.join(sorted(left)[:3])} besides linear layers" if names else "holds no linear layer"
        raise HeadError(f"{file} {what}.\nFold what is linear into a layer first, as docs/heads.md shows.")
    return tuple(_layer(tensors[name], tensors.get(biases[name])) for name in names)


def _tensors(file: str) -> Mapping[str, torch.Tensor]:
    """By name; a pickle may hold tensors only, as any other one could run a program."""
    import torch
    from safetensors.torch import load_file

    try:
        loaded: Any = (
            load_file(file) if Path(file).suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
        )
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise HeadError(
            f"{file} cannot be read: {said}\nGive a state_dict as torch.save or safetensors writes it."
        ) from (error)
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise HeadError(f"{file} is no state_dict.\nSave one with torch.save(network.state_dict(), FILE).")
    return {str(name): value for name, value in loaded.items()}


def _is_weight(name: str) -> bool:
    return name == "weight" or name.endswith(".weight")


def _in_order(name: str) -> list[str | int]:
    """`layers.10` after `layers.9`; text and numbers take turns, so that two names always compare."""
    return [int(piece) if piece.isdecimal() else piece for piece in re.split(r"(\d+)", name)]


def _layer(weight: torch.Tensor, bias: torch.Tensor | None) -> Layer:
    columns: Floats = weight.float().numpy()
    return Layer(columns, np.zeros(len(columns), np.float32) if bias is None else bias.float().numpy())
