"""The page on which people see which pictures were taken for one: groups as thumbnails, and how near they are."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlsplit

from warehouse.album import Album, Shown, album

GROUPS = 40
"""Of each kind on the page: with some ten pictures each it has 5 MB."""

MEMBERS = 24
"""Of a group on the page, those nearest to the survivor."""

STYLE = """body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#222}
h2{margin-top:2.5rem} .group{display:flex;flex-wrap:wrap;gap:.8rem;border-top:1px solid #ddd;padding:.8rem 0}
figure{margin:0;width:168px} img{max-width:160px;max-height:160px;display:block;border:3px solid transparent}
.survivor img{border-color:#2a7} figcaption{font-size:12px;color:#555;overflow-wrap:anywhere}
.note{width:100%;color:#a60}
"""


def write_album(warehouse: str, looked: Sequence[str], joined: str, bound: int | None, out: Path) -> str | None:
    """Write the page; its name, or null where no picture is a copy. One without a thumbnail is told without."""
    seen = album(warehouse, looked, joined, GROUPS, MEMBERS)
    if not seen.copies:
        return None
    page = "\n".join(_page(seen, bound))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(page, encoding="utf-8")
    return str(out)


def _page(seen: Album, bound: int | None) -> Iterator[str]:
    yield f"<!doctype html><html lang=en><meta charset=utf-8><title>Copies</title><style>{STYLE}</style>"
    yield "<h1>Which pictures were taken for one</h1>"
    yield (
        f"<p>{seen.pictures:,} distinct pictures, {seen.copies:,} of them copies of another one that stands for them "
        f"(green frame){f', {seen.by_embedding:,} by their embeddings' if seen.by_embedding else ''}. "
        "Pictures with equal bytes are one picture and not told here.</p>"
    )
    if seen.distances:
        yield f"<h2>How far copies are from the picture that stands for them</h2>{_chart(seen.distances, bound)}"
    for title, groups in (("The farthest", seen.farthest), ("The largest groups", seen.largest)):
        if groups:
            yield f"<h2>{title}</h2>"
            yield from map(_group, groups)


def _chart(distances: dict[int, int], bound: int | None) -> str:
    """Copies by distance in bits, in steps of four, as bars; the bound of two copies as a line."""
    steps = [sum(count for bits, count in distances.items() if bits // 4 == step) for step in range(29)]
    top = max(steps)
    bars = "".join(
        f'<rect x="{40 + 20 * step}" y="{120 - 100 * count / top:.1f}" width="16" height="{100 * count / top:.1f}" '
        f'fill="#2a7"><title>{4 * step} to {4 * step + 3} bits: {count:,}</title></rect>'
        for step, count in enumerate(steps)
    )
    ticks = "".join(f'<text x="{40 + 5 * bits}" y="136" font-size="11">{bits}</text>' for bits in range(0, 113, 16))
    line = "" if bound is None else f'<path d="M{40 + 5 * bound} 10V122" stroke="#a60" stroke-dasharray="4 3"/>'
    return (
        f'<svg viewBox="0 0 640 160" width="640" role="img" aria-label="copies by distance">{bars}{line}{ticks}'
        f'<text x="0" y="22" font-size="11">{top:,}</text><text x="40" y="154" font-size="11">'
        "bits of PDQ that differ, of 256; dashed: the bound</text></svg>"
    )


def _group(group: Sequence[Shown]) -> str:
    figures = "".join(map(_figure, group))
    note = f"<p class=note>{escape(group[0].note)}</p>" if group[0].note else ""
    return f'<div class="group">{figures}{note}</div>'


def _figure(one: Shown) -> str:
    near = "stands for the others" if one.image_id == one.survivor else _near(one)
    picture = (
        f'<img alt="image {one.image_id}" src="data:image/jpeg;base64,{b64encode(one.thumbnail).decode()}">'
        if one.thumbnail
        else ""
    )
    kind = "survivor" if one.image_id == one.survivor else "copy"
    return (
        f'<figure class="{kind}">{picture}<figcaption>{near}<br>{one.width} x {one.height}, {one.clicks:,} clicks<br>'
        f"{escape(_place(one.url))}<br>image {one.image_id}</figcaption></figure>"
    )


def _near(one: Shown) -> str:
    return f"{one.distance} of 256 bits" if one.distance is not None else f"cosine {one.similarity or 0:.3f}"


def _place(url: str) -> str:
    """Host and file name: what stands between, and queries, may hold secrets, and nobody reads them."""
    parts = urlsplit(url)
    return f"{parts.hostname or ''} {parts.path.rsplit('/', 1)[-1][:60]}".strip()
