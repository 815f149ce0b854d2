"""The files of a model's folder in open_clip's layout and in transformers', by name and by what they hash to."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from actors.models.places import file_sha256

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
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
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
# In transformers' layout. SigLIP 2 of a fixed size calls itself siglip; the one that calls itself siglip2 (NaFlex)
# takes pictures of any shape in patches, which one batch of prepared pictures is not.
TYPES = ("altclip", "chinese_clip", "clip", "siglip")
PICTURE_CONFIGS = ("preprocessor_config.json", "processor_config.json")
CHECKPOINTS = (".safetensors", ".bin", ".pt", ".pth")


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


def has_vocabulary(folder: Path) -> bool:
    """Whether the words of a tokenizer of transformers' lie in `folder`."""
    return any((folder / name).is_file() for name in VOCABULARIES)


def tokenizer_lines(folder: Path) -> list[str]:
    """Name and hash of every file in `folder` that tokens depend on."""
    return [f"{name}={file_sha256(folder / name)}" for name in TOKENIZER_FILES if (folder / name).is_file()]


def canonical(told: object) -> str:
    """What a config says, as the same text in any order of its keys."""
    return json.dumps(told, sort_keys=True)


def digest(*lines: str) -> str:
    """32 hex digits of all these lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
