"""An object has the offsets of a kernel filled in where its table says, and nothing else changes."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from exporter.common.errors import KernelError
from exporter.kernel.compilation.bytecode import BytecodeObject, MapSpec, ObjectProgram, placeholders

ADD, SUBTRACT, MOVE, LOAD_64, EXIT = 0x07, 0x17, 0xB7, 0x18, 0x95
NAMES = placeholders(["PID", "TGID"])


def code(*instructions: tuple[int, int]) -> bytes:
    """Instructions of r1, by their code and number."""
    return b"".join(struct.pack("=BBhi", each, 1, 0, number) for each, number in instructions)


def answer(instructions: bytes) -> dict[str, Any]:
    """What the compiler says of one program with these instructions."""
    spec = {"name": "procs", "type": 1, "key_size": 4, "value_size": 40, "max_entries": 9, "flags": 1}
    programs = {"on_exit": base64.b64encode(instructions).decode()}
    return {"bcc": "0.26.0", "maps": [spec], "programs": programs}


def made(*instructions: tuple[int, int]) -> BytecodeObject:
    return BytecodeObject.of(answer(code(*instructions)), "digest", NAMES)


def test_each_offset_is_the_kernels_where_it_is_added_or_subtracted() -> None:
    found = made((ADD, NAMES["TGID"]), (MOVE, 7), (SUBTRACT, NAMES["PID"]), (ADD, NAMES["TGID"]), (EXIT, 0))
    assert found.programs["on_exit"].offsets == {"PID": [2], "TGID": [0, 3]}
    fitted = found.fitted({"PID": 1256, "TGID": 1260})
    assert fitted.programs["on_exit"] == code(
        (ADD, 1260), (MOVE, 7), (SUBTRACT, 1256), (ADD, 1260), (EXIT, 0)
    )
    assert fitted.maps == [MapSpec("procs", 1, 4, 40, 9, 1)]


def test_the_object_is_the_same_whatever_the_placeholders_were() -> None:
    others = placeholders(["PID", "TGID"], base=0x31000700, step=0x1F3)
    again = BytecodeObject.of(answer(code((ADD, others["PID"]), (EXIT, 0))), "digest", others)
    assert again == made((ADD, NAMES["PID"]), (EXIT, 0))


@pytest.mark.parametrize("use", [MOVE, 0x65, 0xB4], ids=["moved", "compared", "moved in 32 bits"])
def test_an_offset_that_is_used_in_another_way_is_refused_with_its_place(use: int) -> None:
    with pytest.raises(KernelError, match=rf"on_exit uses TGID in instruction 1, {use:#x}; .*member_of"):
        made((EXIT, 0), (use, NAMES["TGID"]))


def test_a_number_of_64_bits_is_none_of_an_offset_even_if_a_half_looks_like_one() -> None:
    long = (LOAD_64, NAMES["PID"]), (0, NAMES["TGID"])
    found = made(*long, (ADD, NAMES["PID"]))
    assert found.programs["on_exit"].offsets == {"PID": [2]}
    assert found.programs["on_exit"].instructions == code(*long, (ADD, 0))


def test_what_was_written_is_read_again() -> None:
    found = made((ADD, NAMES["PID"]), (EXIT, 0))
    assert BytecodeObject.parse(found.text()) == found
    assert found.text() == made((ADD, NAMES["PID"]), (EXIT, 0)).text()


WHOLE = json.loads(made((ADD, NAMES["PID"]), (EXIT, 0)).text())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"not json",
        b"\xff",
        b"[" * 100_000,
        made((EXIT, 0)).text()[:-5],
        json.dumps(WHOLE | {"maps": [{"name": "procs"}]}).encode(),
        json.dumps(WHOLE | {"programs": {"on_exit": {"instructions": "AAA", "offsets": {}}}}).encode(),
        json.dumps(WHOLE | {"programs": {"on_exit": {"instructions": "AAAA", "offsets": {}}}}).encode(),
        json.dumps({name: value for name, value in WHOLE.items() if name != "source"}).encode(),
    ],
    ids=lambda text: text[:60].decode(errors="replace"),
)
def test_what_is_no_whole_object_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        BytecodeObject.parse(text)


def test_a_table_that_points_past_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="on_exit"):
        BytecodeObject.parse(
            json.dumps(
                WHOLE | {"programs": {"on_exit": {"instructions": "", "offsets": {"PID": [0]}}}}
            ).encode()
        )


def test_an_offset_that_the_kernel_lacks_is_an_error_that_names_it() -> None:
    program = ObjectProgram(code((ADD, 0)), {"PID": [0]})
    with pytest.raises(KeyError, match="PID"):
        program.fitted({})
