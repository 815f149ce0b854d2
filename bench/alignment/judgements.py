"""What people said of pictures and captions of Flickr8k, read as the published figures were computed.

The treatment is that of CLIPScore's own code (Hessel et al. 2021, arXiv 2104.08718; jmhessel/clipscore,
flickr8k_example/download.py). Experts: each of three ratings from 1 to 4 counts as a judgement, and a caption that was
written for the very picture is left out. Crowd: the share that said yes, and nothing is left out.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DATA = "ZEROMILL_TEST_DATA"

Variant = Literal["b", "c"]


@dataclass(frozen=True)
class Pair:
    """A photo, by its file below the folder of photos, a caption, and each rating that the two got together."""

    file: str
    caption: str
    ratings: tuple[float, ...]


@dataclass(frozen=True)
class Judged:
    """A set of judgements: the kind of tau that is published for it, and the pairs whose photo is here.

    `listed` pairs are in the set, `own` of those with a photo here were left out: written for the picture itself.
    """

    name: str
    variant: Variant
    published: float
    pairs: tuple[Pair, ...]
    listed: int
    own: int

    @property
    def pictures(self) -> int:
        """How many photos are judged."""
        return len({pair.file for pair in self.pairs})


@dataclass(frozen=True)
class Photo:
    """A photo, by its file below the folder of photos and its name in Flickr8k, and people's English captions of it."""

    file: str
    name: str
    captions: tuple[str, ...]


def data_folder() -> Path | None:
    """The folder with `photos` and `alignment`, or null where it is not here."""
    folder = Path(os.environ.get(DATA, "")) / "data"
    return folder if DATA in os.environ and (folder / "alignment" / "flickr8k_expert.tsv").is_file() else None


def load_photos(folder: Path) -> list[Photo]:
    """The photos below `folder`/photos, in the order of their list."""
    with open(folder / "photos" / "captions.jsonl", encoding="utf-8") as lines:
        told = [json.loads(line) for line in lines]
    return [Photo(one["file"], one["name"], tuple(map(same, one["captions_en"]))) for one in told]


def load_experts(folder: Path, photos: Sequence[Photo]) -> Judged:
    """Flickr8k-Expert; the published figure is CLIPScore's tau-c with ViT-B/32."""
    rows = _rows(folder / "alignment" / "flickr8k_expert.tsv")
    captions = {photo.file: photo.captions for photo in photos}
    here = [row for row in rows if row["image_file_in_real_pairs"] in captions]
    pairs = [_pair(row, (float(row["expert1"]), float(row["expert2"]), float(row["expert3"]))) for row in here]
    others = tuple(pair for pair in pairs if pair.caption not in captions[pair.file])
    return Judged("Flickr8k-Expert", "c", 51.2, others, len(rows), len(pairs) - len(others))


def load_crowd(folder: Path, photos: Sequence[Photo]) -> Judged:
    """Flickr8k-CrowdFlower; the published figure is CLIPScore's tau-b with ViT-B/32."""
    rows = _rows(folder / "alignment" / "flickr8k_crowdflower.tsv")
    files = {photo.file for photo in photos}
    here = [row for row in rows if row["image_file_in_real_pairs"] in files]
    pairs = tuple(_pair(row, (float(row["yes_fraction"]),)) for row in here)
    return Judged("Flickr8k-CrowdFlower", "b", 34.4, pairs, len(rows), 0)


def judged_names(folder: Path) -> set[str]:
    """The names in Flickr8k of all photos that were judged in either set, here or not."""
    files = (folder / "alignment" / f"flickr8k_{name}.tsv" for name in ("expert", "crowdflower"))
    return {row["image"] for file in files for row in _rows(file)}


def same(caption: str) -> str:
    """A caption with single spaces: what is compared and scored."""
    return " ".join(caption.split())


def _pair(row: Mapping[str, str], ratings: tuple[float, ...]) -> Pair:
    return Pair(row["image_file_in_real_pairs"], same(row["caption_en"]), ratings)


def _rows(file: Path) -> list[dict[str, str]]:
    with open(file, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
