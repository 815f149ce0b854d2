"""How open_clip's CoCa writes by itself: the whole text through the model anew for each token."""

from __future__ import annotations

from typing import Any

import torch

from actors.models.captioners.decoder import SHORTEST


def own_captions(model: Any, pictures: torch.Tensor, begin: int, end: int, most: int) -> torch.Tensor:
    """Tokens (n, at most 1 + most) of normalised pictures (n, 3, h, w), by the rules of `CoCa.generate`, greedy.

    `generate` itself refuses the transformers that is installed here. As there, a caption that has ended goes on as
    padding, no end is taken before SHORTEST tokens, and the last token is the end.
    """
    with torch.inference_mode():
        latent, embedded = model._encode_image(pictures)
        texts = torch.full((len(pictures), 1), begin)
        while texts.shape[1] < 1 + most:
            ended = (texts[:, -1] == end) | (texts[:, -1] == model.pad_id)
            if ended.all():
                break
            told = model(None, texts, image_latent=latent, image_embs=embedded, output_labels=False)
            logits = told["logits"][:, -1].float()
            if texts.shape[1] < SHORTEST:
                logits[:, end] = -torch.inf
            last = texts.shape[1] == most
            following = torch.full((len(texts),), end) if last else logits.argmax(-1)
            texts = torch.cat([texts, following.where(~ended, model.pad_id).unsqueeze(1)], 1)
    return texts
