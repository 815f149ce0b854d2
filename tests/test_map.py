"""The README's map is the tree."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^([a-z_/]+)/ +\S.*?: ([a-z_, ]+)$", re.MULTILINE)


def test_the_readme_names_every_module_of_every_room_and_no_other() -> None:
    mapped = {room: set(modules.split(", ")) for room, modules in LINE.findall((ROOT / "README.md").read_text())}
    rooms = {path.parent for depth in ("*", "*/*", "*/*/*") for path in ROOT.glob(f"{depth}/__init__.py")}
    tree = {
        str(room.relative_to(ROOT)): {path.stem for path in room.glob("*.py") if not path.stem.startswith("__init__")}
        for room in rooms
        if ".venv" not in room.parts
    }
    assert mapped == {room: modules for room, modules in tree.items() if modules}
