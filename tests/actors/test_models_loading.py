"""Every kind of model, small and of random weights, says what its own library's plain loop says of it."""

import json
import os
import shutil
import socket
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import transformers
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from actors.models.batches import BATCH
from actors.models.files import ModelMissing, find_model
from actors.models.layouts import CONFIG
from actors.models.loading import LoadedModel, load
from actors.models.prepare import Preprocessing
from filters.recipe import Model

SCORER = Path(__file__).parents[2] / "demo" / "scorer"
TEXTS = (
    "A large grey and white water bird .",
    "有一只鸟在水面上飞。",
    "",
    "dog",
    "白色背景上的一个大红色星星和两个小蓝色圆形，旁边还有一只灰白色的大水鸟，正低飞到水面附近，后面是绿色的树",
    "A dog on a leash shakes while in some water , and the others look at it from the dry side of the river bank .",
    "狗狗在草地上。",
    "到处都是鸟，" * 30,
    "Is it a cat? No!  It's_a (very) large BIRD...",
)
CONTEXTS = {"altclip": 64, "chinese_clip": 52, "clip": 77, "siglip": 64}
VISION = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16}
PREPARED = {
    "mean": [0.48, 0.46, 0.41],
    "std": [0.27, 0.26, 0.28],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    folder = os.environ.get("ZEROMILL_TEST_DATA")
    if not folder:
        pytest.skip("ZEROMILL_TEST_DATA does not name a folder of real photos")
    files = sorted(Path(folder, "data", "photos", "images").rglob("*.jpg"))
    return [Image.open(file).convert("RGB") for file in files[:: len(files) // 12][:12]]


def _filled(module: torch.nn.Module) -> torch.nn.Module:
    """Random numbers in place of all weights, also of those that a library leaves as the memory was."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weights in module.named_parameters():
            weights.normal_(0, 0.2, generator=generator)
            if name.endswith(("norm.weight", "Norm.weight", "ln_pre.weight", "ln_post.weight", "ln_final.weight")):
                weights.add_(1)
    return module.eval()


def _characters() -> dict[str, int]:
    alphabet = sorted(set("".join(TEXTS).lower() + "".join(TEXTS)) - {" "})
    return {piece: number for number, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", "▁", *alphabet])}


def _open_clip(folder: Path, config: dict[str, Any], prepared: dict[str, Any] = PREPARED) -> Path:
    """Write a model in open_clip's layout beside the tokenizer's files that are in `folder` already."""
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": prepared}))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False)
    save_file(
        {k: v.contiguous() for k, v in _filled(model).state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def _clip(folder: Path) -> Path:
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    return _open_clip(folder, {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text})


def _custom_text(folder: Path) -> Path:
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, "proj_bias": True}
    return _open_clip(folder, {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text, "custom_text": True})


def _coca(folder: Path) -> Path:
    text = {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, "embed_cls": True}
    vision = VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text | {"output_tokens": True}, "custom_text": True}
    wide = {"context_length": 76, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    return _open_clip(folder, config | {"multimodal_cfg": wide})


def _xlm_roberta(folder: Path) -> Path:
    pieces = _characters()
    tokenizer = Tokenizer(models.Unigram([(piece, -float(number)) for piece, number in pieces.items()], unk_id=3))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", None, [("<s>", 0), ("</s>", 2)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    tower = transformers.XLMRobertaConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    tower.save_pretrained(folder / "tower")
    text = {
        "hf_model_name": str(folder / "tower"),
        "hf_tokenizer_name": "of/the-tower",
        "hf_pooler_type": "mean_pooler",
    }
    return _open_clip(folder, {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text})


def _nllb(folder: Path) -> Path:
    tokenizer = transformers.NllbTokenizer(vocab=_characters(), merges=[])
    tokenizer.save_pretrained(folder)
    tower = transformers.M2M100Config(
        vocab_size=len(tokenizer), d_model=32, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_position_embeddings=128,
    )  # fmt: skip
    tower.save_pretrained(folder / "tower")
    text = {"hf_model_name": str(folder / "tower"), "hf_tokenizer_name": "of/the-tower"}
    text |= {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}
    squashed = PREPARED | {"resize_mode": "squash", "interpolation": "bilinear"}
    return _open_clip(folder, {"embed_dim": 24, "vision_cfg": VISION, "text_cfg": text}, squashed)


def _siglip_tokenizer(folder: Path, **more: Any) -> int:
    pieces = {"<pad>": 0, "</s>": 1} | {piece: number + 2 for number, piece in enumerate(list(_characters())[3:])}
    tokenizer = Tokenizer(models.Unigram([(piece, -float(number)) for piece, number in pieces.items()], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, **more).save_pretrained(folder)
    return len(pieces)


def _siglip(folder: Path) -> Path:
    text = {"context_length": 64, "vocab_size": _siglip_tokenizer(folder), "width": 32, "heads": 2, "layers": 2}
    text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "hf_tokenizer_name": "of/the-tower"}
    text |= {"tokenizer_kwargs": {"clean": "canonicalize"}}
    vision = {"image_size": 160, "timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_proj": "linear"}
    config = {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "custom_text": True, "init_logit_bias": -10}
    half = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    return _open_clip(folder, config, half)


def _tower(**more: Any) -> dict[str, Any]:
    return {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64} | more


def _bert_vocabulary(folder: Path) -> int:
    folder.mkdir(exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *list(_characters())[5:]]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return len(words)


def _chinese_clip(folder: Path) -> Path:
    text = _tower(vocab_size=_bert_vocabulary(folder), max_position_embeddings=64)
    config = transformers.ChineseCLIPConfig(
        text_config=text, vision_config=_tower(image_size=32, patch_size=8), projection_dim=24
    )
    _filled(transformers.ChineseCLIPModel(config)).save_pretrained(folder)
    size = {"do_center_crop": False, "size": {"height": 32, "width": 32}}
    transformers.ChineseCLIPImageProcessor(**size).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 52}))
    return folder


def _alt_clip(folder: Path) -> Path:
    _xlm_roberta(folder)
    (folder / CONFIG).unlink()
    (folder / "open_clip_model.safetensors").unlink()
    text = _tower(vocab_size=len(_characters()), max_position_embeddings=66, project_dim=24, pad_token_id=1)
    config = transformers.AltCLIPConfig(
        text_config=text, vision_config=_tower(image_size=32, patch_size=8), projection_dim=24
    )
    _filled(transformers.AltCLIPModel(config)).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def _clip_of_transformers(folder: Path) -> Path:
    letters = list(open_clip.tokenizer.bytes_to_unicode().values())
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=_tower(vocab_size=len(words), max_position_embeddings=77) | ends,
        vision_config=_tower(image_size=32, patch_size=8),
        projection_dim=24,
    )
    _filled(transformers.CLIPModel(config)).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return folder


def _siglip_of_transformers(folder: Path) -> Path:
    words = _siglip_tokenizer(folder, model_max_length=64, model_input_names=["input_ids"])
    config = transformers.SiglipConfig(
        text_config=_tower(vocab_size=words, max_position_embeddings=64, projection_size=32),
        vision_config=_tower(image_size=32, patch_size=8),
    )
    _filled(transformers.SiglipModel(config)).save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


Make = Callable[[Path], Path]
Photos = list[Image.Image]
OF_OPEN_CLIP: tuple[Make, ...] = (_clip, _custom_text, _coca, _xlm_roberta, _nllb, _siglip)
OF_TRANSFORMERS: tuple[Make, ...] = (_clip_of_transformers, _chinese_clip, _alt_clip, _siglip_of_transformers)


def _load(**where: str) -> LoadedModel:
    return load(find_model(Model(**where)), "cpu", torch.float32)


def _plainly(folder: Path, photos: list[Image.Image], texts: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """What open_clip's users write: vectors of pictures and of texts, one at a time."""
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    with torch.inference_mode():
        pictures = [model.encode_image(transform(photo)[None]) for photo in photos]
        return torch.cat(pictures or [torch.empty(0)]), torch.cat([model.encode_text(tokenizer([t])) for t in texts])


def _plainly_by_transformers(
    folder: Path, photos: list[Image.Image], texts: tuple[str, ...]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers' users write, its pictures resized by Pillow as those of open_clip."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    kind = model.config.model_type
    cut = {"padding": "max_length" if kind == "siglip" else True, "truncation": True, "max_length": CONTEXTS[kind]}
    with torch.inference_mode():
        pictures = [model.get_image_features(**processor(photo, return_tensors="pt")).pooler_output for photo in photos]
        told = [tokenizer([t], **cut, return_tensors="pt") for t in texts]
        vectors = [model.get_text_features(**one).pooler_output for one in told]
    return torch.cat(pictures or [torch.empty(0)]), torch.cat(vectors)


def _prepared(photos: list[Image.Image], to: Preprocessing) -> torch.Tensor:
    """Pictures by the terms that we read off a model, as open_clip's transform follows them."""
    terms = PreprocessCfg((to.height, to.width), "RGB", to.mean, to.std, to.interpolation, to.resize, to.fill)
    return torch.stack([image_transform_v2(terms, is_train=False)(photo) for photo in photos])


def _cosines(ours: torch.Tensor, theirs: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(ours, theirs)


def _assert_says(model: LoadedModel, theirs: torch.Tensor) -> None:
    """All texts in one batch, which its longest fills, and each alone, where next to no padding is left."""
    alone = torch.cat([model.texts([text]) for text in TEXTS])
    for ours in (model.texts(TEXTS), alone):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], Path]:
    """Gives the folder of a model, which is made once."""
    return lru_cache(lambda make: make(tmp_path_factory.mktemp("model") / "m"))


@pytest.mark.parametrize("make", OF_OPEN_CLIP)
def test_a_model_of_open_clip_says_of_texts_what_open_clips_own_loop_says(
    make: Make, made: Callable[[Make], Path]
) -> None:
    model = _load(path=str(made(make)))
    _, theirs = _plainly(made(make), [], TEXTS)
    assert theirs.shape == (len(TEXTS), model.width)
    _assert_says(model, theirs)


@pytest.mark.parametrize("make", OF_TRANSFORMERS)
def test_a_model_of_transformers_says_of_texts_what_its_own_loop_says(make: Make, made: Callable[[Make], Path]) -> None:
    _, theirs = _plainly_by_transformers(made(make), [], TEXTS)
    _assert_says(_load(path=str(made(make))), theirs)


@pytest.mark.parametrize("make", OF_OPEN_CLIP)
def test_a_model_of_open_clip_sees_a_photo_as_in_open_clips_own_loop(
    make: Make, made: Callable[[Make], Path], photos: Photos
) -> None:
    model = _load(path=str(made(make)))
    theirs, _ = _plainly(made(make), photos, ("a",))
    assert _cosines(model.pictures(_prepared(photos, model.preprocessing)), theirs).min() > 0.9999


@pytest.mark.parametrize("make", OF_TRANSFORMERS)
def test_a_model_of_transformers_sees_a_photo_as_in_its_own_loop(
    make: Make, made: Callable[[Make], Path], photos: Photos
) -> None:
    model = _load(path=str(made(make)))
    # Where an odd number of pixels is cut off, torchvision rounds the half up and transformers down.
    even = [photo for photo in photos if int(32 * max(photo.size) / min(photo.size)) % 2 == 0]
    assert len({photo.size for photo in even}) > 1
    theirs, _ = _plainly_by_transformers(made(make), even, ("a",))
    assert _cosines(model.pictures(_prepared(even, model.preprocessing)), theirs).min() > 0.9999


@pytest.mark.parametrize("make", OF_OPEN_CLIP + OF_TRANSFORMERS)
def test_a_model_is_loaded_without_a_network(
    make: Make, made: Callable[[Make], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(make)

    def asked(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", asked)
    monkeypatch.setattr(socket.socket, "connect", asked)
    assert _load(path=str(folder)).width in (24, 32)


@pytest.mark.parametrize("make", OF_OPEN_CLIP + OF_TRANSFORMERS)
def test_texts_of_many_lengths_keep_their_order_over_batches(make: Make, made: Callable[[Make], Path]) -> None:
    model, many = _load(path=str(made(make))), TEXTS * (BATCH["cpu"] // len(TEXTS) + 1)
    assert len(many) > BATCH["cpu"]
    torch.testing.assert_close(model.texts(many)[-len(TEXTS) :], model.texts(TEXTS), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "longest"), [(_clip, 12), (_custom_text, 12), (_xlm_roberta, 40), (_nllb, 40), (_siglip, 64), (_coca, 76)]
)
def test_a_tower_is_shown_no_more_padding_than_it_heeds(
    make: Make, longest: int, made: Callable[[Make], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = _load(path=str(made(make))), []
    embed = torch.nn.Embedding.forward
    monkeypatch.setattr(torch.nn.Embedding, "forward", lambda self, ids: seen.append(ids.shape[-1]) or embed(self, ids))
    model.texts(["a large grey and white water bird"])
    assert max(seen) <= longest
    assert (max(seen) == longest) == (make in (_siglip, _coca))


@pytest.mark.parametrize("make", OF_OPEN_CLIP + OF_TRANSFORMERS)
def test_a_model_in_half_of_the_bits_says_about_the_same(make: Make, made: Callable[[Make], Path]) -> None:
    whole, half = _load(path=str(made(make))), load(find_model(Model(path=str(made(make)))), "cpu", torch.bfloat16)
    assert _cosines(half.texts(TEXTS).float(), whole.texts(TEXTS)).min() > 0.98
    batch = torch.randn(2, 3, whole.preprocessing.height, whole.preprocessing.width)
    assert _cosines(half.pictures(batch.bfloat16()).float(), whole.pictures(batch)).min() > 0.98
    assert (half.scale, half.bias) == (whole.scale, whole.bias)


def test_weights_of_transformers_that_are_no_safetensors_are_read_too(
    made: Callable[[Make], Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(made(_chinese_clip), tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    positions = {"text_model.embeddings.position_ids": torch.arange(64)[None]}  # as older versions wrote them
    torch.save(weights | positions, folder / "pytorch_model.bin")
    torch.testing.assert_close(_load(path=str(folder)).texts(TEXTS), _load(path=str(made(_chinese_clip))).texts(TEXTS))


def test_nllb_is_told_the_language_by_its_config(made: Callable[[Make], Path], tmp_path: Path) -> None:
    folder = made(_nllb)
    config = json.loads((folder / CONFIG).read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"src_lang": "zho_Hans"}
    chinese = shutil.copytree(folder, tmp_path / "m")
    (chinese / CONFIG).write_text(json.dumps(config))
    assert find_model(Model(path=str(chinese))).identity != find_model(Model(path=str(folder))).identity
    assert not torch.allclose(_load(path=str(chinese)).texts(TEXTS), _load(path=str(folder)).texts(TEXTS), atol=1e-3)


def test_siglip_tells_scale_and_bias_of_its_sigmoid(made: Callable[[Make], Path]) -> None:
    for make, library in ((_siglip, "open_clip_model"), (_siglip_of_transformers, "model")):
        weights = load_file(made(make) / f"{library}.safetensors")
        model = _load(path=str(made(make)))
        assert model.sigmoid
        assert model.scale == pytest.approx(float(weights["logit_scale"].exp()))
        assert model.bias == pytest.approx(float(weights["logit_bias"]))
    assert (_load(path=str(made(_clip))).sigmoid, _load(path=str(made(_clip))).bias) == (False, 0)


def test_a_checkpoint_of_a_training_and_its_config_say_what_the_folder_says(
    made: Callable[[Make], Path], tmp_path: Path
) -> None:
    folder = made(_clip)
    weights = load_file(folder / "open_clip_model.safetensors")
    torch.save({"epoch": 5, "state_dict": {f"module.{k}": v for k, v in weights.items()}}, tmp_path / "epoch_5.pt")
    model = _load(checkpoint=str(tmp_path / "epoch_5.pt"), config=str(folder / CONFIG))
    torch.testing.assert_close(model.texts(TEXTS), _load(path=str(folder)).texts(TEXTS))
    assert model.preprocessing == _load(path=str(folder)).preprocessing


def _refused(folder: Path) -> str:
    with pytest.raises(ModelMissing) as missing:
        _load(path=str(folder))
    message = str(missing.value)
    assert len(message.splitlines()) <= 3
    assert "--recipe unscored" in message
    return message


def test_weights_that_were_cut_off_are_refused_by_name(tmp_path: Path, made: Callable[[Make], Path]) -> None:
    folder = shutil.copytree(made(_clip), tmp_path / "m")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert str(weights) in _refused(folder)


def test_weights_of_another_architecture_are_refused(tmp_path: Path, made: Callable[[Make], Path]) -> None:
    folder = shutil.copytree(made(_clip), tmp_path / "m")
    shutil.copy(made(_custom_text) / "open_clip_model.safetensors", folder)
    assert "cannot be loaded" in _refused(folder)


def test_weights_that_transformers_would_make_up_are_refused(tmp_path: Path, made: Callable[[Make], Path]) -> None:
    folder = shutil.copytree(made(_chinese_clip), tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "text_projection.weight" in _refused(folder)


def test_a_checkpoint_runs_no_code(tmp_path: Path, made: Callable[[Make], Path]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    folder = shutil.copytree(made(_clip), tmp_path / "m")
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": Trap()}, folder / "open_clip_pytorch_model.bin")
    _refused(folder)
    assert not (tmp_path / "trapped").exists()


def test_preprocessing_that_no_batch_can_follow_is_refused(tmp_path: Path, made: Callable[[Make], Path]) -> None:
    folder = shutil.copytree(made(_clip_of_transformers), tmp_path / "m")
    transformers.CLIPImageProcessor(size={"shortest_edge": 36}, crop_size=32).save_pretrained(folder)
    assert "way of resizing" in _refused(folder)
