"""A found model becomes one that answers, whichever library it is of."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from actors.models.files import FoundModel, ModelMissing, check_same
from actors.models.prepare import Preprocessing

if TYPE_CHECKING:
    import torch

    from actors.models.open_clip_model import OpenClipModel
    from actors.models.transformers_model import TransformersModel


class LoadedModel(Protocol):
    """A model in memory.

    `width` is the vectors' length. `scale` times a cosine, plus `bias`, is the logit of a pair: of a sigmoid where
    `sigmoid` (SigLIP), else of a softmax.
    """

    preprocessing: Preprocessing
    width: int
    scale: float
    bias: float
    sigmoid: bool

    def pictures(self, batch: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width), not normalised, of pictures (n, 3, height, width) on the model's device, in its dtype."""

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors (n, width), not normalised, of texts, in their order; what exceeds the context is cut off."""


def load(found: FoundModel, device: str, dtype: torch.dtype) -> LoadedModel:
    """The model of these very files, in evaluation mode, its weights on `device` in `dtype`.

    ModelMissing if a file is gone, is another one, or does not hold what the others say.
    """
    check_same(found)
    import torch

    what_to_do = (
        f"Get {found.weights} and {found.config} anew from one place,\n"
        "or curate without a scoring model: --recipe unscored"
    )
    with loading(found.name, what_to_do):
        model = _of_kind(found)
    model.move(torch.device(device), dtype)
    return model


@contextmanager
def loading(name: str, what_to_do: str) -> Iterator[None]:
    """Load a model in here, without a word and without the network; whatever its files lack is a ModelMissing."""
    stay_offline()
    from safetensors import SafetensorError

    broken = OSError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, EOFError
    try:
        with quiet_loading():
            yield
    except (*broken, ImportError, AssertionError, pickle.UnpicklingError, SafetensorError) as error:
        first = (str(error).strip().splitlines() or [""])[0][:300]
        raise ModelMissing(
            f"The model {name} cannot be loaded: {type(error).__name__}: {first}\n{what_to_do}"
        ) from error


def _of_kind(found: FoundModel) -> OpenClipModel | TransformersModel:
    if found.kind == "open_clip":
        from actors.models.open_clip_model import OpenClipModel

        return OpenClipModel(found)
    from actors.models.transformers_model import TransformersModel

    return TransformersModel(found)


def stay_offline() -> None:
    """Keep the hub client and transformers, which some configs pull in, from asking the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = True  # read once, at its import


@contextmanager
def quiet_loading() -> Iterator[None]:
    """The libraries tell the root logger how they load; an error is raised anyway, the rest is for nobody."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
