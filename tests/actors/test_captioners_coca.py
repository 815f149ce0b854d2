"""A CoCa that remembers writes what open_clip's own forward pass would, token for token, and faster."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from actors.models.captioners.coca import CocaCaptioner, picture_tower
from actors.models.captioners.decoder import SHORTEST, CocaDecoder, Written, is_causal
from actors.models.captioners.finding import check_captioner, find_captioner
from actors.models.captioners.loading import load_captioner
from actors.models.captioners.protocol import Asking, Said, Shown
from actors.models.captioners.sampling import Draws, draws, nucleus, numbers_of
from actors.models.files import ModelMissing
from actors.models.layouts import CONFIG
from actors.models.prepare import Preprocessing, prepare
from filters.captioning import Captioner

VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16, "output_tokens": True}
POOLED = VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "attn_pooler_queries": 9}
TEXT = {"context_length": 20, "vocab_size": 24, "width": 32, "heads": 2, "layers": 2, "embed_cls": True}
WIDE = {"context_length": 20, "vocab_size": 24, "width": 32, "heads": 2, "layers": 2}
SPOKEN = WIDE | {"vocab_size": 49408}
"""With the English vocabulary, for what is tokenised."""

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


def folder_of(model: Any, folder: Path, **more: Any) -> Path:
    """A model in open_clip's layout."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config(**more), "preprocess_cfg": PREPARED}))
    weights = {name: one.contiguous() for name, one in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    more = {"text_cfg": SPOKEN | {"embed_cls": True, "output_tokens": True}, "multimodal_cfg": SPOKEN}
    return folder_of(coca(5, **more), tmp_path_factory.mktemp("coca"), **more)


def shown(count: int) -> list[Shown]:
    coarse = np.random.default_rng(4).integers(0, 256, (count, 5, 6, 3), np.uint8)
    return [Shown(number, one.repeat(8, 0).repeat(8, 1), 40, 48) for number, one in enumerate(coarse)]


def captions(folder: Path, pictures: list[Shown], **more: Any) -> list[tuple[Said, ...]]:
    asked = Captioner(path=str(folder), **({"tokens": 10} | more))
    told = CocaCaptioner(find_captioner(asked), "cpu", torch.float32).caption(pictures)
    assert all(isinstance(one, tuple) for one in told)
    return [one for one in told if isinstance(one, tuple)]


def test_a_recipes_captioner_says_the_models_own_words_on_real_preprocessing(written: Path) -> None:
    tokenizer, pictures = open_clip.get_tokenizer(f"local-dir:{written}"), shown(4)
    model = open_clip.create_model(f"local-dir:{written}").eval()
    inputs = torch.stack([torch.from_numpy(prepared(one)) for one in pictures])
    prompt = [tokenizer.sot_token_id, *tokenizer.encode("a photo of")]
    said = own(model, inputs, prompt, 10, tokenizer.eot_token_id)
    told = captions(written, pictures, prompts={"en": "a photo of"})
    assert [one[0].raw for one in told] == [tokenizer.decode(tokens).strip() for tokens in said]
    assert [one[0].tokens for one in told] == [len(tokens) for tokens in said]


def prepared(one: Shown) -> Any:
    squashed = Preprocessing(32, 32, "squash", "bicubic", (0.5,) * 3, (0.25,) * 3)
    return ((prepare(one.pixels, 40, 48, squashed) / 255 - 0.5) / 0.25).transpose(2, 0, 1).astype(np.float32)


def test_samples_belong_to_the_picture_and_not_to_its_batch() -> None:
    """Of 24 tokens: where thousands are as likely, as none of trained weights are, the last bit of a number decides."""
    model, pictures = coca(7), torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(7))
    decoder, embed = CocaDecoder(model, END), picture_tower(model.visual)
    asking = Asking(((None, ""),), samples=4, top_p=0.9, temperature=2.0, tokens=14, seed=3)

    def write(numbers: list[int], seed: int = 3) -> list[Written]:
        drawn = draws([100 + number for number in numbers], replace(asking, seed=seed), 14)
        with torch.inference_mode():
            return decoder.write(decoder.hear(embed(pictures[numbers])), [BEGIN], 14, drawn)

    together = write([0, 1, 2, 3, 4])
    assert together == [one for number in range(5) for one in write([number])]
    assert together != write([0, 1, 2, 3, 4], seed=4)
    assert [one.tokens for one in together[::4]] == [tuple(one) for one in ours(coca(7), pictures, [BEGIN], 14)]
    assert len({one.tokens for one in together}) > 15


