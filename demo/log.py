"""The demo's click log: rows about pictures of the world, half of them with wrong texts, some with faults."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from demo.site import ROUTES
from demo.world import LANGUAGES, Scene, random_scene

SITE = "http://site.invalid"  # stands for the site's address until it is known
SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("page_url", pa.string()),
        ("query", pa.string()),
        ("title", pa.string()),
        ("surrounding", pa.string()),
        ("impressions", pa.int64()),
        ("clicks", pa.int64()),
        ("ts", pa.timestamp("us", tz="UTC")),
    ]
)
ROLES = ("query", "title", "surrounding")
HELD_OUT = 2**20  # added to the seed: scenes that no log shows
MENU = ("点击这里查看高清大图", "Click here for the full size picture")  # each stands with many addresses

Row = dict[str, Any]


@dataclass
class Site:
    """What is written so far: files and routes of the site, and the scenes that can be linked to again."""

    folder: Path
    rng: random.Random
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    shown: list[tuple[Scene, str, bytes]] = field(default_factory=list)

    def add(self, body: bytes, kind: str = "", room: str = "img", **answer: Any) -> str:
        """Put a body on the site; its address. `answer` is the rest of its route: status, headers, missing."""
        kind = kind or _kind(body)
        suffix = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}.get(kind, "html")
        path = f"/{room}/{self.rng.getrandbits(40):010x}.{suffix}"
        file = f"files/{hashlib.sha256(body).hexdigest()[:20]}.{suffix}"
        (self.folder / file).write_bytes(body)
        self.routes[path] = {"status": 200, "type": kind, "file": file, **answer}
        return SITE + path

    def answer(self, status: int, **answer: Any) -> str:
        """An address that answers with a status and no picture."""
        path = f"/img/{self.rng.getrandbits(40):010x}.jpg"
        self.routes[path] = {"status": status, "type": "text/html", **answer}
        return SITE + path

    def show(self, **answer: Any) -> tuple[Scene, str]:
        """A new scene on the site; the scene and its address."""
        scene = random_scene(self.rng)
        body = scene.render()
        url = self.add(body, **answer)
        self.shown.append((scene, url, body))
        return scene, url


def build(folder: Path | str, rows: int = 1500, seed: int = 0) -> Path:
    """Write the site and its log of `rows` rows into `folder`; the log, with the site's address left open.

    The same rows and seed give the same bytes; what is there already is left alone. `truth` in the log's
    sibling truth.parquet says what is the matter with each row (see KINDS).
    """
    folder, wanted = Path(folder), json.dumps({"rows": rows, "seed": seed, "version": 1})
    done = folder / "built.json"
    if done.is_file() and done.read_text() == wanted:
        return folder / "rows.parquet"
    shutil.rmtree(folder / "files", ignore_errors=True)
    (folder / "files").mkdir(parents=True)
    site = Site(folder, random.Random(seed))
    log, truth = _rows(site, rows)
    _robots(site)
    (folder / ROUTES).write_text(json.dumps(site.routes))
    _write(pa.Table.from_pylist(log, SCHEMA), folder / "rows.parquet")
    _write(pa.table({"source_row": pa.array(range(rows), pa.int64()), "truth": truth}), folder / "truth.parquet")
    done.write_text(wanted)
    return folder / "rows.parquet"


def live_log(folder: Path | str, base: str) -> Path:
    """The log with the site's real address, `log.parquet`; untouched where it already says so."""
    folder = Path(folder)
    rows, log = pq.read_table(folder / "rows.parquet"), folder / "log.parquet"
    for name in ("url", "page_url"):
        real = pc.replace_substring(rows[name], SITE, base)
        rows = rows.set_column(rows.schema.get_field_index(name), name, real)
    if not log.is_file() or not pq.read_table(log).equals(rows):
        _write(rows, log)
    return log


def held_out(folder: Path | str, n: int = 500, seed: int = 0) -> Path:
    """`held_out.parquet`: n true pairs (bytes, text), half of them Chinese, of scenes that the log never shows."""
    rng, pairs = random.Random(seed + HELD_OUT), []
    for place in range(n):
        scene = random_scene(rng)
        pairs.append({"bytes": scene.render(), "text": scene.describe(rng, LANGUAGES[place % 2])})
    file = Path(folder) / "held_out.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(pa.Table.from_pylist(pairs, pa.schema([("bytes", pa.binary()), ("text", pa.string())])), file)
    return file


