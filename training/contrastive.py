"""Contrastive training of an open_clip model on pictures that have several texts each."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.models.layouts import CONFIG, MERGES
from actors.models.places import locate
from filters.recipe import Model, Training
from training.data import Pool, is_held_out, load_evaluation, load_pairs
from training.retrieval import recalls

if TYPE_CHECKING:
    import torch

Progress = Callable[[int, int, float], None]
WARM_UP = 0.1  # share of the steps
WEIGHT_DECAY = 0.1
MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, section 2.5
WEIGHTS = "open_clip_model.safetensors"


@dataclass(frozen=True)
class TrainJob:
    """Parquet `parts` (image_id, bytes, texts, weights) to train on and the folder `out` for what comes of it.

    `evaluate`: Parquet of pairs (bytes, text) for retrieval; None: a share of the pictures is held out.
    """

    parts: tuple[str, ...]
    out: str
    training: Training
    evaluate: str | None = None


def train(job: TrainJob, progress: Progress | None = None) -> dict[str, Any]:
    """Train, write checkpoint, metrics.json and loss.csv into `job.out`, and give the metrics.

    The checkpoint is a folder that open_clip's `local-dir:` schema loads. `progress` is told step (from 1),
    steps and loss. ValueError, with what to change, where the model is unknown or pictures are too few.
    """
    import torch

    out, began = Path(job.out), time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(job.training.seed)
    model, transform, tokenizer = _fresh_model(job.training.model, out)
    pixels = [out / f".pixels-{name}.npy" for name in ("train", "evaluate")]
    try:
        pool = load_pairs(job.parts, transform, _side(model), pixels[0])
        held = load_evaluation(job.evaluate, transform, _side(model), pixels[1]) if job.evaluate else pool
        rows, held_rows = _split(job, pool, held)
        losses = list(_fit(model, transform, tokenizer, pool, rows, job.training, progress))
        _save(model, out / WEIGHTS)
        found = _evaluate(out, held, held_rows)
    finally:
        for file in pixels:  # a copy of the pictures must not outlive the training
            file.unlink(missing_ok=True)
    metrics = {
        "model": job.training.model,
        "seed": job.training.seed,
        "device": next(model.parameters()).device.type,
        "steps": len(losses),
        "samples": len(losses) * min(job.training.batch, len(rows)),
        "images": len(rows),
        "texts": sum(len(pool.texts[row]) for row in rows),
        "skipped": pool.skipped,
        "held_out_images": len(held_rows),
        "loss": float(np.mean(losses[-max(1, len(losses) // 20) :])),  # of the last twentieth
        "seconds": round(time.monotonic() - began, 1),
        **found,
    }
    _write_report(out, metrics, losses)
    return metrics


def contrastive_loss(images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Symmetric cross entropy over cosines (n, n); pairs of one image id are positives of each other.

    Targets are even over the equal ids of a row: Y[i, j] = 1[id_i == id_j] / row sum (GCPR of R2D2,
    models/r2d2_retrieval.py). `images`, `texts`: unit vectors (n, d); `ids` int64 (n,).
    """
    from torch.nn.functional import log_softmax

    same = (ids[:, None] == ids[None, :]).float()
    target, logits = same / same.sum(1, keepdim=True), scale * images @ texts.T
    one_way = -(target * log_softmax(logits, 1)).sum(1).mean()
    other_way = -(target * log_softmax(logits.T, 1)).sum(1).mean()
    return (one_way + other_way) / 2


def _fresh_model(name: str, out: Path) -> tuple[Any, Any, Any]:
    """An untrained model with its transform for evaluation and its tokenizer; its config is written to `out`."""
    import open_clip
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from actors.models.loading import quiet_loading
    from actors.models.open_clip_model import load_tokenizer

    config = {"model_cfg": _config_of(name, out), "preprocess_cfg": {"resize_mode": "squash"}}
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with quiet_loading():  # that there are no weights yet is no news
        model = open_clip.create_model(f"local-dir:{out}", device=device, load_weights=False, pretrained_text=False)
    config["preprocess_cfg"] = model.visual.preprocess_cfg
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
    cfg = PreprocessCfg(**model.visual.preprocess_cfg)
    return model, image_transform_v2(cfg, is_train=False), load_tokenizer(out)


def _config_of(name: str, out: Path) -> Any:
    """The open_clip config of `tiny`, of one of open_clip's own models, or in a JSON file.

    Merges that lie beside the JSON file belong to it and come along to `out`.
    """
    import open_clip

    if name != "tiny" and not name.endswith(".json"):
        config = open_clip.get_model_config(name)
        if config is None:
            known = "`tiny`, a JSON file, or one of open_clip.list_models()"
            raise ValueError(f"open_clip knows no model {name}; set training.model to {known}.")
        return config
    file = locate("training/models/tiny.json" if name == "tiny" else name)
    if file is None:
        raise ValueError(f"there is no model config {name}; give `tiny`, an open_clip model name or a JSON file.")
    if (file.parent / MERGES).is_file():
        shutil.copy(file.parent / MERGES, out / MERGES)
    told = json.loads(file.read_text("utf-8"))
    return told.get("model_cfg", told)


