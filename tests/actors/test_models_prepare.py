"""Pictures are prepared as open_clip's own transform prepares them, one by one or many at once."""

import io

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import Compose

from actors.models.prepare import Preprocessing, place, prepare
from actors.models.resize import resize_batch
from actors.pictures.decode import Picture, decode

MEAN, STD = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
WAYS = [
    Preprocessing(64, 64, "shortest", "bicubic", MEAN, STD),
    Preprocessing(64, 96, "shortest", "bicubic", MEAN, STD),
    Preprocessing(64, 64, "longest", "bilinear", MEAN, STD, fill=127),
    Preprocessing(48, 64, "squash", "bicubic", MEAN, STD),
]


def plain(pixels: NDArray[np.uint8], to: Preprocessing) -> NDArray[np.uint8]:
    """What open_clip's transform makes of a picture, before it becomes numbers."""
    size = (to.height, to.width)
    cfg = PreprocessCfg(
        size=size, resize_mode=to.resize, interpolation=to.interpolation, mean=MEAN, std=STD, fill_color=to.fill
    )
    steps = [step for step in image_transform_v2(cfg, is_train=False).transforms if type(step).__name__ != "Normalize"]
    tensor = Compose(steps)(Image.fromarray(pixels))
    return (tensor.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()


def ramp(height: int, width: int) -> NDArray[np.uint8]:
    """Each pixel tells where it is: red from left to right, green from top to bottom."""
    across, down = np.linspace(0, 255, width), np.linspace(0, 255, height)
    pixels = np.full((height, width, 3), 128.0)
    pixels[:, :, 0], pixels[:, :, 1] = across[None, :], down[:, None]
    return pixels.round().astype(np.uint8)


@pytest.mark.parametrize("to", WAYS, ids=lambda to: f"{to.resize} {to.height}x{to.width}")
@settings(max_examples=60, deadline=None)
@given(height=st.integers(16, 400), width=st.integers(16, 400))
def test_the_crop_lies_where_open_clip_cuts_it(to: Preprocessing, height: int, width: int) -> None:
    pixels = ramp(height, width)
    ours, theirs = prepare(pixels, height, width, to), plain(pixels, to)
    assert ours.shape == theirs.shape == (to.height, to.width, 3)
    steps = 255 / height * max(height / to.height, 1), 255 / width * max(width / to.width, 1)
    assert np.abs(ours.astype(int) - theirs).max() <= max(2, 0.75 * max(steps)), "less than a pixel apart"


@pytest.mark.parametrize("to", [way for way in WAYS if way.resize != "longest"], ids=lambda to: f"{to.resize}")
def test_many_pictures_are_resized_at_once_as_pillow_resizes_each(to: Preprocessing) -> None:
    """But for what Pillow cuts off and rounds between the two directions: neither happens to much here."""
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (90, 130), (200, 70), (128, 128), (65, 300)]
    pictures = [rng.integers(90, 166, (*size, 3), np.uint8) for size in sizes]
    canvas = torch.full((len(sizes), 200, 300, 3), 255, dtype=torch.uint8)
    for slot, picture in zip(canvas.numpy(), pictures, strict=True):
        slot[: picture.shape[0], : picture.shape[1]] = picture
    resized = resize_batch(canvas, sizes, [place(*size, to) for size in sizes], to)
    for ours, picture in zip(resized, pictures, strict=True):
        theirs = plain(picture, to)
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1.6


def test_a_reduced_decode_is_placed_by_the_size_of_the_original() -> None:
    """3001x2000 decodes to 376x250, whose own aspect would cut elsewhere."""
    to = WAYS[0]
    buffer = io.BytesIO()
    Image.fromarray(ramp(2000, 3001)).save(buffer, "JPEG", quality=95)
    picture = decode(buffer.getvalue(), 10**8, to.side)
    assert isinstance(picture, Picture)
    assert picture.pixels.shape[0] < 2000
    ours = prepare(picture.pixels, picture.height, picture.width, to)
    theirs = plain(np.asarray(Image.open(buffer)), to)
    assert np.abs(ours.astype(int) - theirs).max() <= 4


@pytest.mark.parametrize(("height", "width"), [(1, 1_000_000), (1_000_000, 1), (2, 65_000), (40, 9_000)])
@pytest.mark.parametrize("to", WAYS, ids=lambda to: f"{to.resize} {to.height}x{to.width}")
def test_a_strip_is_prepared_in_the_memory_of_its_crop(to: Preprocessing, height: int, width: int) -> None:
    """Whole, 1x1,000,000 pixels would be resized to 64x64,000,000."""
    ours = prepare(ramp(height, width), height, width, to)
    assert ours.shape == (to.height, to.width, 3)
    middle = ours[to.height // 2, to.width // 2].astype(int)
    assert abs(middle[0] - 127) <= (8 if width > 9 else 128)
    assert abs(middle[1] - 127) <= (8 if height > 9 else 128)


def test_the_window_around_a_crop_is_resized_as_within_the_whole() -> None:
    to = WAYS[0]
    pixels = np.asarray(Image.fromarray(ramp(30, 60)).resize((640, 70), Image.Resampling.BICUBIC))
    ours, theirs = prepare(pixels, 70, 640, to), plain(pixels, to)
    assert np.abs(ours.astype(int) - theirs).max() <= 3
