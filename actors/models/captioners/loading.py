"""A found captioner becomes one that writes, whichever library or machine it is of."""

from __future__ import annotations

from pathlib import Path

from actors.models.captioners.protocol import FoundCaptioner, LoadedCaptioner
from actors.models.files import ModelMissing, check_same
from actors.models.places import file_sha256


def load_captioner(found: FoundCaptioner, device: str | None = None, threads: int | None = None) -> LoadedCaptioner:
    """Load `found` on `device` (null: a card where there is one); `threads` compute on a CPU, null: torch's own.

    Of an endpoint nothing is loaded, and `threads` are the requests in flight. ModelMissing where the files are gone,
    are others than when they were found, or are broken.
    """
    if found.kind == "endpoint":
        from actors.models.captioners.endpoint import EndpointCaptioner

        return EndpointCaptioner(found, threads or 8)
    _check(found)
    import torch

    from actors.models.encoder import best_device

    if threads is not None:
        torch.set_num_threads(threads)
    return _of_kind(found, device or best_device())


def _of_kind(found: FoundCaptioner, device: str) -> LoadedCaptioner:
    if found.kind == "coca":
        from actors.models.captioners.coca import CocaCaptioner

        return CocaCaptioner(found, device)
    if found.kind == "chat":
        from actors.models.captioners.chat import ChatCaptioner

        return ChatCaptioner(found, device)
    from actors.models.captioners.image_to_text import ImageToTextCaptioner

    return ImageToTextCaptioner(found, device)


def _check(found: FoundCaptioner) -> None:
    """Hold the files of `found` against what they were when it was found, maybe on another machine."""
    if found.model is not None:
        check_same(found.model)
    for file, sha256 in found.files:
        if not Path(file).is_file() or file_sha256(Path(file)) != sha256:
            raise ModelMissing(
                f"The captioner {found.name} lacks {file} on this machine, or has another file there.\n"
                "Put the same files under the same path on every machine of the pool, then run again."
            )
