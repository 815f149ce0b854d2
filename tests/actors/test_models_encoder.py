"""The fast way through a model says what the plain way says, and fits into the memory that there is."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from PIL import Image

from actors.models.encoder import Encoder, Fitted, best_device, precision
from actors.models.files import FoundModel, find_model
from actors.pictures.decode import Picture, decode
from filters.recipe import Model

PHOTOS = 100


def photos() -> list[bytes]:
    """Real photos of many sizes, some enlarged so that they are decoded at a half or a quarter of their size."""
    folder = os.environ.get("ZEROMILL_TEST_DATA")
    if not folder:
        pytest.skip("ZEROMILL_TEST_DATA names no folder with real photos")
    files = sorted(Path(folder, "data", "photos", "images").rglob("*.jpg"))
    bodies = [file.read_bytes() for file in files[:: max(1, len(files) // PHOTOS)][:PHOTOS]]
    return [body if n % 3 else enlarged(body, 2 + n % 4) for n, body in enumerate(bodies)]


def enlarged(body: bytes, times: int) -> bytes:
    with Image.open(io.BytesIO(body)) as photo:
        larger = photo.convert("RGB").resize((photo.width * times, photo.height * times), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    larger.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> FoundModel:
    """ViT-B/32 with random weights."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    told = {"model_cfg": open_clip.get_model_config("ViT-B-32"), "preprocess_cfg": {"interpolation": "bicubic"}}
    (folder / "open_clip_config.json").write_text(json.dumps(told))
    safetensors.torch.save_model(
        open_clip.create_model("ViT-B-32", load_weights=False), str(folder / "open_clip_model.safetensors")
    )
    return find_model(Model(path=str(folder)))


def test_vectors_are_those_of_the_plain_loop_in_single_precision(vit: FoundModel) -> None:
    bodies = photos()
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{Path(vit.config).parent}")
    batch = torch.stack([transform(Image.open(io.BytesIO(body))) for body in bodies])
    with torch.inference_mode():
        plain = torch.cat([model.eval().encode_image(part, normalize=True) for part in batch.split(32)]).numpy()
    encoder = Encoder(vit)
    pictures = [decode(body, 10**8, encoder.preprocessing.side) for body in bodies]
    fitted = [encoder.fit(one.pixels, one.height, one.width) for one in pictures if isinstance(one, Picture)]
    cosines = (encoder.encode_pictures(fitted) * plain).sum(1)
    assert encoder.dtype == precision(best_device())
    assert 1 - cosines.mean() <= 1e-3, cosines
    assert cosines.min() >= 0.99


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from actors.models.encoder import Encoder
from actors.models.files import find_model
from filters.recipe import Model

encoder = Encoder(find_model(Model(path="demo/scorer")), "cpu")
side = encoder.preprocessing.side
pixels = np.random.default_rng(0).integers(0, 256, (2048, side, side, 3), np.uint8)
pictures = [encoder.fit(one, side, side) for one in pixels]
small = encoder.encode_pictures(pictures)
encoder.pictures = 2048
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), -1))
large = encoder.encode_pictures(pictures)
print(encoder.pictures, float((small * large).sum(1).min()))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to bound a process's memory")
def test_a_batch_that_does_not_fit_is_halved_and_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", OUT_OF_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    size, nearest = done.stdout.split()
    assert int(size) in [2048 >> halved for halved in range(1, 12)]
    assert float(nearest) > 0.99


def test_an_error_that_is_no_lack_of_memory_is_told() -> None:
    encoder = Encoder(find_model(Model(path="demo/scorer")), "cpu")
    wrong = Fitted(np.zeros((9, 9, 3), np.uint8), None)
    with pytest.raises(RuntimeError, match=r"size|shape"):
        encoder.encode_pictures([wrong])
    assert encoder.encode_pictures([]).shape == (0, encoder.width)
    assert encoder.encode_texts([]).shape == (0, encoder.width)


def test_a_card_is_given_pixels_and_a_cpu_the_crop() -> None:
    """What is prepared for a card, resized on a CPU here, gives the vectors that the CPU's own way gives."""
    encoder = Encoder(find_model(Model(path="demo/scorer")), "cpu")
    coarse = np.random.default_rng(1).integers(0, 256, (5, 6, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((300, 220), Image.Resampling.BICUBIC))
    (by_cpu,) = encoder.encode_pictures([encoder.fit(pixels, 220, 300)])
    encoder.device = "cuda"
    for_card = encoder.fit(pixels, 220, 300)
    wide = encoder.fit(np.zeros((20, 2000, 3), np.uint8), 20, 2000)
    encoder.device = "cpu"
    assert for_card.where is not None
    assert for_card.pixels is pixels
    assert wide.where is None
    assert (by_cpu * encoder.encode_pictures([wide, for_card])[1]).sum() > 0.999
