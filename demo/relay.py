"""A way out of the demo's network: connections to a port in it lead to a port of this machine's loopback."""

from __future__ import annotations

import socket
import socketserver
import threading

_CONNECT_TIMEOUT_S = 5.0
_CHUNK = 1 << 16


def relay(address: str, port: int, onward_port: int) -> socketserver.TCPServer:
    """Make a server that listens at once, in the network namespace of the calling thread.

    `serve_forever` connects on to 127.0.0.1, in the namespace of the thread that calls it.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            incoming: socket.socket = self.request
            try:
                outgoing = socket.create_connection(("127.0.0.1", onward_port), _CONNECT_TIMEOUT_S)
            except OSError:
                return  # the client sees that its connection ends, as if nobody listened
            outgoing.settimeout(None)
            with outgoing:
                answers = threading.Thread(target=_pass_on, args=(outgoing, incoming), daemon=True)
                answers.start()
                _pass_on(incoming, outgoing)
                answers.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    return Server((address, port), Handler)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one of the two has gone; the other sees it when both are closed
