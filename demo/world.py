"""The rendered world: pictures of coloured shapes with true descriptions in English and Chinese."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

Language = Literal["en", "zh"]
Attribute = Literal["colour", "shape", "size", "count", "background"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

# name: (Chinese, red, green, blue)
COLOURS = {
    "red": ("红色", 214, 40, 40),
    "orange": ("橙色", 245, 145, 30),
    "yellow": ("黄色", 245, 222, 50),
    "green": ("绿色", 45, 160, 65),
    "cyan": ("青色", 60, 205, 215),
    "blue": ("蓝色", 40, 75, 205),
    "purple": ("紫色", 130, 50, 165),
    "pink": ("粉色", 245, 135, 185),
}
# name: (plural, Chinese)
SHAPES = {
    "circle": ("circles", "圆形"),
    "square": ("squares", "方块"),
    "triangle": ("triangles", "三角"),
    "star": ("stars", "星星"),
    "heart": ("hearts", "爱心"),
    "cross": ("crosses", "十字"),
    "ring": ("rings", "圆环"),
    "moon": ("moons", "月亮"),
}
# name: (Chinese, half the width of a shape as a share of the picture's)
SIZES = {"small": ("小", 0.085), "big": ("大", 0.152)}
COUNTS = {1: ("a", "一个"), 2: ("two", "两个"), 3: ("three", "三个")}
# name: (Chinese, two greys that it is made of, pattern)
BACKGROUNDS = {
    "white": ("白色", 235, 235, "plain"),
    "grey": ("灰色", 140, 140, "plain"),
    "black": ("黑色", 42, 42, "plain"),
    "striped": ("条纹", 225, 165, "stripes"),
    "checked": ("格子", 225, 165, "checks"),
}
TEMPLATES: dict[Language, tuple[str, ...]] = {
    "en": (
        "{things} on a {background} background",
        "a {background} background with {things}",
        "picture of {things}, {background} background",
    ),
    "zh": ("{background}背景上的{things}", "{things}，{background}背景", "{background}背景，有{things}"),
}
SIDES = (256, 288, 320, 384)
CELLS = [(x / 6, y / 6) for x in (1, 3, 5) for y in (1, 3, 5)]


@dataclass(frozen=True)
class Group:
    """Some equal things: `count` of them, of one colour, shape and size."""

    colour: str
    shape: str
    size: str
    count: int

    def words(self, language: Language, brief: bool = False) -> str:
        """'two big red circles' or its Chinese; brief: without the size."""
        if language == "zh":
            size = "" if brief else SIZES[self.size][0]
            return COUNTS[self.count][1] + size + COLOURS[self.colour][0] + SHAPES[self.shape][1]
        thing = self.shape if self.count == 1 else SHAPES[self.shape][0]
        kind = f"{self.colour} {thing}" if brief else f"{self.size} {self.colour} {thing}"
        article = "an" if self.count == 1 and kind[0] in "aeiou" else COUNTS[self.count][0]
        return f"{article} {kind}"


@dataclass(frozen=True)
class Scene:
    """One picture of the world; `seed` decides all that no description speaks of (places, light, format)."""

    groups: tuple[Group, ...]
    background: str
    seed: int

    def describe(self, rng: random.Random, language: Language) -> str:
        """A true description that names every attribute; equal scenes can get different ones."""
        template = rng.choice(TEMPLATES[language])
        background = BACKGROUNDS[self.background][0] if language == "zh" else self.background
        return template.format(things=self._things(rng, language, brief=False), background=background)

    def query(self, rng: random.Random, language: Language) -> str:
        """A true description as somebody would search for it: without sizes and background."""
        return self._things(rng, language, brief=True)

    def edited(self, rng: random.Random, attribute: Attribute) -> Scene:
        """The scene with another value of one attribute (of one of its groups), so that no description holds."""
        seed = rng.getrandbits(48)
        if attribute == "background":
            return replace(self, background=_other(rng, BACKGROUNDS, self.background), seed=seed)
        place = rng.randrange(len(self.groups))
        group = _edited_group(rng, self.groups[place], attribute)
        groups = (*self.groups[:place], group, *self.groups[place + 1 :])
        if len(groups) == 2 and groups[0].shape == groups[1].shape and groups[0].colour == groups[1].colour:
            return self.edited(rng, attribute)  # "a red star and two red stars" is another way to say three
        return replace(self, groups=groups, seed=seed)

    def draw(self, side: int) -> Image.Image:
        """The scene as a square RGB picture, `side` pixels a side."""
        rng = random.Random(self.seed)
        canvas = _backdrop(rng, self.background, side * 2)
        pen = ImageDraw.Draw(canvas)
        cells = rng.sample(CELLS, sum(group.count for group in self.groups))
        for group in self.groups:
            for _ in range(group.count):
                _draw_thing(pen, rng, group, cells.pop(), side * 2)
        return _lit(rng, canvas.resize((side, side), Image.Resampling.BOX))

    def render(self) -> bytes:
        """The picture as JPEG, PNG or WebP bytes, 256 to 384 pixels a side; the same bytes for the same scene."""
        rng = random.Random(self.seed ^ 0x5CE4E)
        picture, file = self.draw(rng.choice(SIDES)), io.BytesIO()
        kind = rng.choices(("JPEG", "PNG", "WEBP"), (86, 6, 8))[0]
        if kind == "PNG":
            picture.save(file, kind)
        else:
            picture.save(file, kind, quality=rng.randint(75, 95))
        return file.getvalue()

    def _things(self, rng: random.Random, language: Language, brief: bool) -> str:
        said = [group.words(language, brief) for group in rng.sample(self.groups, len(self.groups))]
        return (" and " if language == "en" else "和").join(said)


def random_scene(rng: random.Random) -> Scene:
    """A scene of one group (one in five) or of two that differ in colour or in shape."""
    first = _random_group(rng)
    groups: tuple[Group, ...] = (first,)
    if rng.random() < 0.8:
        second = _random_group(rng)
        while (second.colour, second.shape) == (first.colour, first.shape):
            second = _random_group(rng)
        groups = (first, second)
    return Scene(groups, rng.choice(list(BACKGROUNDS)), rng.getrandbits(48))


def _random_group(rng: random.Random) -> Group:
    colour, shape, size = (rng.choice(list(names)) for names in (COLOURS, SHAPES, SIZES))
    return Group(colour, shape, size, rng.choice(list(COUNTS)))


def _edited_group(rng: random.Random, group: Group, attribute: Attribute) -> Group:
    if attribute == "colour":
        return replace(group, colour=_other(rng, COLOURS, group.colour))
    if attribute == "shape":
        return replace(group, shape=_other(rng, SHAPES, group.shape))
    if attribute == "size":
        return replace(group, size=_other(rng, SIZES, group.size))
    return replace(group, count=rng.choice([count for count in COUNTS if count != group.count]))


def _other(rng: random.Random, names: Iterable[str], name: str) -> str:
    return rng.choice([other for other in names if other != name])


def _backdrop(rng: random.Random, name: str, side: int) -> Image.Image:
    _, light, dark, pattern = BACKGROUNDS[name]
    canvas = Image.new("RGB", (side, side), (light, light, light))
    pen, step = ImageDraw.Draw(canvas), side // rng.randint(11, 14)
    if pattern == "plain":
        return canvas
    for row, top in enumerate(range(0, side, step)):
        if pattern == "stripes":
            if row % 2:
                pen.rectangle((0, top, side, top + step - 1), (dark, dark, dark))
            continue
        for left in range((row % 2) * step, side, 2 * step):
            pen.rectangle((left, top, left + step - 1, top + step - 1), (dark, dark, dark))
    return canvas


def _draw_thing(
    pen: ImageDraw.ImageDraw, rng: random.Random, group: Group, cell: tuple[float, float], side: int
) -> None:
    half = SIZES[group.size][1] * rng.uniform(0.94, 1.06) * side
    room = max(0.0, side / 6 - half)
    x, y = (share * side + rng.uniform(-room, room) for share in cell)
    red, green, blue = (min(255, max(0, channel + rng.randint(-14, 14))) for channel in COLOURS[group.colour][1:])
    turn = math.radians(rng.uniform(-12, 12))
    if group.shape == "ring":
        box = (x - half, y - half, x + half, y + half)
        pen.ellipse(box, outline=(red, green, blue), width=max(1, round(half * 0.42)))
        return
    points = [
        (x + half * (u * math.cos(turn) - v * math.sin(turn)), y + half * (u * math.sin(turn) + v * math.cos(turn)))
        for u, v in _outline(group.shape)
    ]
    pen.polygon(points, fill=(red, green, blue))


def _outline(shape: str) -> list[tuple[float, float]]:
    """The corners of a shape in a square from -1 to 1, y downwards."""
    if shape == "square":
        return [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]
    if shape == "triangle":
        return [(0, -1), (1, 0.85), (-1, 0.85)]
    if shape == "cross":
        arm = 0.3
        return [
            (-arm, -1),
            (arm, -1),
            (arm, -arm),
            (1, -arm),
            (1, arm),
            (arm, arm),
            (arm, 1),
            (-arm, 1),
            (-arm, arm),
            (-1, arm),
            (-1, -arm),
            (-arm, -arm),
        ]
    turns = [2 * math.pi * k / 60 for k in range(60)]
    if shape == "star":
        radii = [1.0 if k % 2 == 0 else 0.42 for k in range(10)]
        return [(r * math.sin(math.pi * k / 5), -r * math.cos(math.pi * k / 5)) for k, r in enumerate(radii)]
    if shape == "heart":  # the usual heart curve, scaled to the square
        return [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in turns
        ]
    if shape == "moon":  # an outer arc and, backwards, the arc of a disc that covers its right
        outer = [(math.cos(t), math.sin(t)) for t in (math.radians(d) for d in range(48, 313, 8))]
        inner = [(0.5 + 0.76 * math.cos(t), 0.76 * math.sin(t)) for t in (math.radians(d) for d in range(282, 77, -8))]
        return outer + inner
    return [(math.cos(t), math.sin(t)) for t in turns]


def _lit(rng: random.Random, picture: Image.Image) -> Image.Image:
    """Uneven light and grain, as in a photo; it also keeps the perceptual hashes of two scenes apart."""
    noise = np.random.default_rng(rng.getrandbits(32))
    side = picture.width
    coarse = Image.fromarray(noise.normal(0, 15, (7, 7)).astype(np.float32))
    light = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))
    grain = noise.normal(0, 2.0, (side, side)).astype(np.float32)
    pixels = np.asarray(picture, np.float32) + (light + grain)[:, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
