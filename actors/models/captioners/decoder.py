"""CoCa's text side, a token at a time: what is known of earlier tokens and of the picture is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock, TextTransformer

from actors.models.captioners.sampling import Draws
from actors.models.vit import Block, forget, packed, packs

SHORTEST = 5
"""Tokens, first mark and prompt included, before which none is the end: `min_seq_len` of open_clip's generate."""

Keys = tuple[torch.Tensor, torch.Tensor]
"""Keys and values, each (rows, heads, places, width of a head)."""


@dataclass(frozen=True)
class Written:
    """The tokens of one caption behind the prompt, without the mark of its end; not `ended`: it was cut."""

    tokens: tuple[int, ...]
    ended: bool


@dataclass(frozen=True)
class Heard:
    """What blocks ask of pictures, which lie in `order` (a permutation of their numbers)."""

    keys: list[Keys]
    order: list[int]


class CocaDecoder:
    """Writes what open_clip's `CoCa.generate` does, which runs the whole text through the model anew for each token.

    Of the text tower the appended CLS is left out, which no other token sees, and with it `ln_final`; the decoder
    takes tokens as they come out of the last block. In single precision the tokens are those of the model's own forward
    pass. `end` is the mark of a caption's end; the model's padding ends it too.
    """

    def __init__(self, model: Any, end: int) -> None:
        """Take the weights of `model`, an open_clip.CoCa that `is_causal`; its own forward pass works no more."""
        text, decoder = model.text, model.text_decoder
        self.context = int(decoder.context_length)
        self.end, self.pad = end, int(model.pad_id)
        self.heads = decoder.resblocks[0].attn.num_heads
        self._words, self._places = text.token_embedding, text.positional_embedding
        self._text = [Block(block) for block in text.transformer.resblocks]
        self._self = [Block(block) for block in decoder.resblocks]
        self._cross = [Block(block) for block in decoder.cross_attn]
        self._cross_norms = [block.ln_1_kv for block in decoder.cross_attn]
        self._norm = decoder.ln_final
        out = decoder.text_projection.detach()
        self._project = packed(out.T, out.new_zeros(out.shape[1]))
        for block in (*text.transformer.resblocks, *decoder.resblocks, *decoder.cross_attn):
            forget(block.attn)
            forget(block.mlp)
        if packs(out):
            decoder.text_projection.data = out.new_empty(0)

    def hear(self, embedded: torch.Tensor) -> Heard:
        """What is asked of pictures `embedded` (pictures, tokens, width), once for all their captions."""
        told = (block.answer(norm(embedded)) for block, norm in zip(self._cross, self._cross_norms, strict=True))
        return Heard([(key.contiguous(), value.contiguous()) for key, value in told], list(range(len(embedded))))

    def write(self, heard: Heard, prompt: Sequence[int], most: int, draws: Draws) -> list[Written]:
        """A caption for each row of `draws`: of `most` tokens behind `prompt` at most, the end included.

        Rows are by picture and then by sample. `prompt` begins with the mark of a text's beginning; ValueError if it
        leaves no room.
        """
        limit = min(len(prompt) + most, self.context)
        if limit <= len(prompt):
            raise ValueError(f"the prompt has {len(prompt)} tokens, and with a caption at most {self.context}")
        with torch.inference_mode():
            return _Writing(self, heard, draws, limit).run(prompt)

    def caches(self, rows: int, places: int) -> list[Keys]:
        """Room for the keys and values of `places` tokens, for each block that attends to tokens."""
        shape = (rows, self.heads, places, self._places.shape[1] // self.heads)
        return [(self._places.new_empty(shape), self._places.new_empty(shape)) for _ in (*self._text, *self._self)]

    def logits(self, tokens: torch.Tensor, begin: int, caches: list[Keys], pictures: list[Keys]) -> torch.Tensor:
        """float32 (rows, vocabulary) of what follows `tokens` (rows, t), which stand at `begin` and behind it."""
        x = self._words(tokens) + self._places[begin : begin + tokens.shape[1]]
        for block, cache in zip(self._text, caches, strict=False):
            x = _follow(block, x, begin, cache)
        for block, cache, cross, (key, value) in zip(
            self._self, caches[len(self._text) :], self._cross, pictures, strict=True
        ):
            x = _follow(block, x, begin, cache)
            asking = x.view(len(key), -1, x.shape[-1])  # all samples of a picture ask it at once
            x = cross.attend(asking, cross.ask(cross.norm(asking)), key, value).view(x.shape)
        return self._project(self._norm(x[:, -1])).float()


def is_causal(model: Any) -> bool:
    """Whether the texts of `model`, an open_clip.CoCa, can be written by `CocaDecoder`."""
    text, blocks = model.text, [*model.text_decoder.resblocks, *model.text_decoder.cross_attn]
    plain = isinstance(text, TextTransformer) and text.cls_emb is not None and text.attn_mask is not None
    return plain and all(type(block) is ResidualAttentionBlock for block in (*text.transformer.resblocks, *blocks))


def _follow(block: Block, x: torch.Tensor, begin: int, cache: Keys) -> torch.Tensor:
    """The tokens `x` (rows, t, width) behind a block in which each sees those before it; the cache learns them."""
    told, end = block.norm(x), begin + x.shape[1]
    for held, new in zip(cache, block.answer(told), strict=True):
        held[:, :, begin:end] = new
    key, value = (held[:, :, :end] for held in cache)
    return block.attend(x, block.ask(told), key, value, causal=x.shape[1] > 1)


class _Writing:
    """Captions under way. Pictures whose captions have all ended change places with the last, and leave the batch."""

    def __init__(self, decoder: CocaDecoder, heard: Heard, draws: Draws, limit: int) -> None:
        self._decoder, self._heard, self._draws, self._limit = decoder, heard, draws, limit
        self._live = len(heard.order)
        self._samples = len(draws.numbers) // max(self._live, 1)
        self._caches = decoder.caches(len(draws.numbers), limit)
        self._texts: list[list[int]] = [[] for _ in draws.numbers]
        self._ended = [False] * len(draws.numbers)

    def run(self, prompt: Sequence[int]) -> list[Written]:
        tokens = torch.tensor(prompt, device=self._caches[0][0].device).expand(len(self._texts), -1)
        begin = 0
        while self._live:
            logits = self._logits(tokens, begin)
            begin += tokens.shape[1]
            if begin < SHORTEST:
                logits[:, self._decoder.end] = -torch.inf
            tokens = self._draws.of(torch.tensor(self._rows()), begin - len(prompt), logits)
            self._take(tokens.tolist(), last=begin + 1 == self._limit)
            if begin + 1 == self._limit:
                break
            tokens = self._leave(tokens).unsqueeze(1)
        return [Written(tuple(text), ended) for text, ended in zip(self._texts, self._ended, strict=True)]

    def _logits(self, tokens: torch.Tensor, begin: int) -> torch.Tensor:
        caches = [_first(keys, len(tokens)) for keys in self._caches]
        pictures = [_first(keys, self._live) for keys in self._heard.keys]
        return self._decoder.logits(tokens, begin, caches, pictures)

    def _rows(self) -> list[int]:
        """The number of the caption in each place of the batch."""
        pictures, samples = self._heard.order[: self._live], range(self._samples)
        return [picture * self._samples + sample for picture in pictures for sample in samples]

    def _take(self, tokens: list[int], last: bool) -> None:
        """Note each caption's next token; `last`: there is room for the end only."""
        for row, token in zip(self._rows(), tokens, strict=True):
            if not self._ended[row]:
                self._ended[row] = token in (self._decoder.end, self._decoder.pad)
                self._texts[row] += [] if self._ended[row] or last else [token]

    def _leave(self, tokens: torch.Tensor) -> torch.Tensor:
        """Let pictures go of which nothing is left to write; the `tokens` (rows,) of those that stay."""
        tokens = tokens.view(self._live, self._samples)
        for place in reversed(range(self._live)):
            row = self._heard.order[place] * self._samples
            if all(self._ended[row : row + self._samples]):
                self._live -= 1
                self._exchange(place, self._live)
                tokens[place] = tokens[self._live]
        return tokens[: self._live].reshape(-1)

    def _exchange(self, one: int, other: int) -> None:
        """What is held of two pictures changes places: so nothing is lost that another prompt may ask."""
        order = self._heard.order
        order[one], order[other] = order[other], order[one]
        for held in (
            *self._heard.keys,
            *((_by(key, self._samples), _by(value, self._samples)) for key, value in self._caches),
        ):
            for tensor in held:
                tensor[[one, other]] = tensor[[other, one]]


def _first(keys: Keys, rows: int) -> Keys:
    return keys[0][:rows], keys[1][:rows]


def _by(held: torch.Tensor, samples: int) -> torch.Tensor:
    """By picture, what is by caption."""
    return held.view(-1, samples, *held.shape[1:])
