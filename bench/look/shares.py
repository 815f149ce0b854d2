"""Pictures of where the time of the looking bench goes, drawn from steps that are timed alone on one core."""

from __future__ import annotations

from pathlib import Path

from app.show import say
from bench.look.chart import Bar, chart
from bench.look.juicer import juice
from bench.look.place import Place
from bench.look.stages import SCALE_TO, OurSteps, PlainSteps
from bench.look.works import B32, MEASURED

STEPS = 128
"""Pictures that are taken apart."""


def draw(place: Place, folder: Path) -> None:
    """Write look-embed.svg and look-measures.svg: milliseconds of one core that a picture takes, step by step."""
    folder.mkdir(parents=True, exist_ok=True)
    files = tuple(place.pictures(STEPS))
    embedding = [
        Bar("Zeromill", place.race([OurSteps(files, place.found(B32), SCALE_TO)]).gave[0]),
        Bar("the plain loop", place.race([PlainSteps(files, place.model(B32))]).gave[0]),
    ]
    measuring = [Bar("Zeromill", place.race([OurSteps(files, None, SCALE_TO)]).gave[0]), _juicer(place)]
    drawn = (("look-embed.svg", f"JPEG bytes to {B32} vectors", embedding), ("look-measures.svg", NO_MODEL, measuring))
    for name, title, bars in drawn:
        (folder / name).write_text(chart(f"{title}: milliseconds of one core, a picture", bars, "ms"), "utf-8")
        for bar in bars:
            say(f"{bar.name}: " + ", ".join(f"{step} {spent:.2f} ms" for step, spent in bar.parts.items()))


NO_MODEL = "Measures, hashes and filters without a model"


def _juicer(place: Place) -> Bar:
    """Its operators' wall time on all cores, times the cores."""
    files, folder = place.pictures(MEASURED), place.out()
    folder.mkdir()
    juiced = juice(files, place.cores, False, folder)
    each = place.cores * 1000 / len(files)
    return Bar("Data-Juicer", {name.removeprefix("image_"): spent * each for name, spent in juiced.seconds.items()})
