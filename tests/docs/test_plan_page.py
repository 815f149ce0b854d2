"""The commands of the page on plans, typed by somebody who has curated nothing yet."""

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

from app.main import parser

PAGE = Path(__file__).parents[2] / "docs" / "plan.md"


def test_the_page_plans_a_log_and_leaves_nothing_but_the_picture(newcomer: Any) -> None:
    (newcomer.folder / "mine.yaml").write_text((files("recipes") / "unscored.yaml").read_text("utf-8"), "utf-8")
    before = {path.name for path in newcomer.folder.iterdir()}
    blocks = re.findall(r"^```bash\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    first, second = (shlex.split(line)[1:] for line in "".join(blocks).splitlines())
    assert parser().parse_args(second).seed == 1
    done = newcomer.run(*first, "--json", "--allow-host", newcomer.host)  # one run for both: each takes half a minute
    assert done.returncode == 0, done.stderr[-500:]
    assert {path.name for path in newcomer.folder.iterdir()} - before == {"plan"}
    page = (newcomer.folder / "plan" / "plan.html").read_text("utf-8")
    assert all(word in page for word in ("<svg", "Hours on this machine", "Not known from a sample"))
    said = json.loads(done.stdout)
    assert said["rows"] == said["sample"] == sum(one["drawn"] for one in said["reasons"])  # the log is small: all of it
    assert all(one["rows"]["low"] == one["rows"]["high"] for one in said["reasons"])
