"""The picture tower of open_clip's plain vision transformers, computed with what its result depends on and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import nn
from torch.nn import functional

Linear = Callable[[torch.Tensor], torch.Tensor]

_FEW = 16  # queries


class PlainTower:
    """Vectors of pictures from the modules of a tower whose `is_plain` is true, on the device where they lie.

    What the first token's vector does not depend on is left out: in the last block all other tokens are keys and
    values only, which saves 10 of the 12 products of matrices of one block, 7 % of ViT-B's and 3.5 % of ViT-L's.
    On a CPU oneDNN is handed weights in its own layout and does the activation while a product is in its cache: a
    tenth faster in bfloat16 than torch's own call (2 cores with AVX512-BF16), and in float32 on AMD, where torch's
    own call is MKL's, twice as fast.
    """

    def __init__(self, tower: VisionTransformer) -> None:
        self._tower: Any = tower
        self._blocks = [Block(block) for block in tower.transformer.resblocks]
        for block in tower.transformer.resblocks:
            forget(block.attn)
            forget(block.mlp)

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """Vectors (n, width), not normalised, of normalised pictures (n, 3, height, width)."""
        tower = self._tower
        x = tower._embeds(pictures)
        for block in self._blocks[:-1]:
            x = block(x, x)
        x = self._blocks[-1](x[:, :1].contiguous(), x)
        vectors: torch.Tensor = tower.ln_post(x[:, 0]) @ tower.proj
        return vectors


def is_plain(tower: Any) -> bool:
    """Whether `tower` is one whose vector is its first token's, behind plain blocks: most of open_clip's."""
    return (
        type(tower) is VisionTransformer
        and tower.attn_pool is None
        and tower.pool_type == "tok"
        and tower.transformer.batch_first
        and all(type(block) is ResidualAttentionBlock for block in tower.transformer.resblocks)
    )


class Block:
    """One block: attention of some tokens to others, and the network behind it, with weights in oneDNN's layout."""

    def __init__(self, block: Any) -> None:
        attention = block.attn
        self.norm: Linear = block.ln_1
        self._block, self._heads, self._width = block, attention.num_heads, attention.embed_dim
        self._ask, self._answer = (
            packed(weight, bias)
            for weight, bias in zip(
                attention.in_proj_weight.split([self._width, 2 * self._width]),
                attention.in_proj_bias.split([self._width, 2 * self._width]),
                strict=True,
            )
        )
        self._out = packed(attention.out_proj.weight, attention.out_proj.bias)
        self._widen = packed(block.mlp.c_fc.weight, block.mlp.c_fc.bias, block.mlp.gelu)
        self._narrow = packed(block.mlp.c_proj.weight, block.mlp.c_proj.bias)

    def __call__(self, x: torch.Tensor, everything: torch.Tensor) -> torch.Tensor:
        """The tokens `x` (n, t, width) behind the block; `everything` (n, tokens, width) is what they attend to."""
        told = self.norm(everything)
        asking = told if x is everything else self.norm(x)
        return self.attend(x, self.ask(asking), *self.answer(told))

    def ask(self, told: torch.Tensor) -> torch.Tensor:
        """Queries (n, heads, t, width of a head) of normalised tokens (n, t, width)."""
        return self._split(self._ask(told))

    def answer(self, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (n, heads, t, width of a head) of normalised tokens (n, t, width)."""
        key, value = (self._split(half) for half in self._answer(told).chunk(2, -1))
        return key, value

    def attend(
        self, x: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False
    ) -> torch.Tensor:
        """The tokens `x` (n, t, width), whose queries these are, behind the block."""
        block = self._block
        mixed = _mix(query, key, value, causal)
        x = x + block.ls_1(self._out(mixed.transpose(1, 2).reshape(x.shape)))
        return cast(torch.Tensor, x + block.ls_2(self._narrow(self._widen(block.ln_2(x)))))

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        count, tokens, width = x.shape
        return x.view(count, tokens, self._heads, width // self._heads).transpose(1, 2)


def _mix(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool) -> torch.Tensor:
    """The values (n, heads, t, width of a head) that each query attends to.

    torch's own call is made for many queries: for one to each of 32 pictures of 255 tokens it takes a core 5.8 ms in
    bfloat16 (2.15), two products of matrices 0.8.
    """
    if causal or query.shape[2] > _FEW or query.device.type != "cpu":
        return functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    likeness = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    shares: torch.Tensor = likeness.softmax(-1, dtype=torch.float32)
    return shares.to(value.dtype) @ value


def packed(weight: torch.Tensor, bias: torch.Tensor, activation: nn.Module | None = None) -> Linear:
    """x @ weight.T + bias, and what follows it; on a CPU with the weight in oneDNN's own layout."""
    weight, bias = weight.detach(), bias.detach()
    fused = type(activation) is nn.GELU and activation.approximate == "none"
    if not packs(weight):
        after = activation or nn.Identity()
        return lambda x: cast(torch.Tensor, after(functional.linear(x, weight, bias)))
    onednn: Any = torch.ops.mkldnn
    packed = onednn._reorder_linear_weight(weight.contiguous())
    name, told = ("gelu", "none") if fused else ("none", "")
    after = nn.Identity() if fused or activation is None else activation
    return lambda x: cast(torch.Tensor, after(onednn._linear_pointwise(x, packed, bias, name, [], told)))


def forget(module: nn.Module) -> None:
    """Free the weights of which there is a copy in oneDNN's layout: a model is not to be in memory twice."""
    for parameter in module.parameters():
        if packs(parameter):
            parameter.data = torch.empty(0, dtype=parameter.dtype)


def packs(weight: torch.Tensor) -> bool:
    """Whether oneDNN is here and takes weights of this kind; its operators are torch.compile's, and not documented."""
    there: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return (
        there
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.bfloat16)
    )
