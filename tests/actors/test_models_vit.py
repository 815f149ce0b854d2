"""The tower that leaves out what its vector does not depend on gives the vectors of open_clip's own."""

from typing import Any

import open_clip
import pytest
import torch
from torch.nn.functional import cosine_similarity

from actors.models.vit import PlainTower, is_plain

SMALL = {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 8, "vocab_size": 512, "width": 16, "heads": 1, "layers": 1}


def tower(quick_gelu: bool = False, **more: Any) -> Any:
    torch.manual_seed(3)
    clip = open_clip.CLIP(embed_dim=24, vision_cfg=SMALL | more, text_cfg=TEXT, quick_gelu=quick_gelu)
    return clip.eval().requires_grad_(False).visual


@pytest.mark.parametrize(
    "more",
    [{}, {"ls_init_value": 0.3}, {"no_ln_pre": True}, {"quick_gelu": True}],
    ids=["plain", "scaled layers", "no norm before", "quick gelu"],
)
@pytest.mark.parametrize("count", [1, 7])
def test_vectors_are_those_of_the_whole_tower(more: dict[str, Any], count: int) -> None:
    own = tower(**more)
    pictures = torch.randn(count, 3, 32, 32)
    with torch.inference_mode():
        told = own(pictures)
        assert is_plain(own)
        assert (PlainTower(own)(pictures) - told).abs().max() < 1e-5


def test_in_bfloat16_vectors_stay_where_the_whole_tower_has_them() -> None:
    own = tower().bfloat16()
    pictures = torch.randn(5, 3, 32, 32).bfloat16()
    with torch.inference_mode():
        told = own(pictures).float()
        assert cosine_similarity(PlainTower(own)(pictures).float(), told).min() > 0.999


@pytest.mark.parametrize(
    "more",
    [{"pool_type": "avg"}, {"attentional_pool": True}, {"block_type": "custom"}, {"qk_norm": True}],
    ids=lambda more: next(iter(more)),
)
def test_another_kind_of_tower_is_left_to_open_clip(more: dict[str, Any]) -> None:
    assert not is_plain(tower(**more))


def test_weights_are_not_held_twice() -> None:
    own = tower()
    before = sum(parameter.numel() for parameter in own.parameters())
    PlainTower(own)
    left = sum(parameter.numel() for parameter in own.parameters())
    assert left < before / 2 if torch.backends.mkldnn.is_available() else left == before
