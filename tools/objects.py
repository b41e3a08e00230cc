"""Compile bpf/ for each architecture: the objects that every package carries, and each start loads.

`python -m tools.objects` makes the objects that are missing or were made from other sources, in bpf/objects/.
`--check` compiles all of them with other placeholders, and ends with 1 where an object differs by a byte:
then its table of offsets isn't complete, or it isn't what bpf/ says.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor

from exporter.common.errors import KernelError
from exporter.kernel.compilation.bytecode import BytecodeObject, placeholders
from exporter.kernel.compilation.compiling import (
    PLACEHOLDERS,
    compiled,
    kept_object,
    prebuilt,
    system_compiler,
)
from exporter.kernel.requirements import MACHINES

_OTHERS = placeholders(PLACEHOLDERS, base=0x31000700, step=0x1F3)


def make(machine: str) -> None:
    """Make the object for `machine`, if there is none of today's sources. Raises KernelError."""
    if prebuilt(machine) is None:
        print(f"objects: compiling bpf/ for {machine}, some seconds", flush=True)
        path = kept_object(machine)
        path.parent.mkdir(exist_ok=True)
        new = path.with_suffix(".part")
        new.write_bytes(compiled(system_compiler(), machine).text())
        new.replace(path)


def faults(machine: str) -> list[str]:
    """Return what is wrong with the object for `machine`. Raises KernelError."""
    kept = prebuilt(machine)
    if kept is None:
        return [f"{kept_object(machine)} isn't of this bpf/: run `make objects`"]
    again = compiled(system_compiler(), machine, offsets=_OTHERS)
    unused = set(PLACEHOLDERS) - {name for each in kept.programs.values() for name in each.offsets}
    return [*_differences(kept, again), *(f"{machine}: no program reads {name}" for name in sorted(unused))]


def _differences(kept: BytecodeObject, again: BytecodeObject) -> list[str]:
    if again.text() == kept.text():
        return []
    differing = [name for name in again.programs if again.programs[name] != kept.programs.get(name)]
    return [f"compiled again, these differ: {', '.join(differing) or 'the maps or the compiler'}"]


def main() -> int:
    """Make or check the objects; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("machine", nargs="*", default=MACHINES, help="architectures; all by default")
    parser.add_argument("--check", action="store_true", help="compare with a second compile")
    given = parser.parse_args()
    try:
        with ThreadPoolExecutor() as pool:
            found = [
                fault for each in pool.map(faults if given.check else _made, given.machine) for fault in each
            ]
    except KernelError as error:
        found = [str(error), *error.detail.splitlines()]
    for fault in found:
        print(f"objects: {fault}", file=sys.stderr)
    return bool(found)


def _made(machine: str) -> list[str]:
    make(machine)
    return []


if __name__ == "__main__":
    sys.exit(main())
