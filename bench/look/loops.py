"""What our embedding is held against: the plain loop, clip-retrieval's loop, and a model's forward by itself.

All take the model of a folder in open_clip's layout. They use the public libraries as their own documentation does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from actors.models.files import FoundModel

if TYPE_CHECKING:
    import torch

PLAIN_BATCH = 32
RETRIEVAL_BATCH = 256
"""clip-retrieval's own default."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Plain:
    """Pillow, the model's own transform, single precision, batches of 32, torch on all cores; gives unit vectors."""

    files: tuple[Path, ...]
    folder: Path
    device: str

    def __call__(self) -> Callable[[], Vectors]:
        model, transform, _ = open_model(self.folder, self.device)
        _plain(self.files[:1], model, transform, self.device)
        return partial(_plain, self.files, model, transform, self.device)


@dataclass(frozen=True)
class Retrieval:
    """clip-retrieval's inference loop: workers prepare one sample at a time, both towers run on each batch.

    Single precision on a CPU, float16 by autocast on a card, as there; it writes vectors as float16 in npy files, and
    their names in Parquet. The cosine of each pair is added, which there is the user's. Gives the number of pairs.
    """

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    folder: Path
    out: Path
    device: str
    workers: int

    def __call__(self) -> Callable[[], int]:
        self.out.mkdir(parents=True, exist_ok=True)
        model, transform, tokenizer = open_model(self.folder, self.device)
        few = min(len(self.files), self.workers)
        _retrieve(self, _loader(self, transform, tokenizer, few), model)
        return lambda: _retrieve(self, _loader(self, transform, tokenizer, len(self.files)), model)


@dataclass(frozen=True)
class Forward:
    """Our loaded model's forward, in our precision and batches, on pictures that are ready on the device."""

    found: FoundModel
    pictures: int
    device: str
    threads: int

    def __call__(self) -> Callable[[], int]:
        import torch

        from actors.models.encoder import PICTURES, precision
        from actors.models.loading import load

        torch.set_num_threads(self.threads)
        model, batch = load(self.found, self.device, precision(self.device)), PICTURES[self.device]
        to = model.preprocessing
        ready = torch.randn((batch, 3, to.height, to.width), device=self.device).to(precision(self.device))
        for _ in range(3):
            model.pictures(ready)
        settle(self.device)
        return partial(_forward, model.pictures, ready, -(-self.pictures // batch), self.device)


def open_model(folder: Path, device: str) -> tuple[Any, Any, Any]:
    """open_clip's own model in single precision, transform and tokenizer of a folder."""
    import open_clip

    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{folder}", device=device)
    return model.eval(), transform, open_clip.get_tokenizer(f"local-dir:{folder}")


def settle(device: str) -> None:
    """Wait for what a card still has to do."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _plain(files: Sequence[Path], model: Any, transform: Any, device: str) -> Vectors:
    import torch

    vectors = []
    with torch.inference_mode():
        for start in range(0, len(files), PLAIN_BATCH):
            pictures = [transform(Image.open(file)) for file in files[start : start + PLAIN_BATCH]]
            batch = torch.stack(pictures).to(device)
            vectors.append(model.encode_image(batch, normalize=True).cpu().numpy())
    return np.concatenate(vectors)


def _forward(run: Callable[[torch.Tensor], torch.Tensor], ready: torch.Tensor, times: int, device: str) -> int:
    """Pictures that went through."""
    for _ in range(times):
        run(ready)
    settle(device)
    return times * len(ready)


@dataclass(frozen=True)
class _Samples:
    """The dataset of files that is in clip-retrieval's reader: decoded, transformed and tokenised one by one."""

    files: tuple[Path, ...]
    texts: tuple[str, ...]
    transform: Any
    tokenizer: Any

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, place: int) -> dict[str, Any]:
        picture = self.transform(Image.open(self.files[place]))
        return {"image": picture, "tokens": self.tokenizer([self.texts[place]])[0], "name": self.files[place].stem}


def _loader(asked: Retrieval, transform: Any, tokenizer: Any, count: int) -> Any:
    from torch.utils.data import DataLoader

    samples = _Samples(asked.files[:count], asked.texts[:count], transform, tokenizer)
    return DataLoader(
        samples,  # type: ignore[arg-type]  # it has what a Dataset has to have
        batch_size=RETRIEVAL_BATCH,
        num_workers=asked.workers,
        pin_memory=asked.device == "cuda",
        prefetch_factor=2,
    )


def _retrieve(asked: Retrieval, loader: Any, model: Any) -> int:
    pairs = 0
    for place, (pictures, texts, names) in enumerate(_encoded(loader, model, asked.device)):
        for kind, vectors in (("img_emb", pictures), ("text_emb", texts)):
            np.save(asked.out / f"{kind}_{place}.npy", vectors.astype(np.float16))
        cosines = (pictures * texts).sum(1)
        pq.write_table(pa.table({"name": names, "cosine": cosines}), asked.out / f"metadata_{place}.parquet")
        pairs += len(names)
    return pairs


def _encoded(loader: Any, model: Any, device: str) -> Iterator[tuple[Vectors, Vectors, list[str]]]:
    """Unit vectors of pictures and of texts, batch by batch, with the samples' names."""
    import torch

    for batch in loader:
        with torch.no_grad(), torch.autocast("cuda", torch.float16, enabled=device == "cuda"):
            pictures = model.encode_image(batch["image"].to(device), normalize=True)
            texts = model.encode_text(batch["tokens"].to(device), normalize=True)
        yield pictures.float().cpu().numpy(), texts.float().cpu().numpy(), batch["name"]


def cores() -> int:
    """Of this machine."""
    return os.cpu_count() or 1
