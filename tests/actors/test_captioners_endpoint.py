"""An endpoint captions over HTTP: asked in parallel, asked again where it may help, and never told on."""

import base64
import io
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from actors.captions.making import CaptionJob, CaptionMaker
from actors.models.captioners import client
from actors.models.captioners.endpoint import SIDE, seed_of
from actors.models.captioners.finding import check_captioner, find_captioner
from actors.models.captioners.loading import load_captioner
from actors.models.captioners.protocol import FoundCaptioner, Said, Shown, Unsaid
from actors.models.files import ModelMissing
from filters.captioning import Captioner

KEY = "sk-a-very-secret-key"
Reply = tuple[int, Any] | tuple[int, Any, dict[str, str]]


class Server:
    """A small OpenAI-compatible server on loopback, which answers by `reply` and remembers what it was asked."""

    def __init__(self) -> None:
        self.models: list[str] | None = ["tiny-vl"]
        self.reply: Callable[[dict[str, Any]], Reply] = lambda asked: (200, completion(f"seed {asked['seed']}"))
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.at_once = self.most_at_once = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"told": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, asked: dict[str, Any]) -> Reply:
        with self._lock:
            self.asked.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return self.reply(asked)
        finally:
            with self._lock:
                self.at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    told: Server

    def do_GET(self) -> None:
        known = self.told.models
        listed = {"object": "list", "data": [{"id": name} for name in known or ()]}
        self._send((200, listed) if known is not None and self.path == "/v1/models" else (404, {"error": "no"}))

    def do_POST(self) -> None:
        self.told.keys.add(self.headers.get("Authorization"))
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(self.told.answer(asked))

    def _send(self, reply: Reply) -> None:
        status, content, *more = reply
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (more[0] if more else {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "WAITS_S", (0.01, 0.01, 0.01))
    monkeypatch.setenv(client.KEY, KEY)
    made = Server()
    yield made
    made.http.shutdown()
    made.http.server_close()


def completion(text: str | None, reason: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
    return {"choices": [choice], "usage": {"completion_tokens": 7}}


def found_at(server: Server, **more: Any) -> FoundCaptioner:
    told: dict[str, Any] = {"prompts": {"en": "Describe it.", "zh": "描述图片。"}, "tokens": 40} | more
    return find_captioner(Captioner(name="served", endpoint=server.url, model="tiny-vl", **told))


def shown(count: int, height: int = 48, width: int = 64) -> list[Shown]:
    return [Shown(number, np.full((height, width, 3), 9 * number, np.uint8), height, width) for number in range(count)]


def test_each_prompt_and_sample_is_a_request_with_settings_of_its_own(server: Server) -> None:
    captioner = load_captioner(found_at(server, samples=2, top_p=0.8, temperature=0.7, seed=5), threads=4)
    first, second = captioner.caption(shown(2))
    assert isinstance(first, tuple)
    assert [(one.language, one.sample, one.tokens, one.ended) for one in first] == [
        (language, sample, 7, True) for language in ("en", "zh") for sample in (0, 1)
    ]
    assert first[1].raw == f"seed {seed_of(5, 0, 1)}"
    assert first != second
    greedy = [one for one in server.asked if one["temperature"] == 0]
    drawn = [one for one in server.asked if one["temperature"] == 0.7 and one["top_p"] == 0.8]
    assert len(greedy) == len(drawn) == 4
    assert {(one["model"], one["max_tokens"]) for one in server.asked} == {("tiny-vl", 40)}
    assert server.keys == {f"Bearer {KEY}"}
    assert captioner.forwards == 2


def test_a_picture_is_sent_as_a_jpeg_of_bounded_size(server: Server) -> None:
    pixels = np.zeros((1000, 2000, 3), np.uint8)
    pixels[:, 1000:] = (250, 20, 20)
    load_captioner(found_at(server, prompts={"en": "What?"}), threads=1).caption([Shown(1, pixels, 1000, 2000)])
    picture, text = server.asked[0]["messages"][0]["content"]
    assert text == {"type": "text", "text": "What?"}
    head, _, body = picture["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    sent = Image.open(io.BytesIO(base64.b64decode(body)))
    assert sent.size == (SIDE, SIDE // 2)
    assert np.abs(np.asarray(sent)[100, 600].astype(int) - (250, 20, 20)).max() < 12


def test_requests_are_in_flight_together_and_answers_stay_with_their_pictures(server: Server) -> None:
    def slow(asked: dict[str, Any]) -> Reply:
        time.sleep(0.03)
        return 200, completion(f"seed {asked['seed']}")

    server.reply = slow
    told = load_captioner(found_at(server, prompts={"en": "What?"}), threads=6).caption(shown(24))
    assert [one[0].raw for one in told if isinstance(one, tuple)] == [f"seed {seed_of(0, n, 0)}" for n in range(24)]
    assert 3 <= server.most_at_once <= 6


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_asked_again(server: Server, status: int) -> None:
    def moody(asked: dict[str, Any]) -> Reply:
        first = len(server.asked) <= 2
        return (status, "busy", {"Retry-After": "0"}) if first else (200, completion("a star"))

    server.reply = moody
    told = load_captioner(found_at(server, prompts={"en": "What?"}), threads=1).caption(shown(1))
    assert told == [(Said("a star", "en", "What?", 0, 7, True),)]
    assert len(server.asked) == 3


def test_a_server_is_given_the_time_that_it_asks_for(server: Server) -> None:
    server.reply = lambda asked: (
        (429, "slow", {"Retry-After": "1"}) if len(server.asked) == 1 else (200, completion("ok"))
    )
    began = time.monotonic()
    load_captioner(found_at(server, prompts={"en": "What?"}), threads=1).caption(shown(1))
    assert time.monotonic() - began > 0.9


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((400, f"the picture is odd, {KEY}"), "status 400: the picture is odd, ***"),
        ((500, "boom"), "status 500: boom"),
        ((200, completion(None)), "no text in its reply"),
        ((200, {"choices": []}), "no answer in its reply"),
    ],
    ids=["refused", "crashes", "silent", "empty"],
)
def test_a_picture_it_fails_on_is_told_why_and_the_others_are_captioned(
    server: Server, reply: Reply, says: str
) -> None:
    bad = seed_of(0, 1, 0)
    server.reply = lambda asked: reply if asked["seed"] == bad else (200, completion("fine"))
    told = load_captioner(found_at(server), threads=2).caption(shown(3))
    assert [type(one) for one in told] == [tuple, Unsaid, tuple]
    assert isinstance(told[1], Unsaid)
    assert told[1].reason == "caption_failed"
    assert says in told[1].detail
    assert KEY not in told[1].detail


def test_a_caption_cut_at_the_most_tokens_says_so(server: Server) -> None:
    server.reply = lambda asked: (200, completion("a very long", "length"))
    (said,) = load_captioner(found_at(server, prompts={"en": "What?"}), threads=1).caption(shown(1))
    assert isinstance(said, tuple)
    assert not said[0].ended


def test_an_endpoint_that_goes_away_ends_the_part_and_says_what_to_do(server: Server, tmp_path: Path) -> None:
    found = found_at(server)
    server.http.shutdown()
    server.http.server_close()
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(picture, "PNG")
    pq.write_table(pa.table({"url": ["a"], "bytes": [picture.getvalue()]}), tmp_path / "fetched.parquet")
    pq.write_table(pa.table({"url": ["a"], "image_id": [1]}), tmp_path / "pictures.parquet")
    files = [str(tmp_path / name) for name in ("fetched.parquet", "pictures.parquet", "out.parquet")]
    with pytest.raises(client.EndpointGone, match="Start it") as told:
        CaptionMaker(found, 2)(CaptionJob(*files))
    assert len(str(told.value).splitlines()) <= 3
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(("status", "hint"), [(401, client.KEY), (403, client.KEY), (404, "/v1"), (429, "fewer")])
def test_a_refusal_of_everything_ends_the_part(server: Server, status: int, hint: str) -> None:
    captioner = load_captioner(found_at(server), threads=1)
    server.reply = lambda asked: (status, f"no: {KEY}")
    with pytest.raises(client.EndpointGone, match=hint) as told:
        captioner.caption(shown(1))
    assert KEY not in str(told.value)


@pytest.mark.parametrize(
    ("models", "match"), [(["other"], "serves other, and not tiny-vl"), ([], "serves nothing"), (None, "status 404")]
)
def test_the_model_must_be_listed_before_a_run_begins(server: Server, models: list[str] | None, match: str) -> None:
    server.models = models
    with pytest.raises(ModelMissing, match=match) as told:
        check_captioner(found_at(server))
    assert len(str(told.value).splitlines()) <= 3
    assert server.asked == []


def test_nobody_there_and_no_prompt_are_told_before_a_run_begins(server: Server) -> None:
    with pytest.raises(ModelMissing, match="has to be asked"):
        found_at(server, prompts={})
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(ModelMissing, match="Start it"):
        check_captioner(found_at(server))


def test_an_identity_is_of_the_served_name_and_of_what_is_asked_and_not_of_the_place(server: Server) -> None:
    found = found_at(server)
    moved = Server()
    try:
        assert found_at(moved).identity == found.identity
        moved.models = ["larger"]
        told = {"prompts": {"en": "Describe it.", "zh": "描述图片。"}, "tokens": 40}
        larger = find_captioner(Captioner(name="served", endpoint=moved.url, model="larger", **told))
        assert larger.identity != found.identity
    finally:
        moved.http.shutdown()
        moved.http.server_close()
    assert found_at(server, seed=1).identity != found.identity
    assert (found.kind, found.nbytes, found.languages, found.answers) == ("endpoint", 0, ("en", "zh"), True)


def test_questions_are_answered_each_by_its_own(server: Server) -> None:
    def polled(asked: dict[str, Any]) -> Reply:
        question = asked["messages"][0]["content"][1]["text"]
        return (400, "odd") if "moon" in question else (200, completion(f" yes: {question} "))

    server.reply = polled
    captioner = load_captioner(found_at(server), threads=2)
    assert captioner.answer(shown(3), ["star?", "moon?", "ring?"]) == ["yes: star?", "", "yes: ring?"]
    assert {one["temperature"] for one in server.asked} == {0}


def test_the_key_is_in_no_log_and_in_nothing_found(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        found = found_at(server)
        load_captioner(found, threads=1).caption(shown(1))
    assert KEY not in caplog.text + repr(found)


def test_seeds_belong_to_a_picture_and_a_sample() -> None:
    seeds = [seed_of(seed, image, sample) for seed in range(4) for image in (7, 2**62, 9) for sample in range(4)]
    assert Counter(seeds).most_common(1)[0][1] == 1
    assert all(0 <= seed < 2**31 for seed in seeds)
