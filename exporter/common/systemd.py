"""Report the state of a service of Type=notify to systemd by one datagram, see sd_notify(3)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_PATIENCE_S = 1.0


def notify(state: str, environment: Mapping[str, str]) -> None:
    """Send `state` (`READY=1`) to systemd. Does nothing when systemd didn't start this process.

    Never raises, and waits for a second at most: no value of NOTIFY_SOCKET may end this process.
    """
    address = os.fsencode(environment.get("NOTIFY_SOCKET", ""))
    if not address.startswith((b"/", b"@")):
        return
    if address.startswith(b"@"):  # an abstract one, which begins with a NUL
        address = b"\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(_PATIENCE_S)
        try:
            sock.connect(address)
            sock.sendall(state.encode())
        except OSError:
            return  # it isn't listening any more, or never was
