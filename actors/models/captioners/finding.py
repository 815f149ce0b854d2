"""Which captioner a recipe means and whether it is there, answered without loading it: a run asks before it begins."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from actors.models.captioners.client import ChatClient
from actors.models.captioners.endpoint import SIDE
from actors.models.captioners.protocol import Asking, FoundCaptioner
from actors.models.files import ModelMissing, find_model, folder_of, read_json
from actors.models.layouts import CONFIG, canonical, digest, tokenizer_lines
from actors.models.places import file_sha256
from filters.captioning import Captioner

CODE = "1"
"""Raised when the same weights, asked the same, would write something else by the code of this room."""

TEMPLATES = ("chat_template.jinja", "chat_template.json")
INDEX = "model.safetensors.index.json"
PREPARING = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
VOLATILE = ("_name_or_path", "transformers_version")


def find_captioner(captioner: Captioner) -> FoundCaptioner:
    """The captioner of a recipe: by its files, which are hashed, or by its endpoint, which check_captioner asks.

    The network is not asked. ModelMissing with what to do: where files are missing, are others than `sha256` says or
    make up no captioner, and where a chat model has no prompt.
    """
    asking = Asking(
        prompts=tuple(sorted(captioner.prompts.items())) or ((None, ""),),
        samples=captioner.samples,
        top_p=captioner.top_p,
        temperature=captioner.temperature,
        tokens=captioner.tokens,
        seed=captioner.seed,
    )
    if captioner.endpoint is not None:
        return _of_endpoint(captioner, asking)
    if captioner.checkpoint is None and not (folder_of(captioner) / CONFIG).is_file():
        return _of_transformers(captioner, folder_of(captioner), asking)
    return _of_open_clip(captioner, asking)


def check_captioner(found: FoundCaptioner) -> None:
    """Raise ModelMissing where an endpoint does not serve the model, and where a CoCa's prompt leaves no room."""
    if found.kind == "endpoint":
        with ChatClient(found.place, str(found.served)) as client:
            client.check()
    if found.kind == "coca" and found.languages:
        from actors.models.captioners.coca import check_room  # seconds, which only prompts need

        check_room(found)


def _of_endpoint(captioner: Captioner, asking: Asking) -> FoundCaptioner:
    endpoint, served = str(captioner.endpoint), str(captioner.model)
    _hold_to_prompts(captioner)
    return FoundCaptioner(
        name=captioner.name,
        kind="endpoint",
        place=endpoint,
        identity=_identity("endpoint", asking, served, f"side={SIDE}"),
        asking=asking,
        nbytes=0,
        served=served,
    )


def _of_open_clip(captioner: Captioner, asking: Asking) -> FoundCaptioner:
    model = find_model(captioner)
    told = read_json(Path(model.config)).get("model_cfg", {})
    if model.kind != "open_clip" or "multimodal_cfg" not in told or not told.get("text_cfg", {}).get("embed_cls"):
        raise ModelMissing(
            f"The captioner {captioner.name} has the weights {model.weights}, which are no CoCa that is read here.\n"
            "Name a CoCa of open_clip's with a text tower of its own (coca_ViT-B-32, coca_ViT-L-14),\n"
            "or a captioner in transformers' layout."
        )
    context = int(told["multimodal_cfg"].get("context_length", 77))
    if asking.tokens >= context:
        raise ModelMissing(
            f"The captioner {captioner.name} is asked for {asking.tokens} tokens, and has room for {context - 1}.\n"
            "Lower its `tokens` in the recipe."
        )
    return FoundCaptioner(
        name=captioner.name,
        kind="coca",
        place=model.weights,
        identity=_identity("coca", asking, model.identity),
        asking=asking,
        nbytes=Path(model.weights).stat().st_size,
        files=((model.weights, model.weights_sha256),),
        model=model,
    )


