"""Models of transformers', small and of random weights, caption pictures as their own greedy generation does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from actors.models.captioners.finding import find_captioner
from actors.models.captioners.loading import load_captioner
from actors.models.captioners.protocol import FoundCaptioner, Said, Shown
from actors.models.encoder import precision
from actors.models.files import ModelMissing
from filters.captioning import Captioner

WORDS = [
    "a",
    "picture",
    "of",
    "what",
    "is",
    "this",
    "red",
    "star",
    "two",
    "blue",
    "moons",
    "and",
    "yes",
    "no",
    "图",
    "片",
]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> {% endif %}"
)
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
SIDE = {"image_size": 32, "patch_size": 8}


def tokenizer(folder: Path, *more: str, **special: str) -> dict[str, int]:
    """A tokenizer of whole words, written to `folder`; the number of each token."""
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"} | special
    numbers = {word: number for number, word in enumerate([*dict.fromkeys(names.values()), *more, *WORDS])}
    made = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    marks = [(mark, numbers[mark]) for mark in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, marks)
    kept = {"additional_special_tokens": list(more)} if more else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names, **kept).save_pretrained(folder)
    return numbers


def random(model: Any, folder: Path, seed: int = 7) -> Path:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.4, generator=generator)
    model.save_pretrained(folder)
    return folder


def blip(folder: Path) -> Path:
    numbers = tokenizer(folder)
    marks = {"bos_token_id": numbers["[CLS]"], "sep_token_id": numbers["[SEP]"], "pad_token_id": numbers["[PAD]"]}
    marks["eos_token_id"] = numbers["[SEP]"]
    text = LAYERS | marks | {"vocab_size": len(numbers), "encoder_hidden_size": 32, "max_position_embeddings": 64}
    config = transformers.BlipConfig(text_config=text, vision_config=LAYERS | SIDE)
    transformers.BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return random(transformers.BlipForConditionalGeneration(config), folder)


def git(folder: Path) -> Path:
    numbers = tokenizer(folder)
    marks = {"bos_token_id": numbers["[CLS]"], "eos_token_id": numbers["[SEP]"], "pad_token_id": numbers["[PAD]"]}
    config = transformers.GitConfig(
        vision_config=LAYERS | SIDE, vocab_size=len(numbers), max_position_embeddings=64, **LAYERS, **marks
    )
    square = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return random(transformers.GitForCausalLM(config), folder)


def vit_gpt2(folder: Path) -> Path:
    numbers = tokenizer(folder, bos_token="[CLS]", eos_token="[SEP]")
    seeing = transformers.ViTConfig(**LAYERS, **SIDE)
    writing = transformers.GPT2Config(
        vocab_size=len(numbers), n_embd=32, n_layer=2, n_head=2, n_positions=64, add_cross_attention=True
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(seeing, writing)
    config.decoder_start_token_id, config.pad_token_id = numbers["[CLS]"], numbers["[PAD]"]
    model = transformers.VisionEncoderDecoderModel(config)
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=numbers["[CLS]"],
        eos_token_id=numbers["[SEP]"],
        pad_token_id=numbers["[PAD]"],
        num_beams=4,
    )
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return random(model, folder, seed=9)


def qwen(folder: Path) -> Path:
    seen = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>")
    numbers = tokenizer(folder, *seen, eos_token="<|im_end|>")
    pictures = transformers.Qwen2VLImageProcessor(patch_size=4, min_pixels=64, max_pixels=1024)
    films = transformers.Qwen2VLVideoProcessor(patch_size=4)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    transformers.Qwen2VLProcessor(pictures, words, films, chat_template=TEMPLATE).save_pretrained(folder)
    text = LAYERS | {"vocab_size": len(numbers), "num_key_value_heads": 2, "max_position_embeddings": 256}
    text |= {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}}
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4}
    config = transformers.Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=numbers["<|image_pad|>"],
        video_token_id=numbers["<|video_pad|>"],
        vision_start_token_id=numbers["<|vision_start|>"],
        vision_end_token_id=numbers["<|vision_end|>"],
    )
    model = transformers.Qwen2VLForConditionalGeneration(config)
    ends = {"eos_token_id": numbers["<|im_end|>"], "pad_token_id": numbers["[PAD]"]}
    model.generation_config = transformers.GenerationConfig(**ends, do_sample=True, temperature=0.1, top_k=1)
    return random(model, folder)


KINDS: dict[str, Callable[[Path], Path]] = {"blip": blip, "git": git, "vit_gpt2": vit_gpt2, "qwen": qwen}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in KINDS.items()}


def found_in(folder: Path, **more: Any) -> FoundCaptioner:
    told: dict[str, Any] = {"prompts": {"en": "a picture of"}, "tokens": 8}
    return find_captioner(Captioner(name="tiny", path=str(folder), **(told | more)))


def shown(count: int, height: int = 40, width: int = 56) -> list[Shown]:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, height // 8, width // 8, 3), np.uint8)
    return [Shown(number, one.repeat(8, 0).repeat(8, 1), height, width) for number, one in enumerate(coarse)]


def captions(found: FoundCaptioner, pictures: list[Shown]) -> list[tuple[Said, ...]]:
    told = load_captioner(found, "cpu", 1).caption(pictures)
    assert all(isinstance(one, tuple) for one in told)
    return [one for one in told if isinstance(one, tuple)]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_writes_what_is_asked_whatever_the_batch(folders: dict[str, Path], name: str) -> None:
    found = found_in(folders[name], samples=3, prompts={"en": "a picture of", "zh": "图 片"})
    together = captions(found, shown(3))
    assert [(one.language, one.sample) for one in together[0]] == [(x, s) for x in ("en", "zh") for s in range(3)]
    assert together == [captions(found, [one])[0] for one in shown(3)]
    assert len({one.raw for each in together for one in each}) > 3
    assert all(one.ended or one.tokens == 8 for each in together for one in each)
    assert not any("[" in one.raw or "<" in one.raw for each in together for one in each)


def _own_inputs(folder: Path, name: str, picture: Shown) -> dict[str, Any]:
    """What the model's own page tells to do."""
    if name == "qwen":
        processor = transformers.AutoProcessor.from_pretrained(folder)
        text = "<|im_start|>user <|vision_start|><|image_pad|><|vision_end|>a picture of<|im_end|> <|im_start|> "
        return dict(processor(images=[picture.pixels], text=[text], return_tensors="pt"))
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(picture.pixels, return_tensors="pt")
    words = transformers.AutoTokenizer.from_pretrained(folder)
    ids = words("a picture of", return_tensors="pt").input_ids
    names = {"blip": "input_ids", "git": "input_ids", "vit_gpt2": "decoder_input_ids"}
    return {"pixel_values": pixels["pixel_values"], names[name]: ids if name == "blip" else ids[:, :-1]}


