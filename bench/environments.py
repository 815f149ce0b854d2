"""Environments of their own for the peers that cannot live in .venv: `python -m bench.environments` builds them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / ".bench"


class EnvironmentMissing(Exception):
    """A peer has no environment here, or another one than is named; the message says what to do."""


@dataclass(frozen=True)
class Environment:
    """A folder under .bench that holds exactly these packages and what they ask for."""

    name: str
    packages: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return FOLDER / self.name

    @property
    def built(self) -> bool:
        """Whether it was built to its end, of these very packages."""
        return self._list.is_file() and self._list.read_text() == "\n".join(self.packages)

    @property
    def _list(self) -> Path:
        return self.folder / "packages.txt"

    def python(self) -> str:
        """Its interpreter; EnvironmentMissing before `build`."""
        if not self.built:
            raise EnvironmentMissing(
                f"{self.name} has no environment here.\n"
                "Build it (`make bench-env`), or leave this work out (--work with the others)."
            )
        return str(self.folder / "bin" / "python")

    def build(self) -> None:
        """Make the folder anew; CalledProcessError where uv cannot."""
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, self.folder], check=True)
        python = self.folder / "bin" / "python"
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *self.packages], check=True)
        self._list.write_text("\n".join(self.packages))  # last: an install that was cut off is taken up again


# Its hashes come from imagededup, which loads torch; the package itself forgets to ask for aiohttp.
DATA_JUICER = Environment(
    "data-juicer", ("py-data-juicer==1.6.1", "imagededup==0.3.3.post2", "aiohttp", "pillow==13.0.0", "numpy==2.4.6")
)
FAISS = Environment("faiss", ("faiss-cpu==1.15.1", "numpy==2.4.6"))
ALL = (DATA_JUICER, FAISS)


def main() -> None:
    """Build what is not there yet."""
    for environment in ALL:
        if not environment.built:
            environment.build()
        print(f"{environment.name}: {environment.python()}")


if __name__ == "__main__":
    main()
