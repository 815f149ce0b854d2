"""A CoCa that remembers writes what open_clip's own forward pass would, token for token, and faster."""

from collections import Counter
from typing import Any

import open_clip
import pytest
import torch

from actors.models.captioners.coca import picture_tower
from actors.models.captioners.decoder import SHORTEST, CocaDecoder
from actors.models.captioners.sampling import Draws

VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16, "output_tokens": True}
POOLED = VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 9}
TEXT = {"context_length": 20, "vocab_size": 24, "width": 32, "heads": 2, "layers": 2, "embed_cls": True}
WIDE = {"context_length": 20, "vocab_size": 24, "width": 32, "heads": 2, "layers": 2}
PREPARED = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
BEGIN, END = 22, 23
GREEDY = float("nan")


def config(**more: Any) -> dict[str, Any]:
    told = {"embed_dim": 32, "vision_cfg": POOLED, "text_cfg": TEXT | {"output_tokens": True}, "multimodal_cfg": WIDE}
    return told | {"custom_text": True} | more


def coca(seed: int = 0, **more: Any) -> Any:
    """Random weights, also where open_clip leaves the memory as it was."""
    told = {key: value for key, value in config(**more).items() if key != "custom_text"}
    torch.manual_seed(seed)
    model = open_clip.CoCa(**told).eval().requires_grad_(False)
    for name, weights in model.named_parameters():
        if weights.ndim > 1 or "embedding" in name or name.endswith("cls_emb"):
            weights.normal_(0, 0.3)
    return model


def own(model: Any, pictures: torch.Tensor, prompt: list[int], most: int, end: int = END) -> list[list[int]]:
    """What the model's own forward pass over the whole text says at each step, by the rules of its generate."""
    texts = [list(prompt) for _ in pictures]
    with torch.inference_mode():
        latent, embedded = model._encode_image(pictures)
        for row, text in enumerate(texts):
            one = {"image_latent": latent[row : row + 1], "image_embs": embedded[row : row + 1]}
            while len(text) < len(prompt) + most and (len(text) == len(prompt) or text[-1] not in (end, model.pad_id)):
                logits = model(None, torch.tensor([text]), **one, output_labels=False)["logits"][0, -1]
                if len(text) < SHORTEST:
                    logits[end] = -torch.inf
                text.append(end if len(text) + 1 == len(prompt) + most else int(logits.argmax()))
    return [text[len(prompt) : -1] for text in texts]


def ours(model: Any, pictures: torch.Tensor, prompt: list[int], most: int, end: int = END) -> list[list[int]]:
    decoder, embed = CocaDecoder(model, end), picture_tower(model.visual)
    numbers = torch.full((len(pictures), most), GREEDY)
    with torch.inference_mode():
        heard = decoder.hear(embed(pictures))
        return [list(one.tokens) for one in decoder.write(heard, prompt, most, Draws(numbers, 0.9, 1.0))]


def said_by_some(captions: list[list[int]]) -> int:
    """A token that only some captions come to: as the mark of the end it ends these."""
    said = Counter(token for one in captions for token in set(one[4:-1]))
    return min(said, key=lambda token: (abs(said[token] - len(captions) / 2), token))


@pytest.mark.parametrize("prompt", [[BEGIN], [BEGIN, 3, 9, 4, 4, 5]], ids=["no prompt", "a prompt"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_greedy_decoding_is_the_models_own_token_for_token(seed: int, prompt: list[int]) -> None:
    pictures = torch.randn(9, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    end = said_by_some(own(coca(seed), pictures, prompt, 14))
    told = own(coca(seed), pictures, prompt, 14, end)
    assert ours(coca(seed), pictures, prompt, 14, end) == told
    assert len({tuple(one) for one in told}) > 1  # the pictures matter
    assert len({len(one) for one in told}) > 1  # some captions end, and leave the others


@pytest.mark.parametrize(
    "more",
    [
        {"vision_cfg": VISION},
        {"vision_cfg": POOLED | {"ls_init_value": 0.3}},
        {"vision_cfg": POOLED | {"block_type": "custom"}},
        {"quick_gelu": True},
        {"pad_id": 7},
        {"text_cfg": TEXT | {"output_tokens": True, "ls_init_value": 0.5}},
    ],
    ids=["plain tower", "scaled layers", "custom blocks", "quick gelu", "padding", "scaled text"],
)
def test_other_towers_and_blocks_are_theirs_too(more: dict[str, Any]) -> None:
    pictures = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    assert ours(coca(3, **more), pictures, [BEGIN], 14) == own(coca(3, **more), pictures, [BEGIN], 14)