@pytest.mark.parametrize("name", KINDS)
def test_the_first_sample_is_the_models_own_greedy_generation(folders: dict[str, Path], name: str) -> None:
    (picture,) = shown(1)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folders[name], dtype=precision("cpu")).eval()
    inputs = _own_inputs(folders[name], name, picture)
    inputs = {key: one.to(model.dtype) if one.is_floating_point() else one for key, one in inputs.items()}
    words = transformers.AutoTokenizer.from_pretrained(folders[name])
    with torch.inference_mode():
        told = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=8)[0]
    (said,) = captions(found_in(folders[name]), [picture])[0]
    own = words.decode(told, skip_special_tokens=True)
    assert said.raw
    assert own.endswith(said.raw)
    assert said.raw not in ("", "a picture of")


@pytest.mark.parametrize("name", ["blip", "git", "vit_gpt2"])
def test_without_a_prompt_a_model_writes_by_itself(folders: dict[str, Path], name: str) -> None:
    (said,) = captions(found_in(folders[name], prompts={}), shown(1))[0]
    assert (said.language, said.prompt) == (None, "")
    assert said.raw


def test_a_chat_model_answers_questions_on_pictures_of_any_shape(folders: dict[str, Path]) -> None:
    captioner = load_captioner(found_in(folders["qwen"]), "cpu", 1)
    pictures = [*shown(1), *shown(1, 24, 80)]
    asked = ["is this a star", "what is this"]
    together = captioner.answer(pictures, asked)
    alone = [captioner.answer([one], [question])[0] for one, question in zip(pictures, asked, strict=True)]
    assert together == alone
    assert all(together)
    assert captioner.answer([], []) == []
    with pytest.raises(TypeError, match="chat model"):
        load_captioner(found_in(folders["blip"]), "cpu", 1).answer(pictures, ["is it", "is it"])


