"""Compile the programs with BCC, then exit.

The system's Python runs this, since it has BCC; so this imports only the standard library and bcc. It reads
one JSON request on stdin, and prints the bytecode as JSON on stdout:

    {"source": C text, "flags": [...], "include": DIR}
    {"bcc": version,
     "maps": [{"name", "type", "key_size", "value_size", "max_entries", "flags"}, ...],
     "programs": {name: instructions in base64, ...}}

Types and flags are the kernel's numbers (enum bpf_map_type, BPF_F_*), sizes are bytes. An instruction that
loads a map has the map's index in "maps" (BPF_PSEUDO_MAP_IDX), so that the maps can be made later.

With `--check` it reads nothing and only says whether BCC can be used: {"bcc": version}.

On failure: exit status 1 and {"error": what, "stage": "import" | "compile"}; the compiler's messages are on
stderr.
"""

import base64
import ctypes
import inspect
import json
import os
import struct
import sys
from collections.abc import Iterator
from typing import Any

_INSTRUCTION = struct.Struct("=BBhi")  # struct bpf_insn; the two registers share a byte
_LOAD_64 = 0x18  # BPF_LD | BPF_DW | BPF_IMM
_MAP_FD, _MAP_INDEX = 1, 5  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_IDX (Linux 5.14)


class CompileError(Exception):
    """An error that ended the compiling, and its stage."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(what)
        self.stage = stage


def main() -> int:
    """Answer one request, or check for BCC; return the exit status."""
    try:
        bcc = import_bcc()
        is_check = sys.argv[1:] == ["--check"]
        answer = {"bcc": bcc.__version__} if is_check else compile_source(bcc, json.load(sys.stdin))
    except CompileError as error:
        json.dump({"error": str(error), "stage": error.stage}, sys.stdout)
        return 1
    json.dump(answer, sys.stdout)
    return 0


def import_bcc() -> Any:
    """Import BCC before the request is read: it takes longer than the caller needs to write it."""
    try:
        import bcc
    except ImportError as error:
        raise CompileError("import", str(error)) from None
    if not hasattr(bcc, "BPF"):
        raise CompileError("import", f"{bcc.__file__} is not the BPF Compiler Collection")
    if "attach_type" not in inspect.signature(bcc.BPF.load_func).parameters:
        raise CompileError("import", f"bcc {bcc.__version__} is too old: 0.25 is needed")
    return bcc


def compile_source(bcc: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Compile with the few headers of bpf/ instead of the kernel's.

    The maps that BCC makes end with this process.
    """
    os.environ["BCC_KERNEL_SOURCE"] = request["include"]

    class Module(bcc.BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            """Attach nothing: this is about the bytecode."""

    try:
        module = Module(text=request["source"], cflags=request["flags"])
    except Exception as error:  # noqa: BLE001 - BCC raises nothing more exact
        raise CompileError("compile", str(error)) from None
    maps, descriptors = maps_of(bcc.lib, ctypes.c_void_p(module.module))
    names = [bcc.lib.bpf_function_name(module.module, n) for n in range(functions_of(bcc, module))]
    programs = {name.decode(): portable(module.dump_func(name), descriptors) for name in names}
    return {"bcc": bcc.__version__, "maps": maps, "programs": programs}


def functions_of(bcc: Any, module: Any) -> int:
    """Return the number of programs."""
    number: int = bcc.lib.bpf_num_functions(module.module)
    return number


def maps_of(lib: Any, module: ctypes.c_void_p) -> tuple[list[dict[str, Any]], dict[int, int]]:
    """Describe the maps, and return the index of each by the descriptor that the instructions have for it."""
    lib.bpf_table_name.restype = ctypes.c_char_p

    def told(what: str, table: int) -> int:
        function = getattr(lib, f"bpf_table_{what}_id")
        function.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        number: int = function(module, table)
        return number

    maps, descriptors = [], {}
    for table in range(lib.bpf_num_tables(module)):
        descriptors[told("fd", table)] = table
        maps.append(
            {
                "name": lib.bpf_table_name(module, ctypes.c_size_t(table)).decode(),
                "type": told("type", table),
                "key_size": told("key_size", table),
                "value_size": told("leaf_size", table),
                "max_entries": told("max_entries", table),
                "flags": told("flags", table),
            }
        )
    return maps, descriptors


def portable(instructions: bytes, descriptors: dict[int, int]) -> str:
    """Encode instructions in base64, with each descriptor of a map replaced by the map's index."""
    return base64.b64encode(b"".join(_portable(instructions, descriptors))).decode()


def _portable(instructions: bytes, descriptors: dict[int, int]) -> Iterator[bytes]:
    is_second_half = False
    for code, registers, offset, value in _INSTRUCTION.iter_unpack(instructions):
        is_load = code == _LOAD_64 and not is_second_half
        if is_load and registers >> 4 == _MAP_FD:
            registers = registers & 0xF | _MAP_INDEX << 4  # noqa: PLW2901 - the same, changed
            value = descriptors[value]  # noqa: PLW2901
        yield _INSTRUCTION.pack(code, registers, offset, value)
        is_second_half = is_load


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Without the interpreter's exit handlers: BCC's take time for nothing.
    os._exit(status)
