"""A model of open_clip's, loaded from its files: what prepares its pictures, and its two towers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder, MeanPooler
from open_clip.transformer import TextTransformer, Transformer, text_global_pool

from actors.models.batches import Tokens, encode
from actors.models.files import FoundModel
from actors.models.layouts import CONFIG, MERGES
from actors.models.prepare import Channels, Preprocessing
from actors.models.vit import PlainTower, is_plain

KEPT = (".json", ".txt", ".model", ".gz")
"""How the names of a tokenizer's files end."""


class OpenClipModel:
    """Both towers of `found`, on `device` in `dtype`; see `actors.models.loading.LoadedModel` for what it answers."""

    def __init__(self, found: FoundModel) -> None:
        """Load the model into main memory, in single precision."""
        self._model, self._tokenizer = load_open_clip(found)
        self._text = _TextTower(self._model)
        self.preprocessing = preprocessing_of(self._model.visual.preprocess_cfg)
        self.scale = float(self._model.logit_scale.exp())
        self.sigmoid = self._model.logit_bias is not None
        self.bias = float(self._model.logit_bias) if self.sigmoid else 0.0
        self._device = torch.device("cpu")
        self._look: Callable[[torch.Tensor], torch.Tensor] = self._model.encode_image
        self.width = int(self.texts(["a"]).shape[1])

    def move(self, device: torch.device, dtype: torch.dtype) -> None:
        """Hold the weights there and so from now on."""
        self._device = device
        self._model.to(device, dtype)
        if is_plain(self._model.visual):
            self._look = PlainTower(self._model.visual)

    def pictures(self, batch: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width) of normalised pictures (n, 3, height, width), of any length."""
        with torch.inference_mode():
            return self._look(batch)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors (n, width) of texts, of any length; what exceeds the context is cut off."""
        ids = self._tokenizer(list(texts))
        tokens = Tokens(ids, ids, self._text.lengths(ids))
        return encode(tokens, lambda ids, _: self._text(ids), self._device)


class _TextTower:
    """The text tower of an open_clip model, which need not be shown padding that it would not heed."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tower: Any = getattr(model, "text", model)
        self._pool: Any = getattr(self._tower, "pool_type", getattr(self._tower, "text_pool_type", None))
        self._eos: Any = getattr(self._tower, "eos_id", getattr(self._tower, "text_eos_id", None))
        self._causal = isinstance(model, open_clip.CLIP) or isinstance(self._tower, TextTransformer)
        self._causal &= getattr(self._tower, "attn_mask", None) is not None and self._pool in ("argmax", "eos")
        self._causal &= getattr(self._tower, "cls_emb", None) is None
        _run_length_first(getattr(self._tower, "transformer", None))
        masked = MeanPooler, ClsPooler, ClsLastHiddenStatePooler
        self._masked = isinstance(self._tower, HFTextEncoder) and isinstance(self._tower.pooler, masked)

    def lengths(self, ids: torch.Tensor) -> torch.Tensor:
        """How many tokens of each text (n, context) the vector depends on.

        A causal tower that reads the token at the end of the text knows nothing of what follows it; one of
        Hugging Face's is told by a mask. Every other tower, SigLIP's for one, has learnt with the padding.
        """
        places = torch.arange(1, ids.shape[1] + 1)
        if self._causal and self._pool == "argmax":
            return ids.argmax(1) + 1
        if self._causal:
            ends = torch.eq(ids, self._eos)
            return torch.where(ends.any(1), ends.int().argmax(1) + 1, ids.shape[1])
        if self._masked:
            return (torch.ne(ids, self._tower.config.pad_token_id) * places).amax(1).clamp_min(1)
        return places[-1].expand(len(ids))

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width) of tokens (n, length), where length may be less than the context if `lengths` says so."""
        vectors: torch.Tensor = self._forward(ids) if self._causal else self._model.encode_text(ids)
        return vectors

    def _forward(self, ids: torch.Tensor) -> torch.Tensor:
        """What open_clip's own forward does, with positions and mask cut to the length of the batch."""
        tower, length = self._tower, ids.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x = tower.token_embedding(ids).to(dtype) + tower.positional_embedding[:length].to(dtype)
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
        pooled: torch.Tensor = tower.ln_final(text_global_pool(x, ids, self._pool, eos_token_id=self._eos))
        projection: torch.nn.Linear | torch.Tensor | None = tower.text_projection
        if isinstance(projection, torch.nn.Linear):
            return torch.nn.functional.linear(pooled, projection.weight, projection.bias)
        return pooled if projection is None else pooled @ projection


def _run_length_first(transformer: object) -> None:
    """Have a tower hold its tokens as (length, n, width): the same numbers, sooner.

    Batch first, torch's attention with a mask copies its weights once per place of the text (profiled with 2.15).
    """
    if isinstance(transformer, Transformer):
        attentions = [getattr(block, "attn", None) for block in transformer.resblocks]
        if all(isinstance(one, torch.nn.MultiheadAttention) for one in attentions):
            for part in (transformer, *attentions):
                part.batch_first = False


def load_open_clip(found: FoundModel) -> tuple[Any, Any]:
    """Model and tokenizer of open_clip's out of the files that were found, in single precision."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _link(found, folder)
        model = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
        tokenizer = load_tokenizer(folder)
    return model.eval().requires_grad_(False), tokenizer  # open_clip hands models back in train mode


def load_tokenizer(folder: Path | str) -> Any:
    """The tokenizer of a local open_clip folder, with the folder's own merges file where it has one.

    open_clip's get_tokenizer silently gives the large English vocabulary unless it is told `bpe_path`.
    """
    merges = Path(folder) / MERGES
    given = {"bpe_path": str(merges)} if merges.is_file() else {}
    return open_clip.get_tokenizer(f"local-dir:{folder}", **given)


def _link(found: FoundModel, folder: Path) -> None:
    """Make `folder` a model in open_clip's `local-dir:` layout, of nothing but the files that were found."""
    for file in Path(found.folder).iterdir():
        if file.suffix in KEPT and file.name != CONFIG:
            (folder / file.name).symlink_to(file)
    weights = Path(found.weights)
    safe = weights.suffix == ".safetensors"
    (folder / ("open_clip_model.safetensors" if safe else "open_clip_pytorch_model.bin")).symlink_to(weights)
    config = json.loads(Path(found.config).read_text("utf-8"))
    if found.tower is not None:
        config["model_cfg"]["text_cfg"]["hf_model_name"] = found.tower
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")


def preprocessing_of(told: dict[str, Any]) -> Preprocessing:
    """The terms of `visual.preprocess_cfg` of a model of open_clip's."""
    size = told["size"]
    height, width = (size, size) if isinstance(size, int) else size
    ways: dict[str, Literal["shortest", "longest", "squash"]]
    ways = {"shortest": "shortest", "longest": "longest", "squash": "squash"}
    return Preprocessing(
        height=int(height),
        width=int(width),
        resize=ways[told["resize_mode"]],
        interpolation="bilinear" if told["interpolation"] == "bilinear" else "bicubic",
        mean=_channels(told["mean"]),
        std=_channels(told["std"]),
        fill=int(told["fill_color"]),
    )


def _channels(told: float | Sequence[float]) -> Channels:
    red, green, blue = (told,) * 3 if isinstance(told, (int, float)) else told
    return float(red), float(green), float(blue)
