"""Compile, load, attach and pin; then exit. Run by the system's Python, which owns BCC: stdlib and bcc only.

Reads one JSON request on stdin, prints one JSON manifest on stdout:

    {"source": C text, "flags": [...], "include": DIR, "pins": DIR, "cgroup": DIR,
     "maps": [name, ...], "programs": [{"name", "kind": "raw_tracepoint", "attach": tracepoint
                                          [, "optional": true]}
                                       | {"name", "kind": "cgroup_skb" | "cgroup_sock" | "cgroup_sock_addr"
                                                     | "sock_ops",
                                          "attach": enum bpf_attach_type}]}
    {"bcc": version, "programs": [name, ...], "maps": [name, ...]}

An optional program is left out, also of the manifest, where the kernel has no such tracepoint.

With `--check` it reads nothing and only says whether BCC can be used: {"bcc": version}.

On failure: exit status 1 and {"error": what, "stage": "import" | "compile" | "load" | "attach" | "pin"}; what
the compiler or the verifier said is on stderr. What was pinned until then is the caller's to remove.
"""

import ctypes
import errno
import inspect
import json
import os
import platform
import struct
import sys
from typing import Any

_LINK_CREATE = 28  # enum bpf_cmd


class LoadError(Exception):
    """Why loading ended, and where."""

    def __init__(self, stage: str, what: str) -> None:
        super().__init__(what)
        self.stage = stage


def main() -> int:
    """Serve one request, or check."""
    try:
        bcc = import_bcc()
        is_check = sys.argv[1:] == ["--check"]
        manifest = {"bcc": bcc.__version__} if is_check else load(bcc, json.load(sys.stdin))
    except LoadError as error:
        json.dump({"error": str(error), "stage": error.stage}, sys.stdout)
        return 1
    json.dump(manifest, sys.stdout)
    return 0


def import_bcc() -> Any:
    """Import BCC before the request is read: it takes longer than the caller needs to write it."""
    try:
        import bcc
    except ImportError as error:
        raise LoadError("import", str(error)) from None
    if not hasattr(bcc, "BPF"):
        raise LoadError("import", f"{bcc.__file__} is not the BPF Compiler Collection")
    if "attach_type" not in inspect.signature(bcc.BPF.load_func).parameters:
        raise LoadError("import", f"bcc {bcc.__version__} is too old: 0.25 is needed")
    return bcc


def load(bcc: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Do what the request says."""
    module = compile_source(bcc, request)
    cgroup = os.open(request["cgroup"], os.O_RDONLY | os.O_DIRECTORY)
    for name in request["maps"]:
        pin(bcc, module[name].map_fd, f"{request['pins']}/map_{name}")
    attached = []
    for program in request["programs"]:
        function = load_program(bcc, module, program)
        link = attach(bcc, function, cgroup, program)
        if link is not None:
            pin(bcc, link, f"{request['pins']}/link_{program['name']}")
            attached.append(program["name"])
    return {
        "bcc": bcc.__version__,
        "programs": attached,
        "maps": request["maps"],
    }


def compile_source(bcc: Any, request: dict[str, Any]) -> Any:
    """Compile with the shim in place of kernel headers."""
    os.environ["BCC_KERNEL_SOURCE"] = request["include"]

    class Module(bcc.BPF):  # type: ignore[misc]
        def _trace_autoload(self) -> None:
            """Attach nothing by itself: what isn't a link can't be pinned."""

    try:
        return Module(text=request["source"], cflags=request["flags"])
    except Exception as error:  # noqa: BLE001 - BCC raises nothing more exact
        raise LoadError("compile", str(error)) from None


def load_program(bcc: Any, module: Any, program: dict[str, Any]) -> Any:
    """Have the verifier take one program."""
    try:
        if program["kind"] == "raw_tracepoint":
            return module.load_func(program["name"], bcc.BPF.RAW_TRACEPOINT)
        kind = getattr(bcc.BPF, program["kind"].upper())
        return module.load_func(program["name"], kind, attach_type=program["attach"])
    except Exception as error:  # noqa: BLE001 - BCC raises nothing more exact
        raise LoadError("load", f"{program['name']}: {error}") from None


def attach(bcc: Any, function: Any, cgroup: int, program: dict[str, Any]) -> int | None:
    """Attach by a link, which can be pinned; returns its descriptor, or None for what isn't there."""
    if program["kind"] == "raw_tracepoint":
        link: int = bcc.lib.bpf_attach_raw_tracepoint(function.fd, program["attach"].encode())
        error = -link
    else:
        link = create_link(function.fd, cgroup, program["attach"])
        error = ctypes.get_errno()
    if link < 0 and error == errno.ENOENT and program.get("optional"):
        return None
    if link < 0:
        raise LoadError("attach", f"{program['name']}: {os.strerror(error)}")
    return link


def create_link(program: int, target: int, attach_type: int) -> int:
    """bpf(BPF_LINK_CREATE), which BCC doesn't offer for cgroups."""
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    attributes = ctypes.create_string_buffer(struct.pack("=IIII", program, target, attach_type, 0), 16)
    link: int = ctypes.CDLL(None, use_errno=True).syscall(number, _LINK_CREATE, attributes, 16)
    return link


def pin(bcc: Any, descriptor: int, path: str) -> None:
    """Give an object a name under bpffs, so that it outlives this process."""
    result = bcc.lib.bpf_obj_pin(descriptor, path.encode())
    if result < 0:
        what = "is there already" if -result == errno.EEXIST else os.strerror(-result)
        raise LoadError("pin", f"{path}: {what}")


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    # Without the interpreter's farewell: BCC's would detach and free what is pinned anyway.
    os._exit(status)
