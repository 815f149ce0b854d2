"""The commands of the page on protected sets, typed by somebody who has published the log already."""

import json
import re
import shlex
import urllib.request
from importlib.resources import files
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "protected.md"
PROTECTED = 3


def _commands() -> list[list[str]]:
    """The words after `zeromill` of the page's commands; `zero` wants weights that a test has not."""
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
        for line in block.splitlines()
    ]
    return [["demo" if word == "zero" else word for word in shlex.split(line, comments=True)[1:]] for line in lines]


def _curate(newcomer: Any, *words: str) -> Any:
    done = newcomer.run(
        "curate", "clicks.parquet", "--recipe", "mine.yaml", "--json", "--allow-host", newcomer.host, *words
    )
    assert done.returncode == 0, done.stderr[-500:]
    return json.loads(done.stdout)


def test_what_is_protected_is_in_no_release_made_after_it(newcomer: Any) -> None:
    (newcomer.folder / "mine.yaml").write_text((files("recipes") / "unscored.yaml").read_text("utf-8"), "utf-8")
    folder = newcomer.folder / "val2017"
    folder.mkdir()
    for number in range(PROTECTED):
        with urllib.request.urlopen(f"http://{newcomer.host}/{number}.png") as answer:
            (folder / f"{number}.png").write_bytes(answer.read())
    before = _curate(newcomer, "--release", "before")
    assert (before["no_op"], before["overlaps"]) == (False, {})
    for words in _commands():
        done = newcomer.run(*words)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), f"{words}: {done.stderr[-500:]}"
    assert _curate(newcomer)["no_op"]  # the page ends with nothing protected
    assert newcomer.run("protect", "coco", "val2017").returncode == 0
    after = _curate(newcomer, "--release", "after")
    assert (after["no_op"], after["overlaps"]) == (False, {"coco": 2 * PROTECTED})
    assert {"stage": "copies", "reason": "benchmark_overlap", "rows": 2 * PROTECTED} in after["funnel"]
    question = "SELECT release, count(*) AS n FROM release_pairs SEMI JOIN protected USING (image_id) GROUP BY release"
    held = newcomer.run("sql", question, "--json").stdout.splitlines()
    assert [json.loads(line)["release"] for line in held] == ["before"]
