"""The bytecode compiled from bpf/, and the folder that keeps it from one start to the next.

Compiling takes nine tenths of a start, and its result depends only on its input: the source, the flags (with
the kernel's offsets) and the headers. So the bytecode is kept under the digest of all that.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from exporter.common.safe_files import UnsafeFolderError, open_ours_alone, require_ours_alone, write_new

ROOTS_FOLDER = Path("/var/cache/ci-egress")
_KEPT = 8
"""The number of files that are kept: one for each kernel and version that are used in turn."""
_EDITION = b"ci-egress bytecode 1\n"
_LIMIT_BYTES = 4 << 20
"""The most bytes that are read of a file; ours have 100 KB."""
_STALE_S = 3600
"""The age in seconds from which an unfinished file is removed: its writer was killed."""
_INSTRUCTION_BYTES = 8
_U32_MAX = (1 << 32) - 1


class MapSpec(NamedTuple):
    """A map to be made; sizes in bytes."""

    name: str
    type: int
    """enum bpf_map_type."""
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    """BPF_F_*."""


class Bytecode(NamedTuple):
    """The maps and programs to load into the kernel."""

    maps: list[MapSpec]
    programs: dict[str, bytes]
    """The instructions of each program, by its name; they refer to maps by their index in `maps`."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Bytecode:
        """Decode the compiler's answer (see compiler.py)."""
        maps = [MapSpec(**spec) for spec in answer["maps"]]
        return cls(maps, {name: base64.b64decode(code) for name, code in answer["programs"].items()})

    @classmethod
    def parse(cls, text: bytes) -> Bytecode | None:
        """Decode text that anybody may have written; None when it isn't an answer of the compiler's."""
        try:
            bytecode = cls.of(json.loads(text))
        # AttributeError, KeyError and TypeError are JSON of another shape; ValueError is base64's, too.
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            return None
        is_sound = all(map(_is_map, bytecode.maps)) and all(map(_is_code, bytecode.programs.values()))
        return bytecode if is_sound else None


def _is_map(spec: tuple[Any, ...]) -> bool:
    name, *numbers = spec
    return (
        isinstance(name, str)
        and name.isascii()
        and all(type(number) is int and 0 <= number <= _U32_MAX for number in numbers)
    )


def _is_code(code: bytes) -> bool:
    return len(code) > 0 and len(code) % _INSTRUCTION_BYTES == 0


@dataclass(frozen=True)
class Request:
    """A request to the compiler."""

    source: str
    flags: list[str]
    include: Path
    """Folder of the headers."""

    def fields(self) -> dict[str, Any]:
        """Return the request in the form that compiler.py reads."""
        return {"source": self.source, "flags": self.flags, "include": str(self.include)}

    def digest(self) -> str:
        """Hash the input of the compiler: equal for requests with the same result, wherever the folder is."""
        flags = [flag.replace(str(self.include), "") for flag in self.flags]
        digest = hashlib.sha256(json.dumps([self.source, flags, os.uname().machine]).encode())
        for header in sorted(self.include.rglob("*.h")):
            digest.update(f"\0{header.relative_to(self.include)}\0".encode())
            digest.update(header.read_bytes())
        return digest.hexdigest()


class Cache:
    """Compiled bytecode on disk. A failure here is no error: the programs are compiled again.

    The kernel runs this bytecode, so it is used only while nobody but this user can write to the folder or to
    one above it.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` need not exist."""
        self._folder = folder

    def get(self, digest: str) -> Bytecode | None:
        """Return the bytecode kept under `digest`; None when it is missing, not whole, or not ours alone."""
        with suppress(OSError, UnsafeFolderError):
            require_ours_alone(self._folder)
            if file := open_ours_alone(self._path(digest), _LIMIT_BYTES):
                with file:
                    return _kept(file)
        return None

    def put(self, digest: str, answer: Mapping[str, Any]) -> None:
        """Keep the compiler's answer in a file, and remove all but the _KEPT files that were used last."""
        text = json.dumps(answer).encode()
        with suppress(OSError, UnsafeFolderError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_ours_alone(self._folder)
            self._forget_unfinished()
            temporary = self._folder / f"{digest}.{secrets.token_hex(4)}.part"
            try:
                head = hashlib.sha256(text).hexdigest().encode()
                write_new(temporary, _EDITION + head + b"\n" + text, 0o600)
                temporary.rename(self._path(digest))
            finally:
                temporary.unlink(missing_ok=True)
            self._forget_oldest()

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.bytecode"

    def _forget_oldest(self) -> None:
        files = sorted(self._folder.glob("*.bytecode"), key=lambda path: path.stat().st_mtime_ns)
        for path in files[:-_KEPT]:
            path.unlink(missing_ok=True)

    def _forget_unfinished(self) -> None:
        newest_s = time.time() - _STALE_S
        for path in self._folder.glob("*.part"):
            with suppress(OSError):
                if path.lstat().st_mtime < newest_s:
                    path.unlink()


def _kept(file: BinaryIO) -> Bytecode | None:
    """Read a file that `put` wrote; None when it isn't whole.

    Sets the file's time, by which `put` removes the oldest, where the file system allows it.
    """
    # Only to the limit: the file may grow meanwhile.
    head, _, text = file.read(_LIMIT_BYTES).removeprefix(_EDITION).partition(b"\n")
    if head != hashlib.sha256(text).hexdigest().encode():
        return None
    with suppress(OSError):
        os.utime(file.fileno())
    return Bytecode.parse(text)


def default_cache(euid: int) -> Cache | None:
    """Return root's cache. None for any other user, whose jobs could write what the kernel is to run."""
    return Cache(ROOTS_FOLDER) if euid == 0 else None
