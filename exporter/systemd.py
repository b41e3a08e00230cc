"""What systemd wants to know of a service of Type=notify: one datagram, see sd_notify(3)."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def notify(state: str, environment: Mapping[str, str]) -> None:
    """Tell systemd `state` (`READY=1`); nothing happens where it wasn't systemd that started this."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError:
            return  # it isn't listening any more: nobody to be told
