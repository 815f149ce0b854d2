"""Where a model's files lie and what they hash to, answered without loading torch."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from functools import lru_cache
from pathlib import Path

from filters.recipe import Model

CONFIG = "open_clip_config.json"
MERGES = "bpe_simple_vocab.txt.gz"
# The order in which open_clip 3.3's factory picks a checkpoint from a folder (`_find_checkpoint_in_dir`).
PREFERRED = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
# What changes the tokens of a text, by the names that transformers and open_clip give these files.
TOKENIZER_FILES = (
    MERGES,
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "added_tokens.json",
)


class ModelMissing(Exception):
    """The model of a recipe is not on this machine, or is another one; the message says what to do."""


def find_model(model: Model) -> Path:
    """The local folder of a recipe's model; the network is never asked.

    `path` is absolute, relative to the working directory, or starts with the name of an installed package
    (`demo/scorer`); `hub` is looked up in the local hub cache. ModelMissing if there is no such folder, if
    it has no config or weights, or if the weights are not those that `sha256` names.
    """
    name = str(model.path or model.hub)
    folder = locate(name) if model.path else _hub_folder(name)
    if folder is None or not folder.is_dir():
        where = "is no folder here" if model.path else "is not in the local hub cache"
        raise ModelMissing(f"The scoring model {name} {where}.\n{_ways_out(model)}")
    weights = weights_of(folder)
    if weights is None or not (folder / CONFIG).is_file():
        lacks = "weights" if (folder / CONFIG).is_file() else CONFIG
        raise ModelMissing(f"The scoring model {name} lacks {lacks} in {folder}.\n{_ways_out(model)}")
    if model.sha256 and file_sha256(weights) != model.sha256.lower():
        found = file_sha256(weights)
        raise ModelMissing(
            f"The weights {weights} have sha256 {found}, the recipe wants {model.sha256}.\n{_ways_out(model)}"
        )
    _check_text_tower(name, folder)
    return folder


def _check_text_tower(name: str, folder: Path) -> None:
    """A text tower of Hugging Face's needs transformers and, in the local cache, the tower's own config."""
    tower = (
        json.loads((folder / CONFIG).read_text("utf-8")).get("model_cfg", {}).get("text_cfg", {}).get("hf_model_name")
    )
    if tower is None:
        return
    lacks = []
    if importlib.util.find_spec("transformers") is None:
        lacks.append("`uv pip install transformers`")
    if not Path(tower).is_dir() and _hub_folder(tower) is None:
        lacks.append(f"`hf download {tower} --exclude '*.safetensors' '*.bin' '*.h5' '*.msgpack' '*.onnx'`")
    if lacks:
        raise ModelMissing(
            f"The scoring model {name} has the text tower {tower}, which is not all here: {' and '.join(lacks)},\n"
            "then run again; or curate without a scoring model: --recipe unscored"
        )


def model_identity(path: Path | str) -> str:
    """32 hex digits over weights, model and preprocessing config, and tokenizer files of an open_clip folder.

    What else lies in the folder, its card for one, does not count. ModelMissing without config or weights.
    """
    folder = Path(path)
    weights = weights_of(folder)
    if weights is None or not (folder / CONFIG).is_file():
        raise ModelMissing(f"{folder} is no open_clip model: it needs {CONFIG} and its weights beside it.")
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    told = [
        json.dumps([config.get("model_cfg"), config.get("preprocess_cfg")], sort_keys=True),
        file_sha256(weights),
    ]
    told += [f"{name}={file_sha256(folder / name)}" for name in TOKENIZER_FILES if (folder / name).is_file()]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def weights_of(folder: Path) -> Path | None:
    """The checkpoint that open_clip would load from `folder`, None where there is none."""
    found = [f for f in folder.glob("*") if f.suffix in (".safetensors", ".bin", ".pth")]
    if not found:
        return None
    rank = {name: place for place, name in enumerate(PREFERRED)}
    return min(
        found,
        key=lambda f: (rank.get(f.name, len(rank)), f.suffix != ".safetensors", f.name),
    )


def file_sha256(file: Path) -> str:
    """Hex sha256 of a file's bytes, remembered for as long as its size and time stay the same."""
    stat = file.stat()
    return _hash_file(str(file), stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_file(file: str, size: int, changed_ns: int) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def locate(path: str) -> Path | None:
    """A file or folder by absolute path, from the working directory, or within an installed package; else None."""
    given = Path(path).expanduser()
    if given.exists():
        return given.resolve()
    package, _, rest = path.partition("/")
    if given.is_absolute() or not package.isidentifier():
        return None
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (Path(place) / rest).exists():
            return (Path(place) / rest).resolve()
    return None


def _hub_folder(repository: str) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _ways_out(model: Model) -> str:
    hub = model.hub or "OWNER/NAME"
    return (
        f"Get the weights (`hf download {hub}`, then run again; or point model.path at a local folder),\n"
        "or curate without a scoring model: --recipe unscored"
    )
