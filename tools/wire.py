"""Generate exporter/events/wire.py from bpf/egress.h, by way of the compiler's own debug information.

`python -m tools.wire` writes the file; with `--check` it only says whether it is up to date (exit 1 if not).
Needs gcc and pyelftools.
"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from elftools.elf.elffile import ELFFile

from tools.generated import ROOT, write_or_check

HEADER = ROOT / "bpf" / "egress.h"
TARGET = ROOT / "exporter" / "events" / "wire.py"

_WITHOUT_FIELDS = frozenset(
    {
        *("agent_key", "exe_name_key", "flow_key", "flow_value", "last_peer", "late_key", "places_value"),
        *("query_key", "tamper_key", "tamper_value", "unit_key"),
    }
)
"""Structs that user space only makes, or leaves to the kernel: it reads none of their fields by name."""
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_TRANSPARENT = {"DW_TAG_typedef", "DW_TAG_const_type", "DW_TAG_volatile_type"}


class Field(NamedTuple):
    """One member: where it stands, its size in bytes, and its `struct` format."""

    name: str
    path: str
    """The member as C spells it, with the inner struct that it is in."""
    offset: int
    size: int
    format: str


class Layout(NamedTuple):
    """Everything user space must know of the header."""

    structs: dict[str, tuple[int, tuple[Field, ...]]]
    enums: dict[str, dict[str, int]]

    def edition(self) -> int:
        """Return 32 bits that change with any size, offset, name or constant."""
        text = json.dumps([self.structs, self.enums], sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def compile_header(header: Path) -> Layout:
    """Compile the header alone and read its structs and enums back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "wire.c"), Path(folder, "wire.o")
        source.write_text(f'#include "{header}"\n')
        flags = ["-g", "-fno-eliminate-unused-debug-types", "-nostdinc", f"-I{header.parent / 'include'}"]
        subprocess.run(["gcc", *flags, "-c", str(source), "-o", str(target)], check=True)  # noqa: S603, S607
        with target.open("rb") as stream:
            return _read(ELFFile(stream).get_dwarf_info())


def _read(dwarf: Any) -> Layout:
    layout = Layout({}, {})
    for unit in dwarf.iter_CUs():
        for die in unit.iter_DIEs():
            if "DW_AT_name" not in die.attributes:
                continue
            name = die.attributes["DW_AT_name"].value.decode()
            if die.tag == "DW_TAG_structure_type":
                layout.structs[name] = (die.attributes["DW_AT_byte_size"].value, tuple(_fields(die, 0, "")))
            elif die.tag == "DW_TAG_enumeration_type":
                layout.enums[name] = {
                    child.attributes["DW_AT_name"].value.decode(): child.attributes["DW_AT_const_value"].value
                    for child in die.iter_children()
                }
    return layout


def _fields(owner: Any, base: int, prefix: str) -> list[Field]:
    """Return the members in order; those of an inner struct count as the outer one's own."""
    fields = []
    for member in owner.iter_children():
        name = member.attributes["DW_AT_name"].value.decode()
        offset = base + member.attributes["DW_AT_data_member_location"].value
        kind = _resolve(member)
        if kind.tag == "DW_TAG_structure_type":
            fields.extend(_fields(kind, offset, f"{prefix}{name}."))
        elif kind.tag == "DW_TAG_array_type":
            count = next(kind.iter_children()).attributes["DW_AT_upper_bound"].value + 1
            size = count * _resolve(kind).attributes["DW_AT_byte_size"].value
            fields.append(Field(name, prefix + name, offset, size, f"{size}s"))
        else:
            size = kind.attributes["DW_AT_byte_size"].value
            fields.append(
                Field(name, prefix + name, offset, size, f"{size}x" if name == "pad" else _CODES[size])
            )
    return fields


def _resolve(die: Any) -> Any:
    kind = die.get_DIE_from_attribute("DW_AT_type")
    return _resolve(kind) if kind.tag in _TRANSPARENT else kind


def render(layout: Layout) -> str:
    """Return the text of exporter/events/wire.py."""
    lines = [
        '"""Layout of the kernel\'s records: `make wire` generates this from bpf/egress.h."""',
        "",
        "from __future__ import annotations",
        "",
        "import struct",
        "from typing import NamedTuple",
        "",
        f"LAYOUT = 0x{layout.edition():08x}",
        '"""Edition of the layout; every record and every pinned instance carries it."""',
        "",
    ]
    for values in layout.enums.values():
        lines += [f"{name} = {value}" for name, value in values.items()] + [""]
    for name, (size, fields) in layout.structs.items():
        lines += _render_struct(name, size, fields)
    lines += ["", "OFFSETS = {"]
    for name, (size, fields) in layout.structs.items():
        offsets = ", ".join(f'"{field.path}": {field.offset}' for field in fields if field.name != "pad")
        lines.append(f'    "{name}": ({size}, {{{offsets}}}),')
    lines += ["}", '"""Size in bytes of each struct, and the offset of each member, by its C path."""', ""]
    return "\n".join(lines)


def _render_struct(name: str, size: int, fields: tuple[Field, ...]) -> list[str]:
    text = "<" + "".join(field.format for field in fields)
    if struct.calcsize(text) != size:
        raise SystemExit(f"struct {name} has a gap the compiler made: spell it out as `pad`")
    packing = f'{name.upper()} = struct.Struct("{text}")'
    if name in _WITHOUT_FIELDS:
        return [packing, ""]
    names = [field for field in fields if field.name != "pad"]
    title = "".join(part.title() for part in name.split("_"))
    return [
        "",
        f"class {title}(NamedTuple):",
        f'    """`struct {name}`, {size} bytes."""',
        "",
        *(f"    {field.name}: {'bytes' if field.format.endswith('s') else 'int'}" for field in names),
        "",
        "    @classmethod",
        f"    def unpack(cls, data: bytes) -> {title}:",
        f'        """Read one from {size} bytes."""',
        f"        return cls._make({name.upper()}.unpack(data))",
        "",
        "",
        packing,
        "",
    ]


if __name__ == "__main__":
    sys.exit(write_or_check(TARGET, render(compile_header(HEADER)), "bpf/egress.h"))
