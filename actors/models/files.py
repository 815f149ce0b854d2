"""Which files a recipe's model is made of on this machine and what they hash to, answered without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from actors.models.layouts import (
    CHECKPOINTS,
    CONFIG,
    PICTURE_CONFIGS,
    TYPES,
    canonical,
    digest,
    has_vocabulary,
    tokenizer_lines,
    weights_of,
)
from actors.models.places import file_sha256, hub_folder, locate
from filters.captioning import Captioner
from filters.recipe import Model

Wanted = Model | Captioner


class ModelMissing(Exception):
    """The model of a recipe is not on this machine, or is another one; the message says what to do."""


@dataclass(frozen=True)
class FoundModel:
    """A model by its files, all paths absolute; plain values, safe to hand to actors.

    `folder` holds the tokenizer's files. `identity`, 32 hex digits, is made of weights, architecture, preprocessing
    and tokenizer: what has the same identity says the same. `weights_sha256`, `preprocessing` and `tokenizer` are
    hashes of their own of three of these. `tower`: the folder with the config of a text tower of Hugging Face's,
    which open_clip's own config only names.
    """

    name: str
    languages: tuple[str, ...] | None
    kind: Literal["open_clip", "transformers"]
    config: str
    weights: str
    folder: str
    identity: str
    weights_sha256: str
    preprocessing: str
    tokenizer: str
    tower: str | None = None


def find_model(model: Wanted) -> FoundModel:
    """The files of a recipe's model, or of a captioner of open_clip's; the network is never asked.

    `path` is a folder by absolute path, relative to the working directory, or beginning with the name of an installed
    package (`demo/scorer`); `hub` is looked up in the local hub cache, `open_clip` too, under the repository that
    open_clip's list names. ModelMissing where a file is missing, where the config leaves a question open, or where the
    weights are not those that `sha256` names.
    """
    config, weights = _main_files(model)
    found = file_sha256(weights)
    if model.sha256 and found != model.sha256:
        raise ModelMissing(
            f"The weights {weights} have sha256 {found}, the recipe wants {model.sha256}.\n{_out(model)}"
        )
    if config.name in PICTURE_CONFIGS:
        return _of_transformers(model, config.parent, config, weights)
    if model.open_clip is not None:
        _check_activation(model, config)
    return _of_open_clip(model, config, weights)


def check_same(found: FoundModel) -> None:
    """Hold the files of `found` against what they were when they were found, maybe on another machine.

    ModelMissing if one is gone or the weights are others.
    """
    for path in (found.config, found.weights, found.folder, found.tower):
        if path is not None and not Path(path).exists():
            raise ModelMissing(
                f"The model {found.name} lacks {path} on this machine.\n"
                "Put the same files under the same path on every machine of the pool, then run again."
            )
    actual = file_sha256(Path(found.weights))
    if actual != found.weights_sha256:
        raise ModelMissing(
            f"The weights {found.weights} have sha256 {actual} on this machine, the run began with\n"
            f"{found.weights_sha256}. Put the same file on every machine of the pool, and run again."
        )


def called(model: Wanted) -> str:
    """What the recipe calls the model: the one of path, hub, open_clip and checkpoint that it gives."""
    return str(model.path or model.hub or model.open_clip or model.checkpoint)


def _main_files(model: Wanted) -> tuple[Path, Path]:
    """Config and weights; the name of the config tells the layout."""
    if model.checkpoint is not None and model.config is not None:
        return _file(model, model.config), _checkpoint(model, model.checkpoint)
    folder = folder_of(model)
    if (folder / CONFIG).is_file():
        weights = weights_of(folder)
        if weights is None:
            raise ModelMissing(f"{_who(model)} lacks weights in {folder}.\n{_out(model)}")
        return folder / CONFIG, weights
    if (folder / "config.json").is_file():
        return _transformers_files(model, folder)
    raise ModelMissing(f"{_who(model)} lacks {CONFIG} in {folder}.\n{_out(model)}")


def folder_of(model: Wanted) -> Path:
    """The folder of a model named by `path`, `hub` or `open_clip`; ModelMissing where there is none here."""
    if model.path is not None:
        folder = locate(model.path.removeprefix("local-dir:"))
        lacking = "is no folder here"
    else:
        folder = hub_folder(_repository(model))
        lacking = "is not in the local hub cache"
    if folder is None or not folder.is_dir():
        raise ModelMissing(f"{_who(model)} {lacking}.\n{_out(model)}")
    return folder


def _repository(model: Wanted) -> str:
    """`owner/name` on the hub; ModelMissing for a tag that open_clip has from elsewhere, or not at all."""
    if model.hub is not None:
        return model.hub
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    architecture, _, tag = str(model.open_clip).partition("/")
    entry = get_pretrained_cfg(architecture, tag)
    repository, _, file = str(entry.get("hf_hub", "")).rpartition("/")
    if repository and not file:
        return repository
    if entry:
        raise ModelMissing(
            f"The weights {model.open_clip} are a single file, which does not say how pictures are prepared.\n"
            "Download it, and name it as model.checkpoint with a model.config that does;\n"
            f"or {_without(model)}"
        )
    known = ", ".join(list_pretrained_tags_by_model(architecture)[:8]) or "none"
    raise ModelMissing(
        f"open_clip knows no weights {model.open_clip}. Tags of {architecture}: {known}.\n"
        f"Name one as model.open_clip, or {_without(model)}"
    )


def _check_activation(model: Wanted, config: Path) -> None:
    """Weights that were trained with QuickGELU compute something else without, and nothing fails."""
    from open_clip.pretrained import get_pretrained_cfg

    trained = bool(get_pretrained_cfg(*str(model.open_clip).split("/")).get("quick_gelu"))
    told = bool((read_json(config).get("model_cfg") or {}).get("quick_gelu"))
    if trained != told:
        raise ModelMissing(
            f"{config} says quick_gelu: {told}, open_clip's list says {trained} of {model.open_clip}.\n"
            "Name the weights as model.checkpoint with a model.config that is right;\n"
            f"or {_without(model)}"
        )


def _file(model: Wanted, name: str) -> Path:
    file = locate(name)
    if file is None or not file.is_file():
        raise ModelMissing(f"{_who(model)} lacks {name}: it is not here.\n{_out(model)}")
    return file


def _checkpoint(model: Wanted, name: str) -> Path:
    file = _file(model, name)
    if file.suffix not in CHECKPOINTS:
        raise ModelMissing(
            f"The weights {file} are in no format that is read: {', '.join(CHECKPOINTS)}.\n{_out(model)}"
        )
    return file


def _transformers_files(model: Wanted, folder: Path) -> tuple[Path, Path]:
    kind = read_json(folder / "config.json").get("model_type")
    if kind not in TYPES:
        raise ModelMissing(
            f"The model {called(model)} is of the type {kind}; those that are read: {', '.join(TYPES)},\n"
            f"and every model with an {CONFIG}. Or {_without(model)}"
        )
    config = next((folder / name for name in PICTURE_CONFIGS if (folder / name).is_file()), None)
    weights = next((folder / w for w in ("model.safetensors", "pytorch_model.bin") if (folder / w).is_file()), None)
    lacks = [] if config else [PICTURE_CONFIGS[0]]
    lacks += [] if weights else ["weights in one file (model.safetensors or pytorch_model.bin)"]
    lacks += [] if has_vocabulary(folder) else ["its tokenizer's files"]
    if config is None or weights is None or lacks:
        raise ModelMissing(f"{_who(model)} lacks {' and '.join(lacks)} in {folder}.\n{_out(model)}")
    return config, weights


def _of_transformers(model: Wanted, folder: Path, config: Path, weights: Path) -> FoundModel:
    architecture, pictures = read_json(folder / "config.json"), read_json(config)
    for volatile in ("_name_or_path", "transformers_version"):
        architecture.pop(volatile, None)
    sha256, tokenizer = file_sha256(weights), tokenizer_lines(folder)
    return FoundModel(
        name=model.name,
        languages=model.languages if isinstance(model, Model) else None,
        kind="transformers",
        config=str(config),
        weights=str(weights),
        folder=str(folder),
        identity=digest(canonical([architecture, pictures]), sha256, *tokenizer),
        weights_sha256=sha256,
        preprocessing=digest(canonical(pictures)),
        tokenizer=digest(*tokenizer),
    )


def _of_open_clip(model: Wanted, config: Path, weights: Path) -> FoundModel:
    told = read_json(config)
    if not isinstance(told.get("model_cfg"), dict) or not isinstance(told.get("preprocess_cfg"), dict):
        raise ModelMissing(
            f"{config} lacks model_cfg or preprocess_cfg: without, pictures are prepared wrongly and nothing tells.\n"
            "Write both, as open_clip's push_to_hf_hub does, with the size, mean, std, interpolation and\n"
            f"resize_mode of the training; or {_without(model)}"
        )
    text = told["model_cfg"].get("text_cfg", {})
    folder, tower = _text_folders(model, config.parent, text)
    sha256, tokenizer = file_sha256(weights), tokenizer_lines(folder)
    shape = [f"tower={file_sha256(tower / 'config.json')}"] if tower else []
    size = told["model_cfg"].get("vision_cfg", {}).get("image_size")
    return FoundModel(
        name=model.name,
        languages=model.languages if isinstance(model, Model) else None,
        kind="open_clip",
        config=str(config),
        weights=str(weights),
        folder=str(folder),
        identity=digest(canonical([told["model_cfg"], told["preprocess_cfg"]]), sha256, *tokenizer, *shape),
        weights_sha256=sha256,
        preprocessing=digest(canonical([size, told["preprocess_cfg"]])),
        tokenizer=digest(canonical([text.get("context_length"), text.get("tokenizer_kwargs")]), *tokenizer),
        tower=str(tower) if tower else None,
    )


def _text_folders(model: Wanted, folder: Path, text: dict[str, Any]) -> tuple[Path, Path | None]:
    """Where the tokenizer's files are and where the config of a text tower of Hugging Face's is.

    open_clip's config only names the two; they may lie beside it, at a path, or in the hub cache. ModelMissing where
    one of them is nowhere.
    """
    vocabulary, shape = text.get("hf_tokenizer_name"), text.get("hf_model_name")
    beside = not vocabulary or has_vocabulary(folder)
    tokenizer = folder if beside else _named(str(vocabulary))
    tower = _named(str(shape)) if shape else None
    lacks = [] if tokenizer is not None and (beside or has_vocabulary(tokenizer)) else [str(vocabulary)]
    lacks += [str(shape)] if shape and (tower is None or not (tower / "config.json").is_file()) else []
    if tokenizer is None or lacks:
        loads = " and ".join(f"`hf download {name} --exclude '*.safetensors' '*.bin'`" for name in dict.fromkeys(lacks))
        raise ModelMissing(
            f"{_who(model)} has the text tower {shape or vocabulary}, which is not all here:\n"
            f"{loads},\nthen run again; or {_without(model)}"
        )
    return tokenizer, tower


def _named(name: str) -> Path | None:
    return locate(name) or hub_folder(name)


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; ModelMissing where it holds none."""
    try:
        told = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ModelMissing(f"{file} is no JSON: {error}\nDownload it again, or write it anew.") from error
    if not isinstance(told, dict):
        raise ModelMissing(f"{file} holds no object.\nDownload it again, or write it anew.")
    return told


def _who(model: Wanted) -> str:
    return f"The {'scoring model' if isinstance(model, Model) else 'captioner'} {called(model)}"


def _without(model: Wanted) -> str:
    if isinstance(model, Model):
        return "curate without a scoring model: --recipe unscored"
    return f"take the captioner {model.name} out of the recipe's captions"


def _out(model: Wanted) -> str:
    hub = model.hub or (_repository(model) if model.open_clip else "OWNER/NAME")
    return (
        f"Get the weights (`hf download {hub}`, then run again; or point model.path at a local folder),\n"
        f"or {_without(model)}"
    )
