"""Command lines in the trace are what was executed: whole up to 32 KiB, marked where cut, harmless."""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.kernel.lab import HOSTILE_ARGUMENTS, PORT, V4, Lab
from tests.kernel.policy_runs import script
from tests.kernel.tracing import Span, Trace, Value, trace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.kernel.conftest import Programs

TEXT_LIMIT_BYTES = 8192
ARGUMENTS_LIMIT_BYTES = 32768
BLOCKS = [255, 256, 257, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 32767, 32768]
"""Sizes in bytes of a whole argv that the kernel's records treat differently, none of them too long."""


def command_with(programs: Programs, *more: object) -> list[str]:
    """A connect with further arguments, which it ignores."""
    return programs.act("connect", V4.peer, PORT, "--", *more)


def size_of(arguments: Sequence[str]) -> int:
    """Bytes of an argv in memory."""
    return sum(len(argument.encode()) + 1 for argument in arguments)


def texts(value: Value) -> list[str]:
    """A text, or a list's."""
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]


def assert_bounded(span: Span) -> None:
    """No attribute is longer than the contract lets it be."""
    arguments = texts(span["process.command_args"])
    assert sum(len(text.encode()) for text in arguments) <= ARGUMENTS_LIMIT_BYTES
    for name, value in span.attributes.items():
        if name != "process.command_args":
            assert all(len(text.encode()) <= TEXT_LIMIT_BYTES for text in texts(value)), name


def leaves(seen: Trace) -> list[Span]:
    """The spans of the acts, in order; COMMAND was well."""
    assert (seen.status, seen.stdout) == (0, "ok\n" * len(seen.egress))
    for leaf in seen.egress:
        assert_bounded(leaf)
    return seen.egress


def only_leaf(seen: Trace) -> Span:
    """The one of the one act."""
    (leaf,) = leaves(seen)
    return leaf