def raw_pool(folder: Path | str) -> Path:
    """`raw.parquet`: every row whose picture opens, with all its texts, as a trainer without curation would take it.

    Columns as training reads them: image_id int64, bytes, texts list<string>, weights list<float>.
    """
    folder = Path(folder)
    routes = json.loads((folder / ROUTES).read_text())
    pool = []
    for row in pq.read_table(folder / "rows.parquet").to_pylist():
        texts = [row[role] for role in ROLES if row[role]]
        body = _opened(folder, routes.get((row["url"] or "").removeprefix(SITE)))
        if texts and body:
            image_id = int(hashlib.sha256(body).hexdigest()[:16], 16) >> 1
            pool.append({"image_id": image_id, "bytes": body, "texts": texts, "weights": [1.0] * len(texts)})
    columns = [("image_id", pa.int64()), ("bytes", pa.binary())]
    columns += [("texts", pa.list_(pa.string())), ("weights", pa.list_(pa.float32()))]
    _write(pa.Table.from_pylist(pool, pa.schema(columns)), folder / "raw.parquet")
    return folder / "raw.parquet"


def _rows(site: Site, rows: int) -> tuple[list[Row], list[str]]:
    shares = [(kind, share) for kind, (share, _) in KINDS.items()]
    kinds = [kind for kind, share in shares for _ in range(round(share * rows / 100))][:rows]
    kinds += ["true" if place % 2 else "wrong" for place in range(rows - len(kinds))]
    site.rng.shuffle(kinds)
    made = []
    for kind in kinds:
        if kind in LINKS_BACK and not site.shown:
            site.show()
        made.append(KINDS[kind][1](site))
    order = sorted(range(rows), key=lambda place: (made[place]["ts"], place))
    return [made[place] for place in order], [kinds[place] for place in order]


def _row(site: Site, url: str, scene: Scene) -> Row:
    """A row whose texts are true of `scene` and which people clicked on."""
    rng = site.rng
    language = rng.choice(LANGUAGES)
    other = rng.choice(LANGUAGES)
    impressions = min(20_000, int(rng.lognormvariate(5.5, 1.1)) + 40)
    return {
        "url": url,
        "page_url": f"{SITE}/pages/{rng.randint(1, 400)}.html",
        "query": scene.query(rng, language) if rng.random() < 0.9 else None,
        "title": scene.describe(rng, language),
        "surrounding": scene.describe(rng, other) if rng.random() < 0.6 else None,
        "impressions": impressions,
        "clicks": max(2, int(impressions * rng.uniform(0.02, 0.16))),
        "ts": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(86_400)),
    }


def _true(site: Site) -> Row:
    scene, url = site.show()
    return _row(site, url, scene)


def _wrong(site: Site) -> Row:
    _, url = site.show()
    row = _row(site, url, random_scene(site.rng))
    return row | {"clicks": max(2, int(row["impressions"] * site.rng.uniform(0.015, 0.05)))}


def _with(change: Callable[[random.Random], Row]) -> Callable[[Site], Row]:
    """Rows that are true but for what `change` puts in the place of their values."""

    def make(site: Site) -> Row:
        scene, url = site.show()
        return _row(site, url, scene) | change(site.rng)

    return make


def _all_texts(text: str | None) -> Row:
    return dict.fromkeys(ROLES, text)


def _answering(status: int, **answer: Any) -> Callable[[Site], Row]:
    return lambda site: _row(site, site.answer(status, **answer), random_scene(site.rng))


def _redirect(site: Site) -> Row:
    scene, url = site.show()
    return _row(site, site.answer(302, headers={"Location": url.removeprefix(SITE)}), scene)


def _loop(site: Site) -> Row:
    url = site.answer(302)
    site.routes[url.removeprefix(SITE)]["headers"] = {"Location": url.removeprefix(SITE)}
    return _row(site, url, random_scene(site.rng))


def _exact_copy(site: Site) -> Row:
    scene, _, body = site.rng.choice(site.shown)
    return _row(site, site.add(body, room="mirror"), scene)


def _near_copy(site: Site) -> Row:
    scene, _, body = site.rng.choice(site.shown)
    side = site.rng.choice((200, 224, 240))
    return _row(site, site.add(_encoded(_opened_picture(body).resize((side, side)), 80), room="mirror"), scene)


def _same_again(site: Site) -> Row:
    scene, url, _ = site.rng.choice(site.shown)
    return _row(site, url, scene)


def _picture(change: Callable[[Scene], bytes], **answer: Any) -> Callable[[Site], Row]:
    def make(site: Site) -> Row:
        scene = random_scene(site.rng)
        return _row(site, site.add(change(scene), **answer), scene)

    return make


def _tiny(scene: Scene) -> bytes:
    return _encoded(scene.draw(40), 90)


def _blank(scene: Scene) -> bytes:
    grey = scene.seed % 200 + 20
    return _encoded(Image.new("RGB", (256, 256), (grey, grey, grey)), 90)


def _banner(scene: Scene) -> bytes:
    wide = Image.new("RGB", (900, 180), (235, 235, 235))
    wide.paste(scene.draw(180), (0, 0))
    return _encoded(wide, 90)


