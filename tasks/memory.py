"""How much memory a model takes, and whether this machine has it, asked before any row is touched."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ACTOR_BYTES = 700 << 20
"""What an actor with a model takes beside the model: libraries, and two batches of pictures under way."""

COPIES = 2
"""Of a model's weights that are in memory while it is loaded: as the file has them, and as they are computed with."""

_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class TooLarge(Exception):
    """A model of the recipe does not fit in the memory here; the message says what to do."""


def needed(weights: int) -> int:
    """Bytes of memory of an actor whose models' files have so many."""
    return ACTOR_BYTES + COPIES * weights


def check_memory(sizes: Mapping[str, int]) -> None:
    """Raise TooLarge for models that no actor here could load; `sizes` are bytes of weights by what they are for.

    Of a cluster elsewhere (RAY_ADDRESS) nothing is known here, and nothing is asked.
    """
    if os.environ.get("RAY_ADDRESS"):
        return
    for what, size in sizes.items():
        card = _card() if size else None
        if card is not None and size // COPIES > card:  # half precision, loaded through main memory
            raise _too_large(what, size // COPIES, card, "a card here has")
        if needed(size) > memory_here():
            raise _too_large(what, needed(size), memory_here(), "this machine has")


def memory_here() -> int:
    """Bytes of memory that processes here may use, of the machine or of the container that it runs as."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = [Path(file).read_text().strip() for file in _CGROUPS if Path(file).is_file()]
    return min([whole, *(int(one) for one in told if one.isdecimal())])


def _card() -> int | None:
    """Bytes of memory of the first card; None without one. Who knows takes seconds to be there."""
    if not Path("/dev/nvidia0").exists():
        return None
    from actors.models.encoder import card_memory

    return card_memory()


def _too_large(what: str, needs: int, has: int, who: str) -> TooLarge:
    return TooLarge(
        f"{what} needs {needs / 2**30:.1f} GiB of memory, {who} {has / 2**30:.1f} GiB.\n"
        "Take a smaller model, or run on a machine with more (RAY_ADDRESS names a cluster)."
    )
