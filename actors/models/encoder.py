"""An open_clip model that turns pictures and texts into unit vectors, loaded once from a local folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.models.files import MERGES, ModelMissing, find_model, model_identity

if TYPE_CHECKING:
    import torch

__all__ = ["Encoder", "ModelMissing", "find_model", "load_tokenizer", "model_identity", "quiet_loading"]

BATCH = 128  # bounds memory; larger gives no more pictures a second on a CPU


class Encoder:
    """Pictures and texts as float32 vectors of length 1 in the space of one open_clip model.

    `identity` names weights, preprocessing and tokenizer (see model_identity), `width` is the vectors' length.
    """

    def __init__(self, folder: Path | str) -> None:
        """Load the model of `folder` (open_clip's `local-dir:` layout); ModelMissing if it is none."""
        self.identity = model_identity(folder)
        _stay_offline()
        import open_clip
        import torch

        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        precision, self._dtype = _precision(self._device)
        with quiet_loading():
            model, self._transform = open_clip.create_model_from_pretrained(
                f"local-dir:{folder}", precision=precision, device=self._device
            )
            self._tokenizer = load_tokenizer(folder)
        self._model: Any = model.eval()  # open_clip hands models back in train mode
        self.width = int(self.encode_texts(["a"]).shape[1])

    def encode_images(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Unit vectors (n, width) of RGB pictures of shape (height, width, 3), in the given order.

        Each goes through the transform that the model's own config describes: size, interpolation, crop or
        squash, mean and deviation.
        """
        from PIL import Image

        vectors = [np.empty((0, self.width), np.float32)]
        for start in range(0, len(pixels), BATCH):
            chunk = [self._transform(Image.fromarray(picture)) for picture in pixels[start : start + BATCH]]
            vectors.append(self._unit_vectors(chunk))
        return np.concatenate(vectors)

    def encode_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors (n, width) of texts, in the given order; what exceeds the context is cut off."""
        import torch

        if not texts:
            return np.empty((0, self.width), np.float32)
        vectors = []
        for start in range(0, len(texts), BATCH):
            tokens = self._tokenizer(list(texts[start : start + BATCH])).to(self._device)
            with torch.inference_mode():
                vectors.append(_as_array(self._model.encode_text(tokens, normalize=False)))
        return np.concatenate(vectors)

    def _unit_vectors(self, chunk: list[torch.Tensor]) -> NDArray[np.float32]:
        import torch

        batch = torch.stack(chunk).to(self._device, self._dtype)
        with torch.inference_mode():
            return _as_array(self._model.encode_image(batch, normalize=False))


def load_tokenizer(folder: Path | str) -> Any:
    """The tokenizer of a local open_clip folder, with the folder's own merges file where it has one.

    open_clip's get_tokenizer silently gives the large English vocabulary unless it is told `bpe_path`.
    """
    import open_clip

    merges = Path(folder) / MERGES
    given = {"bpe_path": str(merges)} if merges.is_file() else {}
    return open_clip.get_tokenizer(f"local-dir:{folder}", **given)


def _as_array(vectors: torch.Tensor) -> NDArray[np.float32]:
    # Normalised in single precision: in half precision lengths are off by up to a thousandth.
    unit = vectors.float() / vectors.float().norm(dim=-1, keepdim=True).clamp_min(1e-12)
    array: NDArray[np.float32] = unit.cpu().numpy()
    return array


def _precision(device: str) -> tuple[str, torch.dtype]:
    import torch

    if device == "cuda":
        return "fp16", torch.float16
    if _has_amx():
        return "pure_bf16", torch.bfloat16
    return "fp32", torch.float32


@lru_cache(maxsize=1)
def _has_amx() -> bool:
    """Whether bfloat16 pays: with AMX 143 pictures/s against 25 (ViT-B/32, 2 cores), without it is slower."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "amx_bf16" in cpuinfo.read_text()


def _stay_offline() -> None:
    """Keep the hub client and transformers, which some configs pull in, from asking the network."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    import huggingface_hub.constants

    huggingface_hub.constants.HF_HUB_OFFLINE = True  # read once, at its import


@contextmanager
def quiet_loading() -> Iterator[None]:
    """open_clip tells the root logger how it loads; an error is raised anyway, the rest is for nobody."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
