"""A test run that reports how long it took, as test runners with a metrics plug-in do."""

import os
import pathlib
import random
import socket
import struct
import time

import cart

TYPE_A = 1
CLASS_IN = 1


def name_server() -> str:
    lines = pathlib.Path("/etc/resolv.conf").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("nameserver"))


def look_up(name: str) -> str:
    """Ask for an A record with a datagram of our own, as dig does; return the address."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!6H", random.getrandbits(16), 0x0100, 1, 0, 0, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(60)
        asking.sendto(header + labels + struct.pack("!xHH", TYPE_A, CLASS_IN), (name_server(), 53))
        return socket.inet_ntoa(asking.recv(512)[-4:])


def report(address: str, milliseconds: int) -> None:
    """Send a metric from a process that is gone in a moment, so that nothing waits for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        child = os.fork()
        if child == 0:
            sending.sendto(f"tests.duration:{milliseconds}|ms".encode(), (address, 8125))
            os._exit(0)
        os.waitpid(child, 0)


started = time.monotonic()
assert cart.total([]) == 0
assert cart.total([199, 1]) == 200
report(look_up("metrics.example"), round(1000 * (time.monotonic() - started)))
print("2 passed, duration reported to metrics.example")