def _of_transformers(captioner: Captioner, folder: Path, asking: Asking) -> FoundCaptioner:
    config = _config(captioner, folder)
    files = [(str(file), file_sha256(file)) for file in _weights(captioner, folder)]
    _hold_to_hash(captioner, files)
    chat = _talks(folder)
    if chat:
        _hold_to_prompts(captioner)
    rest = (*PREPARING, *TEMPLATES, "generation_config.json")
    lines = [f"{name}={file_sha256(folder / name)}" for name in rest if (folder / name).is_file()]
    return FoundCaptioner(
        name=captioner.name,
        kind="chat" if chat else "image_to_text",
        place=str(folder),
        identity=_identity(
            "transformers", asking, canonical(config), *(sha for _, sha in files), *lines, *tokenizer_lines(folder)
        ),
        asking=asking,
        nbytes=sum(Path(file).stat().st_size for file, _ in files),
        files=tuple(files),
    )


def _config(captioner: Captioner, folder: Path) -> dict[str, Any]:
    """What `config.json` says of the architecture; ModelMissing where transformers has no such captioner."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as KNOWN

    file = folder / "config.json"
    if not file.is_file():
        raise ModelMissing(
            f"The captioner {captioner.name} lacks {CONFIG} or config.json in {folder}.\n"
            "Point its path at the folder of a CoCa of open_clip's or of a model of transformers' (`hf download`)."
        )
    config = {key: value for key, value in read_json(file).items() if key not in VOLATILE}
    if config.get("model_type") not in KNOWN:
        raise ModelMissing(
            f"The captioner {captioner.name} is of the type {config.get('model_type')}, which turns no picture into\n"
            "text in the transformers that is installed here.\n"
            "Name another, or serve it with vLLM and give its endpoint."
        )
    return config


def _weights(captioner: Captioner, folder: Path) -> list[Path]:
    """The files of the weights, safetensors before any other kind; ModelMissing where one is missing."""
    if (folder / INDEX).is_file():
        names = sorted(set(read_json(folder / INDEX).get("weight_map", {}).values()))
    else:
        there = [name for name in ("model.safetensors", "pytorch_model.bin") if (folder / name).is_file()]
        names = there[:1]
    lacking = [name for name in names if not (folder / name).is_file()] if names else ["model.safetensors"]
    if lacking:
        raise ModelMissing(
            f"The captioner {captioner.name} lacks {', '.join(lacking[:3])} in {folder}.\n"
            f"Get all of its weights (`hf download {captioner.hub or 'OWNER/NAME'}`), then run again."
        )
    return [folder / name for name in names]


def _hold_to_hash(captioner: Captioner, files: list[tuple[str, str]]) -> None:
    """Of several files the recipe's sha256 is that of what `sha256sum` prints of them, by name."""
    actual = files[0][1]
    if len(files) > 1:
        import hashlib

        printed = "".join(f"{sha}  {Path(file).name}\n" for file, sha in files)
        actual = hashlib.sha256(printed.encode()).hexdigest()
    if captioner.sha256 and actual != captioner.sha256:
        raise ModelMissing(
            f"The weights of the captioner {captioner.name} in {Path(files[0][0]).parent} have sha256 {actual},\n"
            f"the recipe wants {captioner.sha256}.\nGet those that it names, or change its sha256."
        )


def _talks(folder: Path) -> bool:
    """Whether there is a template of a conversation: a chat model."""
    if any((folder / name).is_file() for name in TEMPLATES):
        return True
    places = [folder / name for name in ("tokenizer_config.json", "processor_config.json")]
    return any(file.is_file() and "chat_template" in read_json(file) for file in places)


def _hold_to_prompts(captioner: Captioner) -> None:
    if not captioner.prompts:
        raise ModelMissing(
            f"The captioner {captioner.name} is a chat model, and a chat model has to be asked.\n"
            "Give it prompts in the recipe, a language each, such as\n"
            'prompts: {en: "Describe this picture in one sentence.", zh: "用一句话描述这张图片。"}'
        )


def _identity(kind: str, asking: Asking, *facts: str) -> str:
    return digest(CODE, kind, canonical(asdict(asking)), *facts)
