"""The fetching actor against a hostile site on loopback."""

from __future__ import annotations

import hashlib
import io
import ssl
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from PIL import Image

from actors.web import Fetcher, FetchJob
from actors.web.parts import SCHEMA, PartWriter
from actors.web.visitor import Fate
from filters.recipe import Fetch

CAP = 300_000
PICTURE = bytes(range(256)) * 40


def _with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "JPEG", exif=exif)
    return file.getvalue()


WITH_EXIF = _with_exif()


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    at: ClassVar[str]
    asked: ClassVar[Counter[str]]
    agents: ClassVar[set[str]]
    go_on: ClassVar[threading.Event]

    def log_message(self, *_: object) -> None: ...

    def say(self, status: int, body: bytes = b"", *headers: tuple[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.asked[self.path] += 1
        self.agents.add(self.headers["User-Agent"])
        what, _, rest = self.path.lstrip("/").partition("/")
        try:
            getattr(self, "do_" + what.split(".")[0])(rest)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def do_robots(self, _: str) -> None:
        self.say(200, b"User-agent: *\nDisallow: /closed/\nAllow: /closed/but/\n")

    def do_img(self, _: str) -> None:
        self.say(200, PICTURE, ("Content-Type", "image/jpeg"))

    do_closed = do_img

    def do_exif(self, _: str) -> None:
        self.say(200, WITH_EXIF, ("Content-Type", "image/jpeg"))

    def do_empty(self, _: str) -> None:
        self.say(200)

    def do_status(self, rest: str) -> None:
        self.say(int(rest))

    def do_flaky(self, _: str) -> None:
        if self.asked[self.path] == 1:
            self.say(503, b"", ("Retry-After", "0"))
        else:
            self.do_img("")

    def do_later(self, _: str) -> None:
        self.say(503, b"", ("Retry-After", "3600"))

    def do_hop(self, rest: str) -> None:
        left = int(rest) - 1
        self.say(302, b"x" * 50, ("Location", f"/hop/{left}" if left else "/img/end"))

    def do_circle(self, _: str) -> None:
        self.say(302, b"", ("Location", self.path))

    def do_to(self, rest: str) -> None:
        self.say(307, b"", ("Location", unquote(rest).replace("|", "/")))

    def do_no(self, rest: str) -> None:
        name, _, value = rest.partition("=")
        self.say(200, PICTURE, (name, value.replace("_", " ")))

    def do_short(self, _: str) -> None:
        self.say(200, PICTURE, length=len(PICTURE) + 1)
        self.close_connection = True

    def do_announced(self, _: str) -> None:
        self.say(200, b"", length=CAP + 1)

    def do_zipped(self, _: str) -> None:
        self.say(200, PICTURE, ("Content-Encoding", "gzip"))

    def do_stall(self, _: str) -> None:
        self.go_on.wait(60)
        self.close_connection = True

    def do_drip(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _step in range(300):
            self.wfile.write(b"\xff")
            self.wfile.flush()
            time.sleep(0.1)

    def do_huge(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        for _step in range(500):
            self.wfile.write(b"\0" * 100_000)
            self.asked["huge bytes"] += 100_000
        self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


@pytest.fixture
def site() -> Iterator[type[Site]]:
    class Fresh(Site):
        asked: ClassVar[Counter[str]] = Counter()
        agents: ClassVar[set[str]] = set()

        go_on: ClassVar[threading.Event] = threading.Event()

    server = Server(("127.0.0.1", 0), Fresh)
    Fresh.at = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield Fresh
    Fresh.go_on.set()
    server.shutdown()
    server.server_close()
    thread.join()


def fetcher(site: Any, **policy: Any) -> Fetcher:
    chosen = {"deadline_s": 20, "connect_s": 5, "max_bytes": CAP, "retries": 1} | policy
    return Fetcher(Fetch(**chosen), (site.at,), threads=16)


def fetch(site: Any, folder: Path, urls: list[str | None], **policy: Any) -> dict[str | None, dict[str, Any]]:
    """The rows of one job, by path of the site; what starts with a scheme is asked for as it is."""
    full = [f"http://{site.at}{url}" if url and url.startswith("/") else url for url in urls]
    pq.write_table(pa.table({"url": pa.array(full, pa.string())}), folder / "urls.parquet")
    job = FetchJob(str(folder / "urls.parquet"), str(folder / "part.parquet"))
    assert fetcher(site, **policy)(job) == job.out
    assert sorted(path.name for path in folder.iterdir()) == ["part.parquet", "urls.parquet"]
    part = pq.read_table(job.out)
    assert part.schema.equals(SCHEMA)
    assert sorted(part["url"].to_pylist(), key=str) == sorted(full, key=str)
    rows = {row["url"]: row for row in part.to_pylist()}
    return {url: rows[there] for url, there in zip(urls, full, strict=True)}


def fates(rows: dict[str | None, dict[str, Any]]) -> dict[str | None, tuple[Any, Any, int]]:
    return {url: (row["reason"], row["detail"], row["attempts"]) for url, row in rows.items()}


def test_a_picture_comes_with_its_bytes_hashes_and_evidence(site: Any, tmp_path: Path) -> None:
    row = fetch(site, tmp_path, ["/img/a"])["/img/a"]
    assert row["bytes"] == PICTURE
    assert row["sha256"] == hashlib.sha256(PICTURE).hexdigest()
    assert row["md5"] == hashlib.md5(PICTURE).hexdigest()
    assert (row["nbytes"], row["reason"], row["detail"], row["attempts"]) == (len(PICTURE), None, None, 1)
    assert row["final_url"] == f"http://{site.at}/img/a"
    assert row["content_type"] == "image/jpeg"
    assert row["consent"] == "consent policy 2; robots.txt read; no opt-out header"
    assert row["fetched_at"] is not None


def test_ordinary_faults_get_their_reason_value_and_bound(site: Any, tmp_path: Path) -> None:
    rows = fetch(
        site,
        tmp_path,
        [
            "/empty/1",
            "/status/404",
            "/status/410",
            "/hop/5",
            "/hop/6",
            "/circle/1",
            "/announced/1",
            "/huge/1",
            "/zipped/1",
            "http://h1.invalid/a.jpg",
            "file:///etc/hostname",
            "gopher://h/1",
            "not a url",
            None,
        ],
    )
    assert rows["/empty/1"]["bytes"] == b""
    assert rows["/empty/1"]["nbytes"] == 0
    found = fates(rows)
    assert found == {
        "/empty/1": (None, None, 1),
        "/status/404": ("fetch_http_status", "404", 1),
        "/status/410": ("fetch_http_status", "410", 1),
        "/hop/5": (None, None, 1),
        "/hop/6": ("fetch_redirects", "more than 5 redirects", 1),
        "/circle/1": ("fetch_redirects", "in a circle, after 1", 1),
        "/announced/1": ("fetch_too_large", f"{CAP + 1} bytes announced, over {CAP} bytes", 1),
        "/huge/1": ("fetch_too_large", f"over {CAP} bytes", 1),
        "/zipped/1": ("fetch_failed", "content-encoding gzip, asked for identity", 1),
        "http://h1.invalid/a.jpg": found["http://h1.invalid/a.jpg"],
        "file:///etc/hostname": ("fetch_bad_scheme", "file, only http and https", 1),
        "gopher://h/1": ("fetch_bad_scheme", "gopher, only http and https", 1),
        "not a url": ("fetch_failed", "not an absolute address with a host", 1),
        None: ("fetch_failed", "not an absolute address with a host", 1),
    }
    assert found["http://h1.invalid/a.jpg"][0] == "fetch_dns"
    assert rows["/hop/5"]["final_url"] == f"http://{site.at}/img/end"
    assert site.asked["huge bytes"] < 20_000_000


def test_what_may_pass_is_asked_again_and_nothing_else_is(site: Any, tmp_path: Path) -> None:
    found = fates(fetch(site, tmp_path, ["/flaky/1", "/status/500", "/short/1", "/later/1", "/status/403"]))
    assert found == {
        "/flaky/1": (None, None, 2),
        "/status/500": ("fetch_http_status", "500", 2),
        "/short/1": ("fetch_incomplete", f"{len(PICTURE)} of {len(PICTURE) + 1} bytes", 2),
        "/later/1": ("fetch_http_status", "503", 1),
        "/status/403": ("fetch_http_status", "403", 1),
    }
    assert site.asked["/status/500"] == 2
    assert site.asked["/status/403"] == 1


def test_drips_and_stalls_end_at_the_deadline_and_are_not_repeated(site: Any, tmp_path: Path) -> None:
    found = fates(fetch(site, tmp_path, ["/drip/1", "/stall/1", "/img/1"], deadline_s=2))
    assert found["/drip/1"] == found["/stall/1"] == ("fetch_timeout", "not over after 2 s", 1)
    assert found["/img/1"] == (None, None, 1)
    assert site.asked["/drip/1"] == site.asked["/stall/1"] == 1


REFUSED = ["/no/X-Robots-Tag=noai", "/no/x-robots-tag=max-image-preview:large,_noai", "/no/tdm-reservation=1"]


def test_who_said_no_is_asked_once_and_not_taken_from(site: Any, tmp_path: Path) -> None:
    rows = fetch(site, tmp_path, [*REFUSED, "/no/X-Robots-Tag=otherbot:_noai", "/closed/a", "/closed/but/a"])
    assert [rows[url]["reason"] for url in REFUSED] == ["fetch_opted_out"] * 3
    assert all(rows[url]["bytes"] is None and rows[url]["consent"] for url in REFUSED)
    assert rows["/no/X-Robots-Tag=otherbot:_noai"]["reason"] is None
    assert rows["/closed/a"]["reason"] == "fetch_robots"
    assert rows["/closed/a"]["consent"]
    assert rows["/closed/but/a"]["reason"] is None
    assert site.asked["/closed/a"] == 0
    assert site.asked["/robots.txt"] == 1
    assert all(site.asked[url] == 1 for url in REFUSED)


def test_who_refused_is_not_asked_again_through_another_url(site: Any, tmp_path: Path) -> None:
    there = "/no/tdm-reservation=1"
    rows = fetch(site, tmp_path, [there, f"/to/{there.replace('/', '|')}", f"{there}#again"])
    assert [row["reason"] for row in rows.values()] == ["fetch_opted_out"] * 3
    assert site.asked[there] <= 3  # at once they may all be on their way
    more = tmp_path / "more"
    more.mkdir()
    actor = fetcher(site)
    for number, url in enumerate([there, f"{there}#again"]):
        pq.write_table(pa.table({"url": [f"http://{site.at}{url}"]}), more / f"in{number}")
        before = site.asked[there]
        actor(FetchJob(str(more / f"in{number}"), str(more / f"out{number}")))
    assert site.asked[there] == before


def test_a_recipe_may_leave_consent_to_others(site: Any, tmp_path: Path) -> None:
    rows = fetch(site, tmp_path, [REFUSED[0], "/closed/a"], robots=False, opt_out=False)
    assert [row["reason"] for row in rows.values()] == [None, None]
    assert rows["/closed/a"]["consent"] == "consent policy 2; robots.txt not asked; headers not asked"
    assert site.asked["/robots.txt"] == 0


def test_redirects_are_checked_at_every_hop(site: Any, tmp_path: Path) -> None:
    urls = [
        "/to/http:||127.0.0.2:9|latest",
        "/to/http:||[::ffff:10.0.0.1]|",
        "/to/http:||user:secret@example.com|",
        "/to/file:|||etc|passwd",
        "/to/|closed|a",
        "/to/http:||sub.blocked.example|",
    ]
    full = [f"http://{site.at}{url}" for url in urls]
    rows = fetch(site, tmp_path, list(full), blocked_hosts=("blocked.example",))
    assert [rows[url]["reason"] for url in full] == [
        "fetch_forbidden_address",
        "fetch_forbidden_address",
        "fetch_forbidden_address",
        "fetch_bad_scheme",
        "fetch_robots",
        "fetch_forbidden_address",
    ]
    assert not any("secret" in row["detail"] for row in rows.values())
    assert site.asked["/closed/a"] == 0


def test_credentials_reach_no_column_but_the_url(site: Any, tmp_path: Path) -> None:
    url = f"http://me:secret@{site.at}/img/1"
    row = fetch(site, tmp_path, [url])[url]
    assert (row.pop("url"), row["reason"]) == (url, "fetch_forbidden_address")
    assert "secret" not in str(row)
    assert not site.asked


def test_the_agent_is_honest(site: Any, tmp_path: Path) -> None:
    fetch(site, tmp_path, ["/img/1"], contact="https://example.org/bot")
    assert site.agents == {"Zeromill/0.1 (+https://example.org/bot)"}


def test_lanes_of_one_actor_do_not_wait_for_a_stall(site: Any, tmp_path: Path) -> None:
    actor = fetcher(site, deadline_s=60, retries=0)
    jobs = []
    for lane, paths in enumerate([["/stall/1"], [f"/img/{n}" for n in range(100)]]):
        pq.write_table(pa.table({"url": [f"http://{site.at}{path}" for path in paths]}), tmp_path / f"in{lane}")
        jobs.append(FetchJob(str(tmp_path / f"in{lane}"), str(tmp_path / f"out{lane}")))
    with ThreadPoolExecutor(2) as lanes:
        stalled, quick = [lanes.submit(actor, job) for job in jobs]
        assert pq.read_table(quick.result())["reason"].null_count == 100
        assert not stalled.done()
        site.go_on.set()
        assert pq.read_table(stalled.result())["reason"].to_pylist() == ["fetch_incomplete"]


def test_an_empty_job_writes_an_empty_part(site: Any, tmp_path: Path) -> None:
    assert fetch(site, tmp_path, []) == {}


def test_what_a_killed_actor_left_is_swept(site: Any, tmp_path: Path) -> None:
    left = tmp_path / ".part.parquet.old.fetching"
    left.mkdir()
    (left / "part.parquet").write_bytes(b"half")
    fetch(site, tmp_path, ["/img/1"])
    assert not left.exists()


def test_nothing_else_gets_out_through_urllib(site: Any) -> None:
    fetcher(site)
    for address in (f"http://{site.at}/img/1", "file:///etc/hostname", "data:,x"):
        with pytest.raises(PermissionError):
            urllib.request.urlopen(address)
    assert not site.asked


def test_a_job_begun_anew_asks_nobody_again_who_gave_no_picture(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls: list[str | None] = [*REFUSED, "/closed/a", "/status/404", "/status/500", "/img/1"]

    def cut_off(_from: str, _to: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        fetch(site, tmp_path, urls)
    monkeypatch.undo()
    with (tmp_path / ".part.parquet.refusals").open("ab") as journal:
        journal.write(b'{"url": "http://half')  # what a kill leaves of a line
    first = Counter(site.asked)
    rows = fetch(site, tmp_path, urls)
    assert [rows[url]["reason"] for url in REFUSED] == ["fetch_opted_out"] * 3
    assert rows["/closed/a"]["reason"] == "fetch_robots"
    assert rows["/closed/a"]["consent"]
    assert fates(rows)["/status/404"] == ("fetch_http_status", "404", 1)
    again = Counter(site.asked) - first
    assert again == {"/robots.txt": 1, "/img/1": 1}


def test_what_failed_for_a_while_is_asked_again_of_an_earlier_part_and_nothing_else(site: Any, tmp_path: Path) -> None:
    urls: list[str | None] = ["/img/1", "/status/404", "/status/503", "/flaky/1", REFUSED[0]]
    first = fetch(site, tmp_path, urls, retries=0)
    assert [row["transient"] for row in first.values()] == [False, False, True, True, False]
    (tmp_path / "part.parquet").rename(tmp_path / "earlier.parquet")
    asked = Counter(site.asked)
    job = FetchJob(str(tmp_path / "urls.parquet"), str(tmp_path / "part.parquet"), str(tmp_path / "earlier.parquet"))
    fetcher(site, retries=0)(job)
    again = {row["url"].partition(site.at)[2]: row for row in pq.read_table(job.out).to_pylist()}
    assert Counter(site.asked) - asked == {"/robots.txt": 1, "/status/503": 1, "/flaky/1": 1}
    assert again["/flaky/1"]["bytes"] == PICTURE
    for url in ("/img/1", "/status/404", REFUSED[0]):
        assert again[url] == first[url]


def test_what_a_picture_says_of_its_maker_is_not_written_down(site: Any, tmp_path: Path) -> None:
    row = fetch(site, tmp_path, ["/exif/1"])["/exif/1"]
    assert b"secret place" in WITH_EXIF
    assert b"secret place" not in row["bytes"]
    assert row["sha256"] == hashlib.sha256(WITH_EXIF).hexdigest()
    assert row["nbytes"] == len(WITH_EXIF)


def test_robots_txt_is_asked_once_however_many_ask_at_once(site: Any, tmp_path: Path) -> None:
    fetch(site, tmp_path, [f"/img/{n}" for n in range(100)])
    assert site.asked["/robots.txt"] == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    asked: list[str] = []

    class Secure(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)

    server = Server(("127.0.0.1", 0), Secure)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    at = f"127.0.0.1:{server.server_address[1]}"
    pq.write_table(pa.table({"url": [f"https://{at}/a.jpg"]}), tmp_path / "urls.parquet")
    Fetcher(Fetch(robots=False), (at,))(FetchJob(str(tmp_path / "urls.parquet"), str(tmp_path / "part.parquet")))
    row = pq.read_table(tmp_path / "part.parquet").to_pylist()[0]
    server.shutdown()
    server.server_close()
    thread.join()
    assert (row["reason"], row["attempts"], row["transient"]) == ("fetch_tls", 1, False)
    assert asked == []


def self_signed(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    file = folder / "self-signed.pem"
    file.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_part_that_ran_out_of_disk_fails_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = PartWriter(str(tmp_path / "part.parquet"))

    def full(_self: object, _table: pa.Table) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(pq.ParquetWriter, "write_table", full)
        with pytest.raises(OSError, match="No space left"):
            part.add("http://h.example/", Fate(None, None, 1), bytes(5 << 20))
    part.add("http://h.example/2", Fate("fetch_failed", "lost", 1), None)
    with pytest.raises(OSError, match="make room there, then run again"):
        part.close()
