"""A run captions its survivors, holds each caption against its picture, and lets what is true join the release."""

import base64
import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import open_clip
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from demo.world import SHAPES, Scene, random_scene
from warehouse.query import query

ROOT = Path(__file__).parents[2]
SCENES = [random_scene(random.Random(900 + number)) for number in range(8)]
LIARS = {1, 4}  # pictures of which the endpoint tells another scene
PATIENCE_S = 400


def small(picture: Image.Image) -> np.ndarray[Any, Any]:
    return np.asarray(picture.convert("RGB").resize((24, 24), Image.Resampling.BOX), np.float32)


KNOWN = [small(Image.open(io.BytesIO(scene.render()))) for scene in SCENES]


def told(number: int, language: str) -> str:
    """What the endpoint says of a scene."""
    scene = SCENES[(number + 3) % len(SCENES)] if number in LIARS else SCENES[number]
    return scene.describe(random.Random(number), "zh" if language == "zh" else "en")


def shapes(scene: Scene) -> set[str]:
    return {group.shape for group in scene.groups}


@dataclass
class Endpoint:
    """Answers about the scenes in OpenAI's form, and counts what it was asked."""

    url: str = ""
    captions: int = 0
    questions: int = 0
    down: bool = False

    def answer(self, content: list[dict[str, Any]]) -> str:
        words = next(one["text"] for one in content if one["type"] == "text")
        data = next(one["image_url"]["url"] for one in content if one["type"] == "image_url").split(",", 1)[1]
        seen = small(Image.open(io.BytesIO(base64.b64decode(data))))
        number = int(np.argmin([np.abs(seen - one).mean() for one in KNOWN]))
        if "Is there" not in words and "吗" not in words:
            self.captions += 1
            return told(number, "zh" if "描述" in words else "en")
        self.questions += 1
        asked = next(name for name, (_, chinese) in SHAPES.items() if f" {name} " in words or chinese in words)
        there = asked in shapes(SCENES[number])
        return ("有。" if there else "没有。") if "吗" in words else ("Yes." if there else "No, there is not.")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"data": [] if served.down else [{"id": "teller"}]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            text = served.answer(asked["messages"][-1]["content"])
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            self.reply({"choices": [choice], "usage": {"completion_tokens": len(text.split())}})

        def reply(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    Thread(target=server.serve_forever, daemon=True).start()
    yield served
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of the scenes, each with a true query, and their pictures in a folder."""
    folder = tmp_path_factory.mktemp("captions")
    (folder / "pictures").mkdir()
    rows = ["url,title"]
    for number, scene in enumerate(SCENES):
        (folder / "pictures" / f"{number}").write_bytes(scene.render())
        rows.append(f'file://{folder}/pictures/{number},"{scene.query(random.Random(number), "en")}"')
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    return folder


def recipe(base: Path, name: str, captions: dict[str, Any]) -> Path:
    made = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text())
    made |= {"name": name, "click_through": None, "captions": captions, "select": {"min_score": 0.5}}
    made["fetch"] |= {"stores": [f"file://{base}/pictures/"]}
    made["texts"]["filters"] = []
    path = base / f"{name}.yaml"
    path.write_text(yaml.safe_dump(made, allow_unicode=True))
    return path


def curate(home: Path, base: Path, asked: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "app", "curate", str(base / "log.csv"), "--recipe", str(asked)),
            *("--release", asked.stem, "--warehouse", str(base / "lake"), "--json"),
        ],
        env=os.environ | {"PREFECT_HOME": str(home), "PREFECT_API_URL": ""},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def teller(endpoint: Endpoint) -> dict[str, Any]:
    prompts = {"en": "Describe this picture.", "zh": "描述这张图片。"}
    return {"name": "teller", "endpoint": endpoint.url, "model": "teller", "prompts": prompts}


@pytest.fixture(scope="module")
def milled(own_home: Path, base: Path, endpoint: Endpoint) -> Path:
    """The warehouse after a run that captions by the endpoint and asks it about what the captions name."""
    checks = {"polling": {"captioner": "teller"}, "vocabulary": str(ROOT / "demo" / "objects.tsv")}
    asked = recipe(base, "told", {"captioners": [teller(endpoint)], "checks": checks, "weight": 0.5})
    done = curate(own_home, base, asked)
    assert done.returncode == 0, done.stderr[-3000:]
    return base / "lake"


def ask(warehouse: Path, statement: str) -> list[tuple[Any, ...]]:
    return query(str(warehouse), statement)[1]


def test_each_survivor_has_a_caption_in_each_language(milled: Path) -> None:
    rows = ask(milled, "SELECT prompt_language, count(*), count(DISTINCT image_id) FROM captions GROUP BY 1 ORDER BY 1")
    assert rows == [("en", 8, 8), ("zh", 8, 8)]
    assert ask(milled, "SELECT DISTINCT name, kind FROM models WHERE kind = 'endpoint'") == [("teller", "endpoint")]


def test_what_names_an_absent_object_goes_and_the_rest_joins_the_release(milled: Path) -> None:
    false = {told(one, language) for one in LIARS for language in ("en", "zh")}
    true = {told(one, language) for one in set(range(8)) - LIARS for language in ("en", "zh")}
    kept = {
        norm
        for (norm,) in ask(
            milled, "SELECT norm FROM release_pairs JOIN texts USING (text_id) WHERE role = 'caption:teller'"
        )
    }
    assert kept == true
    denied = ask(milled, "SELECT DISTINCT norm, reason FROM caption_checks WHERE reason IS NOT NULL")
    assert {norm for norm, _ in denied} == false
    assert {reason for _, reason in denied} == {"caption_denied"}


def test_captions_join_with_role_and_weight_and_replace_no_text(milled: Path) -> None:
    rows = ask(milled, "SELECT role, weight, count(*) FROM release_pairs GROUP BY ALL ORDER BY role")
    assert rows == [("caption:teller", 0.5, 12), ("title", 1.0, 8)]
    assert ask(milled, "SELECT outcome, count(*) FROM ledger GROUP BY 1") == [("kept", 8)]
    scored = ask(
        milled,
        """SELECT count(*) FROM release_pairs r JOIN scores s USING (image_id, text_id)
                            WHERE role = 'caption:teller' AND metric = 'cosine'""",
    )
    assert scored == [(12,)]


def test_other_checks_ask_no_captioner_again(milled: Path, own_home: Path, base: Path, endpoint: Endpoint) -> None:
    before = endpoint.captions
    checks = {"agreement": {"model": "clip", "min_score": 0.7}, "repetition": None}
    asked = recipe(base, "agreed", {"captioners": [teller(endpoint)], "checks": checks})
    done = curate(own_home, base, asked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert endpoint.captions == before
    reasons = dict(
        ask(
            milled,
            """SELECT reason, count(DISTINCT (image_id, prompt_language)) FROM caption_checks
        WHERE run_id = (SELECT run_id FROM releases WHERE release = 'agreed') AND reason IS NOT NULL GROUP BY 1""",
        )
    )
    assert reasons == {"caption_disagrees": 2 * len(LIARS)}


def test_an_endpoint_that_does_not_answer_stops_the_run_before_it_begins(own_home: Path, base: Path) -> None:
    gone = {"name": "gone", "endpoint": "http://127.0.0.1:9/v1", "model": "teller", "prompts": {"en": "Describe."}}
    done = curate(own_home, base, recipe(base, "gone", {"captioners": [gone]}))
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "ingest" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 3


def test_a_question_is_asked_of_whoever_answers_only(own_home: Path, base: Path) -> None:
    silent = {"name": "silent", "path": str(tiny_coca(base / "coca")), "tokens": 10}
    polled = {"captioners": [silent], "checks": {"polling": {"captioner": "silent"}}}
    done = curate(own_home, base, recipe(base, "silent", polled))
    assert done.returncode == 1
    assert "captions.checks.polling asks the captioner silent, which answers no questions" in done.stderr
    assert "ingest" not in done.stderr


def tiny_coca(folder: Path) -> Path:
    """A CoCa of random weights in open_clip's layout."""
    text = {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16, "output_tokens": True}
    model = {"embed_dim": 32, "vision_cfg": vision, "multimodal_cfg": text}
    model |= {"text_cfg": text | {"embed_cls": True, "output_tokens": True}}
    told = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    folder.mkdir()
    config = {"model_cfg": model | {"custom_text": True}, "preprocess_cfg": told}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    weights = {name: one.contiguous() for name, one in open_clip.CoCa(**model).state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder


def test_a_published_source_needs_no_endpoint(milled: Path, own_home: Path, base: Path, endpoint: Endpoint) -> None:
    endpoint.down = True
    done = curate(own_home, base, base / "told.yaml")
    endpoint.down = False
    assert (done.returncode, json.loads(done.stdout)["no_op"]) == (0, True), done.stderr
