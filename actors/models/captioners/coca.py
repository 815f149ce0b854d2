"""A CoCa of open_clip's as a captioner: its picture tower, its tokenizer, and the decoder that remembers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip import CoCa
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

from actors.models.captioners.decoder import CocaDecoder, Written, is_causal
from actors.models.captioners.protocol import FoundCaptioner, Said, Shown, Unsaid
from actors.models.captioners.sampling import draws
from actors.models.encoder import precision
from actors.models.files import ModelMissing, read_json
from actors.models.loading import loading
from actors.models.open_clip_model import load_open_clip, load_tokenizer, preprocessing_of
from actors.models.prepare import prepare
from actors.models.vit import Block, forget

BATCH = {"cpu": 32, "cuda": 256}
"""Pictures at once: on a CPU each step then reads the weights once for 32 captions."""


class CocaCaptioner:
    """Writes captions by a CoCa; see `actors.models.captioners.protocol.LoadedCaptioner`."""

    def __init__(self, found: FoundCaptioner, device: str, dtype: torch.dtype | None = None) -> None:
        """Load the model, null `dtype`: the fastest; ModelMissing where its files are broken, or ask for more room."""
        assert found.model is not None
        self.identity, self.device, self._asking = found.identity, device, found.asking
        with loading(found.name, f"Get {found.model.weights} and {found.model.config} anew from one place."):
            model, self._tokenizer = load_open_clip(found.model)
            if not isinstance(model, CoCa) or not is_causal(model):
                raise ValueError("it is no CoCa with a text tower of open_clip's own")
        self._dtype = dtype or precision(device)
        model.to(device, self._dtype)
        self._to = preprocessing_of(model.visual.preprocess_cfg)
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (self._to.mean, self._to.std)
        )
        self.side, self.batch, self.forwards = self._to.side, BATCH[device], 0
        begin, end = _marks(self._tokenizer)
        self._prompts = [
            (language, text, [begin, *_tokens(self._tokenizer, text)]) for language, text in found.asking.prompts
        ]
        self._decoder = CocaDecoder(model, end)
        self._hold_to_context(found.name)
        self._embed = picture_tower(model.visual)

    def caption(self, pictures: Sequence[Shown]) -> list[tuple[Said, ...] | Unsaid]:
        """All that is asked of each picture, by prompt and then by sample."""
        if not pictures:
            return []
        self.forwards += len(pictures)
        asking, samples = self._asking, self._asking.samples
        drawn = draws([one.image_id for one in pictures], asking, asking.tokens)
        told: list[list[Said]] = [[] for _ in pictures]
        with torch.inference_mode():
            heard = self._decoder.hear(self._embed(self._pixels(pictures)))
            for language, text, tokens in self._prompts:
                for row, written in enumerate(self._decoder.write(heard, tokens, asking.tokens, drawn)):
                    said = Said(self._text(written), language, text, row % samples, len(written.tokens), written.ended)
                    told[row // samples].append(said)
        return [tuple(each) for each in told]

    def answer(self, pictures: Sequence[Shown], questions: Sequence[str]) -> list[str]:
        """A CoCa writes, and answers nothing."""
        raise TypeError("a CoCa answers no questions: ask a chat model or an endpoint")

    def _pixels(self, pictures: Sequence[Shown]) -> torch.Tensor:
        """Normalised pictures (n, 3, height, width) on the device; in single precision until the last step."""
        crops = np.stack([prepare(one.pixels, one.height, one.width, self._to) for one in pictures])
        pixels = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float()
        return ((pixels - self._mean) / self._std).to(self._dtype)

    def _text(self, written: Written) -> str:
        return str(self._tokenizer.decode(list(written.tokens))).strip()

    def _hold_to_context(self, name: str) -> None:
        longest = max(len(tokens) for _, _, tokens in self._prompts)
        room = self._decoder.context - longest
        if room < self._asking.tokens or any(self._decoder.pad in tokens for _, _, tokens in self._prompts):
            raise ModelMissing(
                f"The captioner {name} has room for {room} tokens behind its prompt, and is asked for "
                f"{self._asking.tokens};\nand a prompt must not hold its padding ({self._padding()!r}).\n"
                "Lower its tokens in the recipe, or change its prompts."
            )

    def _padding(self) -> str:
        return str(self._tokenizer.decode([self._decoder.pad])).strip()


def check_room(found: FoundCaptioner) -> None:
    """Raise ModelMissing where a prompt leaves less room than a caption is to have; only the tokenizer is loaded."""
    assert found.model is not None
    tokenizer = load_tokenizer(found.model.folder)
    told = read_json(Path(found.model.config))["model_cfg"]["multimodal_cfg"]
    longest = max(1 + len(_tokens(tokenizer, text)) for _, text in found.asking.prompts)
    room = int(told.get("context_length", 77)) - longest
    if room < found.asking.tokens:
        raise ModelMissing(
            f"The captioner {found.name} has room for {room} tokens behind its prompt, and is asked for "
            f"{found.asking.tokens}.\nLower its tokens in the recipe, or shorten its prompts."
        )


def picture_tower(tower: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a picture tower tells a decoder: tokens (n, tokens, width) of normalised pictures (n, 3, height, width)."""
    blocks = tower.transformer.resblocks if type(tower) is VisionTransformer else [tower]
    if any(type(block) is not ResidualAttentionBlock for block in blocks):
        return lambda pictures: tower(pictures)[1]
    fast = [Block(block) for block in blocks]
    for block in blocks:
        forget(block.attn)
        forget(block.mlp)

    def embed(pictures: torch.Tensor) -> torch.Tensor:
        x = tower._embeds(pictures)
        for block in fast:
            x = block(x, x)
        tokens: torch.Tensor = tower._pool(x)[1]
        return tokens

    return embed


def _marks(tokenizer: Any) -> tuple[int, int]:
    """The tokens of a text's beginning and of its end."""
    if hasattr(tokenizer, "sot_token_id"):
        return int(tokenizer.sot_token_id), int(tokenizer.eot_token_id)
    words = tokenizer.tokenizer
    begin = words.cls_token_id if words.bos_token_id is None else words.bos_token_id
    return int(begin), int(words.sep_token_id if words.eos_token_id is None else words.eos_token_id)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """A prompt's tokens, without marks."""
    if hasattr(tokenizer, "sot_token_id"):
        return list(tokenizer.encode(text))
    return list(tokenizer.tokenizer.encode(tokenizer.clean_fn(text), add_special_tokens=False))
