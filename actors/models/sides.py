"""How large a model wants its pictures, answered without loading it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from actors.models.files import FoundModel

_USUAL = 224  # what both libraries take where a config says nothing


def side_of(found: FoundModel) -> int:
    """Pixels of the longer side of the pictures that a model is given."""
    return _side(found.kind, found.config)


@lru_cache(maxsize=64)
def _side(kind: str, config: str) -> int:
    told = json.loads(Path(config).read_text("utf-8"))
    if kind == "open_clip":
        return _longest(told["model_cfg"]["vision_cfg"].get("image_size") or told.get("preprocess_cfg", {}).get("size"))
    told = told.get("image_processor", told)
    return _longest(told.get("crop_size") if told.get("do_center_crop") else told.get("size"))


def _longest(size: Any) -> int:
    if isinstance(size, dict):
        size = list(size.values())
    return max(size, default=_USUAL) if isinstance(size, list) else int(size or _USUAL)
