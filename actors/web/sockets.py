"""The one place where a socket to the web is made."""

from __future__ import annotations

import socket
from typing import Any


def open_socket(family: int, address: tuple[Any, ...]) -> int:
    """The descriptor of a socket that is about to be connected to `address`, which was checked."""
    return socket.socket(family, socket.SOCK_STREAM).detach()
