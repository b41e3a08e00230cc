"""Empties files once they have been read: `forget.py FILE...`.

What a step hands to the runner stays in files until the job is over, and each later step can read them. It
says `ready` when it looks, and ends when each file has been read by who opens it for reading alone: the
runner, as soon as the step is over.
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import time

LIMIT_S = 3600.0
"""No step that begins takes longer."""
_IN_CLOSE_NOWRITE, _IN_Q_OVERFLOW = 0x10, 0x4000
_EVENT = struct.Struct("=iIII")
_EVENTS_BYTES = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(paths: list[str]) -> None:
    """Wait for them. Raises OSError for what can't be watched."""
    news = _call("inotify_init1", os.O_CLOEXEC)
    files = {
        _call("inotify_add_watch", news, os.fsencode(path), _IN_CLOSE_NOWRITE): os.open(
            path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        )
        for path in paths
    }
    print("ready", flush=True)
    deadline_s = time.monotonic() + LIMIT_S
    while files and (left_s := deadline_s - time.monotonic()) > 0:
        if select.select([news], [], [], left_s)[0]:
            read, is_all = _told(os.read(news, _EVENTS_BYTES))
            for number in read & files.keys():
                os.ftruncate(files.pop(number), 0)
            if not is_all:
                break
    for file in files.values():
        os.ftruncate(file, 0)


def _told(events: bytes) -> tuple[set[int], bool]:
    """The watches that tell of a file that was read, and whether the kernel had room to tell of all."""
    at, found, is_all = 0, set(), True
    while at < len(events):
        number, what, _, length = _EVENT.unpack_from(events, at)
        at += _EVENT.size + length
        if what & _IN_CLOSE_NOWRITE:
            found.add(number)
        is_all = is_all and not what & _IN_Q_OVERFLOW
    return found, is_all


def _call(name: str, *arguments: int | bytes) -> int:
    result: int = getattr(_LIBC, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


if __name__ == "__main__":
    main(sys.argv[1:])