def test_kinds_are_told_apart_and_a_chat_model_must_be_asked(folders: dict[str, Path]) -> None:
    assert [found_in(folders[name]).kind for name in KINDS] == ["image_to_text"] * 3 + ["chat"]
    assert found_in(folders["qwen"]).answers
    with pytest.raises(ModelMissing, match=r"prompts: \{en:") as told:
        found_in(folders["qwen"], prompts={})
    assert len(str(told.value).splitlines()) <= 3


def test_an_identity_is_of_files_and_of_all_that_is_asked(folders: dict[str, Path], tmp_path: Path) -> None:
    found = found_in(folders["blip"])
    assert found == found_in(folders["blip"])
    changes: list[dict[str, Any]] = [{"samples": 2}, {"seed": 1}, {"tokens": 9}, {"top_p": 0.5}, {"temperature": 0.5}]
    changes += [{"prompts": {"en": "a star"}}, {"prompts": {"zh": "a picture of"}}]
    others = {found_in(folders["blip"], **change).identity for change in changes}
    assert len(others | {found.identity}) == 8
    assert all(len(one) == 32 for one in others)
    moved = tmp_path / "moved"
    moved.mkdir()
    for file in folders["blip"].iterdir():
        (moved / file.name).write_bytes(file.read_bytes())
    assert found_in(moved).identity == found.identity
    (moved / "model.safetensors").write_bytes((folders["git"] / "model.safetensors").read_bytes())
    assert found_in(moved).identity != found.identity
    with pytest.raises(ModelMissing, match="cannot be loaded"):
        load_captioner(found_in(moved), "cpu", 1)


def test_weights_in_several_files_are_all_hashed_and_held(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["blip"].iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    model = transformers.BlipForConditionalGeneration.from_pretrained(folders["blip"])
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    found = found_in(tmp_path)
    assert len(found.files) > 1
    assert found.nbytes == sum(Path(file).stat().st_size for file, _ in found.files)
    assert captions(found, shown(2)) == captions(found_in(folders["blip"]), shown(2))
    last = Path(found.files[-1][0])
    whole = last.read_bytes()
    last.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ModelMissing, match="another file"):
        load_captioner(found, "cpu", 1)
    last.unlink()
    with pytest.raises(ModelMissing, match=last.name):
        found_in(tmp_path)


def test_weights_that_the_recipe_does_not_name_are_refused(folders: dict[str, Path]) -> None:
    found = found_in(folders["blip"])
    assert found_in(folders["blip"], sha256=found.files[0][1]) == found
    with pytest.raises(ModelMissing, match="the recipe wants"):
        found_in(folders["blip"], sha256="0" * 64)


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"path": "nowhere/at-all"}, "is no folder here"),
        ({"hub": "nobody/has-this"}, "not in the local hub cache"),
        ({"checkpoint": "nowhere.safetensors", "config": "nowhere.json"}, "is not here"),
    ],
)
def test_what_is_not_here_is_told_with_what_to_do(told: dict[str, str], match: str) -> None:
    with pytest.raises(ModelMissing, match=match) as error:
        find_captioner(Captioner(name="absent", **told))
    assert len(str(error.value).splitlines()) <= 3
    assert "captioner" in str(error.value)
    assert "scoring" not in str(error.value)


def test_an_encoder_is_no_captioner(folders: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "chinese_clip"}')
    with pytest.raises(ModelMissing, match="chinese_clip"):
        found_in(tmp_path)
    with pytest.raises(ModelMissing, match="no CoCa"):
        find_captioner(Captioner(name="scorer", path="demo/scorer"))
    assert replace(found_in(folders["blip"]), name="other").identity == found_in(folders["blip"]).identity