def _side(model: Any) -> tuple[int, int]:
    size = model.visual.image_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _split(job: TrainJob, pool: Pool, held: Pool) -> tuple[list[int], list[int]]:
    """Rows of `pool` to train on and rows of `held` to measure on; ValueError where there are too few."""
    training, every = job.training, sorted(range(len(pool)), key=pool.image_ids.__getitem__)
    if job.evaluate:
        rows, held_rows = every, list(range(len(held)))
    else:
        out = [is_held_out(pool.image_ids[row], training.seed, training.holdout) for row in every]
        rows, held_rows = [row for row in every if not out[row]], [row for row in every if out[row]]
    if len(rows) < 2:
        raise ValueError(f"it leaves {len(rows)} pictures to train on; train on a larger release.")
    if not held_rows:
        raise ValueError(
            "no picture is left to measure retrieval on; raise training.holdout or give a file to evaluate on."
        )
    return rows, held_rows


def _fit(
    model: Any,
    transform: Any,
    tokenizer: Any,
    pool: Pool,
    rows: list[int],
    training: Training,
    progress: Progress | None,
) -> Iterator[float]:
    """Train for `training.samples` samples; yields the loss of each step."""
    import torch

    device, rng = next(model.parameters()).device, random.Random(training.seed)
    batch = min(training.batch, len(rows))  # a small release is trained on whole
    steps = math.ceil(training.samples / batch)
    optimiser = _optimiser(model, training.learning_rate)
    pace = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share(step, steps))
    batches = _batches(rows, batch, rng)
    model.train()
    for step in range(1, steps + 1):
        chosen = next(batches)
        tokens = tokenizer([pool.draw_text(row, rng) for row in chosen]).to(device)
        ids = torch.tensor([pool.image_ids[row] for row in chosen], device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            images, texts, scale = model(_cropped(_normalised(pool.pixels[chosen], transform, device)), tokens)[:3]
        loss = contrastive_loss(images.float(), texts.float(), scale, ids)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        pace.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        if progress:
            progress(step, steps, loss.item())
        yield loss.item()


def _batches(rows: list[int], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Batches of rows without end: each epoch in a new order, its incomplete last batch left out."""
    order = list(rows)
    while True:
        rng.shuffle(order)
        for start in range(0, len(order) - size + 1, size):
            yield order[start : start + size]


def _optimiser(model: Any, rate: float) -> torch.optim.Optimizer:
    import torch

    # Gains, biases and the temperature are not decayed (open_clip's own training, open_clip_train/main.py).
    plain = [p for p in model.parameters() if p.ndim < 2]
    heavy = [p for p in model.parameters() if p.ndim >= 2]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": heavy, "weight_decay": WEIGHT_DECAY}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), eps=1e-6)


def _share(step: int, steps: int) -> float:
    """Share of the learning rate at a step from 0: a linear warm-up, then a cosine to nothing."""
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _normalised(pixels: NDArray[np.uint8], transform: Any, device: torch.device) -> torch.Tensor:
    """Float (n, 3, height, width) with the mean and deviation of the model's transform."""
    import torch

    numbers = transform.transforms[-1]
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (numbers.mean, numbers.std))
    raw = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
    return (raw.float() / 255 - mean) / std


def _cropped(batch: torch.Tensor) -> torch.Tensor:
    """Each picture cut to 0.9 to 1.0 of its area at a random place, and stretched to its size again.

    open_clip's own training crops as little (RandomResizedCrop, scale 0.9 to 1); no flip, which would make
    words of direction untrue and mirror writing.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    zoom = torch.empty(len(batch)).uniform_(0.9, 1).sqrt()
    theta = torch.zeros(len(batch), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = torch.empty(len(batch), 2).uniform_(-1, 1) * (1 - zoom)[:, None]
    grid = affine_grid(theta.to(batch.device), list(batch.shape), align_corners=False)
    return grid_sample(batch, grid, padding_mode="border", align_corners=False)


def _evaluate(out: Path, held: Pool, rows: list[int]) -> dict[str, float]:
    """Retrieval with the checkpoint as anybody would load it."""
    from actors.models.encoder import Encoder
    from actors.models.files import find_model

    encoder = Encoder(find_model(Model(path=str(out))))
    images = encoder.encode_pictures([encoder.fit(pixels, *pixels.shape[:2]) for pixels in held.pixels[rows]])
    texts = encoder.encode_texts([text for row in rows for text in held.texts[row]])
    owners = np.repeat(np.arange(len(rows)), [len(held.texts[row]) for row in rows])
    return recalls(images, texts, owners)


def _save(model: Any, file: Path) -> None:
    from safetensors.torch import save_file

    aside = file.with_name(f".{file.name}.{os.getpid()}")
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}, aside)
    os.replace(aside, file)


def _write_report(out: Path, metrics: dict[str, Any], losses: list[float]) -> None:
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    with open(out / "loss.csv", "w", newline="") as file:
        csv.writer(file).writerows([("step", "loss"), *((k, f"{loss:.5f}") for k, loss in enumerate(losses, 1))])
