"""Models of transformers' that turn a picture into text by themselves (BLIP, GIT, ViT-GPT2) as captioners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

from actors.models.captioners.generation import BATCH, Generator, anew, drawn_for
from actors.models.captioners.protocol import FoundCaptioner, Said, Shown, Unsaid
from actors.models.captioners.sizes import within
from actors.models.loading import loading

PLAIN = ("blip", "git", "vision-encoder-decoder")
"""Types whose pictures and prompts are prepared apart; those of others by the processor that comes with the model."""

_MOST = 1024  # pixels of a longer side that any processor is given


class ImageToTextCaptioner:
    """Writes captions behind a prompt, or without; see `actors.models.captioners.protocol.LoadedCaptioner`."""

    def __init__(self, found: FoundCaptioner, device: str) -> None:
        """ModelMissing where the files do not make up a model."""
        self.identity, self.device, self._found = found.identity, device, found
        with loading(found.name, anew(found)):
            self._generator = Generator(found, device)
            self._type = self._generator.model.config.model_type
            self._tokenizer: Any = AutoTokenizer.from_pretrained(found.place, local_files_only=True)
            kind: Any = AutoImageProcessor if self._type in PLAIN else AutoProcessor
            self._processor = kind.from_pretrained(found.place, local_files_only=True)
        self.side, self.batch, self.forwards = _side(self._processor), BATCH[device], 0
        ends = self._tokenizer.eos_token_id, self._tokenizer.sep_token_id
        self._ends = frozenset(one for one in ends if one is not None)

    def caption(self, pictures: Sequence[Shown]) -> list[tuple[Said, ...] | Unsaid]:
        """All that is asked of each picture, by prompt and then by sample."""
        if not pictures:
            return []
        self.forwards += len(pictures)
        told: list[list[Said]] = [[] for _ in pictures]
        asking = self._found.asking
        for language, prompt in asking.prompts:
            inputs = self._inputs([within(one.pixels, _MOST) for one in pictures], prompt)
            for sample in range(asking.samples):
                drawn = drawn_for(list(pictures), self._found, sample, asking.tokens)
                for said, written in zip(
                    told, self._generator.write(inputs, drawn, asking.tokens, self._ends), strict=True
                ):
                    text = self._tokenizer.decode(list(written.tokens), skip_special_tokens=True).strip()
                    said.append(Said(text, language, prompt, sample, len(written.tokens), written.ended))
        return [tuple(said) for said in told]

    def answer(self, pictures: Sequence[Shown], questions: Sequence[str]) -> list[str]:
        """It writes, and answers nothing."""
        raise TypeError(f"a model of the type {self._type} answers no questions: ask a chat model or an endpoint")

    def _inputs(self, pictures: list[Any], prompt: str) -> dict[str, Any]:
        if self._type not in PLAIN:
            words = {"text": [prompt] * len(pictures)} if prompt else {}
            return dict(self._processor(images=pictures, return_tensors="pt", **words))
        seen = {"pixel_values": self._processor(images=pictures, return_tensors="pt")["pixel_values"]}
        return seen | self._opening(prompt, len(pictures))

    def _opening(self, prompt: str, count: int) -> dict[str, torch.Tensor]:
        """The tokens before the first that is written: those of `prompt` behind the mark that the type begins with."""
        if self._type == "blip":  # replaces the first by its own mark, and drops the last
            return dict(self._tokenizer([prompt] * count, return_tensors="pt", return_token_type_ids=False))
        words = self._tokenizer.encode(prompt, add_special_tokens=False)
        if self._type == "git":
            mark, name = self._tokenizer.cls_token_id, "input_ids"
        else:
            mark, name = self._generator.model.generation_config.decoder_start_token_id, "decoder_input_ids"
        return {name: torch.tensor([[mark, *words]]).expand(count, -1)}


def _side(processor: Any) -> int:
    """Pixels of the longer side of the pictures that a processor makes."""
    told = getattr(processor, "image_processor", processor)
    sizes = [dict(size) for size in (told.size, getattr(told, "crop_size", None)) if size is not None]
    sides = [int(side) for size in sizes for side in size.values() if side is not None]
    return min(max(sides, default=_MOST), _MOST)
