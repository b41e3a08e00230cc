"""The bytecode of the programs: compiled once for each architecture, then fitted to the kernel that runs.

Of a kernel, the programs need the offsets of members of its structs. In an object, each such offset is the
number of an instruction of its own (`member_of` in bpf/maps.h), and a table says which instructions these
are. So an object is made anywhere, and fitting it takes a millisecond.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import Any, NamedTuple

from exporter.common.errors import KernelError

INSTRUCTION = struct.Struct("=BBhi")
"""struct bpf_insn: code, registers, offset, number."""
_NUMBER = struct.Struct("=i")
_NUMBER_AT = INSTRUCTION.size - _NUMBER.size
_LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM: the number goes on in the next instruction
_ADD, _SUBTRACT = 0x07, 0x17  # BPF_ALU64 | BPF_K


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
    """The maps and programs to load into the kernel that runs."""

    maps: list[MapSpec]
    programs: dict[str, bytes]
    """The instructions of each program, by its name; they refer to maps by their index in `maps`."""


class ObjectProgram(NamedTuple):
    """A program of an object."""

    instructions: bytes
    """As in `Bytecode`; the number of an instruction for an offset is 0."""
    offsets: dict[str, list[int]]
    """The indices of the instructions for each offset, by its name in btf.MEMBERS."""

    @classmethod
    def parse(cls, name: str, fields: Mapping[str, Any]) -> ObjectProgram:
        """Read one of an object's programs. Raises ValueError, KeyError or TypeError if it isn't whole."""
        instructions = base64.b64decode(fields["instructions"], validate=True)
        number, rest = divmod(len(instructions), INSTRUCTION.size)
        indices = [index for found in fields["offsets"].values() for index in found]
        if rest or not number or not all(0 <= index < number for index in indices):
            raise ValueError(f"{name} isn't whole")
        return cls(instructions, fields["offsets"])

    def fitted(self, offsets: Mapping[str, int]) -> bytes:
        """Return the instructions with `offsets`: see `BytecodeObject.fitted`."""
        fitted = bytearray(self.instructions)
        for name, indices in self.offsets.items():
            for index in indices:
                _NUMBER.pack_into(fitted, index * INSTRUCTION.size + _NUMBER_AT, offsets[name])
        return bytes(fitted)


class BytecodeObject(NamedTuple):
    """The compiled programs for one architecture, which fit any kernel."""

    source: str
    """The digest of the text that was compiled (see sources.py)."""
    compiler: str
    """The version of BCC."""
    maps: list[MapSpec]
    programs: dict[str, ObjectProgram]

    @classmethod
    def of(cls, answer: Mapping[str, Any], source: str, placeholders: Mapping[str, int]) -> BytecodeObject:
        """Make an object of the compiler's answer (see compiler.py), compiled with `placeholders` as offsets.

        Raises KernelError if the compiler used a placeholder in another way than to add or subtract it.
        """
        names = {number: name for name, number in placeholders.items()}
        programs = {
            name: _with_table(name, base64.b64decode(code), names)
            for name, code in sorted(answer["programs"].items())
        }
        return cls(source, answer["bcc"], [MapSpec(**spec) for spec in answer["maps"]], programs)

    @classmethod
    def parse(cls, text: bytes) -> BytecodeObject:
        """Read what `text` wrote. Raises ValueError when it is something else."""
        try:
            fields = json.loads(text)
            maps = [MapSpec(**spec) for spec in fields["maps"]]
            programs = {name: ObjectProgram.parse(name, each) for name, each in fields["programs"].items()}
            return cls(fields["source"], fields["compiler"], maps, programs)
        except (AttributeError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(str(error)) from None

    def text(self) -> bytes:
        """Write the object as JSON: the same bytes for the same object."""
        programs = {
            name: {"instructions": base64.b64encode(each.instructions).decode(), "offsets": each.offsets}
            for name, each in self.programs.items()
        }
        fields = self._asdict() | {"maps": [spec._asdict() for spec in self.maps], "programs": programs}
        return json.dumps(fields, indent=1).encode() + b"\n"

    def fitted(self, offsets: Mapping[str, int]) -> Bytecode:
        """Return the bytecode for the kernel with these offsets (bytes), by their names in btf.MEMBERS.

        The numbers for what it is used for, Uses.numbers, are among them.
        """
        return Bytecode(self.maps, {name: each.fitted(offsets) for name, each in self.programs.items()})


def placeholders(names: Iterable[str], *, base: int = 0x5A000000, step: int = 0x101) -> dict[str, int]:
    """Return a number for each offset that no program has for anything else."""
    return dict(zip(names, count(base, step), strict=False))


def _with_table(program: str, instructions: bytes, names: Mapping[int, str]) -> ObjectProgram:
    """Replace the placeholders by 0, and note where they were."""
    bare, offsets = bytearray(instructions), dict[str, list[int]]()
    for index, code, number in _single_instructions(instructions):
        name = names.get(number)
        if name is None:
            continue
        if code not in {_ADD, _SUBTRACT}:
            raise KernelError(
                f"{program} uses {name} in instruction {index}, {code:#x}",
                hint="in bpf/, use offsets with member_of and holder_of alone",
            )
        offsets.setdefault(name, []).append(index)
        _NUMBER.pack_into(bare, index * INSTRUCTION.size + _NUMBER_AT, 0)
    return ObjectProgram(bytes(bare), dict(sorted(offsets.items())))


def _single_instructions(instructions: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield index, code and number of each instruction; loads of 64 bits are left out."""
    is_second_half = False
    for index, (code, _, _, number) in enumerate(INSTRUCTION.iter_unpack(instructions)):
        is_load = code == _LOAD_64 and not is_second_half
        if not (is_load or is_second_half):
            yield index, code, number
        is_second_half = is_load