def _cut(scene: Scene) -> bytes:
    body = _encoded(scene.draw(320), 92)
    return body[: len(body) * 2 // 5]


def _page(scene: Scene) -> bytes:
    return f"<!doctype html><title>Not found</title><p>This picture has moved ({scene.seed}).</p>".encode()


def _rarely_clicked(rng: random.Random) -> Row:
    impressions = rng.randint(800, 20_000)
    return {"impressions": impressions, "clicks": int(impressions * rng.uniform(0, 0.004))}


def _malformed(rng: random.Random) -> Row:
    faults: tuple[Row, ...] = (
        {"url": None},
        {"url": "img/no-host.jpg"},
        {"impressions": 20, "clicks": 31},
        {"impressions": -5, "clicks": 0},
        _all_texts(None),
    )
    return rng.choice(faults)


def _number(rng: random.Random) -> Row:
    phone = f"138{rng.randrange(10**8):08d}"
    return _all_texts(f"批发各色图形玩具，联系电话{phone}")


def _file_name(rng: random.Random) -> Row:
    return _all_texts(f"IMG_{rng.randrange(10**4):04d}.jpg")


def _foreign(rng: random.Random) -> Row:
    return _all_texts(f"{rng.randint(2, 9)} красивых фигур на светлом фоне, картинка для печати")


def _again_and_again(rng: random.Random) -> Row:
    return _all_texts(" ".join([rng.choice(("shape", "picture", "image"))] * rng.randint(14, 24)))


def _forbidden(site: Site) -> Row:
    return _row(site, f"http://10.0.0.{site.rng.randint(2, 250)}/internal.jpg", random_scene(site.rng))


# What can be the matter with a row: its share of the rows in percent, and how it is made. The rest of the
# rows are shared evenly by "true" (all texts describe the picture) and "wrong" (they describe another one).
KINDS: dict[str, tuple[float, Callable[[Site], Row]]] = {
    "true": (0, _true),
    "wrong": (0, _wrong),
    "status_404": (2, _answering(404)),
    "status_500": (0.8, _answering(500)),
    "redirect": (1.5, _redirect),
    "redirect_loop": (0.3, _loop),
    "exact_copy": (2.5, _exact_copy),
    "near_copy": (2.5, _near_copy),
    "same_again": (1.5, _same_again),
    "tiny": (1.2, _picture(_tiny)),
    "blank": (1, _picture(_blank)),
    "banner": (0.8, _picture(_banner)),
    "cut": (1, _picture(_cut)),
    "short_body": (0.4, _picture(Scene.render, missing=5000)),
    "html": (0.8, _picture(_page, kind="image/jpeg")),
    "robots": (1.2, _picture(Scene.render, room="private")),
    "opted_out": (1.2, _picture(Scene.render, headers={"X-Robots-Tag": "noai"})),
    "forbidden": (0.3, _forbidden),
    "low_ctr": (3, _with(_rarely_clicked)),
    "few_impressions": (1.5, _with(lambda rng: {"impressions": rng.randint(2, 9), "clicks": rng.randint(0, 2)})),
    "malformed": (0.8, _with(_malformed)),
    "boilerplate": (3, _with(lambda rng: _all_texts(rng.choice(MENU)))),
    "file_name": (1, _with(_file_name)),
    "phone": (0.8, _with(_number)),
    "short_text": (0.6, _with(lambda rng: _all_texts(rng.choice(("图片", "photo", "红色", "1"))))),
    "foreign": (0.5, _with(_foreign)),
    "repetitive": (0.4, _with(_again_and_again)),
}
LINKS_BACK = ("exact_copy", "near_copy", "same_again")


def _robots(site: Site) -> None:
    text = b"User-agent: *\nDisallow: /private/\n"
    (site.folder / "files" / "robots.txt").write_bytes(text)
    site.routes["/robots.txt"] = {"status": 200, "type": "text/plain", "file": "files/robots.txt"}


def _kind(body: bytes) -> str:
    return "image/png" if body[:4] == b"\x89PNG" else "image/webp" if body[:4] == b"RIFF" else "image/jpeg"


def _encoded(picture: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _opened_picture(body: bytes) -> Image.Image:
    return Image.open(io.BytesIO(body)).convert("RGB")


def _opened(folder: Path, route: dict[str, Any] | None) -> bytes | None:
    """The bytes behind a route where they are a whole picture."""
    if route is None or "file" not in route or route["status"] != 200 or "missing" in route:
        return None
    body: bytes = (folder / route["file"]).read_bytes()
    try:
        _opened_picture(body)
    except OSError:
        return None
    return body


def _write(table: pa.Table, file: Path) -> None:
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    pq.write_table(table, aside, compression="zstd")
    os.replace(aside, file)
