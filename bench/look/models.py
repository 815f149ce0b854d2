"""Models with random weights in open_clip's layout: as fast as trained ones, and there is nothing to download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from actors.models.layouts import CONFIG

SEED = 360

PREPROCESS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}
TINY = "tiny"
"""A vision transformer that a test has time for."""

_TINY: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def architecture(name: str) -> dict[str, Any]:
    """open_clip's own config of the model `name`, or that of TINY."""
    import open_clip

    config: dict[str, Any] = _TINY if name == TINY else open_clip.get_model_config(name)
    return config


def write_model(folder: Path, name: str) -> Path:
    """Write `name` with weights of a fixed seed to `folder`."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    torch.manual_seed(SEED)
    config = architecture(name)
    model = open_clip.model.CLIP(**config)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": PREPROCESS}))
    return folder