def test_an_argv_is_whole_at_every_size_that_matters(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    sizes = [block - size_of(command_with(programs)) - 1 for block in BLOCKS]
    commands = [command_with(programs, "a" * size) for size in sizes]
    assert [size_of(command) for command in commands] == BLOCKS
    step = script(tmp_path, *(programs.lineage("argv", size, *command_with(programs)) for size in sizes))
    for leaf, command in zip(leaves(trace(lab, step, tmp_path)), commands, strict=True):
        assert leaf["process.command_args"] == command
        line = shlex.join(command)
        assert leaf["process.command_line"] == line[:TEXT_LIMIT_BYTES]
        cut = ["process.command_line"] if len(line) > TEXT_LIMIT_BYTES else None
        assert leaf.attributes.get("egress.truncated") == cut


@pytest.mark.parametrize("size", [ARGUMENTS_LIMIT_BYTES + 1, 100_000])
def test_of_a_longer_argv_the_beginning_is_there_and_marked(
    lab: Lab, programs: Programs, tmp_path: Path, size: int
) -> None:
    command = command_with(programs)
    leaf = only_leaf(trace(lab, programs.lineage("argv", size, *command), tmp_path))
    assert leaf["egress.truncated"] == ["process.command_line", "process.command_args"]
    assert leaf["process.command_args"] == [*command, "a" * (ARGUMENTS_LIMIT_BYTES - size_of(command))]


def test_of_many_arguments_the_first_are_there_and_marked(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    command = command_with(programs, *range(20_000))
    leaf = only_leaf(trace(lab, command, tmp_path))
    *whole, last = texts(leaf["process.command_args"])
    assert whole == command[: len(whole)]
    assert command[len(whole)].startswith(last)
    assert ARGUMENTS_LIMIT_BYTES - 8 < size_of([*whole, last]) <= ARGUMENTS_LIMIT_BYTES + 1
    assert leaf["egress.truncated"] == ["process.command_line", "process.command_args"]


def test_an_ancestors_long_command_line_is_cut_and_marked(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    size = 20_000
    inner = programs.lineage("vfork", *command_with(programs))
    leaf = only_leaf(trace(lab, programs.lineage("argv", size, *inner), tmp_path))
    (ancestor,) = texts(leaf["egress.ancestors"])
    assert ancestor == shlex.join([*inner, "a" * size])[:TEXT_LIMIT_BYTES]
    assert leaf["egress.truncated"] == ["process.command_line", "egress.ancestors"]


def test_empty_arguments_are_arguments(lab: Lab, programs: Programs, tmp_path: Path) -> None:
    commands = [command_with(programs, *more) for more in ([""], ["", "", ""], ["a", "", "b"])]
    seen = trace(lab, script(tmp_path, *commands), tmp_path)
    assert [leaf["process.command_args"] for leaf in leaves(seen)] == commands


def test_a_program_started_without_any_argument_has_the_empty_one_that_the_kernel_gives(
    tmp_path: Path,
) -> None:
    nothing = "import ctypes; ctypes.CDLL(None).execv(b'/bin/true', (ctypes.c_char_p * 1)(None))"
    seen = trace(None, ["/usr/bin/python3", "-c", nothing], tmp_path, "--process-spans", "all")
    (span,) = seen.called("true")
    assert span["process.command_args"] == [""]
    assert span["process.executable.path"] == "/usr/bin/true"


def test_hostile_arguments_are_told_as_text_and_shown_harmlessly(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    seen = trace(lab, programs.lineage("argv-bytes", *command_with(programs)), tmp_path)
    leaf = only_leaf(seen)
    shown = [argument.decode(errors="replace") for argument in HOSTILE_ARGUMENTS]
    assert leaf["process.command_args"] == command_with(programs, *shown)
    assert "\x1b" not in seen.stderr
    assert seen.account.startswith("attempts 1 = exported 1 ")


@pytest.mark.parametrize(
    "name", [b"two\nlines", b"\x1b[31mred", b"bad\xff\xfebytes", b"\xe2\x80\xaertl", b"a" * 255]
)
def test_a_hostile_file_name_is_told_as_text_and_shown_harmlessly(
    lab: Lab, programs: Programs, tmp_path: Path, name: bytes
) -> None:
    command = [bytes(tmp_path) + b"/" + name, *(part.encode() for part in command_with(programs)[1:])]
    shutil.copy(command_with(programs)[0].encode(), command[0])
    seen = trace(lab, command, tmp_path)
    leaf = only_leaf(seen)
    shown = name.decode(errors="replace")
    assert leaf["process.executable.name"] == shown
    assert leaf["process.executable.path"] == f"{tmp_path}/{shown}"
    assert leaf["egress.lineage"] == [shown]
    assert not {"\x1b", "\u202e"} & set(seen.stderr)
    assert "\nlines" not in seen.stderr


REWRITE = """
import ctypes, pathlib, socket, sys
fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()
begin, end = int(fields[45]), int(fields[46])
ctypes.memset(begin, ord("x"), end - begin - 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.connect((sys.argv[1], int(sys.argv[2])))
print(set(pathlib.Path("/proc/self/cmdline").read_bytes()))
"""


def test_a_program_that_rewrites_its_argv_is_told_as_it_was_started(lab: Lab, tmp_path: Path) -> None:
    command = ["/usr/bin/python3", "-c", REWRITE, V4.peer, str(PORT), "--innocent"]
    seen = trace(lab, command, tmp_path)
    (leaf,) = seen.egress
    assert seen.stdout == f"{ {ord('x'), 0} }\n"
    assert leaf["process.command_args"] == command


def test_a_script_begins_with_its_interpreter(lab: Lab, tmp_path: Path) -> None:
    script = tmp_path / "step"
    script.write_text(f"#!/bin/bash -e\nexec 3>/dev/udp/{V4.peer}/{PORT}\necho ok\n")
    script.chmod(0o755)
    leaf = only_leaf(trace(lab, [str(script), "argument"], tmp_path))
    assert leaf["process.command_args"] == ["/bin/bash", "-e", str(script), "argument"]
    assert leaf["process.executable.path"] == "/usr/bin/bash"
    assert leaf["egress.lineage"] == ["bash"]


def test_the_path_of_a_file_crosses_the_mounts_that_the_program_sees(
    lab: Lab, programs: Programs, tmp_path: Path
) -> None:
    act, *rest = command_with(programs)
    script = f'mount -t tmpfs none {tmp_path} && cp {act} {tmp_path}/moved && exec {tmp_path}/moved "$@"'
    leaf = only_leaf(trace(lab, ["unshare", "--mount", "sh", "-c", script, "sh", *rest], tmp_path / "otlp"))
    assert leaf["process.executable.path"] == f"{tmp_path}/moved"


@pytest.mark.parametrize("name", ["d", "d" * 100], ids=["deep", "long"])
def test_of_a_path_that_is_too_long_the_end_is_there_and_marked(
    lab: Lab, programs: Programs, tmp_path: Path, name: str
) -> None:
    act, *rest = command_with(programs)
    folder = tmp_path.joinpath(*[name] * (60 if len(name) == 1 else 12))
    folder.mkdir(parents=True)
    leaf = only_leaf(trace(lab, [str(shutil.copy(act, folder)), *rest], tmp_path / "otlp"))
    begin, *parts = str(leaf["process.executable.path"]).split("/")
    assert (begin, set(parts[:-1]), parts[-1]) == ("…", {name}, "act")
    assert leaf["egress.truncated"] == ["process.executable.path"]
