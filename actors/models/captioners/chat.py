"""Chat models of transformers' that see pictures (Qwen-VL and others) as captioners: asked in a language each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from transformers import AutoProcessor

from actors.models.captioners.decoder import Written
from actors.models.captioners.generation import BATCH, Generator, anew, drawn_for
from actors.models.captioners.protocol import FoundCaptioner, Said, Shown, Unsaid
from actors.models.captioners.sizes import within
from actors.models.loading import loading

SIDE = 672
"""Pixels of the longer side of what a model sees: 576 tokens of Qwen2-VL's, which is enough for a sentence or two."""

_ANSWER = 16  # tokens of an answer to a question of yes or no


class ChatCaptioner:
    """Captions pictures and answers questions; see `actors.models.captioners.protocol.LoadedCaptioner`."""

    def __init__(self, found: FoundCaptioner, device: str) -> None:
        """ModelMissing where the files do not make up a model."""
        self.identity, self.device, self._found = found.identity, device, found
        self.side, self.batch, self.forwards = SIDE, BATCH[device], 0
        with loading(found.name, anew(found)):
            self._generator = Generator(found, device)
            self._processor: Any = AutoProcessor.from_pretrained(found.place, local_files_only=True)
        self._tokenizer = self._processor.tokenizer
        self._tokenizer.padding_side = "left"  # what is written must follow the question at once
        end = self._tokenizer.eos_token_id
        self._ends = frozenset() if end is None else frozenset({end})

    def caption(self, pictures: Sequence[Shown]) -> list[tuple[Said, ...] | Unsaid]:
        """All that is asked of each picture, by prompt and then by sample."""
        asking = self._found.asking
        told: list[list[Said]] = [[] for _ in pictures]
        self.forwards += len(pictures)
        for language, prompt in asking.prompts if pictures else ():
            inputs = self._inputs(pictures, [prompt] * len(pictures))
            for sample in range(asking.samples):
                for said, written in zip(told, self._write(inputs, pictures, sample, asking.tokens), strict=True):
                    text, count = self._text(written), len(written.tokens)
                    said.append(Said(text, language, prompt, sample, count, written.ended))
        return [tuple(said) for said in told]

    def answer(self, pictures: Sequence[Shown], questions: Sequence[str]) -> list[str]:
        """One greedy answer for each picture and its question."""
        if not pictures:
            return []
        self.forwards += len(pictures)
        inputs = self._inputs(pictures, questions)
        return [self._text(written) for written in self._write(inputs, pictures, 0, _ANSWER)]

    def _write(self, inputs: dict[str, Any], pictures: Sequence[Shown], sample: int, most: int) -> list[Written]:
        drawn = drawn_for(list(pictures), self._found, sample, most)
        return self._generator.write(inputs, drawn, most, self._ends)

    def _text(self, written: Written) -> str:
        return str(self._tokenizer.decode(list(written.tokens), skip_special_tokens=True)).strip()

    def _inputs(self, pictures: Sequence[Shown], questions: Sequence[str]) -> dict[str, Any]:
        talks = [
            [{"role": "user", "content": [_picture(one), {"type": "text", "text": question}]}]
            for one, question in zip(pictures, questions, strict=True)
        ]
        told = self._processor.apply_chat_template(
            talks,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return dict(told)


def _picture(one: Shown) -> dict[str, Any]:
    return {"type": "image", "image": Image.fromarray(within(one.pixels, SIDE))}