def test_a_narrow_nucleus_is_greedy_and_a_wide_one_is_not(written: Path) -> None:
    (narrow,) = captions(written, shown(1), samples=3, top_p=1e-6)
    (wide,) = captions(written, shown(1), samples=3, temperature=5.0, top_p=1.0)
    assert len({one.raw for one in narrow}) == 1
    assert len({one.raw for one in wide}) == 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-8, 8), min_size=2, max_size=30), st.floats(0, 0.999), st.floats(0.01, 1))
def test_a_drawn_token_is_in_the_nucleus_and_the_whole_nucleus_is_drawn(
    logits: list[float], number: float, top_p: float
) -> None:
    told = torch.tensor([logits], dtype=torch.float32)
    shares = np.sort(told.softmax(-1).numpy()[0])[::-1]
    least = shares[: int(np.searchsorted(np.cumsum(shares), top_p - 1e-6)) + 1][-1]
    token = int(nucleus(told, torch.tensor([number]), top_p))
    assert told.softmax(-1)[0, token] >= least - 1e-6
    likeliest = int(nucleus(told, torch.tensor([0.0]), top_p))
    assert told.softmax(-1)[0, likeliest] == told.softmax(-1).max()


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05])
    numbers = torch.from_numpy(numbers_of(9, 1, 0, 4000))
    drawn = nucleus(shares.log().expand(4000, -1), numbers, 0.9)
    often = torch.bincount(drawn, minlength=4) / 4000
    assert (often - torch.tensor([0.5, 0.3, 0.15, 0.0]) / 0.95).abs().max() < 0.03


def test_what_makes_no_coca_is_refused_before_a_run_begins(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match="no CoCa"):
        find_captioner(Captioner(path="demo/scorer"))
    with pytest.raises(ModelMissing, match="has room for 19"):
        find_captioner(Captioner(path=str(written), tokens=20))
    with pytest.raises(ModelMissing, match="the recipe wants"):
        find_captioner(Captioner(path=str(written), sha256="0" * 64))
    long = find_captioner(Captioner(path=str(written), tokens=15, prompts={"en": "a picture of one two three"}))
    for asked in (check_captioner, lambda found: load_captioner(found, "cpu", 1)):
        with pytest.raises(ModelMissing, match="room for 13 tokens"):
            asked(long)


def test_weights_that_changed_since_they_were_found_are_refused(tmp_path: Path, written: Path) -> None:
    for file in written.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    found = find_captioner(Captioner(path=str(tmp_path), tokens=10))
    weights = tmp_path / "open_clip_model.safetensors"
    assert (found.files[0][0], found.nbytes) == (str(weights), weights.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    with pytest.raises(ModelMissing, match="Put the same file"):
        load_captioner(found, "cpu", 1)


def test_a_text_tower_that_sees_what_comes_later_is_not_for_us() -> None:
    assert is_causal(coca())
    assert not is_causal(coca(text_cfg=TEXT | {"output_tokens": True, "no_causal_mask": True}))


def taught(pictures: torch.Tensor, captions: list[list[int]], steps: int = 100) -> Any:
    """A model that was trained to say these of these pictures."""
    model = coca(6).requires_grad_(True)
    for weights in model.parameters():
        weights.data.mul_(0.2 if weights.ndim > 1 else 1.0)
    texts = torch.tensor([[BEGIN, *one, END] + [0] * (15 - len(one)) for one in captions])
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        told = model(pictures, texts)
        loss = torch.nn.functional.cross_entropy(told["logits"].flatten(0, 1), told["labels"].flatten(), ignore_index=0)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    return model.eval().requires_grad_(False)


def test_on_trained_weights_too_every_token_is_the_models_own_and_what_it_was_taught() -> None:
    rng = np.random.default_rng(8)
    lengths = (4, 13, 7, 9, 5, 11)
    captions = [rng.integers(1, 22, length).tolist() for length in lengths]
    pictures = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(8))
    model = taught(pictures, captions)
    strange = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    everything = torch.cat([pictures, strange, (pictures + strange) / 2])
    said = own(model, everything, [BEGIN], 15)
    assert said[:6] == captions
    assert ours(model, everything, [BEGIN], 15) == said
