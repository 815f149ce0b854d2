"""A model of transformers' (CLIP, Chinese-CLIP, AltCLIP, SigLIP), loaded from its folder: picture terms and towers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from actors.models.batches import Tokens, encode
from actors.models.files import FoundModel
from actors.models.prepare import Preprocessing

RESAMPLES: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the ways of resizing, which preprocessor_config.json names them by."""


class TransformersModel:
    """Both towers of `found`, on `device` in `dtype`; see `actors.models.loading.LoadedModel` for what it answers."""

    def __init__(self, found: FoundModel) -> None:
        """Load the model into main memory, in single precision; ValueError if its files do not make it up."""
        folder = Path(found.config).parent
        self._model: Any = _load(folder)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.preprocessing = _preprocessing(AutoImageProcessor.from_pretrained(folder, local_files_only=True))
        bias = getattr(self._model, "logit_bias", None)
        self.scale = float(self._model.logit_scale.exp())
        self.sigmoid = bias is not None
        self.bias = float(bias) if bias is not None else 0.0
        # SigLIP learnt to look at the padding, and reads its vector off the last place; its tokenizer gives no mask.
        self._masked = not self.sigmoid or "attention_mask" in self._tokenizer.model_input_names
        self._context = min(self._tokenizer.model_max_length, _positions(self._model.config))
        self._device = torch.device("cpu")
        self.width = int(self.texts(["a"]).shape[1])

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Hold the weights there and so from now on."""
        self._device = device
        self._model.to(device, dtype)

    def pictures(self, batch: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width) of normalised pictures (n, 3, height, width), of any length."""
        with torch.inference_mode():
            vectors: torch.Tensor = self._model.get_image_features(pixel_values=batch).pooler_output
        return vectors

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors (n, width) of texts, of any length; what exceeds the context is cut off."""
        told = self._tokenizer(
            list(texts),
            max_length=self._context,
            truncation=True,
            padding="max_length" if self.sigmoid else "longest",
            padding_side="right",
            return_attention_mask=True,
            return_tensors="pt",
        )
        ids, mask = told["input_ids"], told["attention_mask"]
        lengths = torch.full((len(ids),), ids.shape[1]) if self.sigmoid else mask.sum(1)
        return encode(Tokens(ids, mask, lengths), self._forward, self._device)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        heeded = mask if self._masked else None
        vectors: torch.Tensor = self._model.get_text_features(input_ids=ids, attention_mask=heeded).pooler_output
        return vectors


def _load(folder: Path) -> Any:
    model, told = AutoModel.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    wrong = [*told["missing_keys"], *told["mismatched_keys"]]
    if wrong:  # transformers warns, and goes on with random numbers
        raise ValueError(f"{len(wrong)} of its weights are missing or of another shape, the first: {wrong[0]}")
    return model.eval().requires_grad_(False)


def _positions(config: Any) -> int:
    """How many tokens of a text there are positions for; AltCLIP's tower, a RoBERTa, counts from its padding's on."""
    text = config.text_config
    skipped = text.pad_token_id + 1 if config.model_type == "altclip" else 0
    return int(text.max_position_embeddings) - skipped


def _preprocessing(told: Any) -> Preprocessing:
    """The terms of an image processor; ValueError where pictures cannot be prepared like that."""
    size, crop = _plain(told.size), _plain(getattr(told, "crop_size", None))
    cut = bool(getattr(told, "do_center_crop", False))
    short = size.get("shortest_edge")
    sides = (crop.get("height"), crop.get("width")) if cut else (size.get("height"), size.get("width"))
    squashed = short is None and (not cut or sides == (size.get("height"), size.get("width")))
    if not (told.do_resize and told.do_rescale) or sides[0] is None or sides[1] is None:
        raise ValueError(f"its preprocessing gives pictures no fixed size: size {size}, crop {crop if cut else None}")
    if int(told.resample) not in RESAMPLES or not (squashed or sides == (short, short)):
        raise ValueError(f"its way of resizing is not known here: {told.resample}, size {size}, crop {crop}")
    mean, std = (told.image_mean, told.image_std) if told.do_normalize else ((0.0,) * 3, (1.0,) * 3)
    return Preprocessing(
        height=int(sides[0]),
        width=int(sides[1]),
        resize="squash" if squashed else "shortest",
        interpolation=RESAMPLES[int(told.resample)],
        mean=(float(mean[0]), float(mean[1]), float(mean[2])),
        std=(float(std[0]), float(std[1]), float(std[2])),
    )


def _plain(size: Any) -> dict[str, int]:
    return {} if size is None else {key: value for key, value in dict(size).items() if value is not None}
